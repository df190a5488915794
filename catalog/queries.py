"""Reads of the catalog that return plain values: the gateway's snapshot and what pages show."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from catalog.changes import newest_number
from catalog.credentials import CannotDecrypt, decrypt
from catalog.margins import below_cost
from catalog.models import Host, Model, ModelName, PriceRate, PriceVersion, Provider, Route
from catalog.pricing import Bucket, Price, Tier, Window
from catalog.records import MTOK_UNIT, holidays
from catalog.routes import Host as HostValue
from catalog.routes import Model as ModelValue
from catalog.routes import Route as RouteValue
from catalog.routes import Snapshot

logger = logging.getLogger(__name__)

BELOW_COST = "Its list price is below cost, and the operator has not confirmed that."
SPOKEN_PROTOCOLS = frozenset({"openai_chat", "anthropic_messages"})
SEARCH_UNIT = "1k_searches"
SEARCHES_PER_RATE = 1000
BUCKETS = {bucket.value: bucket for bucket in Bucket}
SHOWN_ONLY = frozenset({"image_estimate"})  # no price: what a picture usually costs


@dataclass(frozen=True, slots=True)
class Counts:
    models: int
    providers: int
    hosts: int
    names: int


def counts() -> Counts:
    """How much the catalog has; stand-in hosts are not counted."""
    return Counts(
        models=Model.objects.count(),
        providers=Provider.objects.count(),
        hosts=Host.objects.filter(mode=Host.Mode.LIVE).count(),
        names=ModelName.objects.count(),
    )


def catalog_number() -> int:
    """The number of the newest change of the catalog; 0 before the first."""
    return newest_number()


def load_snapshot() -> Snapshot:
    """The whole catalog of this installation's mode, in a handful of queries."""
    number = catalog_number()  # read first: a change that comes meanwhile makes us load again
    routes = _routes_by_model()
    rows = (
        Model.objects.select_related("provider")
        .prefetch_related("names", _versions("prices"))
        .order_by("position", "id")
    )
    models = {row.slug: _model(row, routes.get(row.pk, ())) for row in rows}
    if settings.TOKENMIX_MODE == Host.Mode.LIVE:
        confirmed = {row.slug for row in rows if row.below_cost_reason}
        models.update(_kept_off(models, confirmed))
    names = dict(ModelName.objects.values_list("key", "model__slug"))
    prefixes = {
        prefix
        for found in Provider.objects.values_list("author_prefixes", flat=True)
        for prefix in found
    }
    return Snapshot(
        number=number,
        built_at=datetime.now(UTC),
        models=models,
        names=names,
        author_prefixes=frozenset(
            prefix.replace(".", "-").replace("_", "-") for prefix in prefixes
        ),
    )


def _kept_off(
    models: Mapping[str, ModelValue], confirmed: Collection[str]
) -> dict[str, ModelValue]:
    """Models under cost that nobody confirmed: real money never pays for an oversight."""
    found = below_cost(models=models.values(), at=datetime.now(UTC))
    return {
        slug: replace(models[slug], not_callable_because=BELOW_COST)
        for slug in {rate.model for rate in found} - set(confirmed)
        if not models[slug].not_callable_because
    }


def kept_off() -> frozenset[str]:
    """Slugs that are not sold since nobody confirmed their price below cost; live mode only."""
    if settings.TOKENMIX_MODE != Host.Mode.LIVE:
        return frozenset()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return _kept_off_at(catalog_number(), hour)


@lru_cache(maxsize=1)
def _kept_off_at(number: int, hour: datetime) -> frozenset[str]:
    """Read once for each state of the catalog, and each hour, since announced prices come in."""
    models = load_snapshot().models.values()
    return frozenset(m.slug for m in models if m.not_callable_because == BELOW_COST)


def _versions(relation: str) -> Prefetch[str]:
    versions = PriceVersion.objects.order_by("valid_from", "id").prefetch_related("rates")
    return Prefetch(relation, queryset=versions)


def callable_routes() -> QuerySet[Route]:
    """Routes that calls may take now.

    Switched on, of this installation's mode, with host, credential and cost, in a protocol that we
    speak, and not past the day on which their host ends them.
    """
    return Route.objects.filter(
        Q(shutdown_date__isnull=True) | Q(shutdown_date__gt=datetime.now(UTC).date()),
        Exists(PriceVersion.objects.filter(route=OuterRef("pk"))),
        is_enabled=True,
        host__is_enabled=True,
        host__mode=settings.TOKENMIX_MODE,
        host__credential__isnull=False,
        protocol__in=SPOKEN_PROTOCOLS,
    ).exclude(path="")


def _routes_by_model() -> Mapping[int, tuple[RouteValue, ...]]:
    rows = (
        callable_routes()
        .select_related("host__credential")
        .prefetch_related(_versions("costs"))
        .order_by("priority", "id")
    )
    hosts: dict[int, HostValue | None] = {}
    found: dict[int, list[RouteValue]] = defaultdict(list)
    for row in rows:
        costs = tuple(price_value(version) for version in row.costs.all())
        if not costs:
            continue
        if row.host_id not in hosts:
            hosts[row.host_id] = _host(row.host)
        host = hosts[row.host_id]
        if host is None or "{" in host.base_url + row.path:  # a {name} that nobody filled in
            continue
        found[row.model_id].append(_route(row, host, costs))
    return {model_id: tuple(routes) for model_id, routes in found.items()}


def _host(row: Host) -> HostValue | None:
    """None where the credential cannot be read: one bad key must not take the others down."""
    try:
        secret = decrypt(row.credential.secret_encrypted)
    except CannotDecrypt:
        logger.exception("catalog.credential.unreadable host=%s: enter it again.", row.slug)
        return None
    return HostValue(
        id=row.pk,
        slug=row.slug,
        name=row.name,
        mode=row.mode,
        base_url=_filled(row.base_url, row.url_values),
        auth_header=row.auth_header.lower(),
        auth_scheme=row.auth_scheme,
        extra_headers=row.extra_headers,
        secret=secret,
        region=row.region,
        bills_after_hangup=row.bills_after_hangup,
        allows_private_addresses=row.allows_private_addresses,
    )


def _filled(template: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", value)
    return template.rstrip("/")


def _route(row: Route, host: HostValue, costs: tuple[Price, ...]) -> RouteValue:
    return RouteValue(
        id=row.pk,
        host=host,
        protocol=row.protocol,
        path=row.path,
        upstream_id=row.upstream_id,
        quirks=row.quirks,
        costs=costs,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        weight=row.weight,
        priority=row.priority,
    )


def _model(row: Model, routes: tuple[RouteValue, ...]) -> ModelValue:
    prices = tuple(price_value(version) for version in row.prices.all())
    return ModelValue(
        id=row.pk,
        slug=row.slug,
        name=row.name,
        provider=row.provider.slug,
        category=row.category,
        status=row.status,
        aliases=tuple(name.name for name in row.names.all() if name.name != row.slug),
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        usual_output_tokens=row.usual_output_tokens,
        input_modalities=frozenset(row.input_modalities),
        output_modalities=frozenset(row.output_modalities),
        features=frozenset(row.features),
        prices=prices,
        routes=routes,
        released=row.released,
        shutdown_date=row.shutdown_date,
        replacement=row.replacement,
        not_callable_because=why_not_callable(
            row, unratable=prices[-1].unratable if prices else None, is_routed=bool(routes)
        ),
    )


def why_not_callable(row: Model, *, unratable: Iterable[str] | None, is_routed: bool) -> str:
    """What keeps calls of a model out, for people; empty when it can be called.

    `unratable` are the units of its list price that cannot be charged yet; None: it has no price.
    """
    instead = f" Use {row.replacement}." if row.replacement else ""
    units = ", ".join(sorted(unratable or ()))
    reasons = (
        (not row.is_enabled, "It is switched off."),
        (row.availability == "none", f"No host serves it any more.{instead}"),
        (unratable is None, "It has no price yet."),
        (bool(units), f"Its price has units that cannot be charged yet: {units}."),
        (row.category != "chat", f"Calls of {row.category} models are not served yet."),
        (not is_routed, f"No host that serves it is set up here.{instead}"),
    )
    return next((reason for holds, reason in reasons if holds), "")


def unratable_units(rates: Iterable[PriceRate]) -> set[str]:
    """Units of these rates that `rate()` cannot charge yet."""
    return {
        rate.unit
        for rate in rates
        if rate.unit != SEARCH_UNIT
        and not (rate.unit == MTOK_UNIT and rate.dimension in BUCKETS)
        and rate.dimension not in SHOWN_ONLY
    }


def price_value(version: PriceVersion) -> Price:
    """A price version as `rate()` takes it; units it cannot charge are named."""
    rates: dict[Bucket, int] = {}
    tiers: dict[int, dict[Bucket, int]] = defaultdict(dict)
    windows: dict[str, dict[Bucket, int]] = defaultdict(dict)
    web_search = None
    for rate in version.rates.all():
        if rate.unit == MTOK_UNIT and rate.dimension in BUCKETS:
            bucket = BUCKETS[rate.dimension]
            table = _table(rate, rates, tiers, windows)
            table[bucket] = rate.amount_nano_usd
        elif rate.unit == SEARCH_UNIT:
            web_search = rate.amount_nano_usd // SEARCHES_PER_RATE
    return Price(
        version_id=version.pk,
        valid_from=version.valid_from,
        rates=rates,
        tiers=tuple(Tier(above, found) for above, found in sorted(tiers.items())),
        windows=_windows(version.windows, windows),
        service_tiers={name: _ratio(text) for name, text in version.service_tiers.items()},
        surcharges={item["key"]: _ratio(item["multiplier"]) for item in version.surcharges},
        web_search_nano_usd=web_search,
        unratable=tuple(sorted(unratable_units(version.rates.all()))),
    )


def _table(
    rate: PriceRate,
    rates: dict[Bucket, int],
    tiers: dict[int, dict[Bucket, int]],
    windows: dict[str, dict[Bucket, int]],
) -> dict[Bucket, int]:
    if rate.window:
        return windows[rate.window]
    return tiers[rate.above_input_tokens] if rate.above_input_tokens else rates


def _windows(
    definitions: Iterable[Mapping[str, Any]], rates: Mapping[str, Mapping[Bucket, int]]
) -> tuple[Window, ...]:
    return tuple(
        Window(
            name=part["name"],
            minutes=tuple(_minutes(text) for text in part["windows_utc_mon_fri"]),
            rates=rates[part["name"]],
            is_all_weekend="Saturday" in part.get("also", ""),
            holidays=holidays()
            if "Chinese public holidays" in part.get("also", "")
            else frozenset(),
        )
        for part in definitions
        if part["name"] in rates
    )


def _minutes(text: str) -> tuple[int, int]:
    """Minutes of the day of "04:00-06:00"; an end of 00:00 is midnight at the day's end."""
    start, _, end = text.partition("-")
    first, last = (int(part[:2]) * 60 + int(part[3:]) for part in (start, end))
    return first, last or 24 * 60


def _ratio(text: str) -> tuple[int, int]:
    return Decimal(text).as_integer_ratio()
