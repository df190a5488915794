import json
from typing import Any

import pytest

from gateway.protocol.chat import InvalidRequest, parse_chat_request, to_conversation
from gateway.protocol.conversation import (
    Conversation,
    Media,
    OutputFormat,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)

HI = [{"role": "user", "content": "Hi"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def conversation(*messages: Any, **fields: Any) -> Conversation:
    body = {"model": "m", "messages": list(messages) or HI, **fields}
    return to_conversation(parse_chat_request(json.dumps(body).encode()))


def user(*parts: Any) -> tuple[Any, ...]:
    return conversation({"role": "user", "content": list(parts)}).turns[0].parts


class TestToConversation:
    def test_reads_roles_and_texts(self) -> None:
        found = conversation(
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ann"},
            {"role": "assistant", "content": None, "refusal": "No."},
        )

        assert found.turns == (
            Turn(Role.SYSTEM, (Text("Be brief."),)),
            Turn(Role.USER, (Text("Hi"),), "ann"),
            Turn(Role.ASSISTANT, (Refusal("No."),)),
        )

    def test_reads_media(self) -> None:
        parts = user(
            {"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,AAAA"}},
            {
                "type": "file",
                "file": {"file_data": "data:application/pdf;base64,BB", "filename": "f"},
            },
            {"type": "input_audio", "input_audio": {"data": "CC", "format": "mp3"}},
        )

        assert parts == (
            Media("image", url="https://x/a.png", detail="low"),
            Media("image", data="AAAA", media_type="image/png"),
            Media("file", data="BB", media_type="application/pdf", name="f"),
            Media("audio", data="CC", media_type="audio/mp3"),
        )

    def test_reads_tools_their_calls_and_results(self) -> None:
        function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}

        found = conversation(
            *HI,
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
            tools=[{"type": "function", "function": function}],
            tool_choice={"type": "function", "function": {"name": "f"}},
            parallel_tool_calls=False,
        )

        assert found.tools == (Tool("f", "d", SCHEMA, is_strict=True),)
        assert (found.tool_choice, found.allows_parallel_tools) == ("tool:f", False)
        assert found.turns[1].parts == (ToolCall("c1", "f", '{"a":1}'),)
        assert found.turns[2] == Turn(Role.TOOL, (ToolResult("c1", (Text("done"),)),))

    def test_brings_thinking_back_with_its_signature(self) -> None:
        details = [
            {"type": "reasoning.text", "text": "hm", "index": 0},
            {"type": "reasoning.text", "signature": "sig", "index": 0},
            {"type": "reasoning.encrypted", "data": "xyz", "index": 1},
        ]

        found = conversation(
            *HI,
            {"role": "assistant", "content": "A", "reasoning_details": details, "reasoning": "hm"},
            {"role": "assistant", "content": "B", "reasoning_content": "only text"},
        )

        assert found.turns[1].parts == (
            Reasoning("hm", "sig"),
            Reasoning(redacted="xyz"),
            Text("A"),
        )
        assert found.turns[2].parts == (Reasoning("only text"), Text("B"))

    @pytest.mark.parametrize(
        ("wanted", "found"),
        [
            ({"type": "text"}, None),
            ({"type": "json_object"}, OutputFormat()),
            (
                {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                },
                OutputFormat(SCHEMA, "n", is_strict=True),
            ),
        ],
    )
    def test_reads_the_output_format(self, wanted: Any, found: OutputFormat | None) -> None:
        assert conversation(response_format=wanted).output_format == found

    @pytest.mark.parametrize(
        ("fields", "effort", "budget"),
        [
            ({"reasoning_effort": "low"}, "low", None),
            ({"reasoning": {"effort": "high"}}, "high", None),
            ({"reasoning": {"max_tokens": 2000}}, "", 2000),
            ({"reasoning": {"enabled": True}}, "medium", None),
            ({"reasoning": {"enabled": False}}, "none", None),
        ],
    )
    def test_reads_reasoning(self, fields: Any, effort: str, budget: int | None) -> None:
        found = conversation(**fields)

        assert (found.reasoning_effort, found.reasoning_budget_tokens) == (effort, budget)

    def test_keeps_unknown_fields_and_drops_the_gateways_own(self) -> None:
        found = conversation(new=1, provider={}, models=["x"], temperature=0.5, stop="END")

        assert found.extra == {"new": 1}
        assert (found.temperature, found.stop) == (0.5, ("END",))

    @pytest.mark.parametrize(
        ("messages", "fields", "param"),
        [
            ([1], {}, "messages[0]"),
            ([{"role": "boss", "content": ""}], {}, "messages[0].role"),
            ([{"role": "user", "content": 5}], {}, "messages[0].content"),
            (
                [{"role": "user", "content": [{"type": "hologram"}]}],
                {},
                "messages[0].content[0].type",
            ),
            ([{"role": "tool", "content": "x"}], {}, "messages[0].tool_call_id"),
            (
                [{"role": "assistant", "tool_calls": [{"id": "x"}]}],
                {},
                "messages[0].tool_calls[0].function.name",
            ),
            (
                [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}],
                {},
                "messages[0].content[0].file.file_data",
            ),
            (HI, {"temperature": "hot"}, "temperature"),
            (HI, {"seed": 1.5}, "seed"),
            (HI, {"stop": [1]}, "stop"),
            (HI, {"tools": [{}]}, "tools[0].function.name"),
            (HI, {"tool_choice": 5}, "tool_choice"),
            (HI, {"response_format": {"type": "xml"}}, "response_format.type"),
        ],
    )
    def test_names_the_place_of_what_it_cannot_read(
        self, messages: Any, fields: Any, param: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            conversation(*messages, **fields)

        assert caught.value.param == param
