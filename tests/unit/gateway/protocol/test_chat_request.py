import json
from typing import Any

import pytest

from gateway.protocol.chat import InvalidRequest, parse_chat_request, splice

HI = [{"role": "user", "content": "Hi"}]


def request_bytes(**fields: Any) -> bytes:
    return json.dumps({"model": "gpt-5.4", "messages": HI, **fields}).encode()


def spliced(body: bytes, *, limit: int | None = None, **quirks: Any) -> dict[str, Any]:
    out = splice(body, model="upstream", max_output_tokens=limit, quirks=quirks, include_usage=True)
    return json.loads(out)


class TestParseChatRequest:
    def test_reads_what_the_gateway_acts_on(self) -> None:
        body = request_bytes(
            stream=True,
            stream_options={"include_usage": True},
            max_tokens=5,
            max_completion_tokens=7,
            n=2,
            models=["a"],
            provider={"order": ["x"]},
            tools=[{"type": "function"}],
        )

        request = parse_chat_request(body)

        assert (request.model, request.is_stream, request.wants_usage) == ("gpt-5.4", True, True)
        assert (request.output_limit, request.choices) == (7, 2)
        assert (request.models, request.provider) == (["a"], {"order": ["x"]})
        assert request.has_tools
        assert request.body == body

    def test_takes_unknown_fields_of_any_type(self) -> None:
        request = parse_chat_request(request_bytes(body=5, anything=[1, {"deep": None}]))

        assert request.model == "gpt-5.4"

    def test_takes_openrouters_wish_for_usage(self) -> None:
        assert parse_chat_request(request_bytes(usage={"include": True})).wants_usage

    @pytest.mark.parametrize(
        ("body", "param", "words"),
        [
            (b"", None, "not valid JSON"),
            (b'{"model": "m", "messages"', None, "not valid JSON"),
            (b"[1]", None, "JSON object"),
            (b'"text"', None, "JSON object"),
            (b'{"messages": [1]}', "model", "Missing"),
            (b'{"model": "m"}', "messages", "Missing"),
            (b'{"model": 5, "messages": [1]}', "model", "expected `str`"),
            (b'{"model": " ", "messages": [1]}', "model", "which model"),
            (b'{"model": "m", "messages": {}}', "messages", "array"),
            (b'{"model": "m", "messages": [ ]}', "messages", "empty"),
            (b'{"model": "m", "messages": [1], "n": 0}', "n", "1 to 128"),
            (b'{"model": "m", "messages": [1], "max_tokens": "9"}', "max_tokens", "expected"),
            (b'{"model": "m", "messages": [1], "max_tokens": 0}', "max_tokens", "1 to"),
            (b'{"model": "m", "messages": [1], "max_tokens": true}', "max_tokens", "expected"),
            (
                b'{"model": "m", "messages": [1], "stream_options": {"include_usage": 1}}',
                "stream_options.include_usage",
                "expected",
            ),
            (b'{"model": "m", "messages": ["\\u0000"]}', None, "NUL"),
            (b'{"model": "m", "messages": ["\\ud800"]}', None, "surrogate"),
            (b'{"model": "m", "messages": ["\xff"]}', None, "UTF-8"),
            (b'{"model": "m", "messages": ["\x00"]}', None, "not valid JSON"),
            (b'{"model": "m", "messages": [1], "t": NaN}', None, "not valid JSON"),
            (b'{"model": "m", "messages": [1], "t": Infinity}', None, "not valid JSON"),
            (b'{"model": "m", "messages": [1], "t": 1e999}', None, "not finite"),
            (b'{"model": "m", "messages": ' + b"[" * 64 + b"]" * 64 + b"}", None, "64 levels"),
            (b'{"model": "m", "messages": ' + b"[" * 9999 + b"]" * 9999 + b"}", None, "64 levels"),
        ],
    )
    def test_refuses_and_says_why(self, body: bytes, param: str | None, words: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            parse_chat_request(body)

        assert caught.value.param == param
        assert words in caught.value.message

    def test_takes_the_last_level_of_depth(self) -> None:
        body = b'{"model": "m", "messages": ' + b"[" * 63 + b"]" * 63 + b"}"

        assert parse_chat_request(body).model == "m"

    def test_takes_text_that_only_looks_like_nul_or_numbers(self) -> None:
        body = b'{"model": "m", "messages": ["\\\\u0000 1e999 \\ud83d\\ude00 ]]]["]}'

        assert parse_chat_request(body).model == "m"


class TestSplice:
    def test_keeps_every_byte_of_what_it_does_not_know(self) -> None:
        body = b'{"model":"a", "messages":[ {"role":"user","content":"\\u00e9"} ],"new":{"x":1.50}}'

        out = splice(body, model="up", max_output_tokens=None, quirks={}, include_usage=True)

        assert out == (
            b'{"model":"up","messages":[ {"role":"user","content":"\\u00e9"} ],"new":{"x":1.50}}'
        )

    def test_sends_a_key_that_came_twice_once(self) -> None:
        body = b'{"model":"cheap","messages":[1],"model":"dear"}'

        out = splice(body, model="up", max_output_tokens=None, quirks={}, include_usage=True)

        assert out.count(b'"model"') == 1

    def test_asks_a_stream_for_usage(self) -> None:
        plain = spliced(request_bytes(stream=True))
        other_option = spliced(request_bytes(stream=True, stream_options={"x": 1}))
        null_option = spliced(request_bytes(stream=True, stream_options=None))

        assert plain["stream_options"] == {"include_usage": True}
        assert other_option["stream_options"] == {"x": 1, "include_usage": True}
        assert null_option["stream_options"] == {"include_usage": True}

    def test_asks_no_usage_of_a_whole_answer_or_where_it_is_refused(self) -> None:
        assert "stream_options" not in spliced(request_bytes())
        assert "stream_options" not in spliced(request_bytes(stream=True), no_stream_options=True)

    @pytest.mark.parametrize(
        ("fields", "limit", "quirks", "sent"),
        [
            ({}, None, {}, {}),
            ({}, 9, {}, {"max_tokens": 9}),
            ({"max_tokens": 5}, None, {}, {"max_tokens": 5}),
            ({"max_completion_tokens": 5}, 4, {}, {"max_completion_tokens": 4}),
            (
                {"max_tokens": 5},
                None,
                {"max_tokens_field": "max_completion_tokens"},
                {"max_completion_tokens": 5},
            ),
            (
                {"max_tokens": 5, "max_completion_tokens": 6},
                None,
                {"max_tokens_field": "max_tokens"},
                {"max_tokens": 6},
            ),
            ({"max_tokens": None}, None, {}, {}),
        ],
    )
    def test_sends_one_limit_under_the_known_name(
        self,
        fields: dict[str, Any],
        limit: int | None,
        quirks: dict[str, Any],
        sent: dict[str, Any],
    ) -> None:
        out = spliced(request_bytes(**fields), limit=limit, **quirks)

        assert {name: out[name] for name in out if name.startswith("max_")} == sent

    def test_leaves_out_what_only_a_gateway_understands(self) -> None:
        body = request_bytes(models=["b"], provider={}, usage={"include": True}, route="fallback")

        assert set(spliced(body)) == {"model", "messages"}

    def test_puts_openrouters_effort_into_openais_word(self) -> None:
        out = spliced(request_bytes(reasoning={"effort": "low"}))

        assert out["reasoning_effort"] == "low"
        assert "reasoning" not in out

    def test_leaves_out_what_the_route_refuses(self) -> None:
        out = spliced(request_bytes(temperature=1, seed=3), drop_params=["temperature"])

        assert "temperature" not in out
        assert out["seed"] == 3
