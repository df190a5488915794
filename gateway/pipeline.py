"""THE STORY: a call from its first header to its settled charge. Read `serve`, then `_carry`.

authenticate -> limits -> parse -> plan routes -> hold -> attempt (fail over) -> relay -> meter ->
settle -> the last bytes. From the hold on a call runs in a task of its own, which ends with exactly
one settle, however the client, the upstream or we behave.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from catalog.pricing import Usage
from gateway import metering, relay, routing
from gateway.adapters.base import CannotExpress, UpstreamError, UpstreamRequest
from gateway.admission import authenticate, open_wallet, set_aside
from gateway.call import Call, Ending, Gateway, Inbound, bounds, reported, settle
from gateway.call_records import CallOutcome
from gateway.errors import (
    INTERNAL,
    INVALID_REQUEST,
    NOT_READY,
    NOT_SETTLED,
    OUT_OF_CREDIT,
    UPSTREAM_BROKE,
    ApiError,
)
from gateway.exchange import Exchange
from gateway.failover import (
    OK_STATUSES,
    AllFailed,
    AnswerFailed,
    CallerLeft,
    Opened,
    Trying,
    open_first,
)
from gateway.process import NotReady, Process, current_process
from gateway.protocol.events import Failed, Finished
from gateway.protocol.frames import WholeAnswer
from gateway.protocol.invalid import InvalidRequest
from gateway.relay import Beginning, Departure, Relayed, StreamRelay, begin_stream
from gateway.routing import Candidate
from gateway.settlement import SettlementFailed
from gateway.upstream import UpstreamAnswer

Parse = Callable[[bytes, Exchange], Inbound]
T = TypeVar("T")

logger = logging.getLogger(__name__)


async def serve(exchange: Exchange, gateway: Gateway, parse: Parse) -> None:
    """Answer one call. Raises ApiError while nothing has been sent and nothing is held."""
    gateway.calls.enter()
    try:
        process = await ready_process()
        caller = await authenticate(exchange, process)
        wallet = await open_wallet(caller, process)
        inbound = parsed(await exchange.read_body(), exchange, parse)
        call = Call(
            gateway=gateway,
            process=process,
            snapshot=process.snapshot,
            exchange=exchange,
            inbound=inbound,
            caller=caller,
            wallet=wallet,
            admitted_at=process.database_now(),
        )
        await gateway.calls.carry(exchange, call.hang_up, _carry(call))
    finally:
        gateway.calls.leave()


async def _carry(call: Call) -> None:
    """Everything that costs money, in a task that no hang-up ends."""
    departure = Departure(call.hang_up)
    try:
        candidates = await _plan(call)
        await _hold(call, candidates)
        call.exchange.when_left(departure)
        if call.ask.is_stream:
            await _answer_stream(call, candidates, departure)
        else:
            await _answer_whole(call, candidates, departure)
    except ApiError as error:
        await _say(call, error)
    except Exception:
        logger.exception("call.failed %s", call.exchange.request_id)
        await _say(call, INTERNAL.error())
    finally:
        departure.over()
        if call.held is not None:
            call.held.hold.release()  # after a settle it does nothing


async def _plan(call: Call) -> tuple[Candidate, ...]:
    """Which routes to try. Raises ApiError."""
    routing.find_model(call.snapshot, call.ask, call.admitted_at)
    call.input_tokens = await metering.count_request(call.inbound.counted_parts())
    return routing.plan(
        call.snapshot,
        call.ask,
        input_tokens=call.input_tokens,
        at=call.admitted_at,
        breaker=call.gateway.breaker,
        now=time.monotonic(),
    )


async def _hold(call: Call, candidates: tuple[Candidate, ...]) -> None:
    """Set the money aside before anything is sent upstream. Raises ApiError."""
    call.held = await set_aside(
        call.ask,
        candidates,
        input_tokens=call.input_tokens,
        at=call.admitted_at,
        wallet_id=call.wallet.wallet_id,
        process=call.process,
    )
    if call.held.output_limit is not None:
        call.tell(b"x-tm-max-output-tokens", str(call.held.output_limit))


async def _answer_stream(
    call: Call, candidates: tuple[Candidate, ...], departure: Departure
) -> None:
    """Fail over until the first content, then relay; the last frames wait for the settle."""

    async def begin(answer: UpstreamAnswer, candidate: Candidate) -> Beginning:
        return await begin_stream(answer, call.inbound.source(candidate))

    call.exchange.keep_alive()
    opened = await _open(call, candidates, departure, begin)
    if opened is None:
        return
    assert call.held is not None
    try:
        await call.exchange.start_stream()
        stream = StreamRelay(exchange=call.exchange, meter=call.meter, held=call.held)
        relayed = await stream.run(opened.begun, opened.answer)
        await call.exchange.finish(await _end_stream(call, opened, relayed))
    finally:
        opened.answer.close()


async def _end_stream(call: Call, opened: Opened[Beginning], relayed: Relayed) -> bytes:
    """Meter and settle; then the bytes that say that the answer is whole, or why it is not."""
    outcome, usage = _streamed(call, opened.candidate, relayed)
    ending = Ending(
        outcome,
        candidate=opened.candidate,
        usage=usage,
        finish_reason=relayed.finish_reason,
    )
    try:
        charge = await settle(call, ending)
    except SettlementFailed:
        return call.inbound.error_frame(NOT_SETTLED.error())
    if outcome is CallOutcome.OUT_OF_CREDIT:
        return call.inbound.error_frame(OUT_OF_CREDIT.error())
    if relayed.outcome is not CallOutcome.COMPLETE:
        return call.inbound.error_frame(UPSTREAM_BROKE.error(reason=relayed.reason))
    return opened.begun.source.final(relayed.held, usage=usage, charge=charge)


def _streamed(call: Call, candidate: Candidate, relayed: Relayed) -> tuple[CallOutcome, Usage]:
    """What is charged of a stream: the provider's usage when it is whole, else what passed."""
    if relayed.outcome is not CallOutcome.COMPLETE:
        delivered = call.meter.tokens() if relayed.delivered is None else relayed.delivered
        return relayed.outcome, metering.delivered_usage(call.input_tokens, delivered)
    usage = metering.usage_of(
        relayed.reported,
        input_tokens=call.input_tokens,
        meter=call.meter,
        bounds=bounds(call, candidate),
    )
    return _completed(call), usage


async def _answer_whole(
    call: Call, candidates: tuple[Candidate, ...], departure: Departure
) -> None:
    """Fail over until a whole answer is here; it leaves once it is settled."""

    async def begin(answer: UpstreamAnswer, candidate: Candidate) -> WholeAnswer:
        return _checked(call.inbound, candidate, await answer.body())

    opened = await _open(call, candidates, departure, begin)
    if opened is None:
        return
    opened.answer.close()
    events = opened.begun.events
    call.meter.add(events)
    usage = metering.usage_of(
        reported(events),
        input_tokens=call.input_tokens,
        meter=call.meter,
        bounds=bounds(call, opened.candidate),
    )
    reason = next((e.reason.value for e in events if isinstance(e, Finished)), "")
    ending = Ending(_completed(call), candidate=opened.candidate, usage=usage, finish_reason=reason)
    try:
        charge = await settle(call, ending)
    except SettlementFailed:
        await call.exchange.fail(NOT_SETTLED.error())
        return
    body = call.inbound.whole(opened.candidate, opened.begun, usage, charge)
    await call.exchange.answer_json(200, body)


def _checked(inbound: Inbound, candidate: Candidate, body: bytes) -> WholeAnswer:
    """A whole answer that is no error. Raises AnswerFailed: try elsewhere."""
    try:
        answer = inbound.read_whole(candidate, body)
    except ValueError as error:
        raise AnswerFailed(UpstreamError(502, f"No answer of its protocol: {error}")) from error
    for event in answer.events:
        if isinstance(event, Failed):
            raise AnswerFailed(relay.as_error(event))
    return answer


def _completed(call: Call) -> CallOutcome:
    left = call.exchange.is_gone
    return CallOutcome.CLIENT_LEFT_DRAINED if left else CallOutcome.COMPLETE


async def _open(
    call: Call,
    candidates: tuple[Candidate, ...],
    departure: Departure,
    begin: Callable[[UpstreamAnswer, Candidate], Awaitable[T]],
) -> Opened[T] | None:
    """The first route that answers. None: none did, which has been said and written down."""

    def build(candidate: Candidate) -> UpstreamRequest:
        departure.bills_after_hangup = candidate.route.host.bills_after_hangup
        assert call.held is not None
        try:
            return call.inbound.build(candidate, call.held.output_limit)
        except InvalidRequest as error:
            raise CannotExpress(error.message) from error

    trying = Trying(
        build=build,
        begin=begin,
        read_error=call.inbound.read_error,
        is_wanted=lambda: not call.exchange.is_gone,
        hang_up=call.hang_up,
        timeouts=call.gateway.timeouts,
        mode=call.gateway.mode,
        breaker=call.gateway.breaker,
    )
    call.gateway_ms = call.elapsed_ms()
    try:
        opened = await open_first(candidates, trying, call.attempts)
    except AllFailed as failed:
        await _say(call, failed.error)
        await _write_down(call, Ending(CallOutcome.FAILED, failed.error.status))
        return None
    except CallerLeft:
        await _say(call, NOT_READY.error())  # to a client that is still there: we are stopping
        await _write_down(call, _left_early(call, candidates))
        return None
    call.first_byte_ms = int(call.elapsed_ms())
    _introduce(call, opened.candidate)
    return opened


def _left_early(call: Call, candidates: tuple[Candidate, ...]) -> Ending:
    """The client left before content. An upstream that had accepted the call has read the input."""
    last = call.attempts[-1] if call.attempts else None
    if last is None or last.status not in OK_STATUSES:
        return Ending(CallOutcome.CLIENT_LEFT_CUT)
    candidate = next(c for c in candidates if c.route.id == last.route_id)
    usage = metering.delivered_usage(call.input_tokens, {})
    return Ending(CallOutcome.CLIENT_LEFT_CUT, candidate=candidate, usage=usage)


async def _write_down(call: Call, ending: Ending) -> None:
    """Settle a call that is answered already, or whose client has left."""
    with suppress(SettlementFailed):
        await settle(call, ending)


def _introduce(call: Call, candidate: Candidate) -> None:
    """Tell the client who serves it."""
    call.tell(b"x-tm-model", candidate.model.slug)
    call.tell(b"x-tm-provider", candidate.route.host.slug)


async def _say(call: Call, error: ApiError) -> None:
    """An error as a status, or in the stream once that has begun."""
    exchange = call.exchange
    if exchange.has_started and not exchange.is_complete:
        await exchange.finish(call.inbound.error_frame(error))
    else:
        await exchange.fail(error)


def parsed(body: bytes, exchange: Exchange, parse: Parse) -> Inbound:
    """The request. Raises ApiError (400)."""
    try:
        return parse(body, exchange)
    except InvalidRequest as error:
        kind = INVALID_REQUEST
        raise kind.with_code(error.code).error(param=error.param, message=error.message) from error


async def ready_process() -> Process:
    """The running event loop's process. Raises ApiError (503) while it cannot start."""
    try:
        return await current_process()
    except NotReady as error:
        raise NOT_READY.error() from error
