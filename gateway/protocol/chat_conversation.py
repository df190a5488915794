"""A chat completion request in our own words, for an upstream of another protocol."""

import re
from collections.abc import Mapping
from typing import Any, cast

import orjson

from gateway.protocol.chat_reasoning import read_reasoning
from gateway.protocol.chat_request import GATEWAY_FIELDS, ChatRequest
from gateway.protocol.conversation import (
    Conversation,
    Media,
    OutputFormat,
    Part,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from gateway.protocol.invalid import InvalidRequest

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
_READ = frozenset(
    {
        "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n",
        "tools", "functions", "tool_choice", "function_call", "parallel_tool_calls", "temperature",
        "top_p", "top_k", "stop", "seed", "response_format", "reasoning_effort", "user",
    }
)  # fmt: skip
_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*);base64,", re.IGNORECASE)
_MAX_STOPS = 16


def to_conversation(request: ChatRequest) -> Conversation:
    """Raises InvalidRequest that names the place of what cannot be read."""
    body = cast("dict[str, Any]", orjson.loads(request.body))
    choice = body.get("tool_choice", body.get("function_call"))
    return Conversation(
        model=request.model,
        turns=_turns(body["messages"]),
        tools=_tools(body),
        tool_choice=_tool_choice(choice),
        allows_parallel_tools=_boolean(body, "parallel_tool_calls"),
        max_output_tokens=request.output_limit,
        temperature=_number(body, "temperature"),
        top_p=_number(body, "top_p"),
        top_k=_integer(body, "top_k"),
        stop=_stops(body.get("stop")),
        choices=request.choices,
        seed=_integer(body, "seed"),
        output_format=_output_format(body.get("response_format")),
        reasoning_effort=_effort(request),
        reasoning_budget_tokens=request.reasoning.max_tokens if request.reasoning else None,
        user=_string(body, "user"),
        is_stream=request.is_stream,
        extra={k: v for k, v in body.items() if k not in _READ and k not in GATEWAY_FIELDS},
    )


def _turns(messages: object) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise _invalid("messages", "an array of messages")
    return tuple(_turn(message, f"messages[{n}]") for n, message in enumerate(messages))


def _turn(message: object, path: str) -> Turn:
    if not isinstance(message, dict):
        raise _invalid(path, "an object")
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise _invalid(f"{path}.role", f"one of {', '.join(_ROLES)}")
    name = message.get("name") if isinstance(message.get("name"), str) else ""
    if role is Role.TOOL:
        return Turn(role, (_tool_result(message, path),))
    parts: list[Part] = []
    if role is Role.ASSISTANT:
        parts.extend(read_reasoning(message))
    parts.extend(_content(message.get("content"), f"{path}.content", message))
    if role is Role.ASSISTANT:
        parts.extend(_assistant_rest(message, path))
    return Turn(role, tuple(parts), str(name))


def _tool_result(message: dict[str, Any], path: str) -> ToolResult:
    call_id = message.get("tool_call_id") or message.get("name")
    if not isinstance(call_id, str):
        raise _invalid(f"{path}.tool_call_id", "the id of the tool call that this answers")
    parts = _content(message.get("content"), f"{path}.content", message)
    kept = tuple(part for part in parts if isinstance(part, Text | Media))
    return ToolResult(call_id, kept, is_error=message.get("is_error") is True)


def _assistant_rest(message: dict[str, Any], path: str) -> list[Part]:
    parts: list[Part] = []
    if isinstance(message.get("refusal"), str) and message["refusal"]:
        parts.append(Refusal(message["refusal"]))
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise _invalid(f"{path}.tool_calls", "an array")
    for n, call in enumerate(calls or ()):
        parts.append(_tool_call(call, f"{path}.tool_calls[{n}]"))
    old = message.get("function_call")
    if isinstance(old, dict):
        name = str(old.get("name"))
        parts.append(ToolCall(name, name, str(old.get("arguments") or "")))
    return parts


def _tool_call(call: object, path: str) -> ToolCall:
    if not isinstance(call, dict):
        raise _invalid(path, "an object")
    custom = call.get("custom")
    if isinstance(custom, dict):
        arguments = orjson.dumps({"input": str(custom.get("input") or "")}).decode()
        return ToolCall(str(call.get("id") or ""), str(custom.get("name")), arguments)
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid(f"{path}.function.name", "the name of a function")
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments).decode()
    return ToolCall(str(call.get("id") or ""), function["name"], arguments)


def _content(content: object, path: str, message: dict[str, Any]) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content, _cache_control(message))] if content else []
    if not isinstance(content, list):
        raise _invalid(path, "a string or an array of parts")
    parts = [_part(part, f"{path}[{n}]") for n, part in enumerate(content)]
    return [part for part in parts if part is not None]


def _part(part: object, path: str) -> Part | None:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        raise _invalid(path, "an object")
    kind = part.get("type")
    if kind in ("text", "input_text", "output_text"):
        if not isinstance(part.get("text"), str):
            raise _invalid(f"{path}.text", "a string")
        return Text(part["text"], _cache_control(part)) if part["text"] else None
    if kind == "refusal":
        return Refusal(str(part.get("refusal") or ""))
    readers = {"image_url": _image, "input_audio": _audio, "file": _file}
    reader = readers.get(str(kind))
    if reader is None:
        raise _invalid(f"{path}.type", f"one of text, refusal, {', '.join(readers)}, not {kind!r}")
    return reader(part, path)


def _image(part: dict[str, Any], path: str) -> Media:
    image = part.get("image_url")
    image = {"url": image} if isinstance(image, str) else image
    if not isinstance(image, dict) or not isinstance(image.get("url"), str):
        raise _invalid(f"{path}.image_url.url", "a URL")
    detail = image.get("detail")
    return _media(
        "image", image["url"], detail=detail if isinstance(detail, str) else "", part=part
    )


def _audio(part: dict[str, Any], path: str) -> Media:
    audio = part.get("input_audio")
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
        raise _invalid(f"{path}.input_audio.data", "base64 data")
    media_type = f"audio/{audio.get('format') or 'wav'}"
    return Media("audio", data=audio["data"], media_type=media_type)


def _file(part: dict[str, Any], path: str) -> Media:
    file = part.get("file")
    if not isinstance(file, dict):
        raise _invalid(f"{path}.file", "an object")
    name = str(file.get("filename") or "")
    data = file.get("file_data")
    if isinstance(data, str) and data:
        if data.startswith(("data:", "http://", "https://")):
            return _media("file", data, name=name, part=part)
        return Media("file", data=data, media_type="application/pdf", name=name)
    raise _invalid(
        f"{path}.file.file_data", "the file as a data URL (uploaded files are not served)"
    )


def _media(kind: Any, url: str, *, part: dict[str, Any], name: str = "", detail: str = "") -> Media:
    match = _DATA_URL.match(url)
    cache = _cache_control(part)
    if match is None:
        return Media(kind, url=url, name=name, detail=detail, cache_control=cache)
    return Media(
        kind,
        data=url[match.end() :],
        media_type=match.group(1).lower(),
        name=name,
        detail=detail,
        cache_control=cache,
    )


def _tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    tools = body.get("tools")
    if tools is None and isinstance(body.get("functions"), list):
        tools = [{"type": "function", "function": function} for function in body["functions"]]
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise _invalid("tools", "an array")
    return tuple(_tool(tool, f"tools[{n}]") for n, tool in enumerate(tools))


def _tool(tool: object, path: str) -> Tool:
    if not isinstance(tool, dict):
        raise _invalid(path, "an object")
    if isinstance(tool.get("custom"), dict):
        return _custom_tool(tool["custom"])
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _invalid(f"{path}.function.name", "the name of a function")
    parameters = function.get("parameters")
    strict = function.get("strict")
    return Tool(
        name=function["name"],
        description=str(function.get("description") or ""),
        parameters=parameters if isinstance(parameters, dict) else None,
        is_strict=strict if isinstance(strict, bool) else None,
        cache_control=_cache_control(tool) or _cache_control(function),
    )


def _custom_tool(custom: dict[str, Any]) -> Tool:
    """A free-text tool as a function with one string."""
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return Tool(str(custom.get("name")), str(custom.get("description") or ""), schema)


def _tool_choice(choice: object) -> str:
    if choice is None:
        return ""
    if isinstance(choice, str):
        return {"any": "required"}.get(choice, choice)
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict):
            return str(allowed.get("mode") or "auto")
        named = choice.get("function") or choice.get("custom") or choice
        if isinstance(named, dict) and isinstance(named.get("name"), str):
            return f"tool:{named['name']}"
    raise _invalid("tool_choice", "none, auto, required or the name of a tool")


def _output_format(value: object) -> OutputFormat | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _invalid("response_format", "an object")
    kind = value.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat()
    schema = value.get("json_schema")
    if kind != "json_schema" or not isinstance(schema, dict):
        raise _invalid("response_format.type", "text, json_object or json_schema")
    if not isinstance(schema.get("schema"), dict):
        raise _invalid("response_format.json_schema.schema", "a JSON Schema")
    strict = schema.get("strict")
    return OutputFormat(
        schema=schema["schema"],
        name=str(schema.get("name") or ""),
        description=str(schema.get("description") or ""),
        is_strict=strict if isinstance(strict, bool) else None,
    )


def _effort(request: ChatRequest) -> str:
    if request.reasoning_effort:
        return request.reasoning_effort
    if request.reasoning is None:
        return ""
    if request.reasoning.enabled is False:
        return "none"
    if request.reasoning.enabled and not request.reasoning.effort:
        return "" if request.reasoning.max_tokens else "medium"
    return request.reasoning.effort or ""


def _stops(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise _invalid("stop", "a string or an array of strings")
    if len(stops) > _MAX_STOPS:
        raise _invalid("stop", f"at most {_MAX_STOPS} strings")
    return tuple(stop for stop in stops if stop)


def _cache_control(fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Anthropic's field, or OpenAI's breakpoint in its words."""
    value = fields.get("cache_control")
    if isinstance(value, dict):
        return value
    if isinstance(fields.get("prompt_cache_breakpoint"), dict):
        return {"type": "ephemeral"}
    return None


def _number(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid(name, "a number")
    return float(value)


def _integer(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid(name, "an integer")
    return value


def _boolean(body: dict[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise _invalid(name, "true or false")


def _string(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(name, "a string")
    return value


def _invalid(param: str, expected: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value for '{param}': expected {expected}.", param=param, code="invalid_value"
    )
