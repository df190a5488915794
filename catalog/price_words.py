"""Prices in words: what each figure is for, per what, and when it holds. Pure.

Pages and the admin show prices through this file only, so that they say the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

MTOK = "mtok"

TOKEN_NAMES = {
    "input": gettext_lazy("Input"),
    "cached_input": gettext_lazy("Cached input"),
    "cached_input_explicit": gettext_lazy("Cached input, explicit cache"),
    "cache_write_5m": gettext_lazy("Cache write, 5 minutes"),
    "cache_write_1h": gettext_lazy("Cache write, 1 hour"),
    "cache_write_12h": gettext_lazy("Cache write, 12 hours"),
    "output": gettext_lazy("Output"),
    "output_reasoning": gettext_lazy("Output of a call that reasons"),
    "input_audio": gettext_lazy("Audio input"),
    "cached_input_audio": gettext_lazy("Cached audio input"),
    "output_audio": gettext_lazy("Audio output"),
    "input_image": gettext_lazy("Image input"),
    "cached_input_image": gettext_lazy("Cached image input"),
    "output_image": gettext_lazy("Image output"),
    "input_video": gettext_lazy("Video input"),
    "output_video": gettext_lazy("Video output"),
}
MEDIA_NAMES = {
    "image": gettext_lazy("Image"),
    "image_estimate": gettext_lazy("Image, about"),
    "video": gettext_lazy("Video"),
    "minute": gettext_lazy("Audio"),
    "million_chars": gettext_lazy("Text to speak"),
    "request": gettext_lazy("Request"),
    "web_search_per_1k_calls": gettext_lazy("Web search"),
}
MEGAPIXELS = {
    "first": gettext_lazy("First megapixel"),
    "each_additional": gettext_lazy("Each further megapixel"),
    "edit_first": gettext_lazy("First megapixel of an edit"),
}
UNIT_NAMES = {
    MTOK: gettext_lazy("1M tokens"),
    "image": gettext_lazy("image"),
    "megapixel": gettext_lazy("megapixel"),
    "second": gettext_lazy("second"),
    "clip": gettext_lazy("clip"),
    "minute": gettext_lazy("minute"),
    "mchar": gettext_lazy("1M characters"),
    "request": gettext_lazy("request"),
    "1k_searches": gettext_lazy("1,000 searches"),
}
IMAGE_OPERATIONS = {
    "generate": gettext_lazy("generate"),
    "edit": gettext_lazy("edit"),
    "generate_or_edit": gettext_lazy("generate or edit"),
}
DETAIL_ORDER = ("op", "resolution", "size", "quality")


class RateRow(Protocol):
    """What a stored rate has."""

    pk: int
    dimension: str
    unit: str
    amount_nano_usd: int
    above_input_tokens: int
    window: str
    details: Any


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One figure as a person reads it."""

    what: str
    amount_nano_usd: int
    per: str
    when: str = ""
    note: str = ""
    rate_id: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What two versions of one price have in common."""
        return self.what, self.per, self.when


@dataclass(frozen=True, slots=True)
class FactorLine:
    """A factor on every token rate, such as that of a service tier."""

    what: str
    factor: str


def price_lines(
    rates: Iterable[RateRow], windows: Iterable[Mapping[str, Any]]
) -> tuple[PriceLine, ...]:
    """Every figure of a version: base rates first, then tiers and time windows."""
    by_name = {part["name"]: window_words(part) for part in windows}
    order = {name: n for n, name in enumerate((*TOKEN_NAMES, *MEDIA_NAMES))}
    ranked = sorted(
        rates,
        key=lambda r: (r.window, r.above_input_tokens, order.get(r.dimension, len(order))),
    )
    return tuple(_line(rate, by_name) for rate in ranked)


def factor_lines(
    service_tiers: Mapping[str, str], surcharges: Iterable[Mapping[str, str]]
) -> tuple[FactorLine, ...]:
    """Service tiers and surcharges: factors on all of the rates above."""
    tiers = [FactorLine(_("Service tier %s") % name, text) for name, text in service_tiers.items()]
    added = [FactorLine(item["when"].capitalize(), item["multiplier"]) for item in surcharges]
    return (*tiers, *added)


def window_words(part: Mapping[str, Any]) -> str:
    """When a time window holds: "Monday to Friday 00:00-01:00 UTC; all day Saturday …"."""
    hours = ", ".join(part["windows_utc_mon_fri"])
    words = _("Monday to Friday %(hours)s UTC") % {"hours": hours}
    also = part.get("also", "")
    return f"{words}; {also}" if also else words


def tier_words(above_input_tokens: int) -> str:
    return _("input above %(n)s tokens, for the whole request") % {"n": f"{above_input_tokens:,}"}


def unit_words(unit: str, details: Mapping[str, Any] | None = None) -> str:
    """What one amount is for."""
    if unit == "extra" and details:
        return str(details.get("per", ""))
    if unit == "clip" and details and "seconds" in details:
        return _("clip of %(n)s seconds") % {"n": details["seconds"]}
    if unit == "request" and details and "covers_seconds" in details:
        return _("request of up to %(n)s seconds") % {"n": details["covers_seconds"]}
    return str(UNIT_NAMES.get(unit, unit))


def rate_name(dimension: str, details: Mapping[str, Any] | None = None) -> str:
    """What a rate is charged for."""
    found = details or {}
    if dimension in TOKEN_NAMES:
        return str(TOKEN_NAMES[dimension])
    if dimension == "megapixel":
        which = str(found.get("which", ""))
        return str(MEGAPIXELS.get(which, which))
    if dimension.startswith("extra:"):
        return str(found.get("what", dimension)).capitalize()
    parts = [str(IMAGE_OPERATIONS.get(found[k], found[k])) for k in DETAIL_ORDER if k in found]
    if "audio" in found:
        parts.append(_("with sound") if found["audio"] else _("without sound"))
    name = str(MEDIA_NAMES.get(dimension, dimension))
    return ", ".join([name, *parts])


def _line(rate: RateRow, windows: Mapping[str, str]) -> PriceLine:
    details: Mapping[str, Any] = rate.details or {}
    when = ""
    if rate.window:
        when = windows.get(rate.window, rate.window)
    elif rate.above_input_tokens:
        when = tier_words(rate.above_input_tokens)
    note = ""
    if "per_million_tokens" in details:
        note = _("or $%(usd)s per 1M video tokens, where the finished task reports them") % {
            "usd": details["per_million_tokens"]
        }
    return PriceLine(
        what=rate_name(rate.dimension, details),
        amount_nano_usd=rate.amount_nano_usd,
        per=unit_words(rate.unit, details),
        when=when,
        note=note,
        rate_id=rate.pk,
    )
