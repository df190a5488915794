"""From the upstream to the client: frames as they come, the last ones held back until settled.

One read, one send. What passes is metered; a stream that outgrows its hold extends it on the way.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from catalog.pricing import Bucket, Charge, Usage
from gateway.adapters.base import AnswerReader, UpstreamError
from gateway.admission import Held
from gateway.call_records import CallOutcome
from gateway.exchange import Exchange
from gateway.failover import AnswerFailed
from gateway.metering import OutputMeter
from gateway.protocol.events import (
    Ended,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolArgumentsDelta,
    UsageReported,
)
from gateway.protocol.frames import Frame
from gateway.protocol.sse import LineTooLong
from gateway.purse import InsufficientFunds, MoneyUnavailable, WalletFrozen
from gateway.upstream import Failure, HangUp, UpstreamAnswer, UpstreamFailed

DRAIN_S = 30.0  # how long an upstream that bills anyway is read for a client that has left
MAX_HELD_BYTES = 1024 * 1024
_PIECES = (TextDelta, ReasoningDelta, ToolArgumentsDelta)  # what most events are


class FrameSource(Protocol):
    """Upstream bytes in, frames in the client's protocol out."""

    def feed(self, data: bytes) -> list[Frame]: ...

    def close(self) -> list[Frame]: ...

    def final(self, held: Sequence[Frame], *, usage: Usage | None, charge: Charge | None) -> bytes:
        """The held frames as bytes once the call is settled: with usage and its cost."""
        ...


class Renderer(Protocol):
    """Writes events as frames of the client's protocol."""

    def stream(self, events: Iterable[Event]) -> list[Frame]: ...

    def final(
        self, held: Sequence[Frame], *, usage: Usage | None, charge: Charge | None
    ) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Beginning:
    """A stream up to its first content."""

    source: FrameSource
    frames: list[Frame]
    is_over: bool  # the upstream has closed already


@dataclass(slots=True)
class Relayed:
    """How a stream went, and what is known of it."""

    outcome: CallOutcome = CallOutcome.COMPLETE
    reported: Usage | None = None
    finish_reason: str = ""
    held: list[Frame] = field(default_factory=list)
    reason: str = ""  # why it is not whole
    has_ended: bool = False  # the protocol's own end was seen
    delivered: dict[Bucket, int] | None = None  # output, counted when the client left


async def begin_stream(answer: UpstreamAnswer, source: FrameSource) -> Beginning:
    """Read up to the first content. Raises AnswerFailed or UpstreamFailed: try elsewhere."""
    frames: list[Frame] = []
    while True:
        data = await answer.read()
        fresh = _frames(source, data)
        frames += fresh
        if _shows_something(fresh):
            return Beginning(source, frames, is_over=not data)
        if not data:
            raise AnswerFailed(UpstreamError(502, "The stream ended without an answer."))


def _shows_something(frames: list[Frame]) -> bool:
    """Whether content is among them. Raises AnswerFailed for an error that comes before it."""
    for frame in frames:
        failed = _failure(frame.events)
        if failed is not None:
            raise AnswerFailed(as_error(failed))
        if frame.is_content or frame.is_final:
            return True
    return False


def _frames(source: FrameSource, data: bytes) -> list[Frame]:
    """The next frames; of what is no such stream, one that says so."""
    try:
        return source.feed(data) if data else source.close()
    except (LineTooLong, ValueError) as error:
        return [Frame(b"", (Failed(str(error)),))]


def _failure(events: Sequence[Event]) -> Failed | None:
    return next((event for event in events if isinstance(event, Failed)), None)


def as_error(failed: Failed) -> UpstreamError:
    """An in-band error before content, as if it had been a status."""
    return UpstreamError(failed.status, failed.message, failed.type, failed.code)


class StreamRelay:
    """One stream on its way to the client."""

    def __init__(self, *, exchange: Exchange, meter: OutputMeter, held: Held) -> None:
        self._exchange = exchange
        self._meter = meter
        self._held = held
        self._relayed = Relayed()
        self._held_bytes = 0
        self._look_again_at = held.paid_output  # output tokens at most, before money is asked for

    async def run(self, beginning: Beginning, answer: UpstreamAnswer) -> Relayed:
        """Relay until the answer is whole or broken. Nothing final is sent."""
        relayed = self._relayed
        frames, is_over = beginning.frames, beginning.is_over
        while True:
            out = self._take(frames)
            if out:
                await self._exchange.send(out)
            if relayed.has_ended or relayed.reason:
                break
            if is_over:
                self._broke("it closed early")
                break
            if self._meter.at_most > self._look_again_at and not await self._pay():
                break
            try:
                data = await answer.read()
            except UpstreamFailed as failed:
                self._cut(failed)
                break
            frames = _frames(beginning.source, data)
            is_over = not data
        return relayed

    def _take(self, frames: list[Frame]) -> bytes:
        """Note what the frames say; the bytes that may go on now."""
        relayed = self._relayed
        out = []
        for frame in frames:
            for event in frame.events:
                self._note(event)
            if relayed.reason:
                break
            if frame.is_final or relayed.held:
                self._hold_back(frame)
            elif frame.data:
                out.append(frame.data)
        if self._exchange.is_gone and relayed.delivered is None:
            relayed.delivered = self._meter.tokens()
        for frame in frames:
            self._meter.add(frame.events)
        return out[0] if len(out) == 1 else b"".join(out)

    def _note(self, event: Event) -> None:
        if isinstance(event, _PIECES):
            return
        relayed = self._relayed
        if isinstance(event, UsageReported):
            relayed.reported = event.usage if event.is_believable else None
        elif isinstance(event, Finished):
            relayed.finish_reason = event.reason.value
        elif isinstance(event, Failed):
            self._broke(event.message or event.code)
        elif isinstance(event, Ended):
            relayed.has_ended = True

    def _hold_back(self, frame: Frame) -> None:
        self._held_bytes += len(frame.data)
        if self._held_bytes > MAX_HELD_BYTES:
            self._broke("it went on after its end")
            return
        self._relayed.held.append(frame)

    def _broke(self, reason: str) -> None:
        if not self._relayed.reason:
            self._relayed.reason = reason
            self._relayed.outcome = CallOutcome.UPSTREAM_BROKE

    def _cut(self, failed: UpstreamFailed) -> None:
        self._broke("connection " + failed.failure.value)
        if failed.failure is Failure.ABORTED:
            self._relayed.outcome = CallOutcome.CLIENT_LEFT_CUT

    async def _pay(self) -> bool:
        """More has passed than the hold pays for, perhaps: count, and extend the hold if so."""
        passed = sum(self._meter.tokens().values())
        left = self._held.paid_output - passed
        if left > 0:
            self._look_again_at = self._meter.at_most + left
            return True
        try:
            await self._held.extend(passed)
        except MoneyUnavailable:
            self._look_again_at = self._meter.at_most + 1  # our trouble, not the customer's
            return True
        except (InsufficientFunds, WalletFrozen):
            self._relayed.reason = "out of credit"
            self._relayed.outcome = CallOutcome.OUT_OF_CREDIT
            return False
        self._look_again_at = self._meter.at_most + self._held.paid_output - passed
        return True


class Departure:
    """What becomes of the upstream when the client leaves: drained for its usage, or cut."""

    def __init__(self, hang_up: HangUp) -> None:
        self._hang_up = hang_up
        self._timer: asyncio.TimerHandle | None = None
        self.bills_after_hangup = False  # of the host that is being asked

    def __call__(self) -> None:
        if self.bills_after_hangup:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(DRAIN_S, self._hang_up.pull)
        else:
            self._hang_up.pull()

    def over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Translated:
    """Upstream and client speak different protocols: bytes to events, events to frames."""

    def __init__(self, reader: AnswerReader, renderer: Renderer) -> None:
        self._reader = reader
        self._renderer = renderer

    def feed(self, data: bytes) -> list[Frame]:
        return self._renderer.stream(self._reader.feed(data))

    def close(self) -> list[Frame]:
        return self._renderer.stream(self._reader.close())

    def final(self, held: Sequence[Frame], *, usage: Usage | None, charge: Charge | None) -> bytes:
        return self._renderer.final(held, usage=usage, charge=charge)
