"""Turns of a conversation as Anthropic messages: system apart, one role after the other."""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gateway.protocol.conversation import (
    Media,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Turn,
)
from gateway.protocol.invalid import InvalidRequest

_NOT_IN_TOOL_ID = re.compile(r"[^a-zA-Z0-9_-]")
_TEXT_TYPES = ("text/plain", "text/markdown", "text/csv", "text/html")
_IMAGE_TYPES = {"image/jpg": "image/jpeg"}


def system_of(turns: Iterable[Turn], instruction: str = "") -> list[dict[str, Any]]:
    """All system texts in order; the API knows no others."""
    blocks = [
        _with_cache({"type": "text", "text": part.text}, part.cache_control)
        for turn in turns
        if turn.role is Role.SYSTEM
        for part in turn.parts
        if isinstance(part, Text) and part.text.strip()
    ]
    if instruction:
        blocks.append({"type": "text", "text": instruction})
    return blocks


def messages_of(turns: Iterable[Turn]) -> list[dict[str, Any]]:
    """Messages with neighbours of one role merged, as parallel tool results must be."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role is Role.SYSTEM:
            continue
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        blocks = [block for part in turn.parts if (block := _block(part)) is not None]
        if not blocks:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"].extend(blocks)
        else:
            messages.append({"role": role, "content": blocks})
    if not messages:
        raise InvalidRequest(
            "'messages' has no text, image or tool result to answer.", param="messages"
        )
    for message in messages:
        _order(message)
    _trim_prefill(messages[-1])
    return messages


def _order(message: dict[str, Any]) -> None:
    """Tool results come first in a user's message, thinking in an assistant's."""
    first = ("tool_result", "thinking", "redacted_thinking")
    message["content"].sort(key=lambda block: block["type"] not in first)


def _trim_prefill(message: dict[str, Any]) -> None:
    """An answer that was begun for the model may not end in white space."""
    last = message["content"][-1]
    if message["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip() or "."


def _block(part: Part) -> dict[str, Any] | None:  # noqa: PLR0911  (one for each shape)
    match part:
        case Text():
            if not part.text.strip():
                return None  # the API refuses blank texts
            return _with_cache({"type": "text", "text": part.text}, part.cache_control)
        case Media():
            return _with_cache(_media(part), part.cache_control)
        case Reasoning():
            return _reasoning(part)
        case ToolCall():
            return {
                "type": "tool_use",
                "id": tool_id(part.id),
                "name": part.name,
                "input": _arguments(part.arguments),
            }
        case ToolResult():
            return _tool_result(part)
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None


def _reasoning(part: Reasoning) -> dict[str, Any] | None:
    """Thinking of another provider has no signature and is refused: it stays behind."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    if part.signature:
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}
    return None


def _tool_result(part: ToolResult) -> dict[str, Any]:
    content = [block for inner in part.parts if (block := _block(inner)) is not None]
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": tool_id(part.call_id)}
    if content:
        result["content"] = content
    if part.is_error:
        result["is_error"] = True
    return _with_cache(result, part.cache_control)


def _media(part: Media) -> dict[str, Any]:
    if part.kind == "audio":
        raise InvalidRequest(
            "This model takes no audio.", param="messages", code="unsupported_value"
        )
    if part.kind == "image":
        return {"type": "image", "source": _source(part)}
    block: dict[str, Any] = {"type": "document", "source": _source(part)}
    if part.name:
        block["title"] = part.name
    return block


def _source(part: Media) -> dict[str, Any]:
    if part.url:
        return {"type": "url", "url": part.url}
    if part.media_type in _TEXT_TYPES:
        return {"type": "text", "media_type": "text/plain", "data": _decoded(part.data)}
    media_type = _IMAGE_TYPES.get(part.media_type, part.media_type)
    return {"type": "base64", "media_type": media_type, "data": part.data}


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode("utf-8")
    except ValueError as error:
        raise InvalidRequest(
            "A file is not valid base64 of UTF-8 text.", param="messages"
        ) from error


def tool_id(call_id: str) -> str:
    """The id in the characters that the API takes; the same id always becomes the same."""
    return _NOT_IN_TOOL_ID.sub("_", call_id) or "call"


def _arguments(text: str) -> dict[str, Any]:
    """The API wants an object; what a model wrote wrongly goes back under one name."""
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _with_cache(block: dict[str, Any], cache_control: Mapping[str, Any] | None) -> dict[str, Any]:
    return block | {"cache_control": dict(cache_control)} if cache_control else block
