"""Every error that the API answers with, in one table, in OpenAI's envelope.

Code switches on `type` and `code`; people read `message`: what happened, to what, what to do next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

NO_RETRY = ("x-should-retry", "false")


class ApiError(Exception):
    """One answer that is not a 2xx."""

    def __init__(
        self, kind: "Kind", message: str, param: str | None, headers: tuple[tuple[str, str], ...]
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = kind.status
        self.type = kind.type
        self.code = kind.code
        self.message = message
        self.param = param
        self.headers = headers

    @property
    def body(self) -> bytes:
        return error_body(self.message, self.type, self.code, self.param)


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table. `message` has the names of the values that `error` fills in."""

    status: int
    type: str
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = field(default=())

    def with_code(self, code: str | None) -> "Kind":
        """The same with a code that says more."""
        return replace(self, code=code) if code else self

    def error(
        self,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        **values: object,
    ) -> ApiError:
        added = tuple((headers or {}).items())
        return ApiError(self, self.message.format(**values), param, self.headers + added)


def error_body(message: str, type_: str, code: str | None, param: str | None = None) -> bytes:
    body = {"error": {"message": message, "type": type_, "param": param, "code": code}}
    return msgspec.json.encode(body)


_REQUEST = "invalid_request_error"
_SERVER = "server_error"
_BUSY = "service_unavailable_error"
_LIMIT = "rate_limit_error"
_QUOTA = "insufficient_quota"

MISSING_KEY = Kind(
    401,
    _REQUEST,
    "invalid_api_key",
    "You sent no API key. Send it as 'Authorization: Bearer sk-tm-…'. Make one at /keys/.",
)
INVALID_KEY = Kind(
    401, _REQUEST, "invalid_api_key", "Incorrect API key: {shown}. Your keys are at /keys/."
)
REVOKED_KEY = Kind(
    401, _REQUEST, "revoked_api_key", "This API key was revoked. Make a new one at /keys/."
)
INSUFFICIENT_QUOTA = Kind(
    402,
    _QUOTA,
    "insufficient_quota",
    "The wallet has {available} left, and this call needs {needed}. Top up at /wallet/.",
    (NO_RETRY,),
)
OUT_OF_CREDIT = Kind(  # in the middle of a stream, so its status is never seen
    402,
    _QUOTA,
    "insufficient_quota",
    "The wallet ran out while the answer was written; what you received was charged. "
    "Top up at /wallet/.",
    (NO_RETRY,),
)
WALLET_FROZEN = Kind(
    403,
    "permission_error",
    "wallet_frozen",
    "The wallet is frozen, so no calls are served. Ask the operator.",
    (NO_RETRY,),
)
UNKNOWN_URL = Kind(404, _REQUEST, "unknown_url", "Unknown request URL: {method} {path}.")
METHOD_NOT_ALLOWED = Kind(
    405, _REQUEST, "method_not_allowed", "{path} takes {allowed}, not {method}."
)
MODEL_NOT_FOUND = Kind(
    404, _REQUEST, "model_not_found", "The model '{model}' does not exist. See /models/."
)
MODEL_NOT_CALLABLE = Kind(
    404, _REQUEST, "model_not_callable", "The model '{model}' cannot be called: {reason}"
)
INVALID_REQUEST = Kind(400, _REQUEST, "invalid_request", "{message}")
CONTEXT_LENGTH_EXCEEDED = Kind(
    400,
    _REQUEST,
    "context_length_exceeded",
    "The model '{model}' takes {window} tokens, and this request has about {tokens}. Shorten it.",
)
UNSUPPORTED_CONTENT = Kind(
    400, _REQUEST, "unsupported_content", "The model '{model}' does not take {feature}."
)
UNSUPPORTED_VALUE = Kind(
    400, _REQUEST, "unsupported_value", "The model '{model}' has no {name} '{value}'."
)
NO_ROUTE = Kind(
    404,
    _REQUEST,
    "no_allowed_provider",
    "No provider of the model '{model}' is allowed by this request's 'provider' preferences.",
)
BODY_TOO_LARGE = Kind(
    413, _REQUEST, "request_too_large", "The request is larger than {limit} MB. Send less."
)
UPSTREAM_RATE_LIMITED = Kind(
    429,
    _LIMIT,
    "rate_limit_exceeded",
    "The provider of '{model}' limits our rate now; this is not your own limit. Try again shortly.",
    (("x-tm-rate-limited-by", "upstream"),),
)
UPSTREAM_FAILED = Kind(
    502,
    _SERVER,
    "upstream_error",
    "No provider of '{model}' could answer ({reason}). Nothing was charged. Try again.",
)
UPSTREAM_UNAVAILABLE = Kind(
    503,
    _BUSY,
    "upstream_unavailable",
    "Every provider of '{model}' fails at the moment. Nothing was charged. Try again shortly.",
)
UPSTREAM_TIMED_OUT = Kind(
    504,
    _SERVER,
    "upstream_timeout",
    "No provider of '{model}' answered in time. Nothing was charged. Try again.",
)
UPSTREAM_BROKE = Kind(  # in the middle of a stream, so its status is never seen
    502,
    _SERVER,
    "upstream_error",
    "The provider ended the answer before it was whole ({reason}). Only what you received was "
    "charged.",
)
OVERLOADED = Kind(
    503,
    _BUSY,
    "server_is_overloaded",
    "The gateway has as many calls in flight as it takes. Try again shortly.",
    (("retry-after", "1"),),
)
NOT_READY = Kind(
    503,
    _BUSY,
    "not_ready",
    "The gateway cannot take new calls at this moment. Nothing was charged. Try again shortly.",
    (("retry-after", "1"),),
)
NOT_SETTLED = Kind(
    503,
    _BUSY,
    "not_settled",
    "The charge of this answer could not be written down, so the answer is withheld. Try again.",
)
INTERNAL = Kind(
    500, _SERVER, "internal_error", "The gateway failed. The request id finds it in our log."
)


def table() -> dict[str, Kind]:
    """The whole table by name, for the documentation and its test."""
    return {name: kind for name, kind in globals().items() if isinstance(kind, Kind)}
