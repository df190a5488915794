"""One gateway process: its epoch and lease, the catalog it sells from, its money, its callers."""

from dataclasses import dataclass
from datetime import datetime

from accounts.api_keys import Caller, RevokedKey
from catalog.routes import Snapshot
from gateway.purse import Purses
from gateway.settlement import Settler


class NotReady(Exception):  # noqa: N818  (named for what is wrong)
    """The database could not be asked (to start, for a key, for a wallet): answer 503, never 401."""


@dataclass(frozen=True, slots=True)
class WalletState:
    wallet_id: int
    is_frozen: bool


class Process:
    """What a call needs of its process. All of it is read and called on the event loop."""

    epoch: int
    snapshot: Snapshot
    money: Purses
    settler: Settler

    async def start(self) -> None:
        """Register, load the catalog, begin to renew. Raises NotReady after a bounded wait."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop admitting, wait for open holds (bounded), settle what waits, give all money back."""
        raise NotImplementedError

    @property
    def is_admitting(self) -> bool:
        """May a new call begin? False near the lease's end, before start and after stop."""
        raise NotImplementedError

    def database_now(self) -> datetime:
        """The database's clock, by the offset seen at the last renewal."""
        raise NotImplementedError

    async def authenticate(self, secret: str) -> Caller | RevokedKey | None:
        """Who calls with this secret; None when nobody. Raises NotReady when it cannot be known."""
        raise NotImplementedError

    async def wallet(self, workspace_id: int) -> WalletState:
        """The workspace's wallet in this installation's mode. Raises NotReady."""
        raise NotImplementedError


async def current_process() -> Process:
    """The process of the running event loop, started at its first use. Raises NotReady."""
    raise NotImplementedError


async def stop_current_process() -> None:
    """Stop the running event loop's process, if one was started."""
    raise NotImplementedError
