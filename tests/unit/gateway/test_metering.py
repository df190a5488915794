import pytest

from catalog.pricing import Bucket, Outcome, Usage
from gateway import metering
from gateway.metering import (
    IMAGE_TOKENS,
    LOW_DETAIL_IMAGE_TOKENS,
    Bounds,
    OutputMeter,
    count_input_tokens,
    count_request,
    count_text,
    usage_of,
)
from gateway.protocol.events import ReasoningDelta, TextDelta, ToolArgumentsDelta, ToolCallStarted

BOUNDS = Bounds(input_tokens=1_000, output_tokens=100)


def user(content):
    return {"messages": [{"role": "user", "content": content}]}


class TestCountText:
    def test_takes_special_tokens_for_text(self):
        assert count_text("<|endoftext|>") > 1

    def test_counts_long_text_in_pieces(self):
        text = "one two three four " * 10_000

        assert abs(count_text(text) - 40_000) < 50

    def test_divides_bytes_without_a_tokenizer(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "quicktok", None)

        assert metering._tokenizer()("字字") == 2
        assert metering._tokenizer()("abcd") == 2


class TestCountInputTokens:
    def test_counts_a_message_and_its_frame(self):
        assert count_input_tokens(user("hello world")) == 2 + 4 + 3

    def test_counts_text_parts_like_text(self):
        parts = [{"type": "text", "text": "hello world"}]

        assert count_input_tokens(user(parts)) == count_input_tokens(user("hello world"))

    def test_does_not_count_the_bytes_of_an_image(self):
        url = "data:image/png;base64," + "A" * 1_000_000
        parts = [{"type": "image_url", "image_url": {"url": url}}]

        assert count_input_tokens(user(parts)) == IMAGE_TOKENS + 4 + 3

    def test_counts_an_image_of_low_detail_low(self):
        parts = [{"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}]

        assert count_input_tokens(user(parts)) == LOW_DETAIL_IMAGE_TOKENS + 4 + 3

    def test_counts_an_image_in_anthropics_shape(self):
        source = {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}
        parts = [{"type": "image", "source": source}]

        assert count_input_tokens(user(parts)) == IMAGE_TOKENS + 4 + 3

    def test_counts_more_for_a_longer_file(self):
        short = [{"type": "file", "file": {"file_data": "A" * 1_000}}]
        long = [{"type": "file", "file": {"file_data": "A" * 1_000_000}}]

        assert count_input_tokens(user(long)) > 10 * count_input_tokens(user(short))

    def test_counts_tools_and_system(self):
        tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"a": 1}}}
        plain = count_input_tokens(user("x"))

        assert count_input_tokens({**user("x"), "tools": [tool]}) > plain
        assert count_input_tokens({**user("x"), "system": "Be brief."}) > plain

    def test_counts_names_in_a_schema(self):
        schema = {"type": "object", "properties": {"type": {"type": "string"}}}
        tool = {"name": "x", "input_schema": schema}

        assert (
            count_input_tokens({**user("x"), "tools": [tool]}) > count_input_tokens(user("x")) + 3
        )

    @pytest.mark.parametrize("odd", [None, 1, "text", [1, None, "x"], {"messages": 3}])
    def test_takes_odd_values_calmly(self, odd):
        assert count_input_tokens({"messages": odd}) >= 3

    async def test_counts_a_long_request_off_the_loop(self):
        raw = b'[{"role":"user","content":"' + b"word " * 50_000 + b'"}]'

        assert abs(await count_request([("messages", raw)]) - 50_000) < 50


class TestOutputMeter:
    def test_keeps_thinking_apart(self):
        meter = OutputMeter()

        meter.add([ReasoningDelta("hello"), TextDelta("hello "), TextDelta("world")])

        assert meter.tokens() == {Bucket.OUTPUT: 2, Bucket.OUTPUT_REASONING: 1}

    def test_counts_tool_calls(self):
        meter = OutputMeter()

        meter.add([ToolCallStarted(0, "call_1", "lookup"), ToolArgumentsDelta(0, '{"a":1}')])

        assert meter.tokens()[Bucket.OUTPUT] > 4

    def test_bound_is_above_the_count(self):
        meter = OutputMeter()
        meter.add([TextDelta("The quick brown fox jumps over the lazy dog. " * 100)])

        assert meter.at_most >= sum(meter.tokens().values())

    def test_counts_the_same_when_asked_often(self):
        meter = OutputMeter()
        for _ in range(10):
            meter.add([TextDelta(" word")])
            meter.tokens()

        assert meter.tokens() == {Bucket.OUTPUT: 10}


class TestUsageOf:
    def of(self, usage):
        meter = OutputMeter()
        meter.add([TextDelta("hello world")])
        return usage_of(usage, input_tokens=7, meter=meter, bounds=BOUNDS)

    def test_is_the_providers(self):
        usage = Usage(tokens={Bucket.INPUT: 9, Bucket.OUTPUT: 3})

        assert self.of(usage) is usage

    def test_is_counted_without_one(self):
        assert self.of(None) == Usage(
            tokens={Bucket.INPUT: 7, Bucket.OUTPUT: 2}, outcome=Outcome.ESTIMATED
        )

    @pytest.mark.parametrize(
        "tokens",
        [
            {Bucket.INPUT: -1},
            {Bucket.INPUT: 1_001},
            {Bucket.OUTPUT: 101},
            {Bucket.INPUT: 9, Bucket.OUTPUT: 2.5},
            {Bucket.INPUT: True},
        ],
    )
    def test_is_counted_when_no_model_could_use_so_much(self, tokens):
        assert self.of(Usage(tokens=tokens)).outcome is Outcome.ESTIMATED

    def test_zero_is_a_number(self):
        assert self.of(Usage(tokens={})).outcome is Outcome.EXACT
