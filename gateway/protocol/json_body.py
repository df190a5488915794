"""A JSON request body, refused with a clear text when it is malformed or hostile.

orjson reads the whole body once: that costs less than any scan of the bytes would, and it refuses
wrong UTF-8, control characters, lone surrogates, NaN and numbers that no double can hold.
"""

import msgspec
import orjson

from gateway.protocol.invalid import InvalidRequest

MAX_DEPTH = 64


def check_json(body: bytes) -> None:
    """Raises InvalidRequest for a body that may not be passed on."""
    value = parse_json(body)
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b""):
        raise InvalidRequest(
            "The request has a NUL character (\\u0000) in a string. Remove it.",
            code="invalid_json",
        )
    _check_depth(value)


def parse_json(body: bytes) -> object:
    """The body as Python values. Raises InvalidRequest that says where the JSON breaks."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(_syntax_message(str(error)), code="invalid_json") from error


def wrong_type(error: msgspec.ValidationError) -> InvalidRequest:
    """The error for a field of another type than its own."""
    text, _, path = str(error).partition(" - at `$")
    param = path.rstrip("`").lstrip(".") or None
    if param is None:
        return InvalidRequest("The request must be a JSON object.", code="invalid_type")
    return InvalidRequest(
        f"Invalid value for '{param}': {text[:1].lower()}{text[1:]}.",
        param=param,
        code="invalid_type",
    )


def _check_depth(value: object) -> None:
    """Goes down level by level, so that a deep body costs no recursion."""
    level: list[dict[str, object] | list[object]]
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise too_deep()


def too_deep() -> InvalidRequest:
    return InvalidRequest(f"The request nests deeper than {MAX_DEPTH} levels.", code="invalid_json")


def _syntax_message(reason: str) -> str:
    if "low surrogate" in reason or "high surrogate" in reason:
        return f"The request has half of a surrogate pair in a string: {reason}."
    if "UTF-8" in reason:
        return "The request is not UTF-8."
    if "infinity" in reason:
        return f"The request has a number that is not finite: {reason}."
    if "depth limit" in reason:
        return str(too_deep())
    return f"The request is not valid JSON: {reason}."
