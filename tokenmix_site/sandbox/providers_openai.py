"""The stand-in for OpenAI and every host that speaks chat completions."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson

from tokenmix_site.sandbox.faults import Plan
from tokenmix_site.sandbox.providers_answers import Answer, Asked, last_prompt

# OpenAI answers 400 to fields it does not know; these are the ones that gateways' clients send.
_UNKNOWN = ("models", "provider", "transforms", "route", "usage", "reasoning", "plugins")
_ERRORS = {
    400: ("invalid_request_error", None, "The request is wrong in some way."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: sand****box."),
    402: ("insufficient_quota", "insufficient_quota", "Insufficient Balance"),
    403: ("invalid_request_error", None, "You are not allowed to sample from this model"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again in 1s."),
    503: ("service_unavailable_error", "server_is_overloaded", "The engine is overloaded."),
}
_MAX_CHOICES = 8


class OpenAIWire:
    """Chat completions: what is refused, what is answered, in which bytes."""

    path = "/v1/chat/completions"

    def is_authorized(self, headers: Mapping[str, str]) -> bool:
        return headers.get("authorization") == "Bearer sandbox"

    def refusal(self, body: Any) -> tuple[int, bytes] | None:
        """The error for a request that the real one refuses too."""
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list):
            return 400, self.error(400, "Missing required parameter: 'messages'.", "messages")
        if not isinstance(body.get("model"), str):
            return 400, self.error(400, "you must provide a model parameter", "model")
        for name in _UNKNOWN:
            if name in body:
                message = f"Unrecognized request argument supplied: {name}"
                return 400, self.error(400, message, name)
        if body.get("stream_options") is not None and not body.get("stream"):
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            return 400, self.error(400, message, "stream_options")
        return None

    def error(self, status: int, message: str = "", param: str | None = None) -> bytes:
        kind, code, usual = _ERRORS.get(
            status, ("server_error", None, "The server had an error while processing your request.")
        )
        error = {"message": message or usual, "type": kind, "param": param, "code": code}
        return orjson.dumps({"error": error})

    def asked(self, body: Mapping[str, Any]) -> Asked:
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        return Asked(
            body=body,
            prompt=last_prompt(body),
            limit=limit if isinstance(limit, int) else None,
            schema=_schema(body.get("response_format")),
            tools=tuple(_tools(body)),
            forced_tool=_forced(body.get("tool_choice")),
        )

    def choices(self, body: Mapping[str, Any]) -> int:
        n = body.get("n")
        return min(n, _MAX_CHOICES) if isinstance(n, int) and n > 0 else 1

    def whole(self, body: Mapping[str, Any], answer: Answer, plan: Plan, now: int) -> bytes:
        count = self.choices(body)
        fields = {
            **_head(body, now, "chat.completion"),
            "choices": [
                {
                    "index": index,
                    "message": _message(answer),
                    "logprobs": None,
                    "finish_reason": _finish(answer),
                }
                for index in range(count)
            ],
        }
        if plan.usage != "none":
            fields["usage"] = _usage(answer, count)
        return orjson.dumps(fields)

    def frames(
        self, body: Mapping[str, Any], answer: Answer, plan: Plan, now: int
    ) -> Iterator[bytes]:
        """The chunks of a stream, one by one."""
        options = body.get("stream_options") or {}
        asked = bool(options.get("include_usage")) and plan.usage != "none"
        head = _head(body, now, "chat.completion.chunk")
        count = self.choices(body)

        def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
            fields = {**head, "choices": [choice]}
            return _frame({**fields, "usage": None} if asked else fields)

        for index in range(count):
            role = {"role": "assistant", "content": None if answer.tools else "", "refusal": None}
            yield chunk(index, role)
        for delta in _deltas(answer):
            for index in range(count):
                yield chunk(index, delta)
        for index in range(count):
            yield chunk(index, {}, _finish(answer))
        if asked:
            yield _frame({**head, "choices": [], "usage": _usage(answer, count)})
        yield b"data: [DONE]\n\n"

    def error_frame(self) -> bytes:
        return b"data: " + self.error(500) + b"\n\n"


def _head(body: Mapping[str, Any], now: int, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid4().hex[:24]}",
        "object": kind,
        "created": now,
        "model": f"{body['model']}-sandbox",
        "service_tier": "default",
        "system_fingerprint": "fp_sandbox",
    }


def _frame(fields: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def _finish(answer: Answer) -> str:
    if answer.is_cut_short:
        return "length"
    if answer.is_refused:
        return "content_filter"
    return "tool_calls" if answer.tools else "stop"


def _call_id(n: int) -> str:
    return f"call_sandbox{n:08d}"


def _message(answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if answer.tools else answer.text,
        "refusal": None,
        "annotations": [],
    }
    if answer.thinking:
        message["reasoning_content"] = "".join(answer.thinking)
    if answer.tools:
        message["tool_calls"] = [
            {
                "id": _call_id(n),
                "type": "function",
                "function": {"name": tool.name, "arguments": tool.arguments},
            }
            for n, tool in enumerate(answer.tools)
        ]
    return message


def _deltas(answer: Answer) -> Iterator[dict[str, Any]]:
    for piece in answer.thinking:
        yield {"reasoning_content": piece}
    for piece in answer.pieces:
        yield {"content": piece}
    for n, tool in enumerate(answer.tools):
        function = {"name": tool.name, "arguments": ""}
        call = {"index": n, "id": _call_id(n), "type": "function", "function": function}
        yield {"tool_calls": [call]}
        for start in range(0, len(tool.arguments), 8):
            piece = tool.arguments[start : start + 8]
            yield {"tool_calls": [{"index": n, "function": {"arguments": piece}}]}


def _usage(answer: Answer, choices: int) -> dict[str, Any]:
    output = answer.output_tokens * choices
    inputs = {"cached_tokens": answer.cached_tokens, "audio_tokens": 0}
    if answer.written_tokens:
        inputs["cache_write_tokens"] = answer.written_tokens
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": output,
        "total_tokens": answer.input_tokens + output,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    schema = (wanted.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else {"type": "object"}


def _tools(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for tool in body.get("tools") or ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            yield str(function.get("name")), function.get("parameters") or {"type": "object"}


def _forced(choice: Any) -> str:
    if choice == "required":
        return "*"
    if isinstance(choice, dict):
        return str((choice.get("function") or {}).get("name") or "")
    return ""
