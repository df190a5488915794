import pytest

from gateway.protocol.sse import LineTooLong, SseEvent, SseSplitter, data_frame, named_frame


def read(*pieces: bytes, max_line_bytes: int = 1024) -> list[SseEvent]:
    splitter = SseSplitter(max_line_bytes)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.close()


def data_of(*pieces: bytes) -> list[bytes]:
    return [event.data for event in read(*pieces)]


class TestSseSplitter:
    @pytest.mark.parametrize(
        "stream",
        [
            b"data: a\n\ndata: b\n\n",
            b"data: a\r\n\r\ndata: b\r\n\r\n",
            b"data: a\r\rdata: b\r\r",
            b"data:a\n\ndata:b\n\n",
            b"\xef\xbb\xbfdata: a\n\ndata: b\n\n",
            b": comment\n\ndata: a\n\n:another\ndata: b\n\n",
            b"retry: 5\ndata: a\n\nevent: nothing\n\ndata: b\n\n",
            b"data: a\n\n\n\n\ndata: b",
        ],
    )
    def test_reads_the_same_however_it_is_cut(self, stream: bytes) -> None:
        single_bytes = [stream[i : i + 1] for i in range(len(stream))]

        assert data_of(stream) == [b"a", b"b"]
        assert data_of(*single_bytes) == [b"a", b"b"]
        for cut in range(len(stream)):
            assert data_of(stream[:cut], stream[cut:]) == [b"a", b"b"]

    def test_keeps_name_and_id(self) -> None:
        assert read(b"id: 7\nevent: ping\ndata: {}\n\n") == [SseEvent(b"{}", "ping", "7")]

    def test_forgets_a_name_after_its_event(self) -> None:
        assert [e.event for e in read(b"event: a\ndata: 1\n\ndata: 2\n\n")] == ["a", ""]

    def test_joins_data_lines(self) -> None:
        assert data_of(b"data: a\ndata: b\n\n") == [b"a\nb"]

    def test_keeps_blanks_after_the_first(self) -> None:
        assert data_of(b"data:  a \n\n") == [b" a "]

    def test_reads_a_bare_line_of_json(self) -> None:
        assert data_of(b'{"error": 1}\n') == [b'{"error": 1}']
        assert data_of(b'{"error": 1}') == [b'{"error": 1}']

    def test_refuses_a_line_that_is_too_long_before_it_ends(self) -> None:
        with pytest.raises(LineTooLong):
            read(*[b"data: " + b"x" * 10] * 20, max_line_bytes=100)

    def test_refuses_a_line_that_is_too_long_and_whole(self) -> None:
        with pytest.raises(LineTooLong):
            SseSplitter(max_line_bytes=10).feed(b"data: 12345678901\n\n")

    def test_refuses_an_event_of_endless_lines(self) -> None:
        line = b"data: " + b"x" * 500_000 + b"\n"

        with pytest.raises(LineTooLong):
            read(*[line] * 20, max_line_bytes=1_000_000)


class TestFrames:
    def test_are_read_back(self) -> None:
        stream = data_frame(b"{}") + named_frame("ping", b"{}")

        assert read(stream) == [SseEvent(b"{}"), SseEvent(b"{}", "ping")]
