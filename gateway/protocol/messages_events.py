"""Reads Anthropic Messages, whole or streamed, into events.

Unknown blocks and events are skipped, never an error: new kinds appear without a new version.
Server-side tools are not the client's tool calls, and thinking is never text.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.pricing import Bucket, Outcome, Usage
from gateway.protocol.events import (
    Ended,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.protocol.upstream_errors import fields_of

_FINISH_REASONS = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_UNFINISHED = Failed("The upstream ended its message without a stop_reason.")
_COUNTS = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
)  # fmt: skip


class MessageReader:
    """State of one answer: the usage so far, and which tool call a block belongs to.

    `answer_tool` names a tool of our own whose arguments are the answer (structured output).
    """

    def __init__(self, answer_tool: str = "") -> None:
        self._answer_tool = answer_tool
        self._usage: dict[str, Any] = {}
        self._tools: dict[int, int] = {}  # block index -> tool call index
        self._silent_tools: set[int] = set()  # blocks of which no argument text came yet
        self._answer_blocks: set[int] = set()
        self.is_finished = False

    def read_event(self, event: Mapping[str, Any]) -> list[Event]:  # noqa: PLR0911  (one for each shape)
        """Events of one server-sent event."""
        match event.get("type"):
            case "message_start":
                return self._start(_object(event, "message"))
            case "content_block_start":
                return self._block(_index(event), _object(event, "content_block"))
            case "content_block_delta":
                return self._delta(_index(event), _object(event, "delta"))
            case "content_block_stop":
                return self._block_stop(_index(event))
            case "message_delta":
                return self._message_delta(event)
            case "message_stop":
                return [Ended() if self.is_finished else _UNFINISHED]
            case "error":
                return [failed(event)]
            case _:
                return []

    def read_message(self, message: Mapping[str, Any]) -> list[Event]:
        """Events of a whole answer."""
        events = self._start(message)
        content = message.get("content")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            if isinstance(block, dict):
                events.extend(self._block(index, block))
                events.extend(self._block_stop(index))
        events = [event for event in events if not isinstance(event, UsageReported)]
        events.extend(self._report())
        events.extend(self._finish(message.get("stop_reason")))
        return [*events, Ended()]

    def _start(self, message: Mapping[str, Any]) -> list[Event]:
        self._take_usage(message)
        started = Started(str(message.get("id") or ""), str(message.get("model") or ""))
        return [started, *self._report()]

    def _message_delta(self, event: Mapping[str, Any]) -> list[Event]:
        self._take_usage(event)
        events = self._report()
        return events + self._finish(_object(event, "delta").get("stop_reason"))

    def _finish(self, native: object) -> list[Event]:
        if native is None:
            return []
        self.is_finished = True
        reason = _FINISH_REASONS.get(str(native), FinishReason.STOP)
        if reason is FinishReason.TOOL_CALLS and not self._tools:
            reason = FinishReason.STOP  # only our own tool for structured output was called
        return [Finished(reason, native_reason=str(native))]

    def _block(self, index: int, block: Mapping[str, Any]) -> list[Event]:
        match block.get("type"):
            case "text":
                return self._text(block.get("text"))
            case "thinking":
                return _thinking(block.get("thinking"), block.get("signature"))
            case "redacted_thinking":
                data = block.get("data")
                return [ReasoningDelta(redacted=str(data))] if data else []
            case "tool_use":
                return self._tool(index, block)
            case _:
                return []

    def _tool(self, index: int, block: Mapping[str, Any]) -> list[Event]:
        name, given = str(block.get("name") or ""), block.get("input")
        if name == self._answer_tool and name:
            self._answer_blocks.add(index)
            return [TextDelta(_json(given))] if given else []
        place = self._tools[index] = len(self._tools)
        events: list[Event] = [ToolCallStarted(place, str(block.get("id") or ""), name)]
        if given:
            events.append(ToolArgumentsDelta(place, _json(given)))
        else:
            self._silent_tools.add(index)
        return events

    def _delta(self, index: int, delta: Mapping[str, Any]) -> list[Event]:
        match delta.get("type"):
            case "text_delta":
                return self._text(delta.get("text"))
            case "thinking_delta":
                return _thinking(delta.get("thinking"), None)
            case "signature_delta":
                return _thinking(None, delta.get("signature"))
            case "input_json_delta":
                return self._arguments(index, delta.get("partial_json"))
            case _:
                return []

    def _arguments(self, index: int, text: object) -> list[Event]:
        if not isinstance(text, str) or not text:
            return []
        if index in self._answer_blocks:
            return [TextDelta(text)]
        if index not in self._tools:  # a server's tool
            return []
        self._silent_tools.discard(index)
        return [ToolArgumentsDelta(self._tools[index], text)]

    def _block_stop(self, index: int) -> list[Event]:
        """A tool without arguments sends none: its arguments are an empty object."""
        if index not in self._silent_tools:
            return []
        self._silent_tools.discard(index)
        return [ToolArgumentsDelta(self._tools[index], "{}")]

    @staticmethod
    def _text(text: object) -> list[Event]:
        return [TextDelta(text)] if isinstance(text, str) and text else []

    def _take_usage(self, holder: Mapping[str, Any]) -> None:
        """Counts are cumulative: what a later event repeats replaces, and nothing is added up."""
        usage = holder.get("usage")
        if isinstance(usage, dict):
            self._usage.update({k: v for k, v in usage.items() if v is not None})

    def _report(self) -> list[Event]:
        if not self._usage:
            return []
        if not all(_is_count(self._usage.get(name, 0)) for name in _COUNTS):
            return [UsageReported(Usage(outcome=Outcome.NONE), is_believable=False)]
        return [UsageReported(read_usage(self._usage))]


def read_usage(block: Mapping[str, Any]) -> Usage:
    """Disjoint buckets. `input_tokens` leaves cached tokens out; writes are split by retention."""
    split = _object(block, "cache_creation")
    hour = _count(split, "ephemeral_1h_input_tokens")
    written = _count(block, "cache_creation_input_tokens")
    five = max(_count(split, "ephemeral_5m_input_tokens"), written - hour)
    output = _count(block, "output_tokens")
    thinking = min(_count(_object(block, "output_tokens_details"), "thinking_tokens"), output)
    tokens = {
        Bucket.INPUT: _count(block, "input_tokens"),
        Bucket.CACHED_INPUT: _count(block, "cache_read_input_tokens"),
        Bucket.CACHE_WRITE_5M: five,
        Bucket.CACHE_WRITE_1H: hour,
        Bucket.OUTPUT: output - thinking,
        Bucket.OUTPUT_REASONING: thinking,
    }
    return Usage(
        tokens={bucket: count for bucket, count in tokens.items() if count},
        web_searches=_count(_object(block, "server_tool_use"), "web_search_requests"),
    )


def failed(event: Mapping[str, Any]) -> Failed:
    """An error event of a stream, or an error body with status 200."""
    fields = fields_of(event)
    if fields is None:
        return Failed("The upstream reported an error.")
    return Failed(
        message=fields.message or "The upstream reported an error.",
        type=fields.type or "server_error",
        code=fields.code,
        status=_STATUSES.get(fields.type, 502),
    )


def _thinking(text: object, signature: object) -> list[Event]:
    text = text if isinstance(text, str) else ""
    signature = signature if isinstance(signature, str) else ""
    return [ReasoningDelta(text, signature)] if text or signature else []


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _count(block: Mapping[str, Any], name: str) -> int:
    value = block.get(name)
    return value if isinstance(value, int) and value > 0 else 0
