import json
from typing import Any

import pytest

from billing.money import NanoUsd
from catalog.pricing import Bucket, Charge, Component, Usage
from gateway.protocol.chat import encode, read_usage, usage_fields


def block(prompt: int, completion: int, total: int | None = None, **details: Any) -> dict[str, Any]:
    inputs = {k: v for k, v in details.items() if k != "reasoning_tokens"}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "prompt_tokens_details": inputs,
        "completion_tokens_details": {"reasoning_tokens": details.get("reasoning_tokens")},
    }


class TestReadUsage:
    @pytest.mark.parametrize(
        ("usage", "tokens"),
        [
            (block(10, 5, 15), {Bucket.INPUT: 10, Bucket.OUTPUT: 5}),
            (
                block(10, 5, 15, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=2),
                {
                    Bucket.INPUT: 3,
                    Bucket.CACHED_INPUT: 4,
                    Bucket.CACHE_WRITE_5M: 3,
                    Bucket.OUTPUT: 3,
                    Bucket.OUTPUT_REASONING: 2,
                },
            ),
            (
                {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 8},
                {Bucket.INPUT: 1, Bucket.CACHED_INPUT: 8, Bucket.OUTPUT: 1},
            ),
            (
                {"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 8},
                {Bucket.INPUT: 1, Bucket.CACHED_INPUT: 8, Bucket.OUTPUT: 1},
            ),
            (
                block(9, 1, 10, cached_tokens=8, cache_type="ephemeral"),
                {Bucket.INPUT: 1, Bucket.CACHED_INPUT_EXPLICIT: 8, Bucket.OUTPUT: 1},
            ),
            (
                block(9, 248, 632, audio_tokens=375),
                {Bucket.INPUT: 9, Bucket.INPUT_AUDIO: 375, Bucket.OUTPUT: 248},
            ),
            (block(0, 0, 0), {}),
        ],
    )
    def test_puts_each_token_into_one_bucket(
        self, usage: dict[str, Any], tokens: dict[Bucket, int]
    ) -> None:
        reading = read_usage(usage)

        assert reading.usage.tokens == tokens
        assert reading.mismatch == 0

    def test_adds_reasoning_that_the_total_counts_beside_the_completion(self) -> None:
        reading = read_usage(block(12, 1, 241, reasoning_tokens=228))

        assert reading.usage.tokens == {
            Bucket.INPUT: 12,
            Bucket.OUTPUT: 1,
            Bucket.OUTPUT_REASONING: 228,
        }

    def test_lets_the_quirk_decide_without_a_total(self) -> None:
        quirks = {"reasoning_outside_completion": True}
        usage = block(12, 300, None, reasoning_tokens=228)

        assert read_usage(usage).usage.output_tokens == 300
        assert read_usage(usage, quirks).usage.output_tokens == 528

    def test_believes_a_total_that_contradicts_the_quirk(self) -> None:
        quirks = {"reasoning_outside_completion": True}

        reading = read_usage(block(12, 300, 312, reasoning_tokens=228), quirks)

        assert reading.usage.output_tokens == 300

    def test_counts_what_only_the_total_has_where_the_route_says_so(self) -> None:
        quirks = {"reasoning_in_total_only": True}

        reading = read_usage(block(35, 12, 109), quirks)

        assert reading.usage.tokens[Bucket.OUTPUT_REASONING] == 62
        assert reading.mismatch == 0

    def test_marks_a_total_that_fits_nothing_and_keeps_the_parts(self) -> None:
        reading = read_usage(block(10, 5, 100))

        assert reading.usage.tokens == {Bucket.INPUT: 10, Bucket.OUTPUT: 5}
        assert reading.mismatch == 85

    @pytest.mark.parametrize("nonsense", [-1, "7", 1.5, True, float("nan"), float("inf")])
    def test_does_not_believe_what_is_no_count(self, nonsense: Any) -> None:
        reading = read_usage({"prompt_tokens": 10, "completion_tokens": nonsense})

        assert not reading.is_believable
        assert reading.usage.tokens == {}

    @pytest.mark.parametrize("cached", [99, -5])
    def test_never_makes_a_bucket_negative(self, cached: int) -> None:
        reading = read_usage(block(10, 5, 15, cached_tokens=cached, reasoning_tokens=99))

        assert all(count > 0 for count in reading.usage.tokens.values())
        assert reading.usage.input_tokens == 10
        assert reading.usage.output_tokens == 5


class TestUsageFields:
    def test_says_again_what_was_read(self) -> None:
        given = block(10, 5, 15, cached_tokens=4, cache_write_tokens=3, reasoning_tokens=2)

        fields = usage_fields(read_usage(given).usage)

        assert fields["prompt_tokens"] == 10
        assert fields["completion_tokens"] == 5
        assert fields["total_tokens"] == 15
        assert fields["prompt_tokens_details"]["cached_tokens"] == 4
        assert fields["prompt_tokens_details"]["cache_write_tokens"] == 3
        assert fields["completion_tokens_details"]["reasoning_tokens"] == 2

    def test_keeps_the_providers_other_fields(self) -> None:
        fields = usage_fields(Usage(), block={"new_tokens": 7, "prompt_tokens_details": {"x": 1}})

        assert fields["new_tokens"] == 7
        assert fields["prompt_tokens_details"]["x"] == 1

    def test_writes_cost_as_an_exact_number(self) -> None:
        components = (
            Component("input", 3, 1, NanoUsd(1)),
            Component("output", 5, 1, NanoUsd(1_000_000_001)),
            Component("output", 5, 1, NanoUsd(1)),
        )

        text = encode(usage_fields(Usage(), Charge(NanoUsd(1_000_000_003), components)))

        assert b'"cost":1.000000003' in text
        assert b'"cost_details":{"input":0.000000001,"output":1.000000002}' in text
        assert json.loads(text)["cost"] == pytest.approx(1.000000003)
