"""Money in and out of text, exactly."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import (
    LARGEST,
    InvalidAmount,
    format_usd,
    from_cents,
    parse_usd,
    to_usd,
    usd_literal,
)
from billing.templatetags.money import usd

amounts = st.integers(min_value=0, max_value=LARGEST)
any_amounts = st.integers(min_value=-LARGEST - 1, max_value=LARGEST)


class TestParseUsd:
    @pytest.mark.parametrize(
        ("text", "nano"),
        [
            ("0", 0),
            ("10", 10_000_000_000),
            ("0.6878", 687_800_000),
            ("0.000000001", 1),
            (".5", 500_000_000),
            ("5.", 5_000_000_000),
            ("007.10", 7_100_000_000),
            ("9223372036.854775807", LARGEST),
        ],
    )
    def test_reads_plain_decimals(self, text: str, nano: int) -> None:
        assert parse_usd(text) == nano

    @pytest.mark.parametrize(
        "text",
        [
            "", ".", "1.2.3", "-1", "+1", "1e3", "1_000", "1,000", " 1", "1 ", "$1", "NaN", "Inf",
            "0x10", "0.0000000001", "1.0000000001", "9223372036.854775808", "\u0661", "1\n", "½",
        ],
    )  # fmt: skip
    def test_refuses_anything_else(self, text: str) -> None:
        with pytest.raises(InvalidAmount):
            parse_usd(text)

    def test_takes_trailing_zeros_beyond_nine_decimals(self) -> None:
        assert parse_usd("0.1000000000000") == 100_000_000

    @given(st.text(max_size=30))
    def test_never_fails_in_another_way(self, text: str) -> None:
        try:
            nano = parse_usd(text)
        except InvalidAmount:
            return
        assert 0 <= nano <= LARGEST

    @given(amounts)
    def test_reads_back_what_the_literal_wrote(self, nano: int) -> None:
        assert parse_usd(usd_literal(nano)) == nano

    @given(amounts)
    def test_reads_back_what_a_person_sees(self, nano: int) -> None:
        assert parse_usd(format_usd(nano).replace("$", "").replace(",", "")) == nano


class TestUsdLiteral:
    @pytest.mark.parametrize(
        ("nano", "text"),
        [(0, "0"), (1, "0.000000001"), (10**9, "1"), (1_500_000_000, "1.5"), (-1, "-0.000000001")],
    )
    def test_is_short_and_plain(self, nano: int, text: str) -> None:
        assert usd_literal(nano) == text

    @given(any_amounts)
    def test_is_the_exact_decimal(self, nano: int) -> None:
        assert Decimal(usd_literal(nano)) == to_usd(nano) == Decimal(nano) / 10**9

    @given(any_amounts)
    def test_needs_no_exponent(self, nano: int) -> None:
        assert set(usd_literal(nano)) <= set("-.0123456789")


class TestFormatUsd:
    @pytest.mark.parametrize(
        ("nano", "text"),
        [
            (0, "$0.00"),
            (1_234_500_000_000, "$1,234.50"),
            (123, "$0.000000123"),
            (-1_500_000_000, "-$1.50"),
            (100_000, "$0.0001"),
        ],
    )
    def test_shows_two_decimals_at_least(self, nano: int, text: str) -> None:
        assert format_usd(nano) == text

    def test_is_what_templates_use(self) -> None:
        assert usd(1_000_000) == "$0.001"


class TestFromCents:
    @given(st.integers(min_value=-(10**9), max_value=10**9))
    def test_is_exact(self, cents: int) -> None:
        assert to_usd(from_cents(cents)) * 100 == cents
