import json
from typing import Any

from billing.money import NanoUsd
from catalog.pricing import Bucket, Charge, Usage
from gateway.protocol.chat import ChatRenderer, encode, error_frame
from gateway.protocol.chat_reasoning import read_reasoning
from gateway.protocol.conversation import Reasoning
from gateway.protocol.events import (
    Ended,
    Event,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
    UsageReported,
)

USAGE = Usage({Bucket.INPUT: 7, Bucket.OUTPUT: 3})
CHARGE = Charge(NanoUsd(1_500), ())
TOOL_EVENTS: list[Event] = [
    Started("up", "up"),
    TextDelta("Let me see."),
    ToolCallStarted(0, "a", "f"),
    ToolArgumentsDelta(0, '{"x":'),
    ToolArgumentsDelta(0, "1}"),
    ToolCallStarted(1, "b", "g"),
    ToolArgumentsDelta(1, "{}"),
    UsageReported(USAGE),
    Finished(FinishReason.TOOL_CALLS),
    Ended(),
]


def renderer(*, include_usage: bool = False) -> ChatRenderer:
    return ChatRenderer(call_id="42", model="ours", created=9, include_usage=include_usage)


def body(*events: Event) -> Any:
    return json.loads(encode(renderer().body(events)))


def deltas(*events: Event) -> list[Any]:
    chunks = [json.loads(frame.data[6:]) for frame in renderer().stream(events) if frame.data]
    return [chunk["choices"][0]["delta"] for chunk in chunks]


class TestStream:
    def test_has_one_id_the_role_first_and_nothing_after_done(self) -> None:
        frames = renderer().stream(TOOL_EVENTS)

        assert frames[-1].data == b"data: [DONE]\n\n"
        chunks = [json.loads(frame.data[6:]) for frame in frames[:-1] if frame.data]
        assert {chunk["id"] for chunk in chunks} == {"chatcmpl-42"}
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"

    def test_says_id_and_name_of_a_tool_once(self) -> None:
        calls = [d["tool_calls"][0] for d in deltas(*TOOL_EVENTS[:-1]) if "tool_calls" in d]

        assert [call["index"] for call in calls] == [0, 0, 0, 1, 1]
        assert calls[0]["function"] == {"name": "f", "arguments": ""}
        assert calls[1] == {"index": 0, "function": {"arguments": '{"x":'}}

    def test_gives_a_role_even_if_the_upstream_announced_nothing(self) -> None:
        assert deltas(TextDelta("Hi"))[0]["role"] == "assistant"

    def test_marks_content_and_holds_from_the_finish_on(self) -> None:
        frames = renderer().stream(
            [Started(), TextDelta("Hi"), UsageReported(USAGE), Finished(FinishReason.STOP), Ended()]
        )

        assert [frame.is_content for frame in frames] == [False, True, False, False, False]
        assert [frame.is_final for frame in frames] == [False, False, False, True, True]

    def test_gives_errors_no_bytes(self) -> None:
        frame = renderer().stream([Failed("broke")])[0]

        assert (frame.data, frame.events) == (b"", (Failed("broke"),))

    def test_puts_usage_and_cost_before_done_if_asked(self) -> None:
        for asked in (True, False):
            writer = renderer(include_usage=asked)
            held = writer.stream([Finished(FinishReason.STOP), Ended()])

            data = writer.final(held, usage=USAGE, charge=CHARGE)

            assert (b'"cost":0.0000015' in data) == asked
            assert (b'"choices":[]' in data) == asked
            assert data.endswith(b"data: [DONE]\n\n")

    def test_numbers_blocks_of_thinking_so_that_they_can_be_put_together(self) -> None:
        found = deltas(
            ReasoningDelta("a"),
            ReasoningDelta("b"),
            ReasoningDelta(signature="s1"),
            ReasoningDelta(redacted="r"),
            ReasoningDelta("c", "s2"),
        )[1:]

        details = [detail for delta in found for detail in delta["reasoning_details"]]
        assert read_reasoning({"reasoning_details": details}) == [
            Reasoning("ab", "s1"),
            Reasoning(redacted="r"),
            Reasoning("c", "s2"),
        ]
        assert "".join(delta.get("reasoning_content", "") for delta in found) == "abc"


class TestBody:
    def test_is_the_same_answer_whole(self) -> None:
        answer = body(*TOOL_EVENTS)

        choice = answer["choices"][0]
        assert answer["object"] == "chat.completion"
        assert choice["message"]["content"] == "Let me see."
        assert [c["function"]["arguments"] for c in choice["message"]["tool_calls"]] == [
            '{"x":1}',
            "{}",
        ]
        assert choice["finish_reason"] == "tool_calls"
        assert answer["usage"]["total_tokens"] == 10

    def test_has_null_content_with_tools_or_a_refusal_alone(self) -> None:
        tools = body(ToolCallStarted(0, "a", "f"), Finished(FinishReason.TOOL_CALLS))
        refusal = body(RefusalDelta("No."), Finished(FinishReason.STOP))
        empty = body(Finished(FinishReason.LENGTH))

        contents = [a["choices"][0]["message"]["content"] for a in (tools, refusal, empty)]
        assert contents == [None, None, ""]
        assert refusal["choices"][0]["message"]["refusal"] == "No."

    def test_keeps_thinking_out_of_the_text_and_its_signature_with_it(self) -> None:
        message = body(ReasoningDelta("hm", "sig"), TextDelta("Hi"))["choices"][0]["message"]

        assert (message["content"], message["reasoning_content"]) == ("Hi", "hm")
        assert read_reasoning(message) == [Reasoning("hm", "sig")]

    def test_keeps_choices_apart(self) -> None:
        answer = body(TextDelta("b", 1), TextDelta("a", 0), Finished(FinishReason.STOP, 1))

        assert [c["message"]["content"] for c in answer["choices"]] == ["a", "b"]

    def test_shows_custom_tools_as_what_they_are(self) -> None:
        message = body(ToolCallStarted(0, "a", "sh", kind="custom"), ToolArgumentsDelta(0, "ls"))[
            "choices"
        ][0]["message"]

        assert message["tool_calls"] == [
            {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
        ]


class TestErrorFrame:
    def test_has_no_choices(self) -> None:
        frame = error_frame("It broke.", "server_error", "upstream_broke")

        assert json.loads(frame[6:]) == {
            "error": {
                "message": "It broke.",
                "type": "server_error",
                "param": None,
                "code": "upstream_broke",
            }
        }
