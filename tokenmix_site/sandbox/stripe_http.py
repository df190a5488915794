"""HTTP for the stand-in Stripe: a request and an answer as plain values, over bare ASGI."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

LARGEST_BODY_BYTES = 1_048_576

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BodyTooLarge(Exception):  # noqa: N818  (named for what is wrong)
    """Nothing that Stripe is asked is this large."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str  # below where the stand-in is mounted
    mount: str  # public address of that place, without a slash at the end
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(value: Any, *, status: int = 200) -> Answer:
    """Answer with JSON, indented as Stripe does."""
    return Answer(status=status, body=json.dumps(value, indent=2).encode())


def redirect(url: str) -> Answer:
    """Send the browser on with a GET."""
    return Answer(status=303, headers={"location": url}, content_type="text/plain")


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Read the whole request. Raises BodyTooLarge."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    root = scope.get("root_path", "")
    path = scope["path"]
    return Request(
        method=scope["method"],
        path=path.removeprefix(root) if root else path,
        mount=f"{scope.get('scheme', 'http')}://{headers.get('host', 'localhost')}{root}",
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        body=await _read_body(receive),
    )


async def send_answer(answer: Answer, send: Send) -> None:
    """Send the answer whole."""
    headers = {
        "content-type": answer.content_type,
        "content-length": str(len(answer.body)),
        "cache-control": "no-store",
        **answer.headers,
    }
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
    await send({"type": "http.response.body", "body": answer.body})


async def _read_body(receive: Receive) -> bytes:
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size > LARGEST_BODY_BYTES:
            raise BodyTooLarge
        pieces.append(piece)
        more = message.get("more_body", False)
    return b"".join(pieces)
