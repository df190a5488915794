"""A model as `/v1/models` shows it: OpenAI's fields, and the ones that OpenRouter's clients read.

Prices are decimal strings of USD per token (per call for searches), exact, never numbers.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.pricing import Bucket, Price, Tier, Window
from catalog.routes import Model, in_force

DECIMALS = 15  # nano-USD per million tokens is 10**-15 USD per token

# OpenRouter's names for what a token costs.
PRICE_NAMES = {
    Bucket.INPUT: "prompt",
    Bucket.OUTPUT: "completion",
    Bucket.OUTPUT_REASONING: "internal_reasoning",
    Bucket.CACHED_INPUT: "input_cache_read",
    Bucket.CACHED_INPUT_EXPLICIT: "input_cache_read_explicit",
    Bucket.CACHE_WRITE_5M: "input_cache_write",
    Bucket.CACHE_WRITE_1H: "input_cache_write_1h",
    Bucket.CACHE_WRITE_12H: "input_cache_write_12h",
    Bucket.INPUT_AUDIO: "audio",
    Bucket.CACHED_INPUT_AUDIO: "input_audio_cache",
    Bucket.OUTPUT_AUDIO: "audio_output",
    Bucket.INPUT_IMAGE: "image_token",
    Bucket.CACHED_INPUT_IMAGE: "input_image_cache",
    Bucket.OUTPUT_IMAGE: "image_output",
    Bucket.INPUT_VIDEO: "video_token",
    Bucket.OUTPUT_VIDEO: "video_output",
}


def model_card(model: Model, at: datetime | None = None) -> dict[str, Any]:
    """One entry of `/v1/models`, with the list price in force at `at` (now, when not given)."""
    price = in_force(model.prices, at or datetime.now(UTC))
    card: dict[str, Any] = {
        "id": model.slug,
        "object": "model",
        "created": created(model.released),
        "owned_by": model.provider,
        "name": model.name,
        "category": model.category,
        "status": model.status,
        "context_length": model.context_window,
        "max_completion_tokens": model.max_output_tokens,
        "architecture": {
            "input_modalities": sorted(model.input_modalities),
            "output_modalities": sorted(model.output_modalities),
        },
        "pricing": pricing(price) if price is not None else {},
        "features": sorted(model.features),
        "aliases": list(model.aliases),
    }
    if model.shutdown_date is not None:
        card["shutdown_date"] = model.shutdown_date.isoformat()
    if model.replacement:
        card["replacement"] = model.replacement
    return card


def card(*, model: Model, at: datetime) -> dict[str, Any]:
    """`model_card` at an instant."""
    return model_card(model, at)


def pricing(price: Price) -> dict[str, Any]:
    """The rates by OpenRouter's names; tiers and windows are `overrides`, factors are named."""
    shown: dict[str, Any] = _named(price.rates)
    if price.web_search_nano_usd is not None:
        shown["web_search"] = per_token(price.web_search_nano_usd * 1_000_000)
    overrides = [*map(_tier, price.tiers), *map(_window, price.windows)]
    if overrides:
        shown["overrides"] = overrides
    for name, factors in (("service_tiers", price.service_tiers), ("surcharges", price.surcharges)):
        if factors:
            shown[name] = {key: ratio(top, bottom) for key, (top, bottom) in factors.items()}
    return shown


def per_token(nano_usd_per_mtok: int) -> str:
    """USD per token as plain decimal text: "0.000002375" for 2.375 USD per million."""
    whole, fraction = divmod(nano_usd_per_mtok, 10**DECIMALS)
    decimals = f"{fraction:0{DECIMALS}d}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


def ratio(top: int, bottom: int) -> str:
    """A factor as decimal text, with as many decimals as it needs, six at most: "1.1"."""
    whole, fraction = divmod(top * 1_000_000 // bottom, 1_000_000)
    decimals = f"{fraction:06d}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


def created(released: str) -> int:
    """Unix seconds of a release given as YYYY, YYYY-MM or YYYY-MM-DD; 0 when it is not known."""
    if not released:
        return 0
    year, month, day = (*(int(part) for part in released.split("-")), 1, 1)[:3]
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


def _named(rates: Mapping[Bucket, int]) -> dict[str, Any]:
    return {PRICE_NAMES[bucket]: per_token(amount) for bucket, amount in rates.items()}


def _tier(tier: Tier) -> dict[str, Any]:
    return {"min_prompt_tokens": tier.above_input_tokens, **_named(tier.rates)}


def _window(window: Window) -> dict[str, Any]:
    """Hours in UTC as HHMM, Monday to Friday; 2400 is the end of a day."""
    return {
        "name": window.name,
        "utc_windows": [[_clock(start), _clock(end)] for start, end in window.minutes],
        "utc_days": ["mon", "tue", "wed", "thu", "fri"],
        "all_weekend": window.is_all_weekend,
        **_named(window.rates),
    }


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}{minutes % 60:02d}"
