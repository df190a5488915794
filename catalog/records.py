"""Reads the catalog's data files: one plain value per row that the loader writes. Pure but for I/O.

The files' fields and rules are described in docs/pricing.md.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from billing.money import NANO_PER_USD, parse_usd

DATA = Path(__file__).resolve().parent / "data"
# The one in C, where there is one, reads the models in a fifth of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
MTOK_UNIT = "mtok"
CENT_DIGITS = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Rate:
    """One figure, as PriceRate stores it."""

    dimension: str
    unit: str
    amount_nano_usd: int
    above_input_tokens: int = 0
    window: str = ""
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PriceRecord:
    """A whole price from a moment on."""

    origin: str
    valid_from: datetime
    rates: tuple[Rate, ...]
    service_tiers: Mapping[str, str]
    surcharges: tuple[Mapping[str, str], ...]
    windows: tuple[Mapping[str, Any], ...]
    native: Mapping[str, Any] | None
    facts: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            [
                sorted(map(repr, self.rates)), dict(self.service_tiers), list(self.surcharges),
                list(self.windows), self.native, dict(self.facts),
            ]
        )  # fmt: skip


def fingerprint(value: object) -> str:
    """A short stable digest of plain values: what the loader compares."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def models_file() -> Mapping[str, Any]:
    return _read("models.yaml")


@lru_cache(maxsize=1)
def providers_file() -> Mapping[str, Any]:
    return _read("providers.yaml")


@lru_cache(maxsize=1)
def quirks_file() -> Mapping[str, Any]:
    """Host -> protocol -> flags that adapters read."""
    return _read("quirks.yaml")


@lru_cache(maxsize=1)
def holidays() -> frozenset[str]:
    """Chinese public holidays, ISO dates in Beijing."""
    china = _read("holidays.yaml")["china"]
    return frozenset(str(day) for days in china.values() for day in days)


def list_prices(row: Mapping[str, Any]) -> list[PriceRecord]:
    """The list price of a model, and what it becomes when announced changes of its cost come."""
    price, direct = row["list"], row["direct"]
    facts = {k: price[k] for k in ("basis", "discount", "seed_fields") if k in price}
    base = {**price, "service_tier_multipliers": direct.get("service_tier_multipliers") or {}}
    base["surcharges"] = direct.get("surcharges") or []
    base["image_estimates"] = [
        {**item, "price": _discounted(item["price"], price["discount"])}
        for item in direct.get("image_estimates") or []
    ]
    records = [_record(base, origin="SEED", valid_from=EPOCH, facts=facts)]
    kept = {field.partition(".")[2] for field in price.get("seed_fields") or []}
    for change in direct.get("scheduled_changes") or []:
        tokens = {
            name: _discounted(value, price["discount"])
            for name, value in change["tokens"].items()
            if name not in kept
        }
        changed = {**base, "tokens": {**base.get("tokens", {}), **tokens}}
        records.append(
            _record(changed, origin="ANNOUNCED", valid_from=_day(change["from"]), facts=facts)
        )
    return records


def cost_prices(endpoint: Mapping[str, Any], fx: Decimal) -> list[PriceRecord]:
    """What a route costs us: earlier prices, the present one, announced changes."""
    present = _in_usd(endpoint, fx)
    history = endpoint.get("price_history") or []
    records = [
        _record(_in_usd(old, fx), origin="HISTORY", valid_from=_day(old["from"]), facts={})
        for old in history
    ]
    start = _day(endpoint["as_of"]) if history else EPOCH
    records.append(_record(present, origin="SEED", valid_from=start, facts={}))
    for change in endpoint.get("scheduled_changes") or []:
        changed = {**present, "tokens": {**present.get("tokens", {}), **change["tokens"]}}
        record = _record(
            changed, origin="ANNOUNCED", valid_from=_day(change["from"]),
            facts={"source": change.get("source", "")},
        )  # fmt: skip
        records.append(record)
    return [record for record in records if record.rates]


def _read(name: str) -> Mapping[str, Any]:
    text = (DATA / name).read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.load(text, Loader=LOADER)  # noqa: S506  (a safe loader)
    return found


def _record(
    price: Mapping[str, Any], *, origin: str, valid_from: datetime, facts: Mapping[str, Any]
) -> PriceRecord:
    return PriceRecord(
        origin=origin,
        valid_from=valid_from,
        rates=tuple(_rates(price)),
        service_tiers=price.get("service_tier_multipliers") or {},
        surcharges=tuple(price.get("surcharges") or []),
        windows=tuple(
            {key: value for key, value in part.items() if key != "tokens"}
            for part in price.get("schedule") or []
        ),
        native=price.get("native"),
        facts=facts,
    )


def _rates(price: Mapping[str, Any]) -> Iterator[Rate]:
    yield from _token_rates(price)
    for item in price.get("image") or []:
        yield _media_rate("image", "image", item)
    for item in price.get("image_estimates") or []:
        yield _media_rate("image_estimate", "image", item)
    for name, value in (price.get("megapixel") or {}).items():
        yield Rate("megapixel", "megapixel", _nano(value), details={"which": name})
    for item in price.get("video") or []:
        yield _media_rate("video", item["unit"], item)
    for dimension, unit in (
        ("minute", "minute"),
        ("million_chars", "mchar"),
        ("request", "request"),
        ("web_search_per_1k_calls", "1k_searches"),
    ):
        if dimension in price:
            covers = price.get("request_covers_seconds") if dimension == "request" else None
            details = {"covers_seconds": covers} if covers else None
            yield Rate(dimension, unit, _nano(price[dimension]), details=details)
    for item in price.get("extra_units") or []:
        details = {"what": item["what"], "per": item["unit"]}
        yield Rate(f"extra:{item['key']}", "extra", _nano(item["price"]), details=details)


def _token_rates(price: Mapping[str, Any]) -> Iterator[Rate]:
    for name, value in (price.get("tokens") or {}).items():
        yield Rate(name, MTOK_UNIT, _nano(value))
    for tier in price.get("tiers") or []:
        for name, value in tier["tokens"].items():
            yield Rate(name, MTOK_UNIT, _nano(value), above_input_tokens=tier["above_input_tokens"])
    for part in price.get("schedule") or []:
        for name, value in part["tokens"].items():
            yield Rate(name, MTOK_UNIT, _nano(value), window=part["name"])


def _media_rate(dimension: str, unit: str, item: Mapping[str, Any]) -> Rate:
    details = {key: value for key, value in item.items() if key not in {"price", "unit"}}
    return Rate(dimension, unit, _nano(item["price"]), details=details or None)


def _nano(value: str | Decimal) -> int:
    if isinstance(value, Decimal):
        return int((value * NANO_PER_USD).to_integral_value(ROUND_HALF_UP))
    return parse_usd(value)


def _in_usd(price: Mapping[str, Any], fx: Decimal) -> Mapping[str, Any]:
    """Rating rule 13: where the maker's own CNY figures stand, cost is they ÷ fx, unrounded."""
    native = price.get("native")
    if not native:
        return price
    changed = dict(price)
    if "tokens" in native:
        changed["tokens"] = {**price["tokens"], **_divided(native["tokens"], fx)}
    if "tiers" in native:
        changed["tiers"] = [
            {**usd, "tokens": {**usd["tokens"], **_divided(cny["tokens"], fx)}}
            for usd, cny in zip(price["tiers"], native["tiers"], strict=True)
        ]
    for unit in ("image", "video"):
        if unit in native:
            changed[unit] = [
                {**usd, "price": Decimal(cny["price"]) / fx}
                for usd, cny in zip(price[unit], native[unit], strict=True)
            ]
    return changed


def _divided(figures: Mapping[str, str], fx: Decimal) -> dict[str, Decimal]:
    return {name: Decimal(value) / fx for name, value in figures.items()}


def _discounted(value: str, discount: str) -> str:
    """List rule 1: direct x (1 - discount), rounded half up to six decimals."""
    return format(
        (Decimal(value) * (1 - Decimal(discount))).quantize(CENT_DIGITS, ROUND_HALF_UP), "f"
    )


def _day(text: str) -> datetime:
    if text == "launch":
        return EPOCH
    return datetime.combine(date.fromisoformat(str(text)), time.min, tzinfo=UTC)
