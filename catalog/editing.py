"""What an operator changes in the catalog: new price versions, routes on and off, credentials.

Every function records the change, so that gateway processes load it; a price begins no earlier than
all of them can have loaded it.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import transaction

from accounts.changes import ChangeKind, record_change
from billing.money import NanoUsd, format_usd
from catalog.credentials import encrypt
from catalog.models import Host, HostCredential, Model, PriceRate, PriceVersion, Route
from catalog.records import MTOK_UNIT, fingerprint

MARGIN_S = 2
BASE_DIMENSIONS = ("input", "output")


class BelowCost(Exception):  # noqa: N818  (named for what is wrong)
    """A list price lies under the cheapest live cost and nobody confirmed that."""


class NotPriced(Exception):  # noqa: N818  (named for what is wrong)
    """A route or model without a price cannot be enabled."""


def earliest_validity(now: datetime) -> datetime:
    """The first moment at which every process that still sells has loaded a change made `now`."""
    return now + timedelta(seconds=settings.TOKENMIX_LEASE_S + MARGIN_S)


@transaction.atomic
def set_list_price(
    *,
    model_id: int,
    rates: Mapping[str, NanoUsd],
    author: str,
    reason: str,
    valid_from: datetime | None = None,
    confirms_below_cost: bool = False,
) -> PriceVersion:
    """Give a model a new list price: the version before it, with these base token rates changed.

    `rates` are nano-USD per million tokens by bucket name. Valid from the earliest moment that is
    the same for all processes, or later. Raises BelowCost, and ValueError for an empty reason.
    """
    model = Model.objects.select_for_update().get(pk=model_id)
    if confirms_below_cost:
        confirm_below_cost(slugs=[model.slug], author=author, reason=reason)
    else:
        _refuse_below_cost(model, rates)
    return _new_version(
        before=model.prices.order_by("valid_from", "id").last(),
        owner={"model": model},
        rates=rates,
        author=author,
        reason=reason,
        valid_from=valid_from,
    )


@transaction.atomic
def confirm_below_cost(*, slugs: Collection[str], author: str, reason: str) -> int:
    """Let models be sold under cost in live mode; how many. Raises ValueError without a reason."""
    _need_reason(reason)
    confirmed = Model.objects.filter(slug__in=slugs).update(
        below_cost_reason=reason, below_cost_author=author
    )
    record_change(kind=ChangeKind.CATALOG, subject_id=0)
    return confirmed


@transaction.atomic
def set_cost(
    *,
    route_id: int,
    rates: Mapping[str, NanoUsd],
    author: str,
    reason: str,
    valid_from: datetime | None = None,
) -> PriceVersion:
    """Note what a route costs us from now or later on; see `set_list_price`."""
    route = Route.objects.select_for_update().get(pk=route_id)
    return _new_version(
        before=route.costs.order_by("valid_from", "id").last(),
        owner={"route": route},
        rates=rates,
        author=author,
        reason=reason,
        valid_from=valid_from,
    )


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
    record_change(kind=ChangeKind.CATALOG, subject_id=0)


def _need_reason(reason: str) -> None:
    if not reason.strip():
        message = "A change of prices needs a reason: somebody will ask in a year."
        raise ValueError(message)


def _switch(row: Model | Route, *, is_enabled: bool) -> None:
    row.is_enabled = is_enabled
    row.save(update_fields=["is_enabled"])
    record_change(kind=ChangeKind.CATALOG, subject_id=0)


def _refuse_below_cost(model: Model, rates: Mapping[str, NanoUsd]) -> None:
    """Compare base rates with the cheapest cost of the routes that can serve in this mode."""
    for dimension in BASE_DIMENSIONS:
        if dimension not in rates:
            continue
        costs = [
            cost
            for route in model.routes.filter(is_enabled=True, host__mode=settings.TOKENMIX_MODE)
            if (cost := _base_rate(route.costs.order_by("valid_from", "id").last(), dimension))
            is not None
        ]
        if costs and rates[dimension] < min(costs):
            message = (
                f"{dimension} at {format_usd(rates[dimension])} is below the cheapest cost of"
                f" {format_usd(min(costs))}: confirm that you want to sell below cost."
            )
            raise BelowCost(message)


def _base_rate(version: PriceVersion | None, dimension: str) -> int | None:
    if version is None:
        return None
    rate = version.rates.filter(dimension=dimension, above_input_tokens=0, window="").first()
    return rate.amount_nano_usd if rate else None


def _new_version(
    *,
    before: PriceVersion | None,
    owner: Mapping[str, Model | Route],
    rates: Mapping[str, NanoUsd],
    author: str,
    reason: str,
    valid_from: datetime | None,
) -> PriceVersion:
    _need_reason(reason)
    start = max(
        earliest_validity(datetime.now(UTC)), valid_from or datetime.min.replace(tzinfo=UTC)
    )
    kept = list(before.rates.all()) if before else []
    version = PriceVersion.objects.create(
        **owner,
        valid_from=start,
        origin=PriceVersion.Origin.ADMIN,
        author=author,
        reason=reason,
        service_tiers=before.service_tiers if before else {},
        surcharges=before.surcharges if before else [],
        windows=before.windows if before else [],
        facts={"basis": "operator"},
        fingerprint=fingerprint([sorted(rates.items()), start]),
    )
    rows = [
        PriceRate(version=version, dimension=name, unit=MTOK_UNIT, amount_nano_usd=amount)
        for name, amount in rates.items()
    ]
    for rate in kept:
        if rate.dimension in rates and not rate.above_input_tokens and not rate.window:
            continue
        rate.pk, rate.version = None, version
        rows.append(rate)
    PriceRate.objects.bulk_create(rows)
    record_change(kind=ChangeKind.CATALOG, subject_id=0)
    return version
