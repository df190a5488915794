"""Usage, prices and `rate()`: pure integer arithmetic from what a call consumed to what it costs.

Money is nano-USD; token rates are nano-USD per million tokens. The rules and their order are those
of docs/pricing.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call consumed. `tokens` has only buckets that are not zero."""

    tokens: Mapping[Bucket, int] = field(default_factory=dict)
    web_searches: int = 0
    outcome: Outcome = Outcome.EXACT

    @property
    def input_tokens(self) -> int:
        """All input, cached and written included: what tier thresholds compare."""
        return sum(n for bucket, n in self.tokens.items() if not bucket.startswith("output"))

    @property
    def output_tokens(self) -> int:
        return sum(n for bucket, n in self.tokens.items() if bucket.startswith("output"))


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates for the whole request when its input is above a number of tokens."""

    above_input_tokens: int
    rates: Mapping[Bucket, int]


@dataclass(frozen=True, slots=True)
class Window:
    """Other base rates in UTC time windows (minutes of the day, half open), Monday to Friday;
    `is_all_weekend` and `holidays` (a key of the dated holiday table) make whole days match."""

    name: str
    minutes: tuple[tuple[int, int], ...]
    rates: Mapping[Bucket, int]
    is_all_weekend: bool = False
    holidays: str = ""


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


@dataclass(frozen=True, slots=True)
class Component:
    """One line of a charge: so much of a bucket at a rate. Lines add up to the charge exactly."""

    name: str
    quantity: int
    rate_nano_usd_per_mtok: int
    amount: NanoUsd


@dataclass(frozen=True, slots=True)
class Charge:
    amount: NanoUsd
    components: tuple[Component, ...]
    unpriced: tuple[Bucket, ...] = ()  # buckets charged by a fall-back rate: raise an alert
