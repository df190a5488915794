"""Writes events as OpenAI chat completions: whole, or as the chunks of a stream."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from catalog.pricing import Charge, Usage
from gateway.protocol import sse
from gateway.protocol.chat_reasoning import ReasoningWriter
from gateway.protocol.chat_usage import usage_fields
from gateway.protocol.events import (
    Ended,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.protocol.frames import Frame

_DONE_FRAME = Frame(data=sse.DONE, events=(Ended(),), is_final=True)


def encode(value: object) -> bytes:
    """JSON bytes; keeps the exact number literals of costs."""
    return msgspec.json.encode(value)


def error_fields(
    message: str,
    type: str,  # noqa: A002  (OpenAI's name)
    code: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": param, "code": code or None}}


def error_frame(
    message: str,
    type: str,  # noqa: A002  (OpenAI's name)
    code: str | None = None,
    param: str | None = None,
) -> bytes:
    """An in-band error: a frame without choices. Nothing follows it, [DONE] neither."""
    return sse.data_frame(encode(error_fields(message, type, code, param)))


class ChatRenderer:
    """One answer. `call_id` becomes the completion's id; `created` is in seconds since 1970."""

    def __init__(self, *, call_id: str, model: str, created: int, include_usage: bool) -> None:
        self._id = f"chatcmpl-{call_id}"
        self._model = model
        self._created = created
        self._include_usage = include_usage
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._reasoning = ReasoningWriter()

    def stream(self, events: Iterable[Event]) -> list[Frame]:
        """Frames of the next events, in order. Usage waits for `final`; errors have no bytes."""
        frames: list[Frame] = []
        for event in events:
            frames.extend(self._frames_of(event))
        return frames

    def final(self, held: Sequence[Frame], *, usage: Usage | None, charge: Charge | None) -> bytes:
        """Bytes of the held frames once the call is settled, the usage chunk last if asked for."""
        out = [frame.data for frame in held if frame is not _DONE_FRAME]
        if self._include_usage and usage is not None:
            out.append(self.usage_frame(usage, charge))
        if _DONE_FRAME in held:
            out.append(sse.DONE)
        return b"".join(out)

    def usage_frame(self, usage: Usage, charge: Charge | None = None) -> bytes:
        """The chunk with totals and their cost, which has no choices."""
        return sse.data_frame(encode(self._chunk([]) | {"usage": usage_fields(usage, charge)}))

    def error_frame(self, message: str, type: str, code: str | None = None) -> bytes:  # noqa: A002
        return error_frame(message, type, code)

    def done_frame(self) -> bytes:
        return sse.DONE

    def body(
        self, events: Iterable[Event], *, usage: Usage | None = None, charge: Charge | None = None
    ) -> dict[str, Any]:
        """A whole answer, for `encode`. Without `usage` the reported one is shown."""
        choices: dict[int, _Choice] = {}
        for event in events:
            if isinstance(event, UsageReported):
                usage = usage or event.usage
            elif not isinstance(event, Started | Failed | Ended):
                choices.setdefault(event.choice, _Choice(event.choice)).add(event)
        answer = {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created,
            "model": self._model,
            "choices": [choices[index].fields() for index in sorted(choices)]
            or [_Choice(0).fields()],
        }
        if usage is not None:
            answer["usage"] = usage_fields(usage, charge)
        return answer

    def _frames_of(self, event: Event) -> list[Frame]:
        match event:
            case Started():
                return [self._begin(0, event)]
            case Ended():
                return [_DONE_FRAME]
            case Failed() | UsageReported():
                return [Frame(b"", (event,), is_final=self._is_final)]
            case Finished():
                return self._with_role(event.choice, self._finish(event))
            case _:
                delta = self._delta(event)
                frame = self._frame(event.choice, delta, event, is_content=True)
                return self._with_role(event.choice, frame)

    @property
    def _is_final(self) -> bool:
        return bool(self._begun) and self._begun == self._finished

    def _begin(self, choice: int, *events: Event) -> Frame:
        """The first chunk of a choice says whose words follow."""
        self._begun.add(choice)
        data = self._data(choice, {"role": "assistant", "content": "", "refusal": None}, None)
        return Frame(data, events)

    def _with_role(self, choice: int, frame: Frame) -> list[Frame]:
        return [frame] if choice in self._begun else [self._begin(choice), frame]

    def _finish(self, event: Finished) -> Frame:
        self._begun.add(event.choice)
        self._finished.add(event.choice)
        data = self._data(event.choice, {}, event.reason.value)
        return Frame(data, (event,), is_final=self._is_final)

    def _frame(
        self, choice: int, delta: Mapping[str, Any], event: Event, *, is_content: bool
    ) -> Frame:
        data = self._data(choice, delta, None)
        return Frame(data, (event,), is_content=is_content, is_final=self._is_final)

    def _delta(self, event: Event) -> dict[str, Any]:
        match event:
            case TextDelta():
                return {"content": event.text}
            case RefusalDelta():
                return {"refusal": event.text}
            case ReasoningDelta():
                return self._reasoning.delta(event)
            case ToolCallStarted():
                return {"tool_calls": [{"index": event.index, **_tool_call(event)}]}
            case ToolArgumentsDelta():
                function = {"arguments": event.text}
                return {"tool_calls": [{"index": event.index, "function": function}]}
            case _:
                raise TypeError(f"{type(event).__name__} is not a piece of an answer.")

    def _data(self, choice: int, delta: Mapping[str, Any], reason: str | None) -> bytes:
        fields = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": reason}
        return sse.data_frame(encode(self._chunk([fields])))

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        chunk = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": choices,
        }
        return chunk | {"usage": None} if self._include_usage else chunk


class _Choice:
    """Gathers one choice of a whole answer."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reasoning = ReasoningWriter()
        self._tools: dict[int, dict[str, Any]] = {}
        self._reason = FinishReason.STOP

    def add(self, event: Event) -> None:
        match event:
            case TextDelta():
                self._text.append(event.text)
            case RefusalDelta():
                self._refusal.append(event.text)
            case ReasoningDelta():
                self._reasoning.delta(event)
            case ToolCallStarted():
                self._tools[event.index] = _tool_call(event)
            case ToolArgumentsDelta():
                call = self._tools[event.index]
                field = "input" if call["type"] == "custom" else "arguments"
                call[call["type"]][field] += event.text
            case Finished():
                self._reason = event.reason
            case _:
                raise TypeError(f"{type(event).__name__} is not a piece of an answer.")

    def fields(self) -> dict[str, Any]:
        text = "".join(self._text)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or not (self._tools or self._refusal) else None,
            "refusal": "".join(self._refusal) or None,
            "annotations": [],
        }
        message.update(self._reasoning.message())
        if self._tools:
            message["tool_calls"] = [self._tools[index] for index in sorted(self._tools)]
        return {
            "index": self._index,
            "message": message,
            "logprobs": None,
            "finish_reason": self._reason.value,
        }


def _tool_call(event: ToolCallStarted) -> dict[str, Any]:
    body = {"name": event.name, "input" if event.kind == "custom" else "arguments": ""}
    return {"id": event.id, "type": event.kind, event.kind: body}
