"""HTTP/1.1 towards upstreams: one connection, one answer at a time, and a pool of idle ones.

Ours, since hanging up must close the upstream at once, at any moment, without cancelling anything:
`abort` does, deadlines fail the reader in place, and a slow reader stops the socket.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import httptools

MAX_HEADER_BYTES = 64 * 1024
PAUSE_ABOVE_BYTES = 64 * 1024
MAX_IDLE_PER_HOST = 256
MAX_IDLE_S = 30.0


class Failure(StrEnum):
    """Why no whole answer came."""

    CONNECT = "connect"  # no connection: refused, unreachable, name unknown
    TLS = "tls"
    TIMEOUT = "timeout"  # connecting, first byte, idle or total
    CUT = "cut"  # the connection ended in the middle
    PROTOCOL = "protocol"  # not HTTP, or more headers than we take
    TOO_LARGE = "too_large"  # a body above the limit
    ABORTED = "aborted"  # we hung up


class UpstreamFailed(Exception):  # noqa: N818  (named for what happened)
    """The upstream gave no answer, or not the whole of it."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `idle_s` is the longest silence once the answer has begun."""

    connect_s: float = 5.0
    first_byte_s: float = 120.0
    idle_s: float = 60.0
    total_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What a pooled connection is connected to."""

    is_tls: bool
    host: str
    port: int
    may_be_private: bool


class Connection(asyncio.Protocol):
    """One socket. `begin` sends a request; then `head`, `read` until b"", then `end`."""

    def __init__(self, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.was_used = False  # has carried an answer before this one
        self.status = 0
        self.headers: dict[str, str] = {}
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reset()

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._header_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_head = False
        self._is_whole = False
        self._is_kept_alive = False
        self._has_excess = False
        self._is_paused = False
        self._is_busy = False
        self._failed: UpstreamFailed | None = None
        self.has_received = False
        self.headers = {}

    # The life of the socket.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's are not subclasses

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._ended_by_peer()

    def eof_received(self) -> None:
        self._ended_by_peer()

    def _ended_by_peer(self) -> None:
        if not self._is_busy or self._is_whole or self._failed:
            return
        if self._has_head and not self._is_framed():
            self._is_whole = True  # a body without a length ends with the connection
            self._wake()
        else:
            self._fail(Failure.CUT, "The upstream closed the connection.")

    def _is_framed(self) -> bool:
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    # One exchange.

    def begin(self, request: bytes, timeouts: Timeouts, started: float) -> None:
        """Send the request. The deadlines count from `started`, on the loop's clock."""
        assert self._transport is not None
        if self.was_used:
            self._reset()
        self._is_busy = True
        self._idle_s = timeouts.idle_s
        self._ends_at = started + timeouts.total_s
        self._expires_at = min(self._loop.time() + timeouts.first_byte_s, self._ends_at)
        self._timer = self._loop.call_at(self._expires_at, self._check_deadline)
        self._transport.write(request)

    async def head(self) -> None:
        """Wait until `status` and `headers` are there. Raises UpstreamFailed."""
        while not self._has_head and self._failed is None:
            await self._wait()
        if self._failed and not self._has_head:
            raise self._failed

    async def read(self) -> bytes:
        """All that has come since, together; b"" when it is whole. Raises UpstreamFailed."""
        while not self._chunks:
            if self._is_whole:
                return b""
            if self._failed:
                raise self._failed
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        if self._is_paused:
            self._resume()
        return data

    def end(self) -> bool:
        """The exchange is over. True: the connection may carry another; else it is closed now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._is_busy = False
        self.was_used = True
        can_go_on = (
            self._is_whole
            and self._failed is None
            and self.is_open
            and self._is_framed()
            and self._is_kept_alive
        )
        if not can_go_on:
            self.close()
        return can_go_on

    def abort(self, failure: Failure = Failure.ABORTED, message: str = "We hung up.") -> None:
        """Close the socket now; whoever reads gets UpstreamFailed."""
        self._fail(failure, message)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # Waiting, with one timer per exchange that is moved lazily.

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Failure, message: str) -> None:
        if self._failed is None and not self._is_whole:
            self._failed = UpstreamFailed(failure, message)
        self.close()
        self._wake()

    def _check_deadline(self) -> None:
        self._timer = None
        if self._is_whole or self._failed is not None or not self._is_busy:
            return
        expires_at = self._ends_at if self._is_paused else self._expires_at
        if self._loop.time() >= expires_at:
            self._fail(Failure.TIMEOUT, "The upstream took too long.")
        else:
            self._timer = self._loop.call_at(expires_at, self._check_deadline)

    def _pause(self) -> None:
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        self._is_paused = False
        self._expires_at = min(self._loop.time() + self._idle_s, self._ends_at)
        if self._transport is not None:
            self._transport.resume_reading()

    # What arrives.

    def data_received(self, data: bytes) -> None:
        if not self._is_busy or self._is_whole:
            self.close()  # bytes that nobody asked for: never the start of the next answer
            return
        self.has_received = True
        self._expires_at = min(self._loop.time() + self._idle_s, self._ends_at)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(Failure.PROTOCOL, f"The upstream does not speak HTTP/1.1: {error}.")
            return
        self._wake()

    def on_message_begin(self) -> None:
        if self._is_whole:  # bytes behind the answer: not to be trusted, nor the connection
            self._has_excess = True
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_excess:
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._fail(Failure.PROTOCOL, "The upstream sent too many headers.")
            return
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._has_excess:
            return
        self.status = self._parser.get_status_code()
        self._has_head = self.status >= 200  # noqa: PLR2004  (1xx: the real head follows)
        if not self._has_head:
            self.headers = {}

    def on_body(self, body: bytes) -> None:
        if self._has_excess:
            return
        self._chunks.append(body)
        self._buffered_bytes += len(body)
        if self._buffered_bytes > PAUSE_ABOVE_BYTES:
            self._pause()

    def on_message_complete(self) -> None:
        if self._has_head:
            self._is_whole = True
            self._is_kept_alive = self._parser.should_keep_alive()


class Pool:
    """Idle connections by origin, newest first. Nothing here waits for a free one."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}

    def take(self, origin: Origin, now: float) -> Connection | None:
        stack = self._idle.get(origin)
        while stack:
            connection = stack.pop()
            if connection.is_open and now - connection.idle_since < MAX_IDLE_S:
                return connection
            connection.close()
        return None

    def put(self, connection: Connection, now: float) -> None:
        stack = self._idle.setdefault(connection.origin, [])
        if len(stack) >= MAX_IDLE_PER_HOST:
            connection.close()
            return
        connection.idle_since = now
        stack.append(connection)
        if stack[0].idle_since < now - MAX_IDLE_S:
            stack.pop(0).close()

    def close(self) -> None:
        for stack in self._idle.values():
            for connection in stack:
                connection.close()
        self._idle.clear()


async def connect(
    origin: Origin, addresses: list[str], context: ssl.SSLContext, timeout_s: float
) -> Connection:
    """A new connection to the first address that takes it. Raises UpstreamFailed."""
    loop = asyncio.get_running_loop()
    last: UpstreamFailed | None = None
    try:
        async with asyncio.timeout(timeout_s):
            for address in addresses:
                try:
                    return await _connect_one(origin, address, context, loop)
                except ssl.SSLError as error:
                    last = UpstreamFailed(Failure.TLS, f"TLS with the upstream failed: {error}.")
                except OSError as error:
                    last = UpstreamFailed(
                        Failure.CONNECT, f"No connection to the upstream: {error}."
                    )
    except TimeoutError as error:
        raise UpstreamFailed(
            Failure.TIMEOUT, "Connecting to the upstream took too long."
        ) from error
    raise last or UpstreamFailed(Failure.CONNECT, "The upstream's name has no address.")


async def _connect_one(
    origin: Origin, address: str, context: ssl.SSLContext, loop: asyncio.AbstractEventLoop
) -> Connection:
    _, connection = await loop.create_connection(
        lambda: Connection(origin, loop),
        address,
        origin.port,
        ssl=context if origin.is_tls else None,
        server_hostname=origin.host if origin.is_tls else None,
    )
    return connection


def request_bytes(path: str, host: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire. Raises ValueError for a header that would break it."""
    lines = [f"POST {path} HTTP/1.1\r\nhost: {host}\r\n"]
    for name, value in headers.items():
        if "\r" in value or "\n" in value or "\n" in name or "\r" in name:
            raise ValueError(f"The header {name!r} has a line break.")
        lines.append(f"{name}: {value}\r\n")
    lines.append(f"accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n")
    return "".join(lines).encode("latin-1") + body
