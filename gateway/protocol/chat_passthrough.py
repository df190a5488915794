"""Chat to chat: the upstream's bytes go on, with our model name, and usage is read from the side.

A chunk that differs only in its text from one that was read before is not parsed (ChunkShape). Any
other is parsed and made canonical, and goes on with every field that we do not know.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from catalog.pricing import Charge, Outcome, Usage
from gateway.protocol import sse
from gateway.protocol.chat_chunks import (
    UNFINISHED,
    ChunkReader,
    WholeReader,
    is_whole_event,
    parse_chunk,
)
from gateway.protocol.chat_shapes import ChunkShape
from gateway.protocol.chat_usage import usage_fields
from gateway.protocol.events import Ended, Event, Failed, UsageReported
from gateway.protocol.frames import Frame, WholeAnswer
from gateway.protocol.upstream_errors import fields_of

_NO_QUIRKS: Mapping[str, object] = {}
_MAX_SHAPES = 4
_DONE_FRAME = Frame(data=sse.DONE, events=(Ended(),), is_final=True)
_BASE_FIELDS = ("id", "object", "created", "model", "service_tier", "system_fingerprint")


def can_pass_through(quirks: Mapping[str, object]) -> bool:
    """Whether bytes of such a route may go on; `think_tags` hides thinking inside the text."""
    return not quirks.get("think_tags")


class ChatPassThrough:
    """One streamed answer. `include_usage`: the client asked for the usage chunk."""

    def __init__(
        self,
        model: str,
        include_usage: bool,  # noqa: FBT001  (the name of a wire field)
        quirks: Mapping[str, object] = _NO_QUIRKS,
    ) -> None:
        self._model = model
        self._include_usage = include_usage
        self._splitter = sse.SseSplitter()
        self._reader = ChunkReader(quirks)
        self._shapes: list[ChunkShape] = []
        self._base: dict[str, Any] = {}  # id, created … of the stream, for a usage chunk of ours
        self._usage_block: dict[str, Any] | None = None
        self._is_final = False
        self._has_ended = False

    def feed(self, data: bytes) -> list[Frame]:
        """Frames for these bytes. Raises sse.LineTooLong."""
        return [self._frame(event) for event in self._splitter.feed(data)]

    def close(self) -> list[Frame]:
        """The upstream closed. Without a finish_reason nothing ends: the answer is broken."""
        frames = [self._frame(event) for event in self._splitter.close() if is_whole_event(event)]
        if self._reader.is_finished and not self._has_ended:
            self._has_ended = True
            frames.append(_DONE_FRAME)
        return frames

    def final(self, held: Sequence[Frame], *, usage: Usage | None, charge: Charge | None) -> bytes:
        """Bytes of the held frames, with usage and its cost; the usage chunk last, if asked for."""
        block = self._final_usage(usage, charge)
        out = []
        for frame in held:
            if frame.is_usage and frame.data and block is not None:
                out.append(_with_usage(frame.data, block))
            elif frame is not _DONE_FRAME:
                out.append(frame.data)
        if self._include_usage and block is not None:
            out.append(sse.data_frame(_dumps({**self._base, "choices": [], "usage": block})))
        if _DONE_FRAME in held:
            out.append(sse.DONE)
        return b"".join(out)

    def _frame(self, event: sse.SseEvent) -> Frame:
        for shape in self._shapes:
            match = shape.match(event.data)
            if match is not None:
                return Frame(match[0], (match[1],), is_content=True, is_final=self._is_final)
        if event.data == sse.DONE_DATA:
            return self._done()
        chunk = parse_chunk(event)
        if isinstance(chunk, Failed):
            return self._failed(chunk)
        return self._chunk_frame(chunk, event.data)

    def _done(self) -> Frame:
        """[DONE] without a finish_reason is no whole answer."""
        self._has_ended = True
        if self._reader.is_finished:
            return _DONE_FRAME
        return self._failed(UNFINISHED)

    def _failed(self, event: Failed, events: tuple[Event, ...] = ()) -> Frame:
        return Frame(data=b"", events=events or (event,), is_final=self._is_final)

    def _chunk_frame(self, chunk: dict[str, Any], data: bytes) -> Frame:
        upstream_model = chunk.get("model")
        events = tuple(self._reader.read(chunk))
        for event in events:
            if isinstance(event, Failed):
                return self._failed(event, events)
        self._is_final = self._is_final or self._reader.is_finished
        is_usage = isinstance(chunk.get("usage"), dict) and bool(chunk["usage"])
        is_shown = self._canonical(chunk)
        if is_usage:
            self._is_final = self._is_final or not chunk["choices"]
        out = sse.data_frame(_dumps(chunk)) if is_shown else b""
        if is_shown and len(events) == 1:
            self._learn(data, out, upstream_model, events[0])
        return Frame(
            out,
            events,
            is_content=any(_has_content(choice) for choice in chunk["choices"]),
            is_final=self._is_final,
            is_usage=is_usage and bool(chunk.get("usage")),
        )

    def _canonical(self, chunk: dict[str, Any]) -> bool:
        """Our model name, the fields that strict clients need; False: nothing to show a client."""
        chunk["model"] = self._model
        chunk.setdefault("object", "chat.completion.chunk")
        if chunk["object"] != "chat.completion.chunk":  # a whole answer in a stream
            chunk["object"] = "chat.completion.chunk"
        chunk.setdefault("created", self._base.get("created", 0))
        chunk.setdefault("id", self._base.get("id", ""))
        for choice in chunk["choices"]:
            if "message" in choice:
                choice["delta"] = choice.pop("message")
            choice.setdefault("finish_reason", None)
        self._base = {name: chunk[name] for name in _BASE_FIELDS if name in chunk}
        self._keep_usage(chunk)
        return bool(chunk["choices"])

    def _keep_usage(self, chunk: dict[str, Any]) -> None:
        """Usage for a client that asked comes once, in the chunk that `final` makes."""
        block = chunk.get("usage")
        if isinstance(block, dict) and block:
            self._usage_block = block
            if self._include_usage or not self._reader.is_finished:
                chunk["usage"] = None
        elif self._include_usage:
            chunk.setdefault("usage", None)

    def _final_usage(self, usage: Usage | None, charge: Charge | None) -> dict[str, Any] | None:
        if usage is None:
            return None
        is_theirs = usage.outcome is Outcome.EXACT
        return usage_fields(usage, charge, self._usage_block if is_theirs else None)

    def _learn(self, data: bytes, out: bytes, upstream_model: object, event: Event) -> None:
        shape = ChunkShape.learn(data, out, str(upstream_model), self._model, event)
        if shape is not None:
            self._shapes = [shape, *self._shapes[: _MAX_SHAPES - 1]]


def read_answer(body: bytes, quirks: Mapping[str, object] = _NO_QUIRKS) -> WholeAnswer:
    """A whole answer, made canonical. Raises ValueError when it is no chat completion."""
    value = _completion(body)
    return WholeAnswer([*WholeReader(quirks).read(value), Ended()], value)


def write_answer(
    answer: WholeAnswer, *, model: str, cost: Charge | None, usage: Usage | None = None
) -> bytes:
    """The whole answer under our model name, with usage in OpenAI's words and what it cost.

    A `usage` that is given replaces the provider's where ours is an estimate.
    """
    assert answer.value is not None
    fields = {**answer.value, "model": model}
    fields.setdefault("object", "chat.completion")
    block = fields.get("usage") if isinstance(fields.get("usage"), dict) else None
    if usage is None or usage.outcome is Outcome.EXACT:
        reported = [event.usage for event in answer.events if isinstance(event, UsageReported)]
        usage = reported[-1] if reported else usage
    else:
        block = None
    if usage is not None:
        fields["usage"] = usage_fields(usage, cost, block)
    return _dumps(fields)


def _completion(body: bytes) -> dict[str, Any]:
    value = orjson.loads(body)  # its error is a ValueError
    if not isinstance(value, dict):
        raise ValueError("The body is not a JSON object.")  # noqa: TRY004  (a wrong value, not type)
    if not isinstance(value.get("choices"), list) and fields_of(value) is None:
        raise ValueError("The body is not a chat completion: it has no choices.")
    return value


def _with_usage(frame: bytes, block: dict[str, Any]) -> bytes:
    chunk = orjson.loads(frame.removeprefix(b"data: "))
    chunk["usage"] = block
    return sse.data_frame(_dumps(chunk))


def _has_content(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(v for name, v in delta.items() if name != "role")


def _dumps(value: object) -> bytes:
    return msgspec.json.encode(value)
