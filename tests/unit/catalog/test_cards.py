"""A model as the API lists it."""

from datetime import UTC, datetime

import pytest

from catalog import cards
from catalog.pricing import Bucket, Price, Window

START = datetime(2026, 1, 1, tzinfo=UTC)


class TestPerToken:
    @pytest.mark.parametrize(
        ("nano_usd_per_mtok", "text"),
        [
            (2_375_000_000, "0.000002375"), (1, "0.000000000000001"), (0, "0"),
            (10**15, "1"), (1_500_000_000_000_000, "1.5"),
        ],
    )  # fmt: skip
    def test_is_exact(self, nano_usd_per_mtok: int, text: str) -> None:
        assert cards.per_token(nano_usd_per_mtok) == text


class TestCreated:
    @pytest.mark.parametrize(
        ("released", "day"), [("2026-02-05", "2026-02-05"), ("2025-11", "2025-11-01")]
    )
    def test_is_the_first_second_of_the_release(self, released: str, day: str) -> None:
        assert datetime.fromtimestamp(cards.created(released), UTC).date().isoformat() == day

    def test_is_zero_where_nobody_knows(self) -> None:
        assert cards.created("") == 0


class TestPricing:
    def test_names_every_bucket(self) -> None:
        price = Price(version_id=1, valid_from=START, rates=dict.fromkeys(Bucket, 10**9))

        assert len(cards.pricing(price)) == len(Bucket)

    def test_shows_factors_windows_and_searches(self) -> None:
        price = Price(
            version_id=1,
            valid_from=START,
            rates={Bucket.INPUT: 10**9},
            windows=(Window("off_peak", ((600, 1440),), {Bucket.INPUT: 5 * 10**8}),),
            service_tiers={"priority": (1667, 1000)},
            web_search_nano_usd=10_000_000,
        )

        shown = cards.pricing(price)

        assert shown["service_tiers"] == {"priority": "1.667"}
        assert shown["web_search"] == "0.01"
        assert shown["overrides"][0]["utc_windows"] == [["1000", "2400"]]
