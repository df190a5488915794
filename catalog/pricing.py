"""Usage, prices and `rate()`: pure integer arithmetic from what a call consumed to what it costs.

Money is nano-USD; token rates are nano-USD per million tokens. The rules and their order are those
of docs/pricing.md. What is made anew for every call is a msgspec struct: it costs a tenth of a
frozen dataclass.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import msgspec

from billing.money import NanoUsd


class Outcome(StrEnum):
    """How sure a usage is."""

    EXACT = "exact"  # the provider said so
    ESTIMATED = "estimated"  # counted by us from what passed
    NONE = "none"  # nothing was consumed


class Bucket(StrEnum):
    """Disjoint kinds of tokens: a token is in exactly one."""

    INPUT = "input"  # uncached text input
    CACHED_INPUT = "cached_input"
    CACHED_INPUT_EXPLICIT = "cached_input_explicit"
    CACHE_WRITE_5M = "cache_write_5m"
    CACHE_WRITE_1H = "cache_write_1h"
    CACHE_WRITE_12H = "cache_write_12h"
    INPUT_AUDIO = "input_audio"
    CACHED_INPUT_AUDIO = "cached_input_audio"
    INPUT_IMAGE = "input_image"
    CACHED_INPUT_IMAGE = "cached_input_image"
    INPUT_VIDEO = "input_video"
    OUTPUT = "output"  # visible text
    OUTPUT_REASONING = "output_reasoning"
    OUTPUT_AUDIO = "output_audio"
    OUTPUT_IMAGE = "output_image"
    OUTPUT_VIDEO = "output_video"


OUTPUT_BUCKETS = frozenset(bucket for bucket in Bucket if bucket.startswith("output"))


class Usage(msgspec.Struct, frozen=True):
    """What a call consumed. `tokens` has only buckets that are not zero."""

    tokens: Mapping[Bucket, int] = msgspec.field(default_factory=dict)
    web_searches: int = 0
    outcome: Outcome = Outcome.EXACT

    @property
    def input_tokens(self) -> int:
        """All input, cached and written included: what tier thresholds compare."""
        return sum([n for bucket, n in self.tokens.items() if bucket not in OUTPUT_BUCKETS])

    @property
    def output_tokens(self) -> int:
        return sum([n for bucket, n in self.tokens.items() if bucket in OUTPUT_BUCKETS])


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates for the whole request when its input is above a number of tokens."""

    above_input_tokens: int
    rates: Mapping[Bucket, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Other base rates in UTC time windows (minutes of the day, half open), Monday to Friday.

    `is_all_weekend` and `holidays` (ISO dates in Beijing) make whole days match.
    """

    name: str
    minutes: tuple[tuple[int, int], ...]
    rates: Mapping[Bucket, int]
    is_all_weekend: bool = False
    holidays: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Price:
    """One version of a price, list or cost. Rates are nano-USD per million tokens.

    `unratable` names dimensions that this version has and `rate()` cannot charge yet; a model with
    such a list price is shown and not callable.
    """

    version_id: int
    valid_from: datetime
    rates: Mapping[Bucket, int]
    tiers: tuple[Tier, ...] = ()
    windows: tuple[Window, ...] = ()
    service_tiers: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # name -> ratio
    surcharges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    web_search_nano_usd: int | None = None
    unratable: tuple[str, ...] = ()


class Component(msgspec.Struct, frozen=True):
    """One line of a charge: so much of a bucket at a rate. Lines add up to the charge exactly."""

    name: str
    quantity: int
    rate_nano_usd_per_mtok: int
    amount: NanoUsd


class Charge(msgspec.Struct, frozen=True):
    amount: NanoUsd
    components: tuple[Component, ...]
    unpriced: tuple[Bucket, ...] = ()  # buckets charged by a fall-back rate: raise an alert


class WorstRates(msgspec.Struct, frozen=True):
    """The dearest rates that can apply to a call of a size: what a hold counts with."""

    input_nano_usd_per_mtok: int
    output_nano_usd_per_mtok: int


class CannotRate(Exception):  # noqa: N818  (named for what could not be done)
    """The price has no rate for something that cannot be charged otherwise."""


MTOK = 1_000_000
HOLIDAY_ZONE = timezone(timedelta(hours=8))  # Beijing, whose holidays the windows name
SATURDAY = 5

# Rating rule 6: where a rate is missing, the next one in the row is taken.
FALL_BACKS: Mapping[Bucket, tuple[Bucket, ...]] = {
    Bucket.CACHED_INPUT: (Bucket.INPUT,),
    Bucket.CACHED_INPUT_EXPLICIT: (Bucket.CACHED_INPUT, Bucket.INPUT),
    Bucket.CACHE_WRITE_5M: (Bucket.CACHE_WRITE_1H, Bucket.CACHE_WRITE_12H, Bucket.INPUT),
    Bucket.CACHE_WRITE_1H: (Bucket.CACHE_WRITE_12H, Bucket.CACHE_WRITE_5M, Bucket.INPUT),
    Bucket.CACHE_WRITE_12H: (Bucket.CACHE_WRITE_1H, Bucket.CACHE_WRITE_5M, Bucket.INPUT),
    Bucket.INPUT_AUDIO: (Bucket.INPUT,),
    Bucket.CACHED_INPUT_AUDIO: (Bucket.CACHED_INPUT, Bucket.INPUT_AUDIO, Bucket.INPUT),
    Bucket.INPUT_IMAGE: (Bucket.INPUT,),
    Bucket.CACHED_INPUT_IMAGE: (Bucket.CACHED_INPUT, Bucket.INPUT_IMAGE, Bucket.INPUT),
    Bucket.INPUT_VIDEO: (Bucket.INPUT,),
    Bucket.OUTPUT_REASONING: (Bucket.OUTPUT,),
    Bucket.OUTPUT_AUDIO: (Bucket.OUTPUT,),
    Bucket.OUTPUT_IMAGE: (Bucket.OUTPUT,),
    Bucket.OUTPUT_VIDEO: (Bucket.OUTPUT,),
}
# Falling back here is the rule and no surprise: the rate is that of text.
EXPECTED_FALL_BACKS = frozenset(
    {Bucket.CACHED_INPUT, Bucket.CACHED_INPUT_EXPLICIT, Bucket.OUTPUT_REASONING}
)


def rate(
    *,
    usage: Usage,
    price: Price,
    at: datetime,
    service_tier: str = "",
    surcharges: tuple[str, ...] = (),
) -> Charge:
    """What `usage` costs under `price` when admitted at `at` (aware, any zone).

    Order: window, then the highest tier whose threshold the input is above (for the whole
    request), then fall-backs for missing rates, then factors. The exact sum is rounded up once, to
    a nano-USD; components are rounded down and the largest takes the remainder, so they add up.
    Raises CannotRate when the price has no rate even after fall-backs.
    """
    rates = _rates_for(price, usage.input_tokens, at)
    numerator, denominator = _factor(price, service_tier, surcharges)
    all_reasoned = Bucket.OUTPUT_REASONING in usage.tokens and Bucket.OUTPUT_REASONING in rates
    exact: list[tuple[str, int, int, int]] = []
    unpriced: list[Bucket] = []
    for bucket, quantity in usage.tokens.items():
        # Rating rule 7: if the call reasoned, all its output has the rate of reasoning.
        priced_as = Bucket.OUTPUT_REASONING if all_reasoned and bucket is Bucket.OUTPUT else bucket
        amount, found = _rate_of(priced_as, rates)
        if found is not priced_as and priced_as not in EXPECTED_FALL_BACKS:
            unpriced.append(bucket)
        exact.append((bucket.value, quantity, amount, quantity * amount * numerator))
    if usage.web_searches:
        if price.web_search_nano_usd is None:
            message = f"Price version {price.version_id} has no rate for web searches."
            raise CannotRate(message)
        per_million = price.web_search_nano_usd * MTOK
        exact.append(
            (
                "web_search",
                usage.web_searches,
                per_million,
                usage.web_searches * per_million * denominator,
            )
        )
    return _charge(exact, MTOK * denominator, tuple(unpriced))


def worst_rates(*, price: Price, input_tokens: int, at: datetime) -> WorstRates:
    """The dearest rates of a call with so much input: cache writes, windows, reasoning too."""
    tier = _tier_rates(price, input_tokens)
    bases = [price.rates, *({**price.rates, **window.rates} for window in price.windows)]
    tables = [{**base, **tier} for base in bases]
    inputs = [r for table in tables for b, r in table.items() if b not in OUTPUT_BUCKETS]
    outputs = [r for table in tables for b, r in table.items() if b in OUTPUT_BUCKETS]
    return WorstRates(max(inputs, default=0), max(outputs, default=0))


def _rates_for(price: Price, input_tokens: int, at: datetime) -> Mapping[Bucket, int]:
    if not price.windows and not price.tiers:
        return price.rates
    rates: dict[Bucket, int] = dict(price.rates)
    for window in price.windows:
        if _is_inside(window, at):
            rates.update(window.rates)
    rates.update(_tier_rates(price, input_tokens))
    return rates


def _tier_rates(price: Price, input_tokens: int) -> Mapping[Bucket, int]:
    """Rates of the highest tier that matches; what it does not name keeps its base value."""
    matching = [t for t in price.tiers if input_tokens > t.above_input_tokens]
    return max(matching, key=lambda t: t.above_input_tokens).rates if matching else {}


def _is_inside(window: Window, at: datetime) -> bool:
    utc = at.astimezone(UTC)
    if window.is_all_weekend and utc.weekday() >= SATURDAY:
        return True
    if utc.astimezone(HOLIDAY_ZONE).date().isoformat() in window.holidays:
        return True
    if utc.weekday() >= SATURDAY:
        return False
    minute = utc.hour * 60 + utc.minute
    return any(start <= minute < end for start, end in window.minutes)


def _rate_of(bucket: Bucket, rates: Mapping[Bucket, int]) -> tuple[int, Bucket]:
    for candidate in (bucket, *FALL_BACKS.get(bucket, ())):
        if candidate in rates:
            return rates[candidate], candidate
    message = f"The price has no rate for {bucket.value}."
    raise CannotRate(message)


def _factor(price: Price, service_tier: str, surcharges: tuple[str, ...]) -> tuple[int, int]:
    numerator, denominator = 1, 1
    if service_tier in price.service_tiers:  # a tier that the row does not have: factor 1
        top, bottom = price.service_tiers[service_tier]
        numerator, denominator = numerator * top, denominator * bottom
    for key in surcharges:
        if key in price.surcharges:
            top, bottom = price.surcharges[key]
            numerator, denominator = numerator * top, denominator * bottom
    return numerator, denominator


def _charge(
    exact: list[tuple[str, int, int, int]], divisor: int, unpriced: tuple[Bucket, ...]
) -> Charge:
    total = -(-sum(line[3] for line in exact) // divisor)
    amounts = [line[3] // divisor for line in exact]
    if amounts:
        amounts[amounts.index(max(amounts))] += total - sum(amounts)
    components = tuple(
        Component(name, quantity, per_mtok, NanoUsd(amount))
        for (name, quantity, per_mtok, _), amount in zip(exact, amounts, strict=True)
    )
    return Charge(NanoUsd(total), components, unpriced)
