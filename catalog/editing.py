"""What an operator changes in the catalog: new price versions, routes on and off, credentials.

Every function records the change, so that gateway processes load it; a price begins no earlier than
all of them can have loaded it. A price is never edited: a change is a new version of the whole.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from billing.money import NanoUsd, format_usd
from catalog.changes import catalog_changed
from catalog.credentials import encrypt
from catalog.models import Host, HostCredential, Model, PriceRate, PriceVersion, Route
from catalog.price_words import PriceLine, price_lines
from catalog.records import MTOK_UNIT, fingerprint

MARGIN_S = 2
Figure = tuple[str, str, int, str, str]  # what list and cost are compared by
COMPARED_DETAILS = ("op", "size", "quality", "resolution", "seconds", "which")


class BelowCost(Exception):  # noqa: N818  (named for what is wrong)
    """A list price lies under the cheapest live cost and nobody confirmed that."""


class NotPriced(Exception):  # noqa: N818  (named for what is wrong)
    """A route or model without a price cannot be enabled."""


class NoSuchRate(Exception):  # noqa: N818  (named for what is not there)
    """The price in force has no such rate to change."""


def earliest_validity(now: datetime) -> datetime:
    """The first moment at which every process that still sells has loaded a change made `now`."""
    return now + timedelta(seconds=settings.TOKENMIX_LEASE_S + MARGIN_S)


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What becomes different in a price, from when on, who says so and why.

    `rates` are base rates, nano-USD per million tokens by bucket name; `by_rate` changes any other
    figure (of a tier, a window, a unit) by the id of its rate in the version in force. Without
    `valid_from`, or before it, the earliest moment that is the same for all processes.
    """

    author: str
    reason: str
    rates: Mapping[str, NanoUsd] = field(default_factory=dict)
    by_rate: Mapping[int, NanoUsd] = field(default_factory=dict)
    valid_from: datetime | None = None


@transaction.atomic
def set_list_price(
    *, model_id: int, change: PriceChange, confirm_below_cost: bool = False
) -> PriceVersion:
    """Give a model a new list price: the one in force then, with some figures changed.

    Announced later versions still come. Raises BelowCost, NoSuchRate, and ValueError for an empty
    reason.
    """
    model = Model.objects.select_for_update().get(pk=model_id)
    version, rows, changed = _next_version(PriceVersion(model=model), change)
    if confirm_below_cost:
        _note_confirmation([model.slug], change.author, change.reason)
    else:
        _refuse_below_cost(model, changed, at=version.valid_from)
    return _save(version, rows)


@transaction.atomic
def set_cost(*, route_id: int, change: PriceChange) -> PriceVersion:
    """Note what a route costs us from now or later on; see `set_list_price`."""
    route = Route.objects.select_for_update().get(pk=route_id)
    version, rows, _ = _next_version(PriceVersion(route=route), change)
    return _save(version, rows)


@transaction.atomic
def confirm_below_cost(*, slugs: Collection[str], author: str, reason: str) -> int:
    """Let models be sold under cost in live mode; how many. Raises ValueError without a reason."""
    _need_reason(reason)
    confirmed = _note_confirmation(slugs, author, reason)
    catalog_changed()
    return confirmed


@transaction.atomic
def enable_route(*, route_id: int) -> None:
    """Let calls use a route. Raises NotPriced while it has no cost."""
    route = Route.objects.select_for_update().get(pk=route_id)
    if not route.costs.exists():
        message = f"{route} has no cost yet: enter what the host charges, then enable it."
        raise NotPriced(message)
    _switch(route, is_enabled=True)


@transaction.atomic
def disable_route(*, route_id: int) -> None:
    """Keep calls from a route; those under way end as they began."""
    _switch(Route.objects.select_for_update().get(pk=route_id), is_enabled=False)


@transaction.atomic
def enable_model(*, model_id: int) -> None:
    """Offer a model. Raises NotPriced while it has no list price."""
    model = Model.objects.select_for_update().get(pk=model_id)
    if not model.prices.exists():
        message = f"{model} has no list price yet: enter one, then enable it."
        raise NotPriced(message)
    _switch(model, is_enabled=True)


@transaction.atomic
def disable_model(*, model_id: int) -> None:
    _switch(Model.objects.select_for_update().get(pk=model_id), is_enabled=False)


@transaction.atomic
def store_credential(*, host_id: int, secret: str) -> None:
    """Keep the operator's key for a host, encrypted. Raises NoCredentialKeys."""
    HostCredential.objects.update_or_create(
        host=Host.objects.get(pk=host_id), defaults={"secret_encrypted": encrypt(secret)}
    )
    catalog_changed()


def price_to_change(*, model_id: int | None, route_id: int | None) -> tuple[PriceLine, ...]:
    """The figures that a change made now would start from; see `PriceChange.by_rate`."""
    owner = PriceVersion(model_id=model_id, route_id=route_id, valid_from=_start(None))
    before = _in_force(owner)
    if before is None:
        return ()
    return price_lines(before.rates.order_by("id"), before.windows)


def _start(valid_from: datetime | None) -> datetime:
    earliest = earliest_validity(timezone.now())
    return max(earliest, valid_from) if valid_from else earliest


def _need_reason(reason: str) -> None:
    if not reason.strip():
        message = "A change of prices needs a reason: somebody will ask in a year."
        raise ValueError(message)


def _note_confirmation(slugs: Collection[str], author: str, reason: str) -> int:
    return Model.objects.filter(slug__in=slugs).update(
        below_cost_reason=reason, below_cost_author=author
    )


def _switch(row: Model | Route, *, is_enabled: bool) -> None:
    row.is_enabled = is_enabled
    row.save(update_fields=["is_enabled"])
    catalog_changed()


def _next_version(
    version: PriceVersion, change: PriceChange
) -> tuple[PriceVersion, list[PriceRate], list[PriceRate]]:
    """Fill `version` from the one in force when it begins; all its rates, and those that change."""
    _need_reason(change.reason)
    version.author, version.reason = change.author, change.reason
    version.valid_from = _start(change.valid_from)
    version.origin = PriceVersion.Origin.ADMIN
    before = _in_force(version)
    if before is not None:
        version.service_tiers, version.surcharges = before.service_tiers, before.surcharges
        version.windows = before.windows
    version.facts = {"basis": "operator"}
    rows, changed = _next_rates([] if before is None else list(before.rates.order_by("id")), change)
    figures = [(r.dimension, r.above_input_tokens, r.window, r.amount_nano_usd) for r in rows]
    version.fingerprint = fingerprint([figures, version.valid_from.isoformat()])
    return version, rows, changed


def _next_rates(
    before: list[PriceRate], change: PriceChange
) -> tuple[list[PriceRate], list[PriceRate]]:
    if unknown := set(change.by_rate) - {row.pk for row in before}:
        message = f"The price in force then has no rates {sorted(unknown)}: load the page again."
        raise NoSuchRate(message)
    known = {row.dimension for row in before if _is_base(row)}
    changed = [
        PriceRate(dimension=name, unit=MTOK_UNIT, amount_nano_usd=amount)
        for name, amount in change.rates.items()
        if name not in known
    ]
    rows = [*before, *changed]
    for row in before:
        amount = change.by_rate.get(row.pk, row.amount_nano_usd)
        if _is_base(row):
            amount = change.rates.get(row.dimension, amount)
        if amount != row.amount_nano_usd:
            row.amount_nano_usd = amount
            changed.append(row)
        row.pk, row._state.adding = None, True  # noqa: SLF001  (Django's way to copy a row)
    return rows, changed


def _in_force(version: PriceVersion) -> PriceVersion | None:
    """The version of the same owner that holds when `version` begins."""
    return (
        PriceVersion.objects.filter(
            model=version.model_id, route=version.route_id, valid_from__lte=version.valid_from
        )
        .order_by("valid_from", "id")
        .last()
    )


def _save(version: PriceVersion, rows: list[PriceRate]) -> PriceVersion:
    version.save()
    for row in rows:
        row.version = version
    PriceRate.objects.bulk_create(rows)
    catalog_changed()
    return version


def _is_base(rate: PriceRate) -> bool:
    return rate.unit == MTOK_UNIT and not rate.above_input_tokens and not rate.window


def _figure(rate: PriceRate) -> Figure:
    details = {k: v for k, v in (rate.details or {}).items() if k in COMPARED_DETAILS}
    return rate.dimension, rate.unit, rate.above_input_tokens, rate.window, fingerprint(details)


def _cheapest_costs(model: Model, at: datetime) -> dict[Figure, int]:
    """The least that any route which may serve the model charges for each figure at an instant."""
    cheapest: dict[Figure, int] = {}
    for route in model.routes.filter(is_enabled=True, host__mode=settings.TOKENMIX_MODE):
        cost = _in_force(PriceVersion(route=route, valid_from=at))
        for rate in cost.rates.all() if cost else ():
            figure = _figure(rate)
            base = (*figure[:3], "", figure[4])  # off-peak hours are the cheapest of the base
            for key in {figure, base}:
                cheapest[key] = min(rate.amount_nano_usd, cheapest.get(key, rate.amount_nano_usd))
    return cheapest


def _refuse_below_cost(model: Model, changed: list[PriceRate], *, at: datetime) -> None:
    """Compare what changes with the cheapest cost among the routes that may serve then."""
    costs = _cheapest_costs(model, at)
    for row in changed:
        cheapest = costs.get(_figure(row), 0)
        if row.amount_nano_usd < cheapest:
            message = (
                f"{row.dimension} at {format_usd(row.amount_nano_usd)} is below the cheapest cost"
                f" of {format_usd(cheapest)}: confirm that you want to sell below cost."
            )
            raise BelowCost(message)
