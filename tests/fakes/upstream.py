"""A scripted upstream on loopback: raw HTTP/1.1, so that it can break in any way."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer. `then`: "end", "cut" (the connection) or "stall" (nothing more comes)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    pace_s: float = 0.0
    delay_s: float = 0.0
    then: str = "end"


def json_reply(body: Any, *, status: int = 200, **values: Any) -> Reply:
    return Reply(status=status, pieces=(json.dumps(body).encode(),), **values)


def completion(text: str = "Hello there", usage: Any = (7, 3), **choice: Any) -> dict[str, Any]:
    """A whole chat completion."""
    body: dict[str, Any] = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion",
        "created": 1,
        "model": "model-upstream",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
                **choice,
            }
        ],
    }
    if usage is not None:
        body["usage"] = _usage(usage)
    return body


def _usage(usage: Any) -> Any:
    if not isinstance(usage, tuple):
        return usage
    prompt, output = usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }


def chunk(delta: dict[str, Any], reason: str | None = None, **fields: Any) -> bytes:
    body = {
        "id": "chatcmpl-upstream",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "model-upstream",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        **fields,
    }
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def words(texts: Iterable[str]) -> tuple[bytes, ...]:
    """The beginning of a stream: the role, then these pieces of text."""
    return (
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": text}) for text in texts),
    )


def stream(texts: Iterable[str] = ("Hello", " there"), usage: Any = (7, 3), **values: Any) -> Reply:
    """A whole stream."""
    pieces = [*words(texts), chunk({}, "stop")]
    if usage is not None:
        pieces.append(chunk({}, choices=[], usage=_usage(usage)))
    return streamed(*pieces, b"data: [DONE]\n\n", **values)


def streamed(*pieces: bytes, **values: Any) -> Reply:
    headers = {"content-type": "text/event-stream"}
    return Reply(headers=headers, pieces=pieces, **values)


class FakeUpstream:
    """Answers in turn with `replies`; the last one is repeated."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.requests: list[Any] = []
        self.heads: list[bytes] = []
        self.sent_pieces = 0
        self.open = 0
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FakeUpstream"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        gone = asyncio.Event()
        try:
            while True:
                await self._read_request(reader)
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if not await self._answer(reply, reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            gone.set()
            self.open -= 1
            writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        self.heads.append(head)
        self.requests.append(json.loads(body))

    async def _answer(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Returns whether the connection goes on."""
        if reply.delay_s and await self._left_within(reader, reply.delay_s):
            return False
        headers = {"content-type": "application/json", **reply.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f"HTTP/1.1 {reply.status} X\r\n{lines}transfer-encoding: chunked\r\n\r\n".encode()
        )
        for piece in reply.pieces:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            self.sent_pieces += 1
            if await self._left_within(reader, reply.pace_s):
                return False
        if reply.then == "stall":
            await self._left_within(reader, 30)
            return False
        if reply.then == "cut":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _left_within(self, reader: asyncio.StreamReader, wait_s: float) -> bool:
        """Wait; True as soon as the client hangs up."""
        if not wait_s:
            return False
        ends_at = asyncio.get_running_loop().time() + wait_s
        while asyncio.get_running_loop().time() < ends_at:
            if reader.at_eof():
                return True
            await asyncio.sleep(min(0.01, wait_s))
        return False


Script = Callable[[], Reply]
