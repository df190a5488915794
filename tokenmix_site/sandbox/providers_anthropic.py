"""The stand-in for Anthropic's Messages API."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from tokenmix_site.sandbox.faults import Plan
from tokenmix_site.sandbox.providers_answers import Answer, Asked, last_prompt

_ERRORS = {
    400: ("invalid_request_error", "The request is wrong in some way."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the resource."),
    404: ("not_found_error", "model: not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    529: ("overloaded_error", "Overloaded"),
}
_SIGNATURE = "c2FuZGJveC1zaWduYXR1cmU="


class AnthropicWire:
    """Messages: what is refused, what is answered, in which bytes."""

    path = "/v1/messages"

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        key = headers.get("x-api-key")
        return key == "sandbox" or (
            key is None and headers.get("authorization") == "Bearer sandbox"
        )

    def refusal(self, body: Any) -> tuple[int, bytes] | None:
        """The error for a request that the real one refuses too."""
        for name, kind in (("model", str), ("messages", list), ("max_tokens", int)):
            if not isinstance(body, dict) or not isinstance(body.get(name), kind):
                return 400, self.error(400, f"{name}: Field required")
        for n, message in enumerate(body["messages"]):
            if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
                return 400, self.error(
                    400, f"messages.{n}.role: Input should be 'user' or 'assistant'"
                )
            if not message.get("content"):
                return 400, self.error(400, f"messages.{n}: all messages must have content")
        thinking = body.get("thinking") or {}
        if (
            thinking.get("type") == "enabled"
            and thinking.get("budget_tokens", 0) >= body["max_tokens"]
        ):
            return 400, self.error(
                400, "`max_tokens` must be greater than `thinking.budget_tokens`."
            )
        return None

    def error(self, status: int, message: str = "", param: str | None = None) -> bytes:
        kind, usual = _ERRORS.get(status, ("api_error", "Internal server error"))
        return orjson.dumps(
            {
                "type": "error",
                "error": {"type": kind, "message": message or usual},
                "request_id": f"req_{uuid4().hex[:24]}",
            }
        )

    def asked(self, body: Mapping[str, Any]) -> Asked:
        choice = body.get("tool_choice") or {}
        forced = {"any": "*", "tool": str(choice.get("name") or "")}.get(
            str(choice.get("type")), ""
        )
        return Asked(
            body=body,
            prompt=last_prompt(body),
            limit=body["max_tokens"],
            schema=_schema(body.get("output_config")),
            tools=tuple(_tools(body)),
            forced_tool=forced,
        )

    def whole(self, body: Mapping[str, Any], answer: Answer, plan: Plan, now: int) -> bytes:
        message = {
            **_head(body),
            "content": [_whole_block(block) for block in _blocks(answer)],
            "stop_reason": _stop(answer),
            "stop_sequence": None,
        }
        if plan.usage != "none":
            message["usage"] = _usage(answer, answer.output_tokens)
        return orjson.dumps(message)

    def frames(
        self, body: Mapping[str, Any], answer: Answer, plan: Plan, now: int
    ) -> Iterator[bytes]:
        """The events of a stream, one by one."""
        has_usage = plan.usage != "none"
        start = {**_head(body), "content": [], "stop_reason": None, "stop_sequence": None}
        if has_usage:
            start["usage"] = _usage(answer, 1)
        yield _event("message_start", {"message": start})
        yield _event("ping", {})
        for index, (kind, opening, pieces) in enumerate(_blocks(answer)):
            yield _event("content_block_start", {"index": index, "content_block": opening})
            for piece in pieces:
                delta = _delta(kind, piece)
                yield _event("content_block_delta", {"index": index, "delta": delta})
            if kind == "thinking":
                delta = {"type": "signature_delta", "signature": _SIGNATURE}
                yield _event("content_block_delta", {"index": index, "delta": delta})
            yield _event("content_block_stop", {"index": index})
        end: dict[str, Any] = {"delta": {"stop_reason": _stop(answer), "stop_sequence": None}}
        if has_usage:
            end["usage"] = _usage(answer, answer.output_tokens)
        yield _event("message_delta", end)
        yield _event("message_stop", {})

    def error_frame(self) -> bytes:
        return b"event: error\ndata: " + self.error(529) + b"\n\n"


Block = tuple[str, dict[str, Any], tuple[str, ...]]


def _blocks(answer: Answer) -> Iterator[Block]:
    """Kind, opening and pieces of each content block."""
    if answer.thinking:
        yield "thinking", {"type": "thinking", "thinking": "", "signature": ""}, answer.thinking
    if answer.pieces and not answer.is_refused:
        yield "text", {"type": "text", "text": ""}, answer.pieces
    for n, tool in enumerate(answer.tools):
        opening = {
            "type": "tool_use",
            "id": f"toolu_sandbox{n:08d}",
            "name": tool.name,
            "input": {},
        }
        yield "tool_use", opening, ("", *_cut(tool.arguments))


def _cut(text: str, size: int = 12) -> tuple[str, ...]:
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def _whole_block(block: Block) -> dict[str, Any]:
    kind, opening, pieces = block
    text = "".join(pieces)
    if kind == "tool_use":
        return {**opening, "input": orjson.loads(text)}
    if kind == "thinking":
        return {**opening, "thinking": text, "signature": _SIGNATURE}
    return {**opening, "text": text}


def _delta(kind: str, piece: str) -> dict[str, Any]:
    if kind == "tool_use":
        return {"type": "input_json_delta", "partial_json": piece}
    return {"type": f"{kind}_delta", kind: piece}


def _event(name: str, fields: dict[str, Any]) -> bytes:
    data = orjson.dumps({"type": name, **fields})
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def _head(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{uuid4().hex[:24]}",
        "type": "message",
        "role": "assistant",
        "model": f"{body['model']}-sandbox",
    }


def _stop(answer: Answer) -> str:
    if answer.is_cut_short:
        return "max_tokens"
    if answer.is_refused:
        return "refusal"
    return "tool_use" if answer.tools else "end_turn"


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    """`input_tokens` leaves out what was read from the cache or written to it."""
    usage = {
        "input_tokens": answer.input_tokens - answer.cached_tokens - answer.written_tokens,
        "cache_creation_input_tokens": answer.written_tokens,
        "cache_read_input_tokens": answer.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": answer.written_tokens,
            "ephemeral_1h_input_tokens": 0,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }
    if answer.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": min(answer.reasoning_tokens, output)}
    return usage


def _schema(config: Any) -> Mapping[str, Any] | None:
    shape = config.get("format") if isinstance(config, dict) else None
    schema = shape.get("schema") if isinstance(shape, dict) else None
    return schema if isinstance(schema, dict) else None


def _tools(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for tool in body.get("tools") or ():
        if isinstance(tool, dict) and isinstance(tool.get("name"), str):
            yield tool["name"], tool.get("input_schema") or {"type": "object"}
