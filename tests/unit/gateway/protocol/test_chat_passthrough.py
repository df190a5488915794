import json
from typing import Any

import pytest

from billing.money import NanoUsd
from catalog.pricing import Bucket, Charge, Outcome, Usage
from gateway.protocol.chat import ChatPassThrough, read_answer, write_answer
from gateway.protocol.events import (
    Ended,
    Event,
    Failed,
    Finished,
    FinishReason,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)
from gateway.protocol.frames import Frame

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DONE = b"data: [DONE]\n\n"
CHARGE = Charge(NanoUsd(120), ())


def chunk(
    delta: dict[str, Any] | None = None, *, finish: str | None = None, index: int = 0, **more: Any
) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    fields = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "gpt-5.4-2026-03-05",
        "choices": [choice],
        **more,
    }
    return (
        b"data: " + json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
    )


def usage_chunk(usage: dict[str, Any] = USAGE) -> bytes:
    return chunk(choices=[], usage=usage)


def passed(*pieces: bytes, include_usage: bool = False, **quirks: Any) -> list[Frame]:
    passing = ChatPassThrough("gpt-5.4", include_usage, quirks)
    return [frame for piece in pieces for frame in passing.feed(piece)] + passing.close()


def client_bytes(*pieces: bytes, include_usage: bool = False, usage: Usage | None = None) -> bytes:
    """All that a client gets when the call settles as reported."""
    passing = ChatPassThrough("gpt-5.4", include_usage)
    frames = [frame for piece in pieces for frame in passing.feed(piece)] + passing.close()
    reported = [event.usage for event in events_in(frames) if isinstance(event, UsageReported)]
    held = [frame for frame in frames if frame.is_final]
    settled = usage or (reported[-1] if reported else None)
    before = b"".join(frame.data for frame in frames if not frame.is_final)
    return before + passing.final(held, usage=settled, charge=CHARGE)


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    parts = data.split(b"\n\n")
    return [json.loads(part[6:]) for part in parts if part and part != DONE.strip()]


def events_in(frames: list[Frame]) -> list[Event]:
    return [event for frame in frames for event in frame.events]


def text_of(frames: list[Frame]) -> str:
    return "".join(event.text for event in events_in(frames) if isinstance(event, TextDelta))


class TestChatPassThrough:
    def test_changes_nothing_but_the_models_name(self) -> None:
        sent = chunk({"content": "Hé"}, new_field=[1, {"a": None}], obfuscation="x9")

        frame = passed(sent)[0]

        assert frame.data == sent.replace(b"gpt-5.4-2026-03-05", b"gpt-5.4")
        assert frame.is_content

    @pytest.mark.parametrize(
        "text", ["a", 'say "hi"', "back\\slash", "\n", "ünï", "😀", '","x":"', "\\"]
    )
    def test_reads_the_same_text_from_known_and_new_shapes(self, text: str) -> None:
        usual = [chunk({"content": word}, obfuscation="ab" * n) for n, word in enumerate("xyz")]

        frames = passed(*usual, chunk({"content": text}, obfuscation="Z"))

        assert text_of(frames) == "xyz" + text
        assert chunks_of(frames[3].data)[0]["choices"][0]["delta"] == {"content": text}
        assert all(chunks_of(frame.data)[0]["model"] == "gpt-5.4" for frame in frames)

    @pytest.mark.parametrize(
        "other",
        [
            chunk({"content": "b"}, finish="stop"),
            chunk({"content": "b"}, error={"message": "no"}),
            chunk({"content": "b"}, usage=USAGE),
            chunk({"content": "b", "tool_calls": []}),
            chunk({"content": "b"}, index=1),
            chunk({"reasoning_content": "b"}),
        ],
    )
    def test_parses_what_differs_in_more_than_text(self, other: bytes) -> None:
        usual, unusual = passed(chunk({"content": "a"}), other)[:2]

        assert usual.events[-1] == TextDelta("a")
        assert unusual.events != (TextDelta("b"),) or b"tool_calls" in unusual.data

    def test_holds_from_the_finish_on(self) -> None:
        frames = passed(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "Hi"}),
            chunk(finish="stop"),
            usage_chunk(),
            DONE,
        )

        assert [frame.is_final for frame in frames] == [False, False, True, True, True]
        assert [frame.is_content for frame in frames] == [False, True, False, False, False]

    def test_holds_from_the_finish_of_the_last_choice_on(self) -> None:
        frames = passed(
            chunk({"role": "assistant"}),
            chunk({"role": "assistant"}, index=1),
            chunk(finish="stop"),
            chunk({"content": "b"}, index=1),
            chunk(finish="stop", index=1),
        )

        assert [frame.is_final for frame in frames][:5] == [False] * 4 + [True]

    def test_strips_the_usage_chunk_that_was_not_asked_for(self) -> None:
        data = client_bytes(chunk({"content": "Hi"}), chunk(finish="stop"), usage_chunk(), DONE)

        assert b"prompt_tokens" not in data
        assert data.endswith(DONE)

    def test_reports_usage_whether_it_was_asked_for_or_not(self) -> None:
        for asked in (True, False):
            frames = passed(chunk(finish="stop"), usage_chunk(), DONE, include_usage=asked)

            usage = [event for event in events_in(frames) if isinstance(event, UsageReported)]
            assert [event.usage.tokens for event in usage] == [{Bucket.INPUT: 7, Bucket.OUTPUT: 3}]

    def test_ends_with_usage_and_cost_when_asked(self) -> None:
        data = client_bytes(
            chunk({"content": "Hi"}), chunk(finish="stop"), usage_chunk(), DONE, include_usage=True
        )

        last = chunks_of(data)[-1]
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == 10
        assert b'"cost":0.00000012' in data
        assert data.endswith(DONE)
        assert all(c["usage"] is None for c in chunks_of(data)[:-1])

    def test_keeps_usage_that_sits_on_a_choice(self) -> None:
        """DeepSeek's way: some clients read it there."""
        data = client_bytes(chunk({"content": "Hi"}), chunk(finish="stop", usage=USAGE), DONE)

        assert chunks_of(data)[-1]["usage"]["completion_tokens"] == 3
        assert data.count(b'prompt_tokens"') == 1

    @pytest.mark.parametrize(
        "ending",
        [
            [chunk(finish="stop", usage=USAGE)],
            [chunk(finish="stop", usage=USAGE), usage_chunk()],
            [chunk({"content": "."}, usage=USAGE), chunk(finish="stop", usage=USAGE)],
            [chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}])],
            [
                chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]),
                usage_chunk(),
            ],
        ],
    )
    def test_gives_usage_once_wherever_the_upstream_puts_it(self, ending: list[bytes]) -> None:
        data = client_bytes(chunk({"content": "Hi"}), *ending, DONE, include_usage=True)

        with_usage = [c for c in chunks_of(data) if c["usage"]]
        assert len(with_usage) == 1
        assert with_usage[0]["choices"] == []
        assert with_usage[0]["usage"]["total_tokens"] == 10

    def test_gives_our_count_where_the_upstream_has_none(self) -> None:
        usage = Usage({Bucket.INPUT: 4, Bucket.OUTPUT: 2}, outcome=Outcome.ESTIMATED)

        data = client_bytes(chunk(finish="stop"), DONE, include_usage=True, usage=usage)

        assert chunks_of(data)[-1]["usage"]["total_tokens"] == 6

    def test_replaces_usage_that_was_not_believed(self) -> None:
        usage = Usage({Bucket.OUTPUT: 2}, outcome=Outcome.ESTIMATED)
        wrong = usage_chunk({"prompt_tokens": -1, "completion_tokens": 3, "extra": 1})

        data = client_bytes(chunk(finish="stop"), wrong, DONE, include_usage=True, usage=usage)

        shown = chunks_of(data)[-1]["usage"]
        assert (shown["prompt_tokens"], shown["completion_tokens"]) == (0, 2)
        assert "extra" not in shown

    def test_ends_a_stream_that_has_no_done(self) -> None:
        frames = passed(chunk({"content": "Hi"}), chunk(finish="stop"))

        assert frames[-1].data == DONE
        assert frames[-1].events == (Ended(),)

    @pytest.mark.parametrize("cut", [b"", b'data: {"id":"x","cho'])
    def test_never_ends_a_stream_without_a_finish(self, cut: bytes) -> None:
        frames = passed(chunk({"content": "Hi"}), cut)

        assert not any(isinstance(event, Ended | Finished) for event in events_in(frames))
        assert not any(frame.is_final for frame in frames)

    def test_fails_a_done_without_a_finish(self) -> None:
        frames = passed(chunk({"content": "Hi"}), DONE)

        assert isinstance(frames[-1].events[0], Failed)
        assert frames[-1].data == b""

    @pytest.mark.parametrize(
        ("piece", "message"),
        [
            (b'data: {"error":{"message":"broke","code":502}}\n\n', "broke"),
            (b'data: {"error":"broke"}\n\n', "broke"),
            (b'event: error\ndata: {"message":"broke"}\n\n', "broke"),
            (b'event: error\ndata: {"error":{"message":"broke"}}\n\n', "broke"),
            (b'{"base_resp":{"status_code":1008,"status_msg":"broke"}}\n', "broke"),
            (b"data: not json\n\n", "not JSON"),
            (b"data: [1]\n\n", "not an object"),
            (chunk({"content": "x"}, error={"message": "broke"}), "broke"),
            (chunk(finish="error"), "'error'"),
        ],
    )
    def test_turns_an_error_in_the_stream_into_an_event_without_bytes(
        self, piece: bytes, message: str
    ) -> None:
        frame = passed(chunk({"content": "Hi"}), piece)[1]

        failed = [event for event in frame.events if isinstance(event, Failed)]
        assert len(failed) == 1
        assert message in failed[0].message
        assert frame.data == b""

    def test_hides_a_first_chunk_without_choices(self) -> None:
        """Azure's filter results; clients index choices[0] blindly."""
        frames = passed(chunk(choices=[], prompt_filter_results=[]), chunk({"content": "Hi"}))

        assert frames[0].data == b""

    def test_repairs_tool_calls_for_strict_clients(self) -> None:
        call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}
        again = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "}"}}
        other = {"id": "b", "function": {"name": "g", "arguments": None}}

        frames = passed(
            chunk({"tool_calls": [call]}),
            chunk({"tool_calls": [again]}),
            chunk({"tool_calls": [other]}),
            chunk(finish="stop"),
        )

        assert events_in(frames)[1:-1] == [
            ToolCallStarted(0, "a", "f"),
            ToolArgumentsDelta(0, "{"),
            ToolArgumentsDelta(0, "}"),
            ToolCallStarted(1, "b", "g"),
            ToolArgumentsDelta(1, "{}"),
            Finished(FinishReason.TOOL_CALLS, native_reason="stop"),
        ]
        sent = [chunks_of(frame.data)[0]["choices"][0] for frame in frames[:4]]
        assert sent[1]["delta"]["tool_calls"] == [{"function": {"arguments": "}"}, "index": 0}]
        assert sent[2]["delta"]["tool_calls"][0]["type"] == "function"
        assert sent[3]["delta"]["tool_calls"] == [{"index": 1, "function": {"arguments": "{}"}}]
        assert sent[3]["finish_reason"] == "tool_calls"

    def test_keeps_the_deprecated_pair_as_it_is(self) -> None:
        frames = passed(
            chunk({"function_call": {"name": "f", "arguments": "{}"}}),
            chunk(finish="function_call"),
        )

        assert chunks_of(frames[1].data)[0]["choices"][0]["finish_reason"] == "function_call"
        assert ToolCallStarted(0, "", "f") in events_in(frames)

    def test_makes_strings_of_lists_of_content(self) -> None:
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": "Hi"},
        ]

        frame = passed(chunk({"content": parts}))[0]

        delta = chunks_of(frame.data)[0]["choices"][0]["delta"]
        assert delta == {"content": "Hi", "reasoning_content": "hm"}

    def test_adds_what_strict_clients_need(self) -> None:
        bare = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'

        sent = chunks_of(passed(bare)[0].data)[0]

        assert sent["object"] == "chat.completion.chunk"
        assert sent["choices"][0] == {"delta": {"content": "Hi"}, "index": 0, "finish_reason": None}
        assert {"id", "created", "model"} <= set(sent)


def body(**message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    fields = {"id": "1", "model": "up", "choices": [choice], "usage": USAGE, "new": [1]}
    return json.dumps(fields).encode()


class TestWriteAnswer:
    def test_sets_name_and_cost_and_keeps_the_rest(self) -> None:
        out = write_answer(read_answer(body(content="Hi")), model="ours", cost=CHARGE)

        answer = json.loads(out)
        assert (answer["model"], answer["new"]) == ("ours", [1])
        assert b'"cost":0.00000012' in out
        assert answer["choices"][0]["message"]["content"] == "Hi"

    def test_shows_our_count_where_there_is_none(self) -> None:
        bare = b'{"choices":[]}'
        usage = Usage({Bucket.OUTPUT: 2}, outcome=Outcome.ESTIMATED)

        answer = json.loads(write_answer(read_answer(bare), model="ours", cost=None, usage=usage))

        assert answer["usage"]["completion_tokens"] == 2

    def test_gives_whole_tool_calls_no_index(self) -> None:
        calls = [{"id": "same", "function": {"name": "f", "arguments": ""}}] * 2

        answer = json.loads(
            write_answer(read_answer(body(tool_calls=calls)), model="ours", cost=None)
        )

        message = answer["choices"][0]["message"]
        assert [call["function"]["arguments"] for call in message["tool_calls"]] == ["{}", "{}"]
        assert "index" not in message["tool_calls"][0]
        assert answer["choices"][0]["finish_reason"] == "tool_calls"

    @pytest.mark.parametrize("wrong", [b"", b"<html>", b"[]", b"{}", b'{"choices":null}'])
    def test_refuses_what_is_no_completion(self, wrong: bytes) -> None:
        with pytest.raises(ValueError, match=r".*"):
            read_answer(wrong)

    def test_finds_an_error_with_status_200(self) -> None:
        events = read_answer(b'{"base_resp":{"status_code":1004,"status_msg":"key"}}').events

        assert isinstance(events[0], Failed)
