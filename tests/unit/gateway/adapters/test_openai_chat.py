import json
from typing import Any

import pytest

from gateway.adapters.base import CannotExpress
from gateway.adapters.openai_chat import OpenAIChat
from gateway.protocol.chat import parse_chat_request, to_conversation
from gateway.protocol.conversation import Conversation, Media, Role, Turn
from gateway.protocol.events import Failed, ReasoningDelta, TextDelta
from tests.unit.gateway.adapters.routes import route

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def built(*, limit: int | None = None, quirks: Any = None, **body: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}
    call = to_conversation(parse_chat_request(json.dumps(body).encode()))
    request = OpenAIChat().build(call, route("openai_chat", **(quirks or {})), limit)
    return json.loads(request.body)


class TestBuild:
    def test_says_the_same_again(self) -> None:
        body = {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "See:"}, IMAGE]},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c", "content": "done"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}
            ],
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            },
            "temperature": 0.5,
            "stop": ["END"],
            "n": 2,
            "seed": 3,
            "reasoning_effort": "low",
            "new_field": 1,
        }

        assert built(**body) == {"model": "upstream-model", **body}

    def test_asks_a_stream_for_usage(self) -> None:
        assert built(stream=True)["stream_options"] == {"include_usage": True}
        assert "stream_options" not in built(stream=True, quirks={"no_stream_options": True})

    def test_overrides_the_limit_under_the_known_name(self) -> None:
        quirks = {"max_tokens_field": "max_completion_tokens"}

        assert built(max_tokens=50, limit=9, quirks=quirks)["max_completion_tokens"] == 9
        assert built(max_completion_tokens=50)["max_tokens"] == 50

    def test_sends_thinking_back_only_where_it_is_taken(self) -> None:
        messages = [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "A", "reasoning_content": "hm"},
        ]

        kept = built(messages=messages, quirks={"reasoning_history": "reasoning_content"})

        assert kept["messages"][1]["reasoning_content"] == "hm"
        assert "reasoning_content" not in built(messages=messages)["messages"][1]

    def test_refuses_audio_by_address(self) -> None:
        turn = Turn(Role.USER, (Media("audio", url="https://x/a.mp3"),))

        with pytest.raises(CannotExpress):
            OpenAIChat().build(Conversation("m", (turn,)), route("openai_chat"), None)


class TestReadBody:
    def test_takes_think_tags_out_where_the_route_says_so(self) -> None:
        message = {"role": "assistant", "content": "<think>hm</think>Hi"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice]}).encode()

        events = OpenAIChat().read_body(body, route("openai_chat", think_tags=True))
        as_text = OpenAIChat().read_body(body, route("openai_chat"))

        assert ReasoningDelta("hm") in events
        assert TextDelta("Hi") in events
        assert TextDelta("<think>hm</think>Hi") in as_text


class TestReadStream:
    def test_ends_nothing_that_was_cut(self) -> None:
        reader = OpenAIChat().read_stream(route("openai_chat"))

        events = reader.feed(
            b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: {"ch'
        )
        events += reader.close()

        assert events[1:] == [TextDelta("a")]

    def test_fails_a_done_without_a_finish(self) -> None:
        events = OpenAIChat().read_stream(route("openai_chat")).feed(b"data: [DONE]\n\n")

        assert isinstance(events[0], Failed)


class TestReadError:
    @pytest.mark.parametrize(
        ("status", "error", "is_caller_fault", "code"),
        [
            (400, {"message": "Bad 'temperature'", "param": "temperature"}, True, ""),
            (
                400,
                {"message": "This model's maximum context length is 8"},
                True,
                "context_length_exceeded",
            ),
            (
                400,
                {"message": "x", "code": "context_length_exceeded"},
                True,
                "context_length_exceeded",
            ),
            (400, {"message": "x", "type": "content_filter"}, True, ""),
            (
                400,
                {"message": "Arrearage: your account is overdue", "code": "Arrearage"},
                False,
                "Arrearage",
            ),
            (400, {"message": "Incorrect API key provided: xa***"}, False, ""),
            (400, {"message": "foo is not a valid model ID", "code": 400}, False, "400"),
            (401, {"message": "Incorrect API key provided"}, False, ""),
            (402, {"message": "Insufficient Balance"}, False, ""),
            (403, {"message": "You are not allowed to sample from this model"}, False, ""),
            (403, {"message": "Content violates usage guidelines."}, True, ""),
            (
                404,
                {"message": "The model does not exist", "code": "model_not_found"},
                False,
                "model_not_found",
            ),
            (
                413,
                {"message": "Request too large", "code": "rate_limit_exceeded"},
                False,
                "rate_limit_exceeded",
            ),
            (422, {"message": "Field required"}, True, ""),
            (429, {"message": "Rate limit reached"}, False, ""),
            (500, {"message": "oops"}, False, ""),
        ],
    )
    def test_tells_whose_fault_it_is(
        self, status: int, error: dict[str, Any], *, is_caller_fault: bool, code: str
    ) -> None:
        found = OpenAIChat().read_error(status, {}, json.dumps({"error": error}).encode())

        assert (found.status, found.is_caller_fault, found.code) == (status, is_caller_fault, code)
        assert found.message == error["message"]

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b'{"code":"c","error":"text"}', "text"),
            (b'{"detail":"text"}', "text"),
            (b'{"object":"error","message":"text","code":"1500"}', "text"),
            (b'[{"error":{"message":"text","status":"UNAVAILABLE"}}]', "text"),
            (b'{"base_resp":{"status_code":1008,"status_msg":"text"}}', "text"),
            (b"text", "text"),
            (b"", "The upstream answered with status 500."),
            (b"{}", "The upstream answered with status 500."),
        ],
    )
    def test_reads_any_shape_of_body(self, body: bytes, message: str) -> None:
        assert OpenAIChat().read_error(500, {}, body).message == message

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"Retry-After": "2"}, 2.0),
            ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
            ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
            ({"retry-after": "-1"}, None),
            ({"retry-after": "nan"}, None),
            ({}, None),
        ],
    )
    def test_reads_how_long_to_wait(self, headers: dict[str, str], seconds: float | None) -> None:
        assert OpenAIChat().read_error(429, headers, b"").retry_after_s == seconds
