"""One HTTP request to /v1 and its answer, over ASGI: body limits, headers, and who has left."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from uuid import UUID

from gateway.errors import BODY_TOO_LARGE, ApiError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 20 * 1024 * 1024
LINGER_S = 5.0  # how long an unread body is thrown away, so that the error can be read
LINGER_BYTES = 64 * 1024 * 1024
KEEP_ALIVE_S = 15.0
LEAST_TICK_S = 1.0  # between two looks at a client that takes nothing
SEND_WITHIN_S = 60.0  # a client that takes nothing for so long has left
KEEP_ALIVE = b": keep-alive\n\n"
OPENAI_VERSION = (b"openai-version", b"2020-10-01")
JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
NO_BUFFERING = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class ClientLeft(Exception):  # noqa: N818  (named for what happened)
    """The client is gone, so there is nobody to answer."""


class Exchange:
    """The request's side and the answer's. `leave` is told by the server, at any moment."""

    def __init__(self, scope: Message, receive: Receive, send: Send, call_id: UUID) -> None:
        self.scope = scope
        self.call_id = call_id
        self.request_id = f"req_{call_id.hex}"
        self.started_at = time.perf_counter()
        self.is_gone = False
        self.has_started = False
        self.is_complete = False
        self.status = 0
        self.extra_headers: list[tuple[bytes, bytes]] = []  # of the answer, known before it starts
        self._receive = receive
        self._send = send
        self._has_whole_body = False
        self._on_leave: Callable[[], None] | None = None
        self._last_sent_at = 0.0
        self._keep_alive: asyncio.TimerHandle | None = None
        self._pings: set[asyncio.Task[None]] = set()
        self._sender: asyncio.Task[Any] | None = None  # waits for the client to take what we sent
        self._watcher: asyncio.Task[Any] | None = None

    # The request.

    def header(self, name: bytes) -> str:
        """A request header, or "" (names come in lower case)."""
        for key, value in self.scope["headers"]:
            if key == name:
                return bytes(value).decode("latin-1")
        return ""

    async def read_body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole body. Raises ApiError (413) without reading on, or ClientLeft."""
        length = self.header(b"content-length")
        if length.isdigit() and int(length) > limit:
            raise BODY_TOO_LARGE.error(limit=limit // 1024 // 1024)
        message = await self._next()
        body = message.get("body", b"")
        if message.get("more_body"):
            body = await self._read_on(bytearray(body), limit)
        self._has_whole_body = True
        return bytes(body)

    async def _read_on(self, body: bytearray, limit: int) -> bytearray:
        is_whole = False
        while not is_whole:
            message = await self._next()
            body += message.get("body", b"")
            is_whole = not message.get("more_body")
            if len(body) > limit:
                self._has_whole_body = is_whole
                raise BODY_TOO_LARGE.error(limit=limit // 1024 // 1024)
        return body

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.leave()
            raise ClientLeft
        return message

    # Whether anybody is there.

    def when_left(self, action: Callable[[], None]) -> None:
        """Do this once when the client leaves; at once if it has."""
        self._on_leave = action
        if self.is_gone:
            action()

    def leave(self) -> None:
        if self.is_gone or self.is_complete:
            return
        self.is_gone = True
        self.stop_keep_alive()
        if self._on_leave is not None:
            self._on_leave()

    async def watch(self) -> None:
        """Return when the answer is complete or the client has left. Needs the whole body read."""
        self._watcher = asyncio.current_task()
        try:
            while (await self._receive())["type"] != "http.disconnect":
                pass
        except asyncio.CancelledError:
            if self._watcher is not None:  # the server cancels us, as Daphne does
                raise
        finally:
            self._watcher = None
            self.leave()

    def give_up(self) -> None:
        """Let the server close the connection: nothing more is sent."""
        self.leave()
        sender, self._sender = self._sender, None
        watcher, self._watcher = self._watcher, None
        for task in (sender, watcher):
            if task is not None:
                task.cancel()

    # The answer.

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.has_started = True
        if self.is_gone:
            return
        elapsed_ms = int((time.perf_counter() - self.started_at) * 1000)
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    *headers,
                    (b"x-request-id", self.request_id.encode()),
                    (b"openai-processing-ms", b"%d" % elapsed_ms),
                    OPENAI_VERSION,
                    *self.extra_headers,
                ],
            }
        )

    async def send(self, data: bytes) -> None:
        """A piece of the body. When the client has left, nothing."""
        if self.is_gone:
            return
        await self._emit({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """The last piece: the answer is complete."""
        if not self.is_gone and not self.is_complete:
            self.is_complete = True
            await self._emit({"type": "http.response.body", "body": data, "more_body": False})
        self.stop_keep_alive()

    async def _emit(self, message: Message) -> None:
        """Send, while the keep-alive's timer watches that the client takes it."""
        self._last_sent_at = time.perf_counter()
        self._sender = asyncio.current_task()
        try:
            await self._send(message)
        except asyncio.CancelledError:
            if self._sender is not None:
                raise
            # We gave up on a client that takes nothing: the call goes on without it.
        finally:
            self._sender = None

    async def answer_json(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        length = (b"content-length", b"%d" % len(body))
        await self.start(status, [JSON, length, *headers])
        await self.finish(body)

    async def start_stream(self) -> None:
        """Status 200 is spent: from here on errors go into the stream."""
        if not self.has_started:
            await self.start(200, [EVENT_STREAM, *NO_BUFFERING])

    async def fail(self, error: ApiError) -> None:
        """Answer with an error, if no answer has begun."""
        if self.has_started or self.is_gone:
            return
        headers = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in error.headers]
        if self._has_whole_body or self.scope["method"] in {"GET", "HEAD"}:
            await self.answer_json(error.status, error.body, headers)
            return
        length = (b"content-length", b"%d" % len(error.body))
        await self.start(error.status, [JSON, length, (b"connection", b"close"), *headers])
        await self.send(error.body)
        await self._linger()
        await self.finish()

    async def _linger(self) -> None:
        """Throw away what is still being sent.

        Closing at once would reset the connection, and the client would not get to read the error.
        """
        size = 0
        try:
            async with asyncio.timeout(LINGER_S):
                while size <= LINGER_BYTES:
                    message = await self._next()
                    size += len(message.get("body", b""))
                    if not message.get("more_body"):
                        return
        except (TimeoutError, ClientLeft):
            return

    # Keep-alive: a comment whenever a stream has been silent; one timer, moved lazily.

    def keep_alive(self) -> None:
        """From now on, start the stream and send comments when nothing else is sent for 15 s."""
        self._last_sent_at = time.perf_counter()
        self._arm(KEEP_ALIVE_S)

    def stop_keep_alive(self) -> None:
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            self._keep_alive = None

    def _arm(self, delay_s: float) -> None:
        self._keep_alive = asyncio.get_running_loop().call_later(delay_s, self._ping)

    def _ping(self) -> None:
        silent_s = time.perf_counter() - self._last_sent_at
        self._arm(max(KEEP_ALIVE_S - silent_s, LEAST_TICK_S))
        if self._sender is not None:
            if silent_s > SEND_WITHIN_S:
                self.give_up()
        elif silent_s >= KEEP_ALIVE_S and not self._pings:
            task = asyncio.get_running_loop().create_task(self._send_ping())
            self._pings.add(task)
            task.add_done_callback(self._pings.discard)

    async def _send_ping(self) -> None:
        if not self.is_complete:
            await self.start_stream()
            await self.send(KEEP_ALIVE)
