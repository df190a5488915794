"""One gateway process: its epoch and lease, the catalog it sells from, its money, its callers."""

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from django.conf import settings

from accounts.api_keys import Caller, RevokedKey, find_caller
from accounts.changes import ChangeKind
from billing.queries import wallet_of
from billing.sweeper import Sweeper
from catalog.routes import Snapshot
from gateway.database_threads import DatabaseThreads
from gateway.grant_threads import GrantThreads
from gateway.key_cache import KeyCache
from gateway.lease import LeaseLimits, LeaseThread, boot_clock
from gateway.purse import PurseLimits, Purses
from gateway.purse_keeper import PurseKeeper
from gateway.settlement import SettleLimits, Settler

logger = logging.getLogger(__name__)

NEAR_EMPTY_FOR_S = 5
MOST_WALLETS_KNOWN = 100_000


class NotReady(Exception):  # noqa: N818  (named for what is wrong)
    """The database could not be asked (to start, for a key, a wallet): answer 503, never 401."""


@dataclass(frozen=True, slots=True)
class WalletState:
    wallet_id: int
    is_frozen: bool


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    lease: LeaseLimits = field(default_factory=LeaseLimits)
    purse: PurseLimits = field(default_factory=PurseLimits)
    settle: SettleLimits = field(default_factory=SettleLimits)
    start_within_s: float = 20
    wallet_fresh_s: float = 60
    drain_s: float = 30  # open calls may go on so long when the process stops
    settle_within_s: float = 10  # then what waits must be committed


def limits_from_settings() -> ProcessLimits:
    return ProcessLimits(
        lease=LeaseLimits(lease_s=settings.TOKENMIX_LEASE_S, beat_s=settings.TOKENMIX_BEAT_S),
        purse=PurseLimits(idle_s=settings.TOKENMIX_IDLE_GRANT_S),
    )


class WalletStates:
    """Wallets by workspace: the database's answers, kept a while; one look-up at a time each."""

    def __init__(self, *, find: Callable[[int], Awaitable[WalletState]], fresh_s: float) -> None:
        self._find = find
        self._fresh_s = fresh_s
        self._known: dict[int, tuple[WalletState, float]] = {}  # until when it is fresh
        self._running: dict[int, asyncio.Task[WalletState]] = {}
        self._evictions = 0

    async def get(self, workspace_id: int) -> WalletState:
        """An answer that is no longer fresh is used only while there is no other."""
        known = self._known.get(workspace_id)
        if known is not None and time.monotonic() < known[1]:
            return known[0]
        task = self._running.get(workspace_id)
        if task is None:
            task = asyncio.create_task(self._ask(workspace_id), name="wallet-look-up")
            self._running[workspace_id] = task
            task.add_done_callback(lambda _: self._running.pop(workspace_id, None))
        try:
            return await asyncio.shield(task)
        except Exception:
            if known is not None and workspace_id in self._known:
                return known[0]
            raise

    def evict(self, wallet_id: int) -> None:
        self._evictions += 1
        for workspace_id, (state, _) in list(self._known.items()):
            if state.wallet_id == wallet_id:
                del self._known[workspace_id]

    def clear(self) -> None:
        self._evictions += 1
        self._known.clear()

    async def _ask(self, workspace_id: int) -> WalletState:
        evictions = self._evictions
        state = await self._find(workspace_id)
        if evictions == self._evictions:  # else it may be older than the change
            if len(self._known) >= MOST_WALLETS_KNOWN:
                self._known.pop(next(iter(self._known)))
            self._known[workspace_id] = (state, time.monotonic() + self._fresh_s)
        return state


class Process:
    """What a call needs of its process. All of it is read and called on the event loop."""

    def __init__(self, *, name: str = "", limits: ProcessLimits | None = None) -> None:
        self.limits = limits or limits_from_settings()
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._is_stopping = False
        self._grant_threads = DatabaseThreads(name="grants", size=2, most_waiting=10_000)
        self._look_ups = DatabaseThreads(name="look-ups", size=2, most_waiting=1_000)
        self._keys = KeyCache(find=self._find_caller, clock=time.monotonic)
        self._wallets = WalletStates(find=self._find_wallet, fresh_s=self.limits.wallet_fresh_s)
        self._keeper = PurseKeeper(
            grants=GrantThreads(self._grant_threads),
            limits=self.limits.purse,
            clock=time.monotonic,
            on_dead=self._on_dead,
        )
        self.money = Purses(
            keeper=self._keeper,
            limits=self.limits.purse,
            may_admit=self._may_admit,
            clock=time.monotonic,
        )
        self.settler = Settler(
            purses=self.money, epoch=lambda: self.epoch, limits=self.limits.settle
        )
        self._lease_thread: LeaseThread | None = None

    async def start(self) -> None:
        """Register, load the catalog, begin to renew. Raises NotReady after a bounded wait."""
        loop = asyncio.get_running_loop()
        thread = self._lease_thread = LeaseThread(
            name=self._name,
            holder=self,
            limits=self.limits.lease,
            call_soon=functools.partial(_call_soon, loop),
            sweep=Sweeper().pass_,
        )
        thread.start()
        deadline = time.monotonic() + self.limits.start_within_s
        while not thread.is_ready.is_set():
            if time.monotonic() > deadline:
                self._is_stopping = True
                await asyncio.to_thread(self._close_threads)
                raise NotReady
            await asyncio.sleep(0.01)
        self.settler.start()

    async def stop(self) -> None:
        """Stop admitting, wait for open holds (bounded), settle what waits, give all money back."""
        if self._lease_thread is None or self._is_stopping:
            return
        self._is_stopping = True
        deadline = time.monotonic() + self.limits.drain_s
        while self.money.open_holds and time.monotonic() < deadline:  # noqa: ASYNC110  (seldom)
            await asyncio.sleep(0.02)
        await self.settler.stop(within_s=self.limits.settle_within_s)
        await self.money.close()
        await asyncio.to_thread(self._close_threads)

    def _close_threads(self) -> None:
        self._grant_threads.close()
        self._look_ups.close()
        if self._lease_thread is not None:
            self._lease_thread.stop()
            self._lease_thread.join(self.limits.lease.lease_s + 5)

    @property
    def epoch(self) -> int:
        return self._lease_thread.lease.epoch if self._lease_thread is not None else 0

    @property
    def snapshot(self) -> Snapshot:
        """The catalog to sell from. Read it once per call."""
        if self._lease_thread is None or self._lease_thread.snapshot is None:
            raise NotReady
        return self._lease_thread.snapshot

    @property
    def is_admitting(self) -> bool:
        """May a new call begin? False near the lease's end, before start and after stop."""
        return not self._is_stopping and self._may_admit()

    def _may_admit(self) -> bool:
        """May money be set aside? Open calls may still extend their holds while we stop."""
        return self._lease_thread is not None and self._lease_thread.sells()

    def database_now(self) -> datetime:
        """Read the database's clock, by the offset seen at the last renewal."""
        ahead = self._lease_thread.lease.database_ahead_s if self._lease_thread else 0.0
        return datetime.fromtimestamp(boot_clock() + ahead, UTC)

    async def authenticate(self, secret: str) -> Caller | RevokedKey | None:
        """Who calls with this secret; None when nobody. Raises NotReady when it cannot be known."""
        try:
            return await self._keys.caller(secret)
        except Exception as error:
            logger.warning("key.look_up.failed: %r", error)
            raise NotReady from error

    async def wallet(self, workspace_id: int) -> WalletState:
        """Find the workspace's wallet in this installation's mode. Raises NotReady."""
        try:
            return await self._wallets.get(workspace_id)
        except Exception as error:
            logger.warning("wallet.look_up.failed workspace=%s: %r", workspace_id, error)
            raise NotReady from error

    async def _find_wallet(self, workspace_id: int) -> WalletState:
        view = await self._look_ups.run(lambda: wallet_of(workspace_id=workspace_id))
        self.money.note_available(view.id, view.available)
        return WalletState(view.id, view.is_frozen)

    async def _find_caller(self, key_hash: bytes) -> Caller | RevokedKey | None:
        return await self._look_ups.run(lambda: find_caller(key_hash=key_hash))

    def _on_dead(self, epoch: int) -> None:
        if self._lease_thread is not None:
            self._lease_thread.lost(epoch)

    # What the lease says (gateway.lease.Holder)

    def began(self, epoch: int) -> None:
        self.money.reset(epoch)

    def ticked(self) -> None:
        self.money.tick()

    def changed(self, kind: str, subject_id: int, number: int) -> None:
        if kind == ChangeKind.KEY:
            self._keys.evict(subject_id)
        elif kind == ChangeKind.RECALL:
            self.money.recalled(subject_id, number)
        elif kind == ChangeKind.FREEZE:
            self.money.frozen(subject_id)
            self._wallets.evict(subject_id)

    def missed_changes(self) -> None:
        self._keys.clear()
        self._wallets.clear()

    def needs_fast_polls(self) -> bool:
        return time.monotonic() - self._keeper.near_empty_at < NEAR_EMPTY_FOR_S

    def takes_used_keys(self) -> set[int]:
        used, self._keys.used = self._keys.used, set()
        return used


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Run it on the loop soon; a closed loop has nothing left that could change."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)


_starting: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Process]]
_starting = WeakKeyDictionary()
_started: WeakKeyDictionary[asyncio.AbstractEventLoop, Process] = WeakKeyDictionary()


async def current_process() -> Process:
    """Give the process of the running event loop, started at its first use. Raises NotReady."""
    loop = asyncio.get_running_loop()
    process = _started.get(loop)
    if process is not None:
        return process
    task = _starting.get(loop)
    if task is None:
        task = _starting[loop] = loop.create_task(_start(), name="process-start")
        task.add_done_callback(lambda _: _starting.pop(loop, None))
    return await asyncio.shield(task)


async def _start() -> Process:
    process = Process()
    await process.start()
    _started[asyncio.get_running_loop()] = process
    return process


async def stop_current_process() -> None:
    """Stop the running event loop's process, if one was started."""
    process = _started.get(asyncio.get_running_loop())
    if process is not None:
        await process.stop()
        _started.pop(asyncio.get_running_loop(), None)
