"""`rate()` against hand-worked amounts, and its properties over any usage."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import parse_usd
from catalog.pricing import (
    Bucket,
    Charge,
    Price,
    Tier,
    Usage,
    Window,
    rate,
    worst_rates,
)

MONDAY = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
B = Bucket


def rates(**usd: str) -> dict[Bucket, int]:
    return {Bucket(name): parse_usd(text) for name, text in usd.items()}


def price(**changes: object) -> Price:
    values: dict[str, object] = {
        "version_id": 1,
        "valid_from": datetime(2026, 1, 1, tzinfo=UTC),
        "rates": rates(input="2.375", output="4.25"),
    }
    return Price(**{**values, **changes})  # type: ignore[arg-type]


def charge(p: Price, at: datetime = MONDAY, **tokens: int) -> Charge:
    return rate(usage=usage(**tokens), price=p, at=at)


def usage(**tokens: int) -> Usage:
    return Usage(tokens={Bucket(name): n for name, n in tokens.items()})


FULL = price(
    rates=rates(
        input="3", cached_input="0.3", cached_input_explicit="0.15", cache_write_5m="3.75",
        cache_write_1h="6", cache_write_12h="7", input_audio="32", cached_input_audio="1.6",
        input_image="8", cached_input_image="2", input_video="5", output="15",
        output_audio="64", output_image="30", output_video="40",
    )
)  # fmt: skip


class TestRate:
    def test_charges_nothing_for_nothing(self) -> None:
        found = rate(usage=Usage(), price=price(), at=MONDAY)

        assert (found.amount, found.components) == (0, ())

    def test_multiplies_tokens_by_rates(self) -> None:
        # 1,000 x 2,375 + 200 x 4,250 nano-USD a token
        assert charge(price(), input=1000, output=200).amount == 3_225_000

    @pytest.mark.parametrize(
        ("bucket", "expected"),
        [
            ("input", 3_000_000), ("cached_input", 300_000), ("cached_input_explicit", 150_000),
            ("cache_write_5m", 3_750_000), ("cache_write_1h", 6_000_000),
            ("cache_write_12h", 7_000_000), ("input_audio", 32_000_000),
            ("cached_input_audio", 1_600_000), ("input_image", 8_000_000),
            ("cached_input_image", 2_000_000), ("input_video", 5_000_000),
            ("output", 15_000_000), ("output_reasoning", 15_000_000),
            ("output_audio", 64_000_000), ("output_image", 30_000_000),
            ("output_video", 40_000_000),
        ],
    )  # fmt: skip
    def test_has_a_rate_for_every_bucket(self, bucket: str, expected: int) -> None:
        assert charge(FULL, **{bucket: 1000}).amount == expected

    def test_rounds_a_fraction_up(self) -> None:
        tiny = price(rates=rates(input="0.000001", output="0.000001"))

        assert charge(tiny, input=1).amount == 1

    def test_rounds_once_for_the_whole_call(self) -> None:
        third = price(rates=rates(input="0.0004", output="0.0004", cached_input="0.0004"))

        found = charge(third, input=1, output=1, cached_input=1)  # 3 x 0.4 nano-USD

        assert found.amount == 2
        assert sum(line.amount for line in found.components) == 2

    def test_gives_the_remainder_to_the_largest_line(self) -> None:
        odd = price(rates=rates(input="0.0015", output="0.0106"))

        found = charge(odd, input=1, output=1)  # 1.5 and 10.6: 12.1, so 13

        assert {line.name: line.amount for line in found.components} == {"input": 1, "output": 12}

    def test_keeps_large_amounts_exact(self) -> None:
        dear = price(rates=rates(input="1000", output="1000"))

        assert charge(dear, input=10**9 + 1).amount == 1_000_000_001_000_000


class TestTier:
    TIERED = price(
        rates=rates(input="1", cached_input="0.1", output="2"),
        tiers=(
            Tier(32_000, rates(input="3", output="4")),
            Tier(128_000, rates(input="5")),
        ),
    )

    @pytest.mark.parametrize(
        ("tokens", "per_token"), [(31_999, 1000), (32_000, 1000), (32_001, 3000), (128_001, 5000)]
    )
    def test_begins_above_its_threshold(self, tokens: int, per_token: int) -> None:
        assert charge(self.TIERED, input=tokens).amount == tokens * per_token

    def test_holds_for_the_whole_request(self) -> None:
        assert charge(self.TIERED, input=32_001, output=10).amount == 32_001 * 3000 + 10 * 4000

    def test_counts_cached_and_written_input(self) -> None:
        found = charge(self.TIERED, input=1, cached_input=16_000, cache_write_5m=16_000)

        assert found.amount == 1 * 3000 + 16_000 * 100 + 16_000 * 3000

    def test_never_counts_output(self) -> None:
        assert charge(self.TIERED, input=1, output=99_999).amount == 1000 + 99_999 * 2000

    def test_keeps_the_base_rate_that_it_does_not_name(self) -> None:
        highest = charge(self.TIERED, input=128_001, cached_input=10, output=1)

        # the highest tier names no output: the base rate stands, not the lower tier's
        assert highest.amount == 128_001 * 5000 + 10 * 100 + 1 * 2000

    def test_at_a_makers_inclusive_threshold_is_stored_one_lower(self) -> None:
        xai = price(rates=rates(input="1", output="1"), tiers=(Tier(199_999, rates(input="2")),))

        assert charge(xai, input=200_000).amount == 200_000 * 2000


OFF_PEAK = Window(
    name="off_peak",
    minutes=((0, 60), (240, 360), (600, 1440)),
    rates=rates(input="0.15", cached_input="0.003", output="0.6"),
    is_all_weekend=True,
    holidays=frozenset({"2026-10-01"}),
)
DEEPSEEK = price(rates=rates(input="0.3", cached_input="0.006", output="1.2"), windows=(OFF_PEAK,))


class TestWindow:
    @pytest.mark.parametrize(
        ("at", "is_off_peak"),
        [
            (datetime(2026, 11, 23, 0, 0, tzinfo=UTC), True),
            (datetime(2026, 11, 23, 0, 59, 59, tzinfo=UTC), True),
            (datetime(2026, 11, 23, 1, 0, tzinfo=UTC), False),
            (datetime(2026, 11, 23, 3, 59, 59, tzinfo=UTC), False),
            (datetime(2026, 11, 23, 4, 0, tzinfo=UTC), True),
            (datetime(2026, 11, 23, 6, 0, tzinfo=UTC), False),
            (datetime(2026, 11, 23, 10, 0, tzinfo=UTC), True),
            (datetime(2026, 11, 23, 23, 59, 59, tzinfo=UTC), True),
            (datetime(2026, 11, 21, 2, 0, tzinfo=UTC), True),  # Saturday
            (datetime(2026, 11, 22, 8, 0, tzinfo=UTC), True),  # Sunday
            (datetime(2026, 10, 1, 2, 0, tzinfo=UTC), True),  # National Day, a Thursday
            (datetime(2026, 9, 30, 8, 0, tzinfo=UTC), False),  # still the 30th in Beijing
            (datetime(2026, 10, 2, 8, 0, tzinfo=UTC), False),
        ],
    )
    def test_is_half_open_and_holds_on_weekends_and_holidays(
        self,
        at: datetime,
        is_off_peak: bool,  # noqa: FBT001  (a parameter of the table)
    ) -> None:
        expected = 150_000 + 600_000 if is_off_peak else 300_000 + 1_200_000

        assert charge(DEEPSEEK, at, input=1000, output=1000).amount == expected

    def test_is_read_in_utc(self) -> None:
        beijing_noon = datetime.fromisoformat("2026-11-23T10:00:00+08:00")  # 02:00 UTC

        assert charge(DEEPSEEK, beijing_noon, input=1000).amount == 300_000

    def test_gives_way_to_a_tier(self) -> None:
        both = price(
            rates=rates(input="2", output="2"),
            windows=(Window("all", ((0, 1440),), rates(input="1", output="1")),),
            tiers=(Tier(10, rates(input="9")),),
        )

        assert charge(both, input=11, output=1).amount == 11 * 9000 + 1000


class TestFallBack:
    TEXT = price(rates=rates(input="4", cached_input="1", output="8"))

    @pytest.mark.parametrize(
        ("bucket", "per_token"),
        [
            ("cached_input_explicit", 1000), ("cache_write_5m", 4000), ("cache_write_1h", 4000),
            ("cache_write_12h", 4000), ("input_audio", 4000), ("cached_input_audio", 1000),
            ("input_image", 4000), ("cached_input_image", 1000), ("input_video", 4000),
            ("output_reasoning", 8000), ("output_audio", 8000), ("output_image", 8000),
            ("output_video", 8000),
        ],
    )  # fmt: skip
    def test_takes_the_rate_of_text(self, bucket: str, per_token: int) -> None:
        assert charge(self.TEXT, **{bucket: 100}).amount == 100 * per_token

    def test_bills_a_cache_read_as_input_where_no_discount_is_given(self) -> None:
        assert charge(price(), cached_input=100).amount == 237_500

    def test_takes_the_modality_before_text_for_its_cache(self) -> None:
        audio = price(rates=rates(input="1", input_audio="32", output="1"))

        assert charge(audio, cached_input_audio=10).amount == 320_000

    @pytest.mark.parametrize(
        ("asked", "given", "expected"),
        [
            ("cache_write_5m", {"cache_write_1h": "6", "cache_write_12h": "7"}, 6000),
            ("cache_write_5m", {"cache_write_12h": "7"}, 7000),
            ("cache_write_1h", {"cache_write_5m": "3.75", "cache_write_12h": "7"}, 7000),
            ("cache_write_1h", {"cache_write_5m": "3.75"}, 3750),
            ("cache_write_12h", {"cache_write_5m": "3.75", "cache_write_1h": "6"}, 6000),
        ],
    )
    def test_takes_the_next_longer_cache_write_else_the_longest(
        self, asked: str, given: dict[str, str], expected: int
    ) -> None:
        p = price(rates=rates(input="3", output="1", **given))

        assert charge(p, **{asked: 1}).amount == expected

    def test_names_what_has_no_rate_of_its_own(self) -> None:
        found = charge(self.TEXT, input=1, input_audio=5, cache_write_5m=5, output=1)

        assert set(found.unpriced) == {B.INPUT_AUDIO, B.CACHE_WRITE_5M}

    def test_is_silent_where_it_is_the_rule(self) -> None:
        found = charge(self.TEXT, cached_input=1, output_reasoning=5)

        assert found.unpriced == ()


class TestReasoning:
    QWEN = price(rates=rates(input="0.4", output="1.2", output_reasoning="4"))

    def test_raises_the_rate_of_all_output_of_a_call_that_reasoned(self) -> None:
        assert charge(self.QWEN, output=100, output_reasoning=50).amount == 150 * 4000

    def test_leaves_a_call_that_did_not_reason_alone(self) -> None:
        assert charge(self.QWEN, output=100).amount == 100 * 1200

    def test_is_output_where_it_has_no_rate(self) -> None:
        assert charge(price(), output=100, output_reasoning=50).amount == 150 * 4250


class TestFactor:
    FACTORED = price(
        rates=rates(input="2", output="10"),
        service_tiers={"flex": (1, 2), "priority": (1667, 1000)},
        surcharges={"inference_geo_us": (11, 10), "speed_fast": (2, 1)},
        web_search_nano_usd=10_000_000,
    )

    def _rate(self, tier: str = "", surcharges: tuple[str, ...] = (), searches: int = 0) -> int:
        used = Usage(tokens={B.INPUT: 1000, B.OUTPUT: 100}, web_searches=searches)
        return rate(
            usage=used, price=self.FACTORED, at=MONDAY, service_tier=tier, surcharges=surcharges
        ).amount

    def test_of_a_service_tier_multiplies_every_token_rate(self) -> None:
        assert self._rate("flex") == 1_500_000

    def test_with_decimals_is_exact(self) -> None:
        assert self._rate("priority") == 5_001_000

    def test_of_a_surcharge_multiplies_the_others(self) -> None:
        assert self._rate("flex", ("inference_geo_us", "speed_fast")) == 3_300_000

    def test_leaves_web_searches_alone(self) -> None:
        assert self._rate("flex", (), 3) == 1_500_000 + 30_000_000

    def test_is_one_for_a_service_tier_that_the_row_does_not_have(self) -> None:
        assert self._rate("scale") == 3_000_000


BUCKETS = [B.INPUT, B.CACHED_INPUT, B.CACHE_WRITE_5M, B.INPUT_AUDIO, B.OUTPUT, B.OUTPUT_REASONING]
counts = st.dictionaries(st.sampled_from(BUCKETS), st.integers(1, 2_000_000), max_size=6)
amounts = st.integers(0, 100_000_000_000)
tables = st.fixed_dictionaries(
    {B.INPUT: amounts, B.OUTPUT: amounts}, optional=dict.fromkeys(BUCKETS[1:4], amounts)
)
instants = st.integers(0, 10_000_000).map(lambda s: MONDAY + timedelta(seconds=s))


@st.composite
def prices(draw: st.DrawFn) -> Price:
    base = draw(tables)
    dearer = {bucket: n + draw(amounts) for bucket, n in base.items()}
    factor = (draw(st.integers(1, 3000)), 1000)
    return price(
        rates=base,
        tiers=(Tier(200_000, dearer),),
        windows=(Window("w", ((60, 600),), draw(tables), is_all_weekend=True),),
        service_tiers={"flex": factor},
    )


class TestProperties:
    @given(prices(), counts, instants)
    def test_lines_are_not_negative_and_add_up(
        self, p: Price, tokens: dict[Bucket, int], at: datetime
    ) -> None:
        found = rate(usage=Usage(tokens=tokens), price=p, at=at, service_tier="flex")

        assert sum(line.amount for line in found.components) == found.amount
        assert all(line.amount >= 0 for line in found.components)

    @given(tables, counts, st.sampled_from(BUCKETS), st.integers(1, 1_000_000), amounts)
    def test_more_of_a_bucket_is_never_cheaper(
        self,
        base: dict[Bucket, int],
        tokens: dict[Bucket, int],
        bucket: Bucket,
        more: int,
        dearer_by: int,
    ) -> None:
        dearer = {name: amount + dearer_by for name, amount in base.items()}
        p = price(rates=base, tiers=(Tier(200_000, dearer),))
        larger = {**tokens, bucket: tokens.get(bucket, 0) + more}

        less = rate(usage=Usage(tokens=tokens), price=p, at=MONDAY)
        greater = rate(usage=Usage(tokens=larger), price=p, at=MONDAY)

        assert greater.amount >= less.amount

    @given(tables, counts, counts)
    def test_is_additive_within_a_tier_but_for_one_rounding(
        self, base: dict[Bucket, int], one: dict[Bucket, int], other: dict[Bucket, int]
    ) -> None:
        p = price(rates=base)
        both = {b: one.get(b, 0) + other.get(b, 0) for b in {*one, *other}}
        parts = sum(rate(usage=Usage(tokens=t), price=p, at=MONDAY).amount for t in (one, other))

        whole = rate(usage=Usage(tokens=both), price=p, at=MONDAY).amount

        assert parts - 1 <= whole <= parts

    @given(prices(), counts, instants)
    def test_never_exceeds_the_worst_rates(
        self, p: Price, tokens: dict[Bucket, int], at: datetime
    ) -> None:
        used = Usage(tokens=tokens)
        worst = worst_rates(price=p, input_tokens=used.input_tokens, at=at)

        bound = (
            used.input_tokens * worst.input_nano_usd_per_mtok
            + used.output_tokens * worst.output_nano_usd_per_mtok
        )

        assert rate(usage=used, price=p, at=at).amount <= -(-bound // 1_000_000)
