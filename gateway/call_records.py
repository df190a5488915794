"""What is written down of a call when it ends: plain values.

They are msgspec structs, which cost a tenth of a frozen dataclass to make.
"""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from catalog.pricing import Charge, Usage

if TYPE_CHECKING:
    from gateway.purse import Hold


class CallOutcome(StrEnum):
    """How a call ended (DESIGN 4.6)."""

    COMPLETE = "complete"
    CLIENT_LEFT_DRAINED = "client_left_drained"  # the upstream was read to its end: true usage
    CLIENT_LEFT_CUT = "client_left_cut"  # the upstream was cut: delivered tokens, counted
    UPSTREAM_BROKE = "upstream_broke"  # after content: delivered tokens, counted
    REFUSED = "refused"  # before any upstream was asked
    FAILED = "failed"  # every route failed before content
    OUT_OF_CREDIT = "out_of_credit"  # in mid-stream: what was delivered


class AttemptRecord(msgspec.Struct, frozen=True):
    """One try at one route. `cost_nano_usd` is what it cost the operator, if known."""

    n: int  # 1, 2, …
    route_id: int | None
    host: str
    status: int | None  # the upstream's HTTP status; None: no answer
    reason: str  # empty: it answered; else why the next was tried
    started_at: datetime
    duration_ms: int
    cost_nano_usd: int = 0


class CallRecord(msgspec.Struct, frozen=True):
    """Everything a usage row says. `hold` is ended by the settler, once, whatever the charge."""

    call_id: UUID
    epoch: int
    workspace_id: int
    wallet_id: int
    key_id: int | None
    mode: str
    model: str  # slug
    requested_model: str
    endpoint: str  # e.g. "chat.completions"
    is_stream: bool
    admitted_at: datetime  # database time
    started_at: datetime
    total_ms: int
    outcome: CallOutcome
    status: int  # HTTP status that the client got
    usage: Usage
    charge: Charge | None
    hold: "Hold | None" = None
    host: str = ""  # slug; empty: no upstream answered
    route_id: int | None = None
    upstream_model: str = ""
    protocol: str = ""
    price_version_id: int | None = None
    cost_version_id: int | None = None
    service_tier: str = ""
    first_byte_ms: int | None = None
    gateway_ms: float | None = None
    cost_nano_usd: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    finish_reason: str = ""
    request_id: str = ""

    @property
    def amount(self) -> int:
        return self.charge.amount if self.charge is not None else 0


class Settled(msgspec.Struct, frozen=True):
    """The call is in the database. `paid_nano_usd` is below the charge if the wallet was short."""

    paid_nano_usd: int
