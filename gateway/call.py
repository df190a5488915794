"""One call on its way: what was known when it was admitted, what happened since, and its end.

`settle` is the only way out of a call that holds money: rated once, written down once.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec

from accounts.api_keys import Caller
from catalog.pricing import Bucket, CannotRate, Charge, Outcome, Price, Usage, rate
from catalog.routes import Snapshot, in_force
from gateway.adapters.base import UpstreamError, UpstreamRequest
from gateway.admission import Held
from gateway.breaker import Breaker
from gateway.call_records import AttemptRecord, CallOutcome, CallRecord
from gateway.errors import ApiError
from gateway.exchange import Exchange
from gateway.metering import OUTPUT_SLACK, Bounds, OutputMeter
from gateway.open_calls import OpenCalls
from gateway.process import Process, WalletState
from gateway.protocol.events import Event, UsageReported
from gateway.protocol.frames import WholeAnswer
from gateway.relay import FrameSource
from gateway.routing import PLAIN_SERVICE_TIERS, Ask, Candidate, least
from gateway.upstream import HangUp, Timeouts

CLIENT_CLOSED = 499  # the status of a call whose client left: in our records only

logger = logging.getLogger(__name__)


class Inbound(Protocol):
    """A parsed request in a client's protocol, and how to answer it there."""

    ask: Ask

    def counted_parts(self) -> list[tuple[str, bytes]]:
        """The fields that become input tokens, as JSON bytes."""
        ...

    def build(self, candidate: Candidate, output_limit: int | None) -> UpstreamRequest:
        """The upstream's request. Raises CannotExpress or InvalidRequest."""
        ...

    def source(self, candidate: Candidate) -> FrameSource: ...

    def read_whole(self, candidate: Candidate, body: bytes) -> WholeAnswer:
        """A whole answer. Raises ValueError when it is none of its protocol."""
        ...

    def whole(
        self,
        candidate: Candidate,
        answer: WholeAnswer,
        usage: Usage,
        charge: Charge | None,
    ) -> bytes: ...

    def read_error(
        self, candidate: Candidate, status: int, headers: Mapping[str, str], body: bytes
    ) -> UpstreamError: ...

    def error_frame(self, error: ApiError) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the calls of one event loop share."""

    calls: OpenCalls
    breaker: Breaker
    timeouts: Timeouts
    mode: str


@dataclass(slots=True)
class Call:
    gateway: Gateway
    process: Process
    snapshot: Snapshot
    exchange: Exchange
    inbound: Inbound
    caller: Caller
    wallet: WalletState
    admitted_at: datetime  # database time: the prices of this moment apply
    hang_up: HangUp = field(default_factory=HangUp)
    meter: OutputMeter = field(default_factory=OutputMeter)
    attempts: list[AttemptRecord] = field(default_factory=list)
    input_tokens: int = 0  # counted by us
    held: Held | None = None
    gateway_ms: float | None = None  # from the first header until an upstream was asked
    first_byte_ms: int | None = None  # until the upstream's first content

    @property
    def ask(self) -> Ask:
        return self.inbound.ask

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.exchange.started_at) * 1000

    def tell(self, header: bytes, value: str) -> None:
        """Add a header to the answer, if that has not begun."""
        self.exchange.extra_headers.append((header, value.encode("latin-1", "replace")))


class Ending(msgspec.Struct, frozen=True):
    """How a call ended. `usage` None: nothing is charged."""

    outcome: CallOutcome
    status: int = 200
    candidate: Candidate | None = None
    usage: Usage | None = None
    finish_reason: str = ""


async def settle(call: Call, ending: Ending) -> Charge | None:
    """Rate the usage and write the call down; durable on return. Raises SettlementFailed."""
    charge = _charge(call, ending)
    await call.process.settler.settle(_record(call, ending, charge))
    return charge


def reported(events: Iterable[Event]) -> Usage | None:
    """The provider's last count, if it can be a count at all."""
    usage = None
    for event in events:
        if isinstance(event, UsageReported):
            usage = event.usage if event.is_believable else None
    return usage


def bounds(call: Call, candidate: Candidate) -> Bounds:
    """What this call can have used at most."""
    window = least(candidate.route.context_window, candidate.model.context_window)
    limit = candidate.output_limit or window
    return Bounds(
        input_tokens=window,
        output_tokens=None if limit is None else limit * call.ask.choices + OUTPUT_SLACK,
    )


def _charge(call: Call, ending: Ending) -> Charge | None:
    if ending.usage is None or ending.candidate is None:
        return None
    return _rated(call, ending.usage, ending.candidate.price)


def _rated(call: Call, usage: Usage, price: Price) -> Charge:
    """The charge. What the price has no rate for is charged as plain input and output, and told."""
    tier = "" if call.ask.service_tier in PLAIN_SERVICE_TIERS else call.ask.service_tier
    try:
        return rate(usage=usage, price=price, at=call.admitted_at, service_tier=tier)
    except CannotRate as error:
        logger.error(  # noqa: TRY400  (the reason is the text)
            "call.rating.incomplete price=%s %s: %s",
            price.version_id,
            call.exchange.request_id,
            error,
        )
    tokens = {Bucket.INPUT: usage.input_tokens, Bucket.OUTPUT: usage.output_tokens}
    plain = Usage(tokens={b: n for b, n in tokens.items() if n}, outcome=usage.outcome)
    return rate(usage=plain, price=price, at=call.admitted_at, service_tier=tier)


def _record(call: Call, ending: Ending, charge: Charge | None) -> CallRecord:
    candidate = ending.candidate
    model = candidate.model if candidate else call.snapshot.resolve(call.ask.model)
    route = candidate.route if candidate else None
    cost = in_force(route.costs, call.admitted_at) if route else None
    usage = ending.usage or Usage(outcome=Outcome.NONE)
    return CallRecord(
        call_id=call.exchange.call_id,
        epoch=call.process.epoch,
        workspace_id=call.caller.workspace_id,
        wallet_id=call.wallet.wallet_id,
        key_id=call.caller.key_id,
        mode=call.gateway.mode,
        model=model.slug if model else "",
        requested_model=call.ask.model,
        endpoint=call.ask.endpoint,
        is_stream=call.ask.is_stream,
        admitted_at=call.admitted_at,
        started_at=call.admitted_at,
        total_ms=int(call.elapsed_ms()),
        outcome=ending.outcome,
        status=CLIENT_CLOSED if call.exchange.is_gone else ending.status,
        usage=usage,
        charge=charge,
        hold=call.held.hold if call.held else None,
        host=route.host.slug if route else "",
        route_id=route.id if route else None,
        upstream_model=route.upstream_id if route else "",
        protocol=route.protocol if route else "",
        price_version_id=candidate.price.version_id if candidate else None,
        cost_version_id=cost.version_id if cost else None,
        service_tier=call.ask.service_tier,
        first_byte_ms=call.first_byte_ms,
        gateway_ms=call.gateway_ms,
        cost_nano_usd=_rated(call, usage, cost).amount if cost and charge else 0,
        attempts=tuple(call.attempts),
        finish_reason=ending.finish_reason,
        request_id=call.exchange.request_id,
    )
