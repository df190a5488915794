"""Server-sent events on bytes: an incremental splitter that takes any cut, and frames to send.

Follows https://html.spec.whatwg.org/multipage/server-sent-events.html, and two habits of real
servers: the last event may lack its blank line, and an error may be one bare line of JSON.
"""

import msgspec

MAX_LINE_BYTES = 1024 * 1024
MAX_EVENT_BYTES = 4 * MAX_LINE_BYTES
DONE_DATA = b"[DONE]"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
_BOM = b"\xef\xbb\xbf"


class LineTooLong(Exception):  # noqa: N818  (named for what is wrong)
    """A line or an event is larger than we keep in memory for one stream."""


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event. A msgspec struct, since one is made for every chunk of every stream."""

    data: bytes
    event: str = ""
    id: str = ""


class SseSplitter:
    """Bytes in, whole events out. One object per stream."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._rest = b""  # an unfinished line
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id = ""
        self._is_first = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """Events that these bytes complete. Raises LineTooLong."""
        if self._is_first:
            data = self._without_bom(data)
        if not self._rest and not self._data and not self._event:
            plain = _plain_events(data, self._max_line_bytes)
            if plain is not None:
                return plain
        return self._feed_lines(data)

    def close(self) -> list[SseEvent]:
        """The stream has ended: the event that was still open, if any."""
        events: list[SseEvent] = []
        rest, self._rest = self._rest, b""
        if rest and not self._is_first:
            self._line(rest.rstrip(b"\r"), events)
        self._dispatch(events)
        return events

    def _without_bom(self, data: bytes) -> bytes:
        """Waits until it is known whether the stream begins with a byte order mark."""
        data = self._rest + data
        self._rest = b""
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._rest = data
            return b""
        self._is_first = False
        return data.removeprefix(_BOM)

    def _feed_lines(self, data: bytes) -> list[SseEvent]:
        if self._is_first:  # fewer bytes than a byte order mark has
            return []
        data = self._rest + data
        self._rest = b""
        if b"\r" in data:
            data = self._without_returns(data)
        lines = data.split(b"\n")
        self._rest = lines.pop() + self._rest
        if len(self._rest) > self._max_line_bytes:
            raise LineTooLong(f"A line of the stream is longer than {self._max_line_bytes} bytes.")
        events: list[SseEvent] = []
        for line in lines:
            self._line(line, events)
        return events

    def _without_returns(self, data: bytes) -> bytes:
        """Line ends as LF. A CR at the very end may be half a CRLF, so it waits."""
        if data.endswith(b"\r"):
            self._rest = b"\r"
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if len(line) > self._max_line_bytes:
            raise LineTooLong(f"A line of the stream is longer than {self._max_line_bytes} bytes.")
        if not line:
            self._dispatch(events)
            return
        if line[:1] == b"{":
            events.append(SseEvent(data=line))
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data_bytes += len(value)
            if self._data_bytes > MAX_EVENT_BYTES:
                raise LineTooLong(f"An event of the stream is larger than {MAX_EVENT_BYTES} bytes.")
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            self._id = value.decode("utf-8", "replace")

    def _dispatch(self, events: list[SseEvent]) -> None:
        if self._data:
            events.append(SseEvent(data=b"\n".join(self._data), event=self._event, id=self._id))
            self._data = []
            self._data_bytes = 0
        self._event = ""


def _plain_events(data: bytes, max_line_bytes: int) -> list[SseEvent] | None:
    """The usual read: whole `data: …` events with LF ends and nothing else. None if it is not."""
    if not data.endswith(b"\n\n") or b"\r" in data or len(data) > max_line_bytes:
        return None
    if data.find(b"\n") == len(data) - 2 and data.startswith(b"data: "):
        return [SseEvent(data=data[6:-2])]
    events = []
    for block in data[:-2].split(b"\n\n"):
        if block[:6] != b"data: " or b"\n" in block:
            return None
        events.append(SseEvent(data=block[6:]))
    return events


def data_frame(payload: bytes) -> bytes:
    """One unnamed event."""
    return b"data: " + payload + b"\n\n"


def named_frame(event: str, payload: bytes) -> bytes:
    """One event with a name, as Anthropic and Responses streams have them."""
    return b"event: " + event.encode() + b"\ndata: " + payload + b"\n\n"
