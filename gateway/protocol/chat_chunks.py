"""Reads chat completions of any OpenAI-compatible upstream: a chunk becomes events, and canonical.

One reader per answer. A whole answer is read as one chunk whose `message` is the delta. Reading
also repairs the chunk in place, so that it can go on to a client: strict clients crash on tool
calls without an index, on repeated names, on content that is a list.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from gateway.protocol.chat_usage import read_usage
from gateway.protocol.events import (
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
from gateway.protocol.sse import DONE_DATA, SseEvent
from gateway.protocol.upstream_errors import in_band_error

_NOT_FINISHED = ("", "null", None)
_FINISH_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "tool_use": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "sensitive": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
}
_BROKEN = ("error", "network_error", "abort")


UNFINISHED = Failed("The upstream ended its stream without a finish_reason.")


def parse_chunk(event: SseEvent) -> dict[str, Any] | Failed:
    """The chunk of an event, or the error that it is."""
    try:
        chunk = orjson.loads(event.data)
    except orjson.JSONDecodeError:
        return Failed("The upstream sent a chunk that is not JSON.")
    if not isinstance(chunk, dict):
        return Failed("The upstream sent a chunk that is not an object.")
    if event.event == "error":
        return in_band_error(chunk) or Failed("The upstream reported an error.")
    return chunk


def is_whole_event(event: SseEvent) -> bool:
    """Whether the last event of a closed stream was not cut."""
    if event.data == DONE_DATA:
        return True
    try:
        orjson.loads(event.data)
    except orjson.JSONDecodeError:
        return False
    return True


class ChunkReader:
    """State of one answer: which tool calls and choices were seen."""

    def __init__(self, quirks: Mapping[str, object]) -> None:
        self._quirks = quirks
        self._started = False
        self._tools: dict[int, list[_SeenTool]] = {}
        self._has_deltas: set[int] = set()
        self.choices_seen: set[int] = set()
        self.choices_finished: set[int] = set()

    @property
    def is_finished(self) -> bool:
        """Every choice that was seen is whole. Choices interleave from the first chunks on."""
        return bool(self.choices_seen) and self.choices_seen == self.choices_finished

    def read(self, chunk: dict[str, Any]) -> list[Event]:
        """Events of a chunk (or a whole answer), which is made canonical."""
        failed = in_band_error(chunk)
        if failed is not None:
            return [failed]
        events: list[Event] = []
        if not self._started:
            self._started = True
            events.append(Started(str(chunk.get("id") or ""), str(chunk.get("model") or "")))
        choices = chunk.get("choices")
        chunk["choices"] = (
            [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []
        )
        self._lift_usage(chunk)
        finished: list[Event] = []
        for position, choice in enumerate(chunk["choices"]):
            self._read_choice(choice, position, events, finished)
        self._read_usage(chunk, events)
        return events + finished

    def _lift_usage(self, chunk: dict[str, Any]) -> None:
        """Moonshot puts usage into the choice, Groq also beside it: one place, counted once."""
        for choice in chunk["choices"]:
            inner = choice.pop("usage", None)
            if isinstance(inner, dict) and not isinstance(chunk.get("usage"), dict):
                chunk["usage"] = inner
        beside = chunk.get("x_groq")
        if isinstance(beside, dict) and isinstance(beside.get("usage"), dict):
            chunk["usage"] = chunk.get("usage") or beside["usage"]

    def _read_usage(self, chunk: dict[str, Any], events: list[Event]) -> None:
        block = chunk.get("usage")
        if not isinstance(block, dict) or not block:
            return
        reading = read_usage(block, self._quirks)
        events.append(
            UsageReported(reading.usage, reading.mismatch, is_believable=reading.is_believable)
        )

    def _read_choice(
        self, choice: dict[str, Any], position: int, events: list[Event], finished: list[Event]
    ) -> None:
        index = choice.get("index")
        if not isinstance(index, int):
            index = choice["index"] = position
        self.choices_seen.add(index)
        self._read_delta(choice, index, events)
        native = choice.get("finish_reason")
        if native in _NOT_FINISHED:
            choice["finish_reason"] = None
        elif native in _BROKEN:
            finished.append(
                Failed(f"The upstream ended the answer with {native!r}.", code=str(native))
            )
        else:
            self._fill_arguments(choice, index, events)
            reason = self._finish_reason(str(native), index)
            if native != "function_call":  # the deprecated pair keeps its own word
                choice["finish_reason"] = reason.value
            self.choices_finished.add(index)
            finished.append(Finished(reason, index, str(native)))

    def _read_delta(self, choice: dict[str, Any], index: int, events: list[Event]) -> None:
        delta = self._delta_of(choice, index)
        self._read_reasoning(delta, index, events)
        self._read_content(delta, index, events)
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            events.append(RefusalDelta(delta["refusal"], index))
        if isinstance(delta.get("tool_calls"), list):
            self._read_tool_calls(delta, index, events)
        if isinstance(delta.get("function_call"), dict):
            self._read_function_call(delta["function_call"], index, events)

    def _delta_of(self, choice: dict[str, Any], index: int) -> dict[str, Any]:
        """The piece that is new. MiniMax closes a stream with the whole answer again: not new."""
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict):
            self._has_deltas.add(index)
            return delta
        if isinstance(message, dict) and index not in self._has_deltas:
            return message
        choice.pop("message", None)
        choice["delta"] = delta = {}
        return delta

    def _read_content(self, delta: dict[str, Any], index: int, events: list[Event]) -> None:
        content = delta.get("content")
        if isinstance(content, list):
            content, thinking = _split_parts(content)
            delta["content"] = content
            if thinking:
                delta["reasoning_content"] = thinking
                events.append(ReasoningDelta(thinking, choice=index))
        if isinstance(content, str) and content:
            events.append(TextDelta(content, index))

    def _read_reasoning(self, delta: dict[str, Any], index: int, events: list[Event]) -> None:
        """`reasoning_content` (DeepSeek and most) or `reasoning` (Groq, OpenRouter): never both."""
        text = delta.get("reasoning_content") or delta.get("reasoning")
        has_text = isinstance(text, str) and bool(text)
        if has_text:
            events.append(ReasoningDelta(str(text), choice=index))
        details = delta.get("reasoning_details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict):
                events.extend(_reasoning_events(detail, index, has_text=has_text))

    def _read_tool_calls(self, delta: dict[str, Any], index: int, events: list[Event]) -> None:
        calls = [call for call in delta["tool_calls"] if isinstance(call, dict)]
        for call in calls:
            kind = "custom" if isinstance(call.get("custom"), dict) else "function"
            body = call.get(kind)
            body = call[kind] = body if isinstance(body, dict) else {}
            place, is_new = self._place(index, call, str(body.get("name") or ""))
            call["index"] = place
            if is_new:
                call["type"] = kind
                events.append(
                    ToolCallStarted(
                        place, str(call.get("id") or ""), str(body.get("name") or ""), index, kind
                    )
                )
            else:
                _drop_repeated(call, body)
            field = "input" if kind == "custom" else "arguments"
            text = _argument_text(body.get(field))
            body[field] = text
            if text:
                self._tools[index][place].needs_arguments = False
                events.append(ToolArgumentsDelta(place, text, index))
        delta["tool_calls"] = calls

    def _fill_arguments(self, choice: dict[str, Any], index: int, events: list[Event]) -> None:
        """A call without arguments gets an empty object: "" is no JSON, and clients parse it."""
        filled = []
        for place, tool in enumerate(self._tools.get(index, ())):
            if tool.needs_arguments:
                tool.needs_arguments = False
                events.append(ToolArgumentsDelta(place, "{}", index))
                filled.append({"index": place, "function": {"arguments": "{}"}})
        if filled:
            self._show_filled(choice, filled)

    def _show_filled(self, choice: dict[str, Any], filled: list[dict[str, Any]]) -> None:
        delta = choice.setdefault("delta", {})
        delta["tool_calls"] = [*(delta.get("tool_calls") or ()), *filled]

    def _place(self, choice: int, call: dict[str, Any], name: str) -> tuple[int, bool]:
        """Which of the choice's tool calls this piece belongs to, and whether it begins one."""
        seen = self._tools.setdefault(choice, [])
        key, call_id = call.get("index"), str(call.get("id") or "")
        for place, tool in reversed(list(enumerate(seen))):
            if tool.is_continued_by(key, call_id, name):
                return place, False
        if not seen or call_id or name or isinstance(key, int):
            seen.append(_SeenTool(key, call_id, needs_arguments="custom" not in call))
            return len(seen) - 1, True
        return len(seen) - 1, False

    def _read_function_call(self, call: dict[str, Any], index: int, events: list[Event]) -> None:
        seen = self._tools.setdefault(index, [])
        if not seen:
            seen.append(_SeenTool(0, "", needs_arguments=False))
            events.append(ToolCallStarted(0, "", str(call.get("name") or ""), index))
        text = _argument_text(call.get("arguments"))
        if text:
            events.append(ToolArgumentsDelta(0, text, index))

    def _finish_reason(self, native: str, index: int) -> FinishReason:
        reason = _FINISH_REASONS.get(native.lower(), FinishReason.STOP)
        if reason is FinishReason.STOP and self._tools.get(index):
            return FinishReason.TOOL_CALLS
        return reason


class WholeReader(ChunkReader):
    """Reads a whole answer: each entry of its tool calls is a call of its own, without index."""

    def _read_tool_calls(self, delta: dict[str, Any], index: int, events: list[Event]) -> None:
        super()._read_tool_calls(delta, index, events)
        for call in delta["tool_calls"]:
            call.pop("index", None)

    def _place(self, choice: int, call: dict[str, Any], name: str) -> tuple[int, bool]:
        seen = self._tools.setdefault(choice, [])
        seen.append(_SeenTool(None, "", needs_arguments="custom" not in call))
        return len(seen) - 1, True

    def _show_filled(self, choice: dict[str, Any], filled: list[dict[str, Any]]) -> None:
        for call in filled:
            choice["message"]["tool_calls"][call["index"]]["function"]["arguments"] = "{}"


class _SeenTool:
    __slots__ = ("call_id", "key", "needs_arguments")

    def __init__(self, key: object, call_id: str, *, needs_arguments: bool) -> None:
        self.key = key
        self.call_id = call_id
        self.needs_arguments = needs_arguments

    def is_continued_by(self, key: object, call_id: str, name: str) -> bool:
        """The same index, unless another id comes with a name: some hosts number all calls 0."""
        if isinstance(key, int):
            is_other = bool(call_id and self.call_id and call_id != self.call_id and name)
            return key == self.key and not is_other
        return bool(call_id) and call_id == self.call_id


def _drop_repeated(call: dict[str, Any], body: dict[str, Any]) -> None:
    """Only the first piece has id, type and name: clients append what they get."""
    for name in ("id", "type"):
        call.pop(name, None)
    body.pop("name", None)


def _argument_text(arguments: object) -> str:
    """Some hosts send the arguments as an object."""
    if isinstance(arguments, str):
        return arguments
    if arguments is None:
        return ""
    return msgspec.json.encode(arguments).decode()


def _split_parts(parts: list[Any]) -> tuple[str, str]:
    """Text and thinking of Mistral's content lists."""
    text, thinking = [], []
    for part in parts:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "thinking":
            inner = part.get("thinking")
            thinking.append(_split_parts(inner)[0] if isinstance(inner, list) else str(inner or ""))
        elif isinstance(part.get("text"), str):
            text.append(part["text"])
    return "".join(text), "".join(thinking)


def _reasoning_events(detail: dict[str, Any], index: int, *, has_text: bool) -> list[Event]:
    """OpenRouter's reasoning_details: its texts repeat `reasoning` where that is given."""
    text = "" if has_text else str(detail.get("text") or detail.get("summary") or "")
    signature = str(detail.get("signature") or "")
    redacted = str(detail.get("data") or "")
    if not (text or signature or redacted):
        return []
    return [ReasoningDelta(text, signature, redacted, index)]
