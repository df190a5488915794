"""Error bodies of providers, in whatever shape they come: read once, for every adapter."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.protocol.events import Failed

_LONGEST_MESSAGE = 4000
_LONGEST_WAIT_S = 3600
_CALLER_STATUSES = frozenset({400, 413, 415, 422})
_OURS = re.compile(
    r"credit balance|insufficient[ _]?(balance|quota|credit|fund)|arrear|overdue|billing"
    r"|api[ _-]?key|authenticat|rate[ _-]?limit|quota|recharge|spending limit"
    r"|model[ _]not[ _](found|exist|open)|invalid[ _]model|not a valid model|does not exist",
    re.IGNORECASE,
)
_MODERATED = re.compile(
    r"usage guidelines|content[ _](filter|policy|violat)|safety_check|data_inspection|sensitive",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _]length|context window|maximum context|(prompt|input) is too long"
    r"|too many (input )?tokens|range of input length",
    re.IGNORECASE,
)
CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"


@dataclass(frozen=True, slots=True)
class ErrorFields:
    message: str
    type: str = ""
    code: str = ""
    param: str = ""
    status: int | None = None  # when the body names one


def error_fields(body: bytes) -> ErrorFields:
    """What an error body says; its text where it is no JSON."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorFields(message=body[:_LONGEST_MESSAGE].decode("utf-8", "replace").strip())
    if isinstance(value, list) and value:  # Google wraps it in a list
        value = value[0]
    return fields_of(value) or ErrorFields(message="")


def fields_of(value: object) -> ErrorFields | None:  # noqa: PLR0911  (one for each shape)
    """The error in a JSON value, or None where there is none.

    Shapes: OpenAI `{error: {…}}`, xAI `{code, error: text}`, Mistral `{object: "error", message}`
    and `{detail}`, DashScope `{code, message}`, MiniMax `{base_resp: {status_code, status_msg}}`.
    """
    if not isinstance(value, Mapping):
        return None
    error = value.get("error")
    if isinstance(error, Mapping):
        return _nested(error)
    if isinstance(error, str) and error:
        return ErrorFields(message=error, code=_text(value.get("code")))
    base = value.get("base_resp")
    if isinstance(base, Mapping):
        return _base_resp(base)
    if "detail" in value:
        return ErrorFields(message=_text(value["detail"]))
    if "message" in value and "choices" not in value:
        return _nested(value)
    return None


def in_band_error(chunk: Mapping[str, Any]) -> Failed | None:
    """An error inside an answer that began with status 200."""
    if not chunk.get("error") and "base_resp" not in chunk and "choices" in chunk:
        return None
    fields = fields_of(chunk)
    if fields is None:
        return None
    return Failed(
        message=fields.message or "The upstream reported an error without a message.",
        type=fields.type or "server_error",
        code=fields.code,
        status=fields.status or 502,
    )


def _nested(error: Mapping[str, Any]) -> ErrorFields:
    code = error.get("code")
    status = error.get("status_code", code)
    is_status = isinstance(status, int) and 400 <= status <= 599  # noqa: PLR2004  (HTTP errors)
    return ErrorFields(
        message=_text(error.get("message"))[:_LONGEST_MESSAGE],
        type=_text(error.get("type") or error.get("status")),
        code=_text(code),
        param=_text(error.get("param")),
        status=status if is_status else None,
    )


def _base_resp(base: Mapping[str, Any]) -> ErrorFields | None:
    code = base.get("status_code")
    if not code:
        return None
    return ErrorFields(
        message=_text(base.get("status_msg"))[:_LONGEST_MESSAGE], type="base_resp", code=_text(code)
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def is_caller_fault(status: int, fields: ErrorFields) -> bool:
    """Whether the request would be refused anywhere.

    Keys, balances, limits and model names of an upstream are ours, whatever status it chose for
    them; refused content is the caller's.
    """
    words = f"{fields.type} {fields.code} {fields.message}"
    if is_too_long(fields):
        return status in _CALLER_STATUSES
    if status == 403:  # noqa: PLR2004  (HTTP)
        return bool(_MODERATED.search(words))
    return status in _CALLER_STATUSES and not _OURS.search(words)


def is_too_long(fields: ErrorFields) -> bool:
    return fields.code == CONTEXT_LENGTH_EXCEEDED or bool(_TOO_LONG.search(fields.message))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the upstream asks us to wait. A date would need a clock and is left out."""
    lowered = {name.lower(): value for name, value in headers.items()}
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait = float(lowered[name]) * scale
        except (KeyError, ValueError):
            continue
        if 0 <= wait <= _LONGEST_WAIT_S:
            return wait
    return None
