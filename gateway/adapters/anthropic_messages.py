"""Anthropic's Messages API.

Quirks of a route (data, all optional):
  thinking             "adaptive" (default), "budget" (older models: a number of tokens) or "none"
  efforts              the effort levels that the model knows
  no_sampling          it refuses temperature, top_p and top_k
  structured_output    "tool": it has no output format, so a tool's arguments are the answer
  default_max_tokens   when nobody gives a limit; the API requires one

docs: https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from catalog.routes import Route
from gateway.adapters.base import CannotExpress, UpstreamError, UpstreamRequest
from gateway.protocol.conversation import Conversation, OutputFormat, Tool
from gateway.protocol.events import Event, Failed
from gateway.protocol.messages_events import MessageReader, failed
from gateway.protocol.messages_turns import messages_of, system_of
from gateway.protocol.sse import SseEvent, SseSplitter
from gateway.protocol.upstream_errors import (
    CONTEXT_LENGTH_EXCEEDED,
    error_fields,
    is_caller_fault,
    is_too_long,
    retry_after_s,
)

# The version that still takes sampling parameters; newer ones refuse them.
_HEADERS = {"content-type": "application/json", "anthropic-version": "2023-06-01"}
_DEFAULT_MAX_TOKENS = 4096
_LEAST_BUDGET_TOKENS = 1024
_MAX_TEMPERATURE = 1.0
_BUDGETS = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
_EFFORTS = ("low", "medium", "high", "max")
_NEAREST_EFFORT = {"minimal": "low", "xhigh": "max", "max": "high"}
_ANSWER_TOOL = "structured_answer"
_JSON_ONLY = "Answer with one valid JSON object and nothing else."
_PASSED = ("thinking", "metadata", "context_management", "inference_geo", "speed", "container")


class AnthropicMessages:
    protocol = "anthropic_messages"

    def build(
        self, call: Conversation, route: Route, max_output_tokens: int | None
    ) -> UpstreamRequest:
        """Raises CannotExpress for several choices and for audio."""
        if call.choices > 1:
            raise CannotExpress("This model gives one choice a call: leave out 'n' or set it to 1.")
        dropped: list[str] = []
        limit = _limit(call, route, max_output_tokens)
        body: dict[str, Any] = {
            "model": route.upstream_id,
            "max_tokens": limit,
            "messages": messages_of(call.turns),
        }
        system = system_of(call.turns, _instruction(call.output_format))
        if system:
            body["system"] = system
        _reasoning(body, call, route, limit)
        _tools(body, call)
        _format(body, call, route)
        _sampling(body, call, route, dropped)
        _rest(body, call, dropped)
        return UpstreamRequest(orjson.dumps(body), _HEADERS, tuple(dropped))

    def read_stream(self, route: Route) -> "MessageStreamReader":
        return MessageStreamReader(_answer_tool(route))

    def read_body(self, body: bytes, route: Route) -> list[Event]:
        """Raises ValueError when the body is no message."""
        value = orjson.loads(body)  # its error is a ValueError
        if isinstance(value, dict) and value.get("type") == "error":
            return [failed(value)]
        if not isinstance(value, dict) or not isinstance(value.get("content"), list):
            raise ValueError("The body is not a message: it has no content.")  # noqa: TRY004  (a value)
        return MessageReader(_answer_tool(route)).read_message(value)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        fields = error_fields(body)
        is_theirs = is_caller_fault(status, fields)
        too_long = is_theirs and is_too_long(fields)
        return UpstreamError(
            status=status,
            message=fields.message or f"The upstream answered with status {status}.",
            type=fields.type,
            code=CONTEXT_LENGTH_EXCEEDED if too_long else fields.code,
            param="messages" if too_long else "",
            is_caller_fault=is_theirs,
            retry_after_s=retry_after_s(headers),
        )


class MessageStreamReader:
    """One streamed answer as events."""

    def __init__(self, answer_tool: str) -> None:
        self._splitter = SseSplitter()
        self._reader = MessageReader(answer_tool)

    def feed(self, data: bytes) -> list[Event]:
        """Raises sse.LineTooLong."""
        return self._read(self._splitter.feed(data))

    def close(self) -> list[Event]:
        """What was open is read if it is whole; without message_stop nothing ends."""
        return self._read(event for event in self._splitter.close() if _is_json(event.data))

    def _read(self, parts: Iterable[SseEvent]) -> list[Event]:
        events: list[Event] = []
        for part in parts:
            events.extend(self._events_of(part.data))
        return events

    def _events_of(self, data: bytes) -> list[Event]:
        if data == b"[DONE]":  # added by some compatible hosts
            return []
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            return [Failed("The upstream sent an event that is not JSON.")]
        if not isinstance(value, dict):
            return [Failed("The upstream sent an event that is not an object.")]
        return self._reader.read_event(value)


def _limit(call: Conversation, route: Route, max_output_tokens: int | None) -> int:
    for limit in (max_output_tokens, call.max_output_tokens):
        if limit is not None:
            return limit
    default = route.quirks.get("default_max_tokens", _DEFAULT_MAX_TOKENS)
    limit = default if isinstance(default, int) else _DEFAULT_MAX_TOKENS
    return limit if route.max_output_tokens is None else min(limit, route.max_output_tokens)


def _instruction(wanted: OutputFormat | None) -> str:
    """Any JSON object, without a schema, can only be asked for in words."""
    return _JSON_ONLY if wanted is not None and wanted.schema is None else ""


def _reasoning(body: dict[str, Any], call: Conversation, route: Route, limit: int) -> None:
    way = route.quirks.get("thinking", "adaptive")
    budget = call.reasoning_budget_tokens
    if way == "none" or not (call.reasoning_effort or budget):
        return
    if call.reasoning_effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif way == "budget" or budget:
        _think_within(
            body, budget or _BUDGETS.get(call.reasoning_effort, _LEAST_BUDGET_TOKENS), limit
        )
    else:
        body["thinking"] = {"type": "adaptive"}
        body.setdefault("output_config", {})["effort"] = _effort(call.reasoning_effort, route)


def _think_within(body: dict[str, Any], budget: int, limit: int) -> None:
    """A budget lies between 1,024 and max_tokens; without that room there is no thinking."""
    budget = min(max(budget, _LEAST_BUDGET_TOKENS), limit - 1)
    if budget >= _LEAST_BUDGET_TOKENS:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}


def _effort(effort: str, route: Route) -> str:
    known = route.quirks.get("efforts", _EFFORTS)
    known = known if isinstance(known, list | tuple) else _EFFORTS
    if effort not in known:
        effort = _NEAREST_EFFORT.get(effort, "high")
    return effort if effort in known else "high"


def _tools(body: dict[str, Any], call: Conversation) -> None:
    if not call.tools:
        return
    body["tools"] = [_tool(tool) for tool in call.tools]
    choice: dict[str, Any] = {"type": {"required": "any"}.get(call.tool_choice, call.tool_choice)}
    if call.tool_choice.startswith("tool:"):
        choice = {"type": "tool", "name": call.tool_choice.removeprefix("tool:")}
    if _is_thinking(body) and choice["type"] in ("any", "tool"):
        body.pop("thinking")  # the API refuses both; the caller's tool is what counts
    if call.allows_parallel_tools is False and choice["type"] != "none":
        choice = {**choice, "type": choice["type"] or "auto", "disable_parallel_tool_use": True}
    if choice["type"]:
        body["tool_choice"] = choice


def _tool(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": tool.name,
        "input_schema": {"type": "object", **(tool.parameters or {"properties": {}})},
    }
    if tool.description:
        fields["description"] = tool.description
    if tool.is_strict:
        fields["strict"] = True
    if tool.cache_control:
        fields["cache_control"] = dict(tool.cache_control)
    return fields


def _format(body: dict[str, Any], call: Conversation, route: Route) -> None:
    wanted = call.output_format
    if wanted is None or wanted.schema is None:
        return
    if not _answer_tool(route):
        shape = {"type": "json_schema", "schema": wanted.schema}
        body.setdefault("output_config", {})["format"] = shape
        return
    tool = Tool(_ANSWER_TOOL, wanted.description or "Give the final answer.", wanted.schema)
    body["tools"] = [*body.get("tools", ()), _tool(tool)]
    if _is_thinking(body):
        body["tool_choice"] = {"type": "auto"}
    elif len(body["tools"]) == 1:
        body["tool_choice"] = {"type": "tool", "name": _ANSWER_TOOL}
    else:
        body.setdefault("tool_choice", {"type": "any"})


def _sampling(body: dict[str, Any], call: Conversation, route: Route, dropped: list[str]) -> None:
    given = {"temperature": call.temperature, "top_p": call.top_p, "top_k": call.top_k}
    given = {name: value for name, value in given.items() if value is not None}
    refused = set(given) if route.quirks.get("no_sampling") or _is_thinking(body) else set()
    if "temperature" in given and "top_p" in given:
        refused.add("top_p")  # newer models refuse both at once
    dropped.extend(name for name in given if name in refused)
    for name, value in given.items():
        if name not in refused and value is not None:
            body[name] = min(value, _MAX_TEMPERATURE) if name == "temperature" else value
    stops = [stop for stop in call.stop if stop.strip()]  # the API refuses blank ones
    if stops:
        body["stop_sequences"] = stops


def _rest(body: dict[str, Any], call: Conversation, dropped: list[str]) -> None:
    if call.is_stream:
        body["stream"] = True
    if call.user:
        body["metadata"] = {"user_id": call.user}
    for name, value in call.extra.items():
        if name in _PASSED:
            body[name] = value
        else:
            dropped.append(name)
    if call.seed is not None:
        dropped.append("seed")


def _is_thinking(body: Mapping[str, Any]) -> bool:
    thinking = body.get("thinking")
    return isinstance(thinking, dict) and thinking.get("type") != "disabled"


def _answer_tool(route: Route) -> str:
    return _ANSWER_TOOL if route.quirks.get("structured_output") == "tool" else ""


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


__all__ = ["AnthropicMessages", "MessageStreamReader"]
