"""Compares what we charge with what it costs us, so that nobody sells below cost by accident."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from catalog.pricing import Bucket
from catalog.routes import Model, in_force

COMPARED = (Bucket.INPUT, Bucket.CACHED_INPUT, Bucket.OUTPUT)


@dataclass(frozen=True, slots=True)
class BelowCostRate:
    """A base rate that is under the cheapest cost of the hosts that can serve the model."""

    model: str
    bucket: Bucket
    list_nano_usd_per_mtok: int
    cost_nano_usd_per_mtok: int
    host: str


def below_cost(*, models: Iterable[Model], at: datetime) -> Iterator[BelowCostRate]:
    """Every base rate under cost, by model; only routes that can serve count."""
    for model in models:
        price = in_force(model.prices, at)
        if price is None:
            continue
        for bucket in COMPARED:
            costs = [
                (cost.rates[bucket], route.host.slug)
                for route in model.routes
                if (cost := in_force(route.costs, at)) is not None and bucket in cost.rates
            ]
            if costs and bucket in price.rates and price.rates[bucket] < min(costs)[0]:
                cheapest, host = min(costs)
                yield BelowCostRate(model.slug, bucket, price.rates[bucket], cheapest, host)
