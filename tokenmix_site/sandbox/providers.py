"""Stand-in providers over ASGI: key, request, plan, answer; and a record of what was asked.

They speak the real wire protocols, count tokens truly, and fail on demand (see faults).
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol
from uuid import uuid4

import orjson

from tokenmix_site.sandbox.faults import BadFault, Faults, Plan, plan_of
from tokenmix_site.sandbox.providers_answers import Answer, Asked, compose
from tokenmix_site.sandbox.providers_anthropic import AnthropicWire
from tokenmix_site.sandbox.providers_openai import OpenAIWire

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LARGEST_BODY_BYTES = 40 * 1024 * 1024
LARGEST_RECORDED_BYTES = 16 * 1024
MAX_RECORDED = 1000
USUAL_PACE_S = 0.002


class Wire(Protocol):
    """A wire protocol from the provider's side."""

    path: str

    def is_authorized(self, headers: Mapping[str, str]) -> bool: ...

    def refusal(self, body: Any) -> tuple[int, bytes] | None: ...

    def error(self, status: int, message: str = "", param: str | None = None) -> bytes: ...

    def asked(self, body: Mapping[str, Any]) -> Asked: ...

    def whole(self, body: Mapping[str, Any], answer: Answer, plan: Plan, now: int) -> bytes: ...

    def frames(
        self, body: Mapping[str, Any], answer: Answer, plan: Plan, now: int
    ) -> Iterator[bytes]: ...

    def error_frame(self) -> bytes: ...


WIRES: Mapping[str, Wire] = {
    "openai": OpenAIWire(),
    "openai-b": OpenAIWire(),
    "anthropic": AnthropicWire(),
}


class Providers:
    """All stand-in providers of one process, with their queued faults and their records."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_RECORDED)
        self.totals: Counter[str] = Counter()

    async def serve(self, host: str, scope: Scope, receive: Receive, send: Send) -> None:
        """One request to a provider; `scope["path"]` is below the provider's mount."""
        wire = WIRES[host]
        raw = await read_body(receive)
        record = self._record(host, scope, raw)
        gone = asyncio.create_task(_gone(receive))
        try:
            await _Reply(wire, record, send, gone).run(self._plan, scope, raw)
        finally:
            gone.cancel()

    def control(self, method: str, path: str, raw: bytes) -> tuple[int, Any]:
        """`/_faults` and `/_requests`: read, add to, or clear (DELETE)."""
        if path == "/_requests":
            if method == "DELETE":
                self.requests.clear()
                self.totals.clear()
            return 200, {"totals": dict(self.totals), "requests": list(self.requests)}
        if method == "DELETE":
            self.faults.clear()
        elif method == "POST":
            try:
                self.faults.add(orjson.loads(raw))
            except (BadFault, orjson.JSONDecodeError, AttributeError) as error:
                return 400, {"error": str(error)}
        return 200, {"waiting": self.faults.waiting()}

    def _plan(self, host: str, prompt: str) -> Plan:
        return self.faults.next(host, plan_of([prompt]))

    def _record(self, host: str, scope: Scope, raw: bytes) -> dict[str, Any]:
        """What came, kept small; `ended` says how the answer went."""
        record = {
            "host": host,
            "method": scope["method"],
            "path": scope["path"],
            "at": time.time(),
            "status": None,
            "ended": "open",
            "chunks": 0,
            "body": _json_or_none(raw) if len(raw) <= LARGEST_RECORDED_BYTES else None,
            "body_bytes": len(raw),
        }
        self.requests.append(record)
        self.totals[host] += 1
        return record


class _Reply:
    """One answer on its way, broken where the plan says so."""

    def __init__(
        self, wire: Wire, record: dict[str, Any], send: Send, gone: asyncio.Task[None]
    ) -> None:
        self._wire = wire
        self._record = record
        self._send = send
        self._gone = gone

    async def run(self, plan_for: Callable[[str, str], Plan], scope: Scope, raw: bytes) -> None:
        refusal = self._refusal(scope, raw)
        if refusal is not None:
            await self._json(*refusal)
            return
        body = orjson.loads(raw)
        asked = self._wire.asked(body)
        plan = plan_for(self._record["host"], asked.prompt)
        if not await self._wait(plan.delay):
            return
        if plan.status is not None and plan.status >= 400:  # noqa: PLR2004  (HTTP errors)
            await self._json(plan.status, self._wire.error(plan.status), plan)
        elif body.get("stream"):
            await self._stream(body, compose(asked, plan), plan)
        else:
            await self._whole(body, compose(asked, plan), plan)

    def _refusal(self, scope: Scope, raw: bytes) -> tuple[int, bytes] | None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if not self._wire.is_authorized(headers):
            return 401, self._wire.error(401)
        if scope["path"] != self._wire.path:
            message = f"Invalid URL ({scope['method']} {scope['path']})"
            return 404, self._wire.error(404, message)
        if scope["method"] != "POST":
            return 405, self._wire.error(405, "Not allowed to use this method on this resource.")
        body = _json_or_none(raw)
        if body is None:
            return 400, self._wire.error(400, "We could not parse the JSON body of your request.")
        return self._wire.refusal(body)

    async def _whole(self, body: Mapping[str, Any], answer: Answer, plan: Plan) -> None:
        if plan.error is not None:
            await self._json(500, self._wire.error(500), plan)
            return
        data = self._wire.whole(body, answer, plan, int(time.time()))
        pace = USUAL_PACE_S if plan.pace is None else plan.pace
        if not await self._wait(pace * len(answer.pieces)):
            return
        await self._start(200, b"application/json", len(data), plan)
        if not await self._wait(plan.stall):
            return
        if plan.cut is not None:
            await self._part(data[: len(data) // 2])
            self._record["ended"] = "cut"
            return
        await self._end(data)

    async def _stream(self, body: Mapping[str, Any], answer: Answer, plan: Plan) -> None:
        await self._start(200, b"text/event-stream; charset=utf-8", None, plan)
        await self._part(b"")
        if not await self._wait(plan.stall):
            return
        pace = USUAL_PACE_S if plan.pace is None else plan.pace
        for n, frame in enumerate(self._wire.frames(body, answer, plan, int(time.time()))):
            if plan.cut == n:
                self._record["ended"] = "cut"  # returning unfinished closes the connection
                return
            if plan.error == n:
                await self._end(self._wire.error_frame())
                self._record["ended"] = "error"
                return
            await self._part(frame)
            self._record["chunks"] += 1
            if not await self._wait(pace):
                return
        await self._end(b"")

    async def _json(self, status: int, data: bytes, plan: Plan | None = None) -> None:
        await self._start(status, b"application/json", len(data), plan)
        await self._end(data)

    async def _start(
        self, status: int, content_type: bytes, length: int | None, plan: Plan | None
    ) -> None:
        request_id = f"req_{uuid4().hex}".encode()
        headers = [
            (b"content-type", content_type),
            (b"x-request-id", request_id),
            (b"request-id", request_id),
        ]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        if plan is not None and plan.retry_after is not None:
            headers.append((b"retry-after", f"{plan.retry_after:g}".encode()))
        self._record["status"] = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _part(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})
        self._record["ended"] = "complete"

    async def _wait(self, seconds: float) -> bool:
        """False once the client has gone."""
        if seconds > 0 and not self._gone.done():
            await asyncio.wait([self._gone], timeout=seconds)
        if self._gone.done():
            self._record["ended"] = "client_left"
            return False
        return True


async def read_body(receive: Receive) -> bytes:
    """The request's body; what is above the largest size is dropped."""
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size <= LARGEST_BODY_BYTES:
            pieces.append(piece)
        more = message.get("more_body", False)
    return b"".join(pieces)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json_or_none(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
