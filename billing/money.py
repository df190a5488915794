"""Money: whole nano-USD (1 USD = 1,000,000,000) in Python ints and BIGINT columns, never floats."""

from decimal import Decimal, InvalidOperation
from typing import NewType

NanoUsd = NewType("NanoUsd", int)

NANO_PER_USD = 1_000_000_000
NANO_PER_CENT = NANO_PER_USD // 100
LARGEST = 2**63 - 1


class InvalidAmount(ValueError):  # noqa: N818  (named for what is wrong)
    """The text is not an amount of money that the ledger can hold."""


def parse_usd(text: str) -> NanoUsd:
    """Nano-USD of a plain decimal string of USD such as "0.6878".

    Raises InvalidAmount for anything else: exponents, signs, more than nine decimals, too large.
    """
    if not text or not all(c.isascii() and (c.isdigit() or c == ".") for c in text):
        message = f"{text!r} is not an amount in USD: write it like 12.50."
        raise InvalidAmount(message)
    try:
        nano = Decimal(text) * NANO_PER_USD
    except InvalidOperation as error:
        message = f"{text!r} is not an amount in USD: write it like 12.50."
        raise InvalidAmount(message) from error
    if nano != nano.to_integral_value():
        message = f"{text!r} has more than nine decimals."
        raise InvalidAmount(message)
    if nano > LARGEST:
        message = f"{text!r} is more than the ledger can hold."
        raise InvalidAmount(message)
    return NanoUsd(int(nano))


def from_cents(cents: int) -> NanoUsd:
    """Nano-USD of whole US cents."""
    return NanoUsd(cents * NANO_PER_CENT)


def to_usd(amount: NanoUsd | int) -> Decimal:
    """Exact Decimal of USD, for arithmetic-free display and for JSON edges."""
    return Decimal(amount).scaleb(-9)


def usd_literal(amount: NanoUsd | int) -> str:
    """Plain decimal text of USD without trailing zeros ("0.00012", "10"): a JSON number too."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(int(amount)), NANO_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{decimals}" if decimals else f"{sign}{whole}"


def format_usd(amount: NanoUsd | int) -> str:
    """What a person reads: "$1,234.50", with as many decimals as the amount needs, two at least."""
    sign = "-" if amount < 0 else ""
    whole, fraction = divmod(abs(int(amount)), NANO_PER_USD)
    decimals = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{decimals}"
