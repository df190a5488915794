"""A client and server in one: calls an ASGI application and keeps every message of its answer."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    is_complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The stream's events: JSON, or the text where it is none."""
        return [
            json.loads(line[6:]) if line[6:7] == b"{" else line[6:].decode()
            for line in self.body.split(b"\n\n")
            if line.startswith(b"data: ")
        ]

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or ""
            for event in self.events
            if isinstance(event, dict)
            for choice in event.get("choices", ())
        )


class Client:
    """One request. `leave()` disconnects; `leave_after` does after so many pieces of the answer."""

    def __init__(
        self,
        application: Any,
        *,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        body: bytes | list[bytes] = b"",
        headers: dict[str, str] | None = None,
        leave_after: int | None = None,
    ) -> None:
        self.application = application
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
        }
        self.answer = Answer()
        self.left = asyncio.Event()
        self._parts = [body] if isinstance(body, bytes) else list(body)
        self._leave_after = leave_after

    def leave(self) -> None:
        self.left.set()

    async def receive(self) -> dict[str, Any]:
        if self._parts and not self.left.is_set():
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        answer = self.answer
        assert not answer.is_complete, "Sent after the answer was complete."
        if message["type"] == "http.response.start":
            assert not answer.status, "Started twice."
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            return
        assert answer.status, "Body before the start."
        if message["body"]:
            answer.pieces.append(message["body"])
            answer.times.append(time.monotonic())
        if self._leave_after is not None and len(answer.pieces) >= self._leave_after:
            self.leave()
        if not message.get("more_body"):
            answer.is_complete = True
            self.left.set()

    async def run(self) -> Answer:
        await asyncio.wait_for(self.application(self.scope, self.receive, self.send), 20)
        return self.answer


async def eventually(claim: Callable[[], object], within_s: float = 3.0) -> bool:
    ends_at = time.monotonic() + within_s
    while not claim() and time.monotonic() < ends_at:  # noqa: ASYNC110  (any claim, no event)
        await asyncio.sleep(0.01)
    return bool(claim())
