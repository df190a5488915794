import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from gateway import upstream
from gateway.adapters.base import UpstreamRequest
from gateway.upstream import Failure, Timeouts, UpstreamClient, UpstreamFailed, WrongMode
from tests.fakes.catalog import fake_host, fake_route

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REQUEST = UpstreamRequest(body=b'{"x":1}', headers={"x-test": "1"})
QUICK = Timeouts(connect_s=1, first_byte_s=0.3, idle_s=0.3, total_s=1)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Server:
    """A scripted upstream that counts its connections."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.made = 0
        self.open = 0
        self.requests: list[bytes] = []

    async def request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        data = head + await reader.readexactly(length)
        self.requests.append(data)
        return data

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        self.open += 1
        try:
            await self.handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[str]:
    running = await asyncio.start_server(server, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/base"
    finally:
        running.close()


def route_to(url: str, **host: object):
    return fake_route(host=fake_host(base_url=url, allows_private_addresses=True, **host))


async def eventually(claim: Callable[[], bool]) -> bool:
    for _ in range(100):
        if claim():
            return True
        await asyncio.sleep(0.01)
    return claim()


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    made = UpstreamClient()
    yield made
    made.close()
    await asyncio.sleep(0)


async def open_(client, url, timeouts=QUICK):
    return await client.open(REQUEST, route_to(url), mode="sandbox", timeouts=timeouts)


class TestAnswer:
    async def test_reads_a_whole_body_and_keeps_the_connection(self, client):
        async def handler(reader, writer):
            while True:
                await server.request(reader)
                writer.write(OK)

        server = Server(handler)
        async with serving(server) as url:
            for _ in range(3):
                answer = await open_(client, url)
                assert answer.status == 200
                assert await answer.body() == b"hi"
                answer.close()

        assert server.made == 1
        sent = server.requests[0].lower()
        assert sent.startswith(b"post /base/chat/completions http/1.1\r\n")
        assert b"accept-encoding: identity" in sent
        assert b"authorization: bearer secret-of-host" in sent
        assert b"x-test: 1" in sent

    async def test_replaces_a_connection_that_closed_while_idle(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(OK)
            await writer.drain()
            if server.made == 1:
                await reader.read(1)  # takes the next request's first byte, then hangs up

        server = Server(handler)
        async with serving(server) as url:
            for _ in range(2):
                answer = await open_(client, url)
                assert await answer.body() == b"hi"
                answer.close()

        assert server.made == 2

    async def test_reads_chunks_as_they_come(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for piece in (b"3\r\none\r\n", b"3\r\ntwo\r\n", b"0\r\n\r\n"):
                writer.write(piece)
                await asyncio.sleep(0.02)

        server = Server(handler)
        async with serving(server) as url:
            answer = await open_(client, url)
            got = [await answer.read(), await answer.read(), await answer.read()]
            answer.close()

        assert got == [b"one", b"two", b""]

    async def test_takes_a_body_without_a_length_until_the_end(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")

        server = Server(handler)
        async with serving(server) as url:
            answer = await open_(client, url)
            assert await answer.body() == b"all of it"
            answer.close()

    async def test_leaves_bytes_behind_the_answer(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(OK + b"HTTP/1.1 500 X\r\ncontent-length: 3\r\n\r\nbad")
            await reader.read()

        server = Server(handler)
        async with serving(server) as url:
            for _ in range(2):
                answer = await open_(client, url)
                assert (answer.status, await answer.body()) == (200, b"hi")
                answer.close()

        assert server.made == 2

    async def test_skips_an_interim_head(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
            await reader.read()

        server = Server(handler)
        async with serving(server) as url:
            answer = await open_(client, url)
            assert (answer.status, await answer.body()) == (200, b"hi")
            assert "link" not in answer.headers
            answer.close()


class TestFailures:
    async def failure(self, client, handler_bytes: bytes, *, then: float = 0) -> Failure:
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(handler_bytes)
            await writer.drain()
            await asyncio.sleep(then)

        server = Server(handler)
        async with serving(server) as url:
            with pytest.raises(UpstreamFailed) as caught:  # noqa: PT012  (the close is part)
                answer = await open_(client, url)
                try:
                    await answer.body(limit=1000)
                finally:
                    answer.close()
            assert client.open_count == 0
        return caught.value.failure

    async def test_is_cut_before_the_head(self, client):
        assert await self.failure(client, b"") is Failure.CUT

    async def test_is_cut_in_the_body(self, client):
        data = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"

        assert await self.failure(client, data) is Failure.CUT

    async def test_is_cut_in_a_chunk(self, client):
        data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"

        assert await self.failure(client, data) is Failure.CUT

    async def test_first_byte_is_late(self, client):
        assert await self.failure(client, b"", then=0.6) is Failure.TIMEOUT

    async def test_body_stalls(self, client):
        data = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"

        assert await self.failure(client, data, then=0.6) is Failure.TIMEOUT

    async def test_is_no_http(self, client):
        assert await self.failure(client, b"SSH-2.0-x\r\n\r\n") is Failure.PROTOCOL

    async def test_length_and_chunks_at_once_is_no_http(self, client):
        both = b"content-length: 2\r\ntransfer-encoding: chunked"
        data = b"HTTP/1.1 200 OK\r\n" + both + b"\r\n\r\n0\r\n\r\n"

        assert await self.failure(client, data) is Failure.PROTOCOL

    async def test_headers_without_end(self, client):
        lines = (b"h%d: %s\r\n" % (i, b"x" * 900) for i in range(99))
        data = b"HTTP/1.1 200 OK\r\n" + b"".join(lines)

        assert await self.failure(client, data, then=0.1) is Failure.PROTOCOL

    async def test_body_is_too_large(self, client):
        data = b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000

        assert await self.failure(client, data) is Failure.TOO_LARGE

    async def test_drip_ends_at_the_total(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

        server = Server(handler)
        async with serving(server) as url:
            answer = await open_(client, url)
            with pytest.raises(UpstreamFailed) as caught:
                await answer.body()
            answer.close()

        assert caught.value.failure is Failure.TIMEOUT

    async def test_nobody_listens(self, client):
        with pytest.raises(UpstreamFailed) as caught:
            await open_(client, "http://127.0.0.1:1")

        assert caught.value.failure is Failure.CONNECT

    async def test_private_address_of_a_public_host(self, client):
        route = fake_route(host=fake_host(base_url="http://localhost:1"))

        with pytest.raises(UpstreamFailed, match="private"):
            await client.open(REQUEST, route, mode="sandbox", timeouts=QUICK)

    async def test_host_of_the_other_mode_is_never_called(self, client):
        route = route_to("http://x", mode="live")

        with pytest.raises(WrongMode):
            await client.open(REQUEST, route, mode="sandbox", timeouts=QUICK)


class TestHangingUp:
    async def test_before_the_head_closes_the_upstream(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            await reader.read()

        server = Server(handler)
        async with serving(server) as url:
            waiting = asyncio.ensure_future(open_(client, url, Timeouts()))
            assert await eventually(lambda: server.open == 1 and bool(server.requests))
            waiting.cancel()
            assert await eventually(lambda: server.open == 0)
            assert waiting.cancelled()

    async def test_in_the_body_wakes_the_reader_and_closes_the_upstream(self, client):
        async def handler(reader, writer):
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            await reader.read()

        server = Server(handler)
        async with serving(server) as url:
            answer = await open_(client, url, Timeouts())
            assert await answer.read() == b"half"
            asyncio.get_running_loop().call_later(0.05, answer.abort)
            with pytest.raises(UpstreamFailed) as caught:
                await answer.read()
            answer.close()
            assert await eventually(lambda: server.open == 0)

        assert caught.value.failure is Failure.ABORTED

    async def test_of_many_at_random_moments_leaves_nothing_open(self, client):
        async def handler(reader, writer):
            while True:
                await server.request(reader)
                await asyncio.sleep(0.002 * (server.made % 5))
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                for _ in range(5):
                    writer.write(b"3\r\none\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.001)
                writer.write(b"0\r\n\r\n")

        async def call(url):
            answer = await open_(client, url, Timeouts())
            try:
                return await answer.body()
            finally:
                answer.close()

        server = Server(handler)
        async with serving(server) as url:
            for wave in range(20):
                calls = [asyncio.ensure_future(call(url)) for _ in range(25)]
                await asyncio.sleep(0.001 * (wave % 10))
                for one in calls:
                    one.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            assert client.open_count == 0
            assert await call(url) == b"one" * 5
            client.close()
            assert await eventually(lambda: server.open == 0)


class TestBackPressure:
    async def test_stops_the_socket_of_a_slow_reader(self, client):
        sent = 0

        async def handler(reader, writer):
            nonlocal sent
            await server.request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
            while sent < 50_000_000:
                writer.write(b"x" * 100_000)
                await writer.drain()
                sent += 100_000

        server = Server(handler)
        async with serving(server) as url:
            answer = await open_(client, url, Timeouts())
            await asyncio.sleep(0.5)
            assert sent < 20_000_000
            size = 0
            while data := await answer.read():
                size += len(data)
            answer.close()

        assert size == 50_000_000


class TestIsPublic:
    @pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
    def test_takes_the_internet(self, address):
        assert upstream.is_public(address)

    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "168.63.129.16",
            "::1", "fe80::1%eth0", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "::127.0.0.1",
            "2002:7f00:1::", "::ffff:127.0.0.1", "example.com",
        ],
    )  # fmt: skip
    def test_refuses_all_else(self, address):
        assert not upstream.is_public(address)
