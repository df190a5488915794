import json
from typing import Any

import pytest

from catalog.pricing import Bucket
from gateway.adapters.anthropic_messages import AnthropicMessages
from gateway.adapters.base import CannotExpress, UpstreamRequest
from gateway.protocol.chat import (
    ChatRenderer,
    InvalidRequest,
    encode,
    parse_chat_request,
    to_conversation,
)
from gateway.protocol.events import (
    Ended,
    Failed,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    UsageReported,
)
from tests.unit.gateway.adapters.routes import route

HI = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}


def request_for(
    *, limit: int | None = None, most: int | None = None, quirks: Any = None, **body: Any
) -> UpstreamRequest:
    body = {"model": "m", "messages": [HI], **body}
    call = to_conversation(parse_chat_request(json.dumps(body).encode()))
    target = route("anthropic_messages", max_output_tokens=most, **(quirks or {}))
    return AnthropicMessages().build(call, target, limit)


def built(**fields: Any) -> dict[str, Any]:
    return json.loads(request_for(**fields).body)


def stream(*events: dict[str, Any], **quirks: Any) -> list[Any]:
    data = b"".join(
        b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events
    )
    reader = AnthropicMessages().read_stream(route("anthropic_messages", **quirks))
    return reader.feed(data) + reader.close()


class TestBuild:
    @pytest.mark.parametrize(
        ("fields", "max_tokens"),
        [
            ({}, 4096),
            ({"most": 100}, 100),
            ({"max_tokens": 9}, 9),
            ({"max_completion_tokens": 9, "limit": 5}, 5),
            ({"quirks": {"default_max_tokens": 7}}, 7),
        ],
    )
    def test_always_gives_a_limit(self, fields: dict[str, Any], max_tokens: int) -> None:
        assert built(**fields)["max_tokens"] == max_tokens

    def test_puts_system_texts_apart_and_merges_neighbours(self) -> None:
        call = {"id": "get:0", "type": "function", "function": {"name": "f", "arguments": ""}}
        other = {
            "id": "c1",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":"b"}'},
        }

        body = built(
            messages=[
                {"role": "system", "content": "One."},
                {"role": "developer", "content": "Two."},
                HI,
                {"role": "assistant", "content": "Let me see.", "tool_calls": [call, other]},
                {"role": "tool", "tool_call_id": "get:0", "content": "r0"},
                {"role": "tool", "tool_call_id": "c1", "content": ""},
                {"role": "user", "content": "Well?"},
            ]
        )

        assert [block["text"] for block in body["system"]] == ["One.", "Two."]
        assert body["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Let me see."},
                    {"type": "tool_use", "id": "get_0", "name": "f", "input": {}},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": "b"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "get_0",
                        "content": [{"type": "text", "text": "r0"}],
                    },
                    {"type": "tool_result", "tool_use_id": "c1"},
                    {"type": "text", "text": "Well?"},
                ],
            },
        ]

    def test_sends_images_and_documents(self) -> None:
        content = [
            {"type": "image_url", "image_url": {"url": "https://x/a.png"}},
            {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AA"}},
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,BB", "filename": "f"},
            },
            {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk="}},
        ]

        blocks = built(messages=[{"role": "user", "content": content}])["messages"][0]["content"]

        assert blocks == [
            {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/jpeg", "data": "AA"},
            },
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "BB"},
                "title": "f",
            },
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "Hi"},
            },
        ]

    @pytest.mark.parametrize(
        ("fields", "choice"),
        [
            ({}, None),
            ({"tool_choice": "auto"}, {"type": "auto"}),
            ({"tool_choice": "none"}, {"type": "none"}),
            ({"tool_choice": "required"}, {"type": "any"}),
            (
                {"tool_choice": {"type": "function", "function": {"name": "f"}}},
                {"type": "tool", "name": "f"},
            ),
            (
                {"parallel_tool_calls": False},
                {"type": "auto", "disable_parallel_tool_use": True},
            ),
        ],
    )
    def test_sends_tools_and_how_to_choose(self, fields: Any, choice: Any) -> None:
        body = built(tools=[TOOL], **fields)

        assert body["tools"] == [{"name": "f", "description": "d", "input_schema": SCHEMA}]
        assert body.get("tool_choice") == choice

    def test_asks_for_a_schema_in_the_apis_own_way(self) -> None:
        body = built(response_format=JSON_SCHEMA)

        assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}

    def test_asks_for_a_schema_by_a_tool_where_there_is_no_other_way(self) -> None:
        alone = built(response_format=JSON_SCHEMA, quirks={"structured_output": "tool"})
        beside = built(
            response_format=JSON_SCHEMA, tools=[TOOL], quirks={"structured_output": "tool"}
        )

        assert alone["tool_choice"] == {"type": "tool", "name": "structured_answer"}
        assert alone["tools"][0]["input_schema"] == SCHEMA
        assert beside["tool_choice"] == {"type": "any"}
        assert len(beside["tools"]) == 2

    def test_asks_for_any_json_in_words(self) -> None:
        body = built(response_format={"type": "json_object"})

        assert "JSON" in body["system"][0]["text"]

    @pytest.mark.parametrize(
        ("fields", "thinking", "effort"),
        [
            ({}, None, None),
            ({"reasoning_effort": "none"}, {"type": "disabled"}, None),
            ({"reasoning_effort": "minimal"}, {"type": "adaptive"}, "low"),
            ({"reasoning_effort": "xhigh"}, {"type": "adaptive"}, "max"),
            (
                {"reasoning_effort": "low", "quirks": {"thinking": "budget"}},
                {"type": "enabled", "budget_tokens": 2048},
                None,
            ),
            (
                {"reasoning": {"max_tokens": 90_000}, "max_tokens": 2000},
                {"type": "enabled", "budget_tokens": 1999},
                None,
            ),
            ({"reasoning": {"max_tokens": 5000}, "max_tokens": 500}, None, None),
            ({"reasoning_effort": "high", "quirks": {"thinking": "none"}}, None, None),
        ],
    )
    def test_asks_for_thinking(self, fields: Any, thinking: Any, effort: str | None) -> None:
        body = built(**fields)

        assert body.get("thinking") == thinking
        assert body.get("output_config", {}).get("effort") == effort

    def test_lets_a_forced_tool_win_over_thinking(self) -> None:
        body = built(tools=[TOOL], tool_choice="required", reasoning_effort="high")

        assert "thinking" not in body

    def test_names_what_it_leaves_out(self) -> None:
        request = request_for(temperature=1.5, top_p=0.5, seed=1, logit_bias={}, stop=["END", " "])

        body = json.loads(request.body)
        assert set(request.dropped) == {"top_p", "seed", "logit_bias"}
        assert (body["temperature"], body["stop_sequences"]) == (1.0, ["END"])

    def test_leaves_sampling_out_of_thinking_and_where_it_is_refused(self) -> None:
        assert "temperature" not in built(temperature=0, reasoning_effort="low")
        assert "temperature" not in built(temperature=0, quirks={"no_sampling": True})

    def test_sends_signed_thinking_back_and_no_other(self) -> None:
        signed = [{"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0}]

        body = built(
            messages=[
                HI,
                {"role": "assistant", "content": "A", "reasoning_details": signed},
                HI,
                {"role": "assistant", "content": "B", "reasoning_content": "unsigned"},
                HI,
            ]
        )

        assert body["messages"][1]["content"][0] == {
            "type": "thinking",
            "thinking": "hm",
            "signature": "s",
        }
        assert body["messages"][3]["content"] == [{"type": "text", "text": "B"}]

    def test_passes_cache_marks_on(self) -> None:
        mark = {"type": "ephemeral", "ttl": "1h"}
        content = [{"type": "text", "text": "long", "cache_control": mark}]

        body = built(messages=[{"role": "system", "content": content}, HI])

        assert body["system"][0]["cache_control"] == mark

    def test_refuses_what_the_api_cannot_do(self) -> None:
        with pytest.raises(CannotExpress):
            request_for(n=2)
        with pytest.raises(InvalidRequest):
            request_for(messages=[{"role": "user", "content": " "}])


START = {
    "type": "message_start",
    "message": {"id": "msg", "model": "claude", "usage": {"input_tokens": 9, "output_tokens": 1}},
}
END = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}
STOP = {"type": "message_stop"}


class TestReadStream:
    def test_overwrites_cumulative_usage(self) -> None:
        later = {
            **END,
            "usage": {"input_tokens": 2, "cache_read_input_tokens": 7, "output_tokens": 5},
        }

        usage = [e.usage.tokens for e in stream(START, later) if isinstance(e, UsageReported)]

        assert usage[0] == {Bucket.INPUT: 9, Bucket.OUTPUT: 1}
        assert usage[-1] == {Bucket.INPUT: 2, Bucket.CACHED_INPUT: 7, Bucket.OUTPUT: 5}

    def test_splits_cache_writes_by_how_long_they_live(self) -> None:
        usage = {
            "input_tokens": 1,
            "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            "output_tokens": 8,
            "output_tokens_details": {"thinking_tokens": 6},
            "server_tool_use": {"web_search_requests": 2},
        }

        found = [e.usage for e in stream({**END, "usage": usage}) if isinstance(e, UsageReported)]

        assert found[0].tokens == {
            Bucket.INPUT: 1,
            Bucket.CACHE_WRITE_5M: 10,
            Bucket.CACHE_WRITE_1H: 20,
            Bucket.OUTPUT: 2,
            Bucket.OUTPUT_REASONING: 6,
        }
        assert found[0].web_searches == 2

    def test_ends_only_at_message_stop(self) -> None:
        assert Ended() not in stream(START, END)
        assert stream(START, END, STOP)[-1] == Ended()
        assert isinstance(stream(START, STOP)[-1], Failed)

    def test_reads_an_error_in_the_stream(self) -> None:
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}

        failed = stream(START, error)[-1]

        assert failed == Failed("Overloaded", "overloaded_error", "", 529)

    def test_takes_the_answer_out_of_our_tool(self) -> None:
        tool = {"type": "tool_use", "id": "t", "name": "structured_answer", "input": {}}
        piece = {"type": "input_json_delta", "partial_json": '{"a":"b"}'}
        end = {**END, "delta": {"stop_reason": "tool_use"}}

        events = stream(
            START,
            {"type": "content_block_start", "index": 0, "content_block": tool},
            {"type": "content_block_delta", "index": 0, "delta": piece},
            {"type": "content_block_stop", "index": 0},
            end,
            STOP,
            structured_output="tool",
        )

        assert TextDelta('{"a":"b"}') in events
        assert Finished(FinishReason.STOP, native_reason="tool_use") in events

    def test_skips_what_it_does_not_know(self) -> None:
        unknown = {"type": "content_block_start", "index": 0, "content_block": {"type": "new"}}

        assert stream({"type": "ping"}, {"type": "newer"}, unknown) == []


class TestReadBody:
    def test_keeps_thinking_through_a_client_and_back(self) -> None:
        content = [
            {"type": "thinking", "thinking": "hm", "signature": "s1"},
            {"type": "redacted_thinking", "data": "r"},
            {"type": "text", "text": "Hi"},
        ]
        message = {"type": "message", "content": content, "stop_reason": "end_turn"}

        events = AnthropicMessages().read_body(
            json.dumps(message).encode(), route("anthropic_messages")
        )
        writer = ChatRenderer(call_id="1", model="m", created=1, include_usage=False)
        said = json.loads(encode(writer.body(events)))["choices"][0]["message"]
        sent_back = built(messages=[HI, said, HI])["messages"][1]["content"]

        assert ReasoningDelta("hm", "s1") in events
        assert sent_back == content

    @pytest.mark.parametrize("wrong", [b"", b"[]", b"{}", b"<html>"])
    def test_refuses_what_is_no_message(self, wrong: bytes) -> None:
        with pytest.raises(ValueError, match=r".*"):
            AnthropicMessages().read_body(wrong, route("anthropic_messages"))


class TestReadError:
    @pytest.mark.parametrize(
        ("status", "kind", "message", "is_caller_fault"),
        [
            (400, "invalid_request_error", "tools.0.custom: Invalid schema", True),
            (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", True),
            (400, "invalid_request_error", "Your credit balance is too low to access", False),
            (401, "authentication_error", "invalid x-api-key", False),
            (402, "billing_error", "no money", False),
            (403, "permission_error", "Your API key does not have permission", False),
            (404, "not_found_error", "model: nope", False),
            (413, "request_too_large", "Request exceeds the maximum size", True),
            (429, "rate_limit_error", "slow down", False),
            (529, "overloaded_error", "Overloaded", False),
        ],
    )
    def test_tells_whose_fault_it_is(
        self, status: int, kind: str, message: str, *, is_caller_fault: bool
    ) -> None:
        body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()

        found = AnthropicMessages().read_error(status, {}, body)

        assert (found.type, found.is_caller_fault) == (kind, is_caller_fault)
        assert (found.code == "context_length_exceeded") == ("too long" in message)
