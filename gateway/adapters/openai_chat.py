"""OpenAI's chat completions, as OpenAI and every compatible host speak it.

Quirks of a route (data, all optional):
  max_tokens_field              "max_tokens" or "max_completion_tokens": the one it knows
  no_stream_options             it refuses stream_options (and sends usage unasked, or not at all)
  drop_params                   names of request fields that it refuses
  reasoning_outside_completion  completion_tokens leaves reasoning out (xAI)
  reasoning_in_total_only       only the total counts reasoning (Gemini's OpenAI face)
  usage_in_choice               streamed usage sits in the choice (Moonshot; read there anyway)
  think_tags                    thinking comes as <think>…</think> inside the text
  reasoning_history             the message field that takes an earlier turn's thinking back
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from catalog.routes import Route
from gateway.adapters.base import CannotExpress, UpstreamError, UpstreamRequest
from gateway.protocol.chat_chunks import UNFINISHED, ChunkReader, is_whole_event, parse_chunk
from gateway.protocol.chat_passthrough import read_answer
from gateway.protocol.conversation import (
    Conversation,
    Media,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from gateway.protocol.events import Ended, Event, Failed
from gateway.protocol.sse import DONE_DATA, SseEvent, SseSplitter
from gateway.protocol.think_tags import ThinkTags
from gateway.protocol.upstream_errors import (
    CONTEXT_LENGTH_EXCEEDED,
    error_fields,
    is_caller_fault,
    is_too_long,
    retry_after_s,
)

_HEADERS = {"content-type": "application/json"}


class OpenAIChat:
    protocol = "openai_chat"

    def build(
        self, call: Conversation, route: Route, max_output_tokens: int | None
    ) -> UpstreamRequest:
        """Raises CannotExpress for media that the protocol has no part for."""
        body: dict[str, Any] = {
            **call.extra,
            "model": route.upstream_id,
            "messages": [m for turn in call.turns for m in _messages(turn, route.quirks)],
        }
        body.update(_sampling(call))
        body.update(_tools(call))
        body.update(_format(call))
        limit = call.max_output_tokens if max_output_tokens is None else max_output_tokens
        if limit is not None:
            body[str(route.quirks.get("max_tokens_field", "max_tokens"))] = limit
        if call.is_stream:
            body["stream"] = True
            if not route.quirks.get("no_stream_options"):
                body["stream_options"] = {"include_usage": True}
        refused = route.quirks.get("drop_params")
        dropped = [n for n in (refused if isinstance(refused, list | tuple) else ()) if n in body]
        for name in dropped:
            del body[name]
        return UpstreamRequest(orjson.dumps(body), _HEADERS, tuple(dropped))

    def read_stream(self, route: Route) -> "ChatStreamReader":
        return ChatStreamReader(route.quirks)

    def read_body(self, body: bytes, route: Route) -> list[Event]:
        """Raises ValueError when the body is no chat completion."""
        events = read_answer(body, route.quirks).events
        return ThinkTags().read(events) if route.quirks.get("think_tags") else events

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        fields = error_fields(body)
        is_theirs = is_caller_fault(status, fields)
        too_long = is_theirs and is_too_long(fields)
        return UpstreamError(
            status=status,
            message=fields.message or f"The upstream answered with status {status}.",
            type=fields.type,
            code=CONTEXT_LENGTH_EXCEEDED if too_long else fields.code,
            param=fields.param or ("messages" if too_long else ""),
            is_caller_fault=is_theirs,
            retry_after_s=retry_after_s(headers),
        )


class ChatStreamReader:
    """One streamed answer as events."""

    def __init__(self, quirks: Mapping[str, object]) -> None:
        self._splitter = SseSplitter()
        self._reader = ChunkReader(quirks)
        self._tags = ThinkTags() if quirks.get("think_tags") else None
        self._has_ended = False

    def feed(self, data: bytes) -> list[Event]:
        """Raises sse.LineTooLong."""
        return self._read(self._splitter.feed(data))

    def close(self) -> list[Event]:
        """Without the last finish_reason nothing ends: the answer is broken."""
        events = self._read(event for event in self._splitter.close() if is_whole_event(event))
        if self._reader.is_finished and not self._has_ended:
            self._has_ended = True
            events.append(Ended())
        return events

    def _read(self, parts: Iterable[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for part in parts:
            if not self._has_ended:
                events.extend(self._events_of(part))
        return self._tags.read(events) if self._tags is not None else events

    def _events_of(self, part: SseEvent) -> list[Event]:
        if part.data == DONE_DATA:
            self._has_ended = True
            return [Ended() if self._reader.is_finished else UNFINISHED]
        chunk = parse_chunk(part)
        return [chunk] if isinstance(chunk, Failed) else self._reader.read(chunk)


def _messages(turn: Turn, quirks: Mapping[str, object]) -> list[dict[str, Any]]:
    """One message, or one for each tool result."""
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    messages = [_tool_message(result) for result in results]
    rest = [part for part in turn.parts if not isinstance(part, ToolResult)]
    if rest or not results:
        messages.append(_message(turn, rest, quirks))
    return messages


def _message(turn: Turn, parts: Sequence[Part], quirks: Mapping[str, object]) -> dict[str, Any]:
    role = Role.USER if turn.role is Role.TOOL else turn.role
    message: dict[str, Any] = {"role": role.value, "content": _content(parts)}
    if turn.name:
        message["name"] = turn.name
    calls = [_tool_call(part) for part in parts if isinstance(part, ToolCall)]
    if calls:
        message["tool_calls"] = calls
        message["content"] = message["content"] or None
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    if refusals:
        message["refusal"] = "".join(refusals)
    history = quirks.get("reasoning_history")
    thinking = "".join(part.text for part in parts if isinstance(part, Reasoning))
    if history and thinking:
        message[str(history)] = thinking
    return message


def _content(parts: Iterable[Part]) -> str | list[dict[str, Any]]:
    """Plain text where that says it all: every host takes it."""
    shown = [part for part in parts if isinstance(part, Text | Media)]
    plain = [part.text for part in shown if isinstance(part, Text) and not part.cache_control]
    if len(plain) == len(shown) <= 1:
        return "".join(plain)
    return [_part(part) for part in shown]


def _part(part: Text | Media) -> dict[str, Any]:
    fields: dict[str, Any]
    if isinstance(part, Text):
        fields = {"type": "text", "text": part.text}
    elif part.kind == "image":
        image = {"url": _url(part)} | ({"detail": part.detail} if part.detail else {})
        fields = {"type": "image_url", "image_url": image}
    elif part.kind == "audio":
        if not part.data:
            raise CannotExpress("Audio must come as data: this route takes no URL of it.")
        audio = {"data": part.data, "format": part.media_type.rpartition("/")[2]}
        fields = {"type": "input_audio", "input_audio": audio}
    else:
        file = {"file_data": _url(part), "filename": part.name or "file"}
        fields = {"type": "file", "file": file}
    return fields | ({"cache_control": dict(part.cache_control)} if part.cache_control else {})


def _url(part: Media) -> str:
    return part.url or f"data:{part.media_type};base64,{part.data}"


def _tool_message(result: ToolResult) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": result.call_id, "content": _content(result.parts)}


def _tool_call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": part.arguments or "{}"}
    return {"id": part.id, "type": "function", "function": function}


def _sampling(call: Conversation) -> dict[str, Any]:
    fields = {
        "temperature": call.temperature,
        "top_p": call.top_p,
        "top_k": call.top_k,
        "stop": list(call.stop) or None,
        "n": call.choices if call.choices > 1 else None,
        "seed": call.seed,
        "reasoning_effort": call.reasoning_effort or None,
        "user": call.user or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tools(call: Conversation) -> dict[str, Any]:
    if not call.tools:
        return {}
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in call.tools]}
    if call.tool_choice.startswith("tool:"):
        name = call.tool_choice.removeprefix("tool:")
        fields["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif call.tool_choice:
        fields["tool_choice"] = call.tool_choice
    if call.allows_parallel_tools is not None:
        fields["parallel_tool_calls"] = call.allows_parallel_tools
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.is_strict is not None:
        function["strict"] = tool.is_strict
    return {"type": "function", "function": function}


def _format(call: Conversation) -> dict[str, Any]:
    wanted = call.output_format
    if wanted is None:
        return {}
    if wanted.schema is None:
        return {"response_format": {"type": "json_object"}}
    schema: dict[str, Any] = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.description:
        schema["description"] = wanted.description
    if wanted.is_strict is not None:
        schema["strict"] = wanted.is_strict
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
