"""The one HTTP client towards upstreams: opened lazily, closed with the process.

No proxies from the environment, no redirects, no content coding. A host of the other mode is never
called, and only hosts that say so may have a private address.
"""

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

import certifi

from catalog.routes import Host, Route
from gateway.adapters.base import UpstreamRequest
from gateway.http1 import (
    Connection,
    Failure,
    Origin,
    Pool,
    Timeouts,
    UpstreamFailed,
    connect,
    request_bytes,
)

__all__ = [
    "Failure",
    "HangUp",
    "Timeouts",
    "UpstreamAnswer",
    "UpstreamFailed",
    "close_client",
    "open_answer",
]

MAX_BODY_BYTES = 20 * 1024 * 1024
USER_AGENT = "TokenMix/1"
_NAT64 = ipaddress.ip_network("64:ff9b::/32")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
_V4_COMPATIBLE = ipaddress.ip_network("::/96")
_WIRE_SERVER = ipaddress.ip_address("168.63.129.16")  # a cloud's own address, public by number


class WrongMode(Exception):  # noqa: N818  (named for what is wrong)
    """The route's host is not of this installation's mode: nothing is sent to it."""


class UpstreamAnswer:
    """An upstream's answer while it comes. `close` it in `finally`; `abort` wakes the reader."""

    __slots__ = ("_client", "_connection", "_hang_up", "_is_closed", "headers", "status")

    def __init__(self, client: "UpstreamClient", connection: Connection, hang_up: "HangUp") -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._client = client
        self._connection = connection
        self._hang_up = hang_up
        self._is_closed = False

    async def read(self) -> bytes:
        """What has come since the last read; b"" at the end. Raises UpstreamFailed."""
        return await self._connection.read()

    async def body(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """All of it. Raises UpstreamFailed, also when it is larger than `limit`."""
        parts: list[bytes] = []
        size = 0
        while data := await self.read():
            size += len(data)
            if size > limit:
                self.abort()
                raise UpstreamFailed(Failure.TOO_LARGE, f"The answer is larger than {limit} bytes.")
            parts.append(data)
        return b"".join(parts)

    def abort(self) -> None:
        """Hang up now. Whoever reads gets UpstreamFailed(ABORTED)."""
        if not self._is_closed:
            self._connection.abort()

    def close(self) -> None:
        """A whole answer's connection is kept for the next call; any other is closed now."""
        if not self._is_closed:
            self._is_closed = True
            self._hang_up.detach()
            self._client.give_back(self._connection)


class HangUp:
    """Ends a call's upstream side from outside, whatever it is doing at that moment."""

    __slots__ = ("_connection", "is_pulled")

    def __init__(self) -> None:
        self.is_pulled = False
        self._connection: Connection | None = None

    def attach(self, connection: Connection) -> None:
        self._connection = connection
        if self.is_pulled:
            connection.abort()

    def detach(self) -> None:
        """The connection is about to serve another call."""
        self._connection = None

    def pull(self) -> None:
        self.is_pulled = True
        if self._connection is not None:
            self._connection.abort()


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a route's requests go, worked out once per route."""

    origin: Origin
    path: str
    host_header: str
    fixed_headers: tuple[tuple[str, str], ...]


class UpstreamClient:
    """Connections of one event loop."""

    def __init__(self) -> None:
        self._pool = Pool()
        self._tls = ssl.create_default_context(cafile=certifi.where())
        self._targets: dict[int, tuple[Route, _Target]] = {}
        self._open: set[Connection] = set()

    async def open(
        self,
        request: UpstreamRequest,
        route: Route,
        *,
        mode: str,
        timeouts: Timeouts,
        hang_up: HangUp | None = None,
    ) -> UpstreamAnswer:
        """Send, and wait for status and headers. Raises UpstreamFailed or WrongMode.

        A kept connection that closes before its first byte is replaced by a new one, once: the
        upstream ended it while it was idle, and had not taken the request.
        """
        if route.host.mode != mode:
            raise WrongMode(f"The host {route.host.slug!r} is not a {mode} host.")
        target = self._target(route)
        headers = {**dict(target.fixed_headers), **request.headers}
        data = request_bytes(target.path, target.host_header, headers, request.body)
        started = asyncio.get_running_loop().time()
        hang_up = hang_up or HangUp()
        connection = self._pool.take(target.origin, started)
        if connection is not None:
            try:
                return await self._exchange(connection, data, timeouts, started, hang_up)
            except UpstreamFailed as failed:
                if failed.failure is not Failure.CUT or connection.has_received:
                    raise
        connection = await self._connect(target.origin, timeouts.connect_s)
        return await self._exchange(connection, data, timeouts, started, hang_up)

    async def _exchange(
        self,
        connection: Connection,
        data: bytes,
        timeouts: Timeouts,
        started: float,
        hang_up: HangUp,
    ) -> UpstreamAnswer:
        self._open.add(connection)
        try:
            connection.begin(data, timeouts, started)
            hang_up.attach(connection)
            await connection.head()
        except BaseException:  # also a cancellation: nothing stays open upstream
            hang_up.detach()
            connection.abort()
            self.give_back(connection)
            raise
        return UpstreamAnswer(self, connection, hang_up)

    def give_back(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection.end():
            self._pool.put(connection, asyncio.get_running_loop().time())

    async def _connect(self, origin: Origin, timeout_s: float) -> Connection:
        return await connect(origin, await _addresses(origin, timeout_s), self._tls, timeout_s)

    def _target(self, route: Route) -> _Target:
        known = self._targets.get(route.id)
        if known is not None and known[0] is route:
            return known[1]
        target = _target_of(route)
        self._targets[route.id] = (route, target)
        return target

    @property
    def open_count(self) -> int:
        """Answers that are being waited for or read."""
        return len(self._open)

    def close(self) -> None:
        for connection in tuple(self._open):
            connection.abort()
        self._pool.close()


def _target_of(route: Route) -> _Target:
    host = route.host
    parts = urlsplit(host.base_url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    name = parts.hostname or ""
    return _Target(
        origin=Origin(is_tls, name, port, host.allows_private_addresses),
        path=parts.path.rstrip("/") + route.path,
        host_header=parts.netloc.rpartition("@")[2],
        fixed_headers=tuple(_fixed_headers(host)),
    )


def _fixed_headers(host: Host) -> list[tuple[str, str]]:
    credential = f"{host.auth_scheme} {host.secret}".strip()
    return [
        ("content-type", "application/json"),
        ("user-agent", USER_AGENT),
        *((name.lower(), value) for name, value in host.extra_headers.items()),
        (host.auth_header.lower(), credential),
    ]


async def _addresses(origin: Origin, timeout_s: float) -> list[str]:
    """The host's addresses that we may call. Raises UpstreamFailed."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise UpstreamFailed(Failure.TIMEOUT, "Its name was not found in time.") from error
    except (OSError, UnicodeError) as error:
        raise UpstreamFailed(Failure.CONNECT, f"Its name was not found: {error}.") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not origin.may_be_private:
        addresses = [address for address in addresses if is_public(address)]
        if not addresses:
            raise UpstreamFailed(Failure.CONNECT, "The upstream's address is a private one.")
    return addresses


def is_public(address: str) -> bool:
    """May a host on the internet have this address? Stricter than ipaddress.is_global."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if not ip.is_global or ip.is_multicast or ip == _WIRE_SERVER:
        return False
    return not any(ip in network for network in (_NAT64, _SIX_TO_FOUR, _V4_COMPATIBLE))


_clients: dict[asyncio.AbstractEventLoop, UpstreamClient] = {}


def client() -> UpstreamClient:
    """The running loop's client, made at its first use."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        found = _clients[loop] = UpstreamClient()
    return found


async def open_answer(
    request: UpstreamRequest, route: Route, *, mode: str, timeouts: Timeouts, hang_up: HangUp
) -> UpstreamAnswer:
    """Send `request` by `route`. Raises UpstreamFailed or WrongMode."""
    return await client().open(request, route, mode=mode, timeouts=timeouts, hang_up=hang_up)


async def close_client() -> None:
    """Close what the running loop has open, and forget it."""
    found = _clients.pop(asyncio.get_running_loop(), None)
    if found is not None:
        found.close()
