"""A chat completion request: the fields that we act on, typed; the rest stays the bytes it was.

Unknown fields never fail a request, and go on to an upstream that speaks the same protocol.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.protocol.invalid import InvalidRequest
from gateway.protocol.json_body import check_json, wrong_type

MAX_CHOICES = 128
MAX_FALLBACK_MODELS = 32

# OpenRouter's fields, which speak to the gateway; OpenAI answers 400 to them.
GATEWAY_FIELDS = (
    "models", "provider", "usage", "transforms", "route", "plugins", "reasoning",
    "include_reasoning",
)  # fmt: skip
_RAW_NONE = msgspec.Raw(b"")
_NULL = b"null"


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class UsageOptions(msgspec.Struct, frozen=True):
    include: bool | None = None


class ReasoningOptions(msgspec.Struct, frozen=True):
    """OpenRouter's `reasoning`."""

    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None


class ChatRequest(msgspec.Struct, kw_only=True):
    """What the gateway reads of a request. `messages` and `tools` are the bytes as they came."""

    model: str
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    service_tier: str | None = None
    reasoning_effort: str | None = None
    reasoning: ReasoningOptions | None = None
    tools: msgspec.Raw = _RAW_NONE
    functions: msgspec.Raw = _RAW_NONE
    response_format: msgspec.Raw = _RAW_NONE
    models: list[str] | None = None
    provider: dict[str, Any] | None = None
    usage: UsageOptions | None = None
    # Set by us after decoding; a key that no client sends keeps `body` free for theirs.
    body: bytes = msgspec.field(default=b"", name="\x7fbody")

    @property
    def is_stream(self) -> bool:
        return bool(self.stream)

    @property
    def wants_usage(self) -> bool:
        """The client asked for the usage chunk of a stream."""
        asked = self.stream_options is not None and self.stream_options.include_usage
        return bool(asked or (self.usage is not None and self.usage.include))

    @property
    def choices(self) -> int:
        return 1 if self.n is None else self.n

    @property
    def output_limit(self) -> int | None:
        """The caller's own limit of output tokens."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens

    @property
    def has_tools(self) -> bool:
        return _is_given(self.tools) or _is_given(self.functions)

    @property
    def has_images(self) -> bool:
        return b'"image_url"' in memoryview(self.messages).tobytes()


_request_decoder = msgspec.json.Decoder(ChatRequest)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse_chat_request(body: bytes) -> ChatRequest:
    """The request of a body. Raises InvalidRequest."""
    check_json(body)
    try:
        request = _request_decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _explained(error) from error
    request.body = body
    _check(request)
    return request


def splice(
    body: bytes,
    *,
    model: str,
    max_output_tokens: int | None,
    quirks: Mapping[str, object],
    include_usage: bool,
) -> bytes:
    """The same request for an upstream of the same protocol; what we do not set passes untouched.

    Fields are joined anew from their own bytes, so a key given twice is sent once. `include_usage`
    asks a stream for its usage, whatever the client said. Quirks: docs in adapters/openai_chat.
    """
    fields = _fields_decoder.decode(body)
    _set(fields, "model", model)
    _splice_limit(fields, max_output_tokens, quirks)
    _splice_reasoning(fields)
    for name in GATEWAY_FIELDS:
        fields.pop(name, None)
    for name in _names(quirks.get("drop_params")):
        fields.pop(name, None)
    _splice_stream_options(
        fields, include_usage=include_usage and not quirks.get("no_stream_options")
    )
    return b"{" + b",".join(b'"%b":%b' % (_key(k), v) for k, v in fields.items()) + b"}"


def _splice_limit(
    fields: dict[str, msgspec.Raw], limit: int | None, quirks: Mapping[str, object]
) -> None:
    """One limit under the name that the upstream knows."""
    given = {
        name: fields.pop(name)
        for name in ("max_completion_tokens", "max_tokens")
        if name in fields and bytes(fields[name]) != _NULL
    }
    fields.pop("max_completion_tokens", None)
    fields.pop("max_tokens", None)
    name = quirks.get("max_tokens_field") or next(iter(given), "max_tokens")
    if limit is not None:
        _set(fields, str(name), limit)
    elif given:
        fields[str(name)] = next(iter(given.values()))


def _splice_reasoning(fields: dict[str, msgspec.Raw]) -> None:
    """OpenRouter's `reasoning.effort` in OpenAI's word."""
    if "reasoning" not in fields or "reasoning_effort" in fields:
        return
    options = msgspec.json.decode(fields["reasoning"], type=ReasoningOptions | None)
    if options is not None and options.effort:
        _set(fields, "reasoning_effort", options.effort)


def _splice_stream_options(fields: dict[str, msgspec.Raw], *, include_usage: bool) -> None:
    if not include_usage or bytes(fields.get("stream", _RAW_NONE)) != b"true":
        return
    options: dict[str, Any] = {}
    if "stream_options" in fields:
        options = msgspec.json.decode(fields["stream_options"]) or {}
    if options.get("include_usage") is not True:
        options["include_usage"] = True
        _set(fields, "stream_options", options)


def _check(request: ChatRequest) -> None:
    if not request.model.strip():
        raise InvalidRequest("Say which model to call in 'model'.", param="model")
    _check_messages(bytes(request.messages))
    _check_range("n", request.n, 1, MAX_CHOICES)
    _check_range("max_tokens", request.max_tokens, 1, 2**31)
    _check_range("max_completion_tokens", request.max_completion_tokens, 1, 2**31)
    if request.models is not None and len(request.models) > MAX_FALLBACK_MODELS:
        raise InvalidRequest(
            f"'models' has more than {MAX_FALLBACK_MODELS} entries.", param="models"
        )


def _check_messages(messages: bytes) -> None:
    if messages[:1] != b"[":
        raise InvalidRequest(
            "Invalid value for 'messages': expected an array of messages.",
            param="messages",
            code="invalid_type",
        )
    if not messages[1:-1].strip():
        raise InvalidRequest("'messages' is empty: send at least one message.", param="messages")


def _check_range(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise InvalidRequest(
            f"Invalid value for '{name}': expected {least} to {most}, got {value}.",
            param=name,
            code="invalid_value",
        )


def _explained(error: msgspec.ValidationError) -> InvalidRequest:
    text = str(error)
    if "missing required field" in text:
        name = text.partition("`")[2].partition("`")[0]
        return InvalidRequest(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    return wrong_type(error)


def _is_given(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", _NULL, b"[]")


def _set(fields: dict[str, msgspec.Raw], name: str, value: object) -> None:
    fields[name] = msgspec.Raw(msgspec.json.encode(value))


def _key(name: str) -> bytes:
    return msgspec.json.encode(name)[1:-1]


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, list | tuple) else ()
