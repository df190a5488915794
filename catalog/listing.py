"""What the public pages show of the catalog: plain values, a few queries for any number of rows.

Costs never appear here; the maker's own published prices do.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from catalog.models import Model, ModelName, PriceRate, PriceVersion, Provider, Route
from catalog.price_words import (
    FactorLine,
    PriceLine,
    factor_lines,
    price_lines,
    rate_name,
    unit_words,
)
from catalog.queries import (
    BELOW_COST,
    callable_routes,
    kept_off,
    unratable_units,
    why_not_callable,
)
from catalog.records import EPOCH
from catalog.routes import normalise

PUBLISHED = (PriceVersion.Origin.SEED, PriceVersion.Origin.HISTORY, PriceVersion.Origin.ANNOUNCED)
COLUMNS = ("input", "cached_input", "output")


class NoSuchModel(Exception):  # noqa: N818  (named for what is not there)
    """No model has this name."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of a filter."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A line of the list. Amounts are nano-USD per million tokens; None: not charged by that."""

    slug: str
    name: str
    provider: str
    category: str
    status: str
    availability: str
    shutdown_date: date | None
    context_window: int | None
    input: int | None
    cached_input: int | None
    output: int | None
    other: PriceLine | None  # the lowest figure of a model that is not charged by tokens
    more_prices: bool
    not_callable_because: str


@dataclass(frozen=True, slots=True)
class PriceState:
    """A price version in words."""

    valid_from: datetime
    lines: tuple[PriceLine, ...]
    factors: tuple[FactorLine, ...]
    reason: str
    is_launch: bool = False

    @property
    def has_conditions(self) -> bool:
        return any(line.when for line in self.lines)


@dataclass(frozen=True, slots=True)
class PriceMove:
    """A figure that an announced version changes."""

    what: str
    per: str
    when: str
    before: int | None
    after: int


@dataclass(frozen=True, slots=True)
class AnnouncedChange:
    valid_from: datetime
    moves: tuple[PriceMove, ...]


@dataclass(frozen=True, slots=True)
class RouteRow:
    host: str
    kind: str
    protocol: str
    upstream_id: str
    context_window: int | None
    max_output_tokens: int | None
    shutdown_date: date | None
    is_callable: bool


@dataclass(frozen=True, slots=True)
class ModelPage:
    row: ModelRow
    provider_slug: str
    released: str
    replacement: str
    note: str
    max_input_tokens: int | None
    max_output_tokens: int | None
    dimensions: int | None
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    features: tuple[str, ...]
    names: tuple[str, ...]
    routes: tuple[RouteRow, ...]
    price: PriceState | None
    history: tuple[PriceState, ...]  # earlier list prices, newest first
    announced: tuple[AnnouncedChange, ...]
    makers_history: tuple[PriceState, ...]  # the maker's published prices, newest first


def providers() -> tuple[Choice, ...]:
    return tuple(
        Choice(slug, name)
        for slug, name in Provider.objects.order_by(Lower("name"), "id").values_list("slug", "name")
    )


def model_rows(
    *, at: datetime, search: str = "", provider: str = "", category: str = ""
) -> tuple[ModelRow, ...]:
    """The models that match every filter given, in the catalog's order. Five queries."""
    found = Model.objects.select_related("provider").order_by("position", "id")
    if provider:
        found = found.filter(provider__slug=provider)
    if category:
        found = found.filter(category=category)
    if search:
        found = found.filter(_matches(search)).distinct()
    return _rows(list(found), at)


def model_page(*, name: str, at: datetime) -> ModelPage:
    """Everything that is public about the model a name means. Raises NoSuchModel."""
    model = _model_named(name)
    upcoming = list(_versions(model.prices.filter(valid_from__gt=at)))
    past = list(_versions(model.prices.filter(valid_from__lte=at)))[::-1]
    states = [_state(version) for version in past]
    usable = set(callable_routes().filter(model=model).values_list("id", flat=True))
    return ModelPage(
        row=_rows([model], at)[0],
        provider_slug=model.provider.slug,
        released=model.released,
        replacement=model.replacement,
        note=str(model.facts.get("note", "")),
        max_input_tokens=model.max_input_tokens,
        max_output_tokens=model.max_output_tokens,
        dimensions=model.dimensions,
        input_modalities=tuple(model.input_modalities),
        output_modalities=tuple(model.output_modalities),
        features=tuple(model.features),
        names=tuple(
            model.names.exclude(name=model.slug).order_by("name").values_list("name", flat=True)
        ),
        routes=tuple(_route(route, usable) for route in _routes(model)),
        price=states[0] if states else None,
        history=tuple(states[1:]),
        announced=_announced(states[0] if states else None, upcoming),
        makers_history=_makers_history(model, at),
    )


def _model_named(name: str) -> Model:
    found = ModelName.objects.filter(key=normalise(name)).select_related("model__provider").first()
    if found is None:
        message = f"No model has the name {name!r}."
        raise NoSuchModel(message)
    return found.model


def _matches(search: str) -> Q:
    return (
        Q(name__icontains=search)
        | Q(provider__name__icontains=search)
        | Q(names__key__contains=normalise(search).replace(" ", "-"))
    )


def _rows(models: list[Model], at: datetime) -> tuple[ModelRow, ...]:
    ids = [model.pk for model in models]
    in_force = {
        version.model_id: version.pk
        for version in PriceVersion.objects.filter(model__in=ids, valid_from__lte=at)
        .order_by("model_id", "-valid_from", "-id")
        .distinct("model_id")
    }
    rates: dict[int, list[PriceRate]] = defaultdict(list)
    for rate in PriceRate.objects.filter(version__in=in_force.values()).order_by("id"):
        rates[rate.version_id].append(rate)
    usable = set(callable_routes().filter(model__in=ids).values_list("model_id", flat=True))
    rows = (
        _row(model, rates[in_force.get(model.pk, 0)], is_routed=model.pk in usable)
        for model in models
    )
    off = kept_off()
    return tuple(
        replace(row, not_callable_because=BELOW_COST)
        if row.slug in off and not row.not_callable_because
        else row
        for row in rows
    )


def _row(model: Model, rates: list[PriceRate], *, is_routed: bool) -> ModelRow:
    base = [rate for rate in rates if not rate.above_input_tokens and not rate.window]
    tokens = {rate.dimension: rate.amount_nano_usd for rate in base if rate.unit == "mtok"}
    others = [rate for rate in base if rate.unit not in {"mtok", "1k_searches", "extra"}]
    lowest = min(others, key=lambda rate: rate.amount_nano_usd, default=None)
    return ModelRow(
        slug=model.slug,
        name=model.name,
        provider=model.provider.name,
        category=model.category,
        status=model.status,
        availability=model.availability,
        shutdown_date=model.shutdown_date,
        context_window=model.context_window,
        **{column: tokens.get(column) for column in COLUMNS},
        other=_lowest(lowest) if lowest and "output" not in tokens else None,
        more_prices=len(rates) > len(tokens) or bool(set(tokens) - set(COLUMNS)),
        not_callable_because=why_not_callable(
            model, unratable=unratable_units(rates) if rates else None, is_routed=is_routed
        ),
    )


def _lowest(rate: PriceRate) -> PriceLine:
    return PriceLine(
        what=rate_name(rate.dimension, rate.details),
        amount_nano_usd=rate.amount_nano_usd,
        per=unit_words(rate.unit, rate.details),
    )


def _versions(found: QuerySet[PriceVersion]) -> QuerySet[PriceVersion]:
    return found.order_by("valid_from", "id").prefetch_related("rates")


def _state(version: PriceVersion) -> PriceState:
    return PriceState(
        valid_from=version.valid_from,
        lines=price_lines(version.rates.all(), version.windows),
        factors=factor_lines(version.service_tiers, version.surcharges),
        reason=version.reason if version.origin == PriceVersion.Origin.ADMIN else "",
        is_launch=version.valid_from <= EPOCH,
    )


def _announced(
    before: PriceState | None, upcoming: list[PriceVersion]
) -> tuple[AnnouncedChange, ...]:
    found = []
    known = {line.key: line.amount_nano_usd for line in before.lines} if before else {}
    for version in upcoming:
        state = _state(version)
        moves = tuple(
            PriceMove(line.what, line.per, line.when, known.get(line.key), line.amount_nano_usd)
            for line in state.lines
            if known.get(line.key) != line.amount_nano_usd
        )
        found.append(AnnouncedChange(version.valid_from, moves))
        known = {line.key: line.amount_nano_usd for line in state.lines}
    return tuple(found)


def _routes(model: Model) -> QuerySet[Route]:
    return model.routes.select_related("host").order_by("host__mode", "priority", "id")


def _route(route: Route, usable: set[int]) -> RouteRow:
    return RouteRow(
        host=route.host.name,
        kind=route.host.kind,
        protocol=route.protocol,
        upstream_id=route.upstream_id,
        context_window=route.context_window,
        max_output_tokens=route.max_output_tokens,
        shutdown_date=route.shutdown_date,
        is_callable=route.pk in usable,
    )


def _makers_history(model: Model, at: datetime) -> tuple[PriceState, ...]:
    """The maker's own prices, where the catalog data knows more than the present one."""
    versions = list(
        _versions(
            PriceVersion.objects.filter(
                route__model=model,
                route__is_direct=True,
                origin__in=PUBLISHED,
                valid_from__lte=at,
            )
        )
    )
    return tuple(_state(version) for version in versions[::-1]) if len(versions) > 1 else ()
