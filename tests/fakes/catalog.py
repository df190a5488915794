"""Catalog values for tests: one host, route, model or snapshot with everything filled in."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from catalog.pricing import Bucket, Price
from catalog.routes import Host, Model, Route, Snapshot, normalise

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
DOLLAR = 1_000_000_000


def fake_host(**values: Any) -> Host:
    return Host(
        **{
            "id": 1,
            "slug": "sandbox-openai",
            "name": "Sandbox",
            "mode": "sandbox",
            "base_url": "http://127.0.0.1:1/openai/v1",
            "auth_header": "Authorization",
            "auth_scheme": "Bearer",
            "extra_headers": {},
            "secret": "secret-of-host",
            **values,
        }
    )


def fake_price(version_id: int = 1, **values: Any) -> Price:
    """$1 a million tokens of input, $2 of output."""
    rates: Mapping[Bucket, int] = {Bucket.INPUT: DOLLAR, Bucket.OUTPUT: 2 * DOLLAR}
    return Price(**{"version_id": version_id, "valid_from": LONG_AGO, "rates": rates, **values})


def fake_route(**values: Any) -> Route:
    return Route(
        **{
            "id": 1,
            "host": values.get("host") or fake_host(),
            "protocol": "openai_chat",
            "path": "/chat/completions",
            "upstream_id": "model-upstream",
            "quirks": {},
            "costs": (fake_price(100),),
            "context_window": None,
            "max_output_tokens": None,
            **values,
        }
    )


def fake_model(**values: Any) -> Model:
    return Model(
        **{
            "id": 1,
            "slug": "model-a",
            "name": "Model A",
            "provider": "OpenAI",
            "category": "chat",
            "status": "active",
            "aliases": (),
            "context_window": 100_000,
            "max_output_tokens": 10_000,
            "usual_output_tokens": 500,
            "input_modalities": frozenset({"text"}),
            "output_modalities": frozenset({"text"}),
            "features": frozenset({"streaming", "tools"}),
            "prices": (fake_price(),),
            "routes": (fake_route(),),
            **values,
        }
    )


def fake_snapshot(*models: Model) -> Snapshot:
    found = models or (fake_model(),)
    names = {normalise(name): m.slug for m in found for name in (m.slug, *m.aliases)}
    return Snapshot(number=1, built_at=LONG_AGO, models={m.slug: m for m in found}, names=names)
