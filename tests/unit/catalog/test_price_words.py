"""Prices as a person reads them."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from catalog.price_words import factor_lines, price_lines, rate_name, unit_words, window_words

OFF_PEAK = {
    "name": "off_peak",
    "windows_utc_mon_fri": ["00:00-01:00", "10:00-00:00"],
    "also": "all day Saturday and Sunday",
}


@dataclass
class StoredRate:
    dimension: str
    unit: str = "mtok"
    amount_nano_usd: int = 1_000_000_000
    above_input_tokens: int = 0
    window: str = ""
    details: Any = field(default_factory=dict)
    pk: int = 1


class TestName:
    @pytest.mark.parametrize(
        ("dimension", "details", "words"),
        [
            ("cache_write_1h", {}, "Cache write, 1 hour"),
            ("image", {"op": "generate", "size": "1024x1024"}, "Image, generate, 1024x1024"),
            ("video", {"resolution": "720p"}, "Video, 720p"),
            ("megapixel", {"which": "each_additional"}, "Each further megapixel"),
            ("extra:input_image", {"what": "input image"}, "Input image"),
            ("a_unit_of_tomorrow", {}, "a_unit_of_tomorrow"),
        ],
    )
    def test_says_what_is_charged(self, dimension: str, details: Any, words: str) -> None:
        assert rate_name(dimension, details) == words


class TestUnit:
    @pytest.mark.parametrize(
        ("unit", "details", "words"),
        [
            ("mtok", {}, "1M tokens"),
            ("clip", {"seconds": 6}, "clip of 6 seconds"),
            ("request", {"covers_seconds": 60}, "request of up to 60 seconds"),
            ("extra", {"per": "image"}, "image"),
        ],
    )
    def test_says_what_it_is_for(self, unit: str, details: Any, words: str) -> None:
        assert unit_words(unit, details) == words


class TestLines:
    def test_put_base_rates_before_tiers_and_windows(self) -> None:
        lines = price_lines(
            [
                StoredRate("output", window="off_peak"),
                StoredRate("output", above_input_tokens=272_000),
                StoredRate("output"),
                StoredRate("input"),
            ],
            [OFF_PEAK],
        )

        assert [(line.what, line.when) for line in lines] == [
            ("Input", ""),
            ("Output", ""),
            ("Output", "input above 272,000 tokens, for the whole request"),
            ("Output", window_words(OFF_PEAK)),
        ]

    def test_say_when_video_is_billed_by_tokens(self) -> None:
        details = {"resolution": "720p", "per_million_tokens": "2.035714"}

        (line,) = price_lines([StoredRate("video", unit="second", details=details)], [])

        assert "$2.035714 per 1M video tokens" in line.note


class TestWindow:
    def test_says_its_hours_and_days(self) -> None:
        assert window_words(OFF_PEAK) == (
            "Monday to Friday 00:00-01:00, 10:00-00:00 UTC; all day Saturday and Sunday"
        )


class TestFactors:
    def test_name_tiers_and_surcharges(self) -> None:
        lines = factor_lines({"batch": "0.5"}, [{"when": "fast mode", "multiplier": "2"}])

        assert [(line.what, line.factor) for line in lines] == [
            ("Service tier batch", "0.5"),
            ("Fast mode", "2"),
        ]
