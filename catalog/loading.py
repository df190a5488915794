"""Loads the data files into the tables, in bulk; a second run changes nothing (`seeding.py`)."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from catalog.changes import catalog_changed
from catalog.credentials import encrypt
from catalog.models import Host, HostCredential, Model, ModelName, Provider, Route
from catalog.records import cost_prices, list_prices, models_file, providers_file, quirks_file
from catalog.routes import normalise
from catalog.seeding import Loaded, PriceSeeder, Seeder

SANDBOX_SECRET = "sandbox"  # noqa: S105  (what the stand-ins accept)
SANDBOX_HOSTS: Mapping[str, Mapping[str, Any]] = {
    "sandbox-openai": {
        "name": "Sandbox (OpenAI's protocol)",
        "path": "/openai/v1",
        "apis": {"openai_chat": "POST /chat/completions"},
    },
    "sandbox-openai-b": {
        "name": "Sandbox (OpenAI's protocol, second host)",
        "path": "/openai-b/v1",
        "apis": {"openai_chat": "POST /chat/completions"},
    },
    "sandbox-anthropic": {
        "name": "Sandbox (Anthropic's protocol)",
        "path": "/anthropic",
        "auth_header": "x-api-key",
        "auth_scheme": "",
        "extra_headers": {"anthropic-version": "2023-06-01"},
        "apis": {"anthropic_messages": "POST /v1/messages"},
    },
}
SCHEMES = ("Bearer", "Key")
ROUTE_KEYS = ("model", "host", "upstream_id")


@transaction.atomic
def load_catalog() -> Loaded:
    """Load providers, hosts, models, names, routes and prices from the data files."""
    loaded = Loaded()
    rows = models_file()["models"]
    providers = _load_providers(loaded)
    hosts = _load_hosts(loaded)
    models = _load_models(rows, providers, loaded)
    _load_names(rows, models, loaded)
    routes = Seeder(Route, ROUTE_KEYS, "routes", loaded)
    costs = [
        (_put_route(routes, models[row["id"]], hosts[endpoint["host"]], endpoint, n), endpoint)
        for row in rows
        for n, endpoint in enumerate(_endpoints(row))
    ]
    routes.flush()
    prices = PriceSeeder(loaded)
    for row in rows:
        prices.put({"model": models[row["id"]]}, list_prices(row))
    for route, endpoint in costs:
        prices.put({"route": route}, cost_prices(endpoint, _fx()))
    prices.flush()
    return _told(loaded)


@transaction.atomic
def load_sandbox() -> Loaded:
    """Stand-in hosts, and routes to them for every chat model; costs are the direct host's."""
    loaded = Loaded()
    seeder = Seeder(Host, ("slug",), "hosts", loaded)
    hosts = {
        slug: seeder.put({"slug": slug}, _stand_in(spec)) for slug, spec in SANDBOX_HOSTS.items()
    }
    seeder.flush()
    for host in hosts.values():
        if not HostCredential.objects.filter(host=host).exists():
            HostCredential.objects.create(host=host, secret_encrypted=encrypt(SANDBOX_SECRET))
    models = {model.slug: model for model in Model.objects.all()}
    routes = Seeder(Route, ROUTE_KEYS, "routes", loaded)
    costs = []
    for row in models_file()["models"]:
        if row["category"] != "chat":
            continue
        cost = {key: value for key, value in row["direct"].items() if key != "price_history"}
        for n, (slug, api) in enumerate(_stand_ins_of(row["direct"]["api"])):
            endpoint = {"upstream_id": row["direct"]["upstream_id"], "api": api}
            route = _put_route(routes, models[row["id"]], hosts[slug], endpoint, n)
            costs.append((route, cost))
    routes.flush()
    prices = PriceSeeder(loaded)
    for route, cost in costs:
        prices.put({"route": route}, cost_prices(cost, _fx()))
    prices.flush()
    return _told(loaded)


def _stand_ins_of(api: str) -> list[tuple[str, str]]:
    if api == "anthropic_messages":
        return [("sandbox-anthropic", api)]
    return [("sandbox-openai", "openai_chat"), ("sandbox-openai-b", "openai_chat")]


def _stand_in(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": spec["name"],
        "mode": Host.Mode.SANDBOX,
        "kind": "sandbox",
        "base_url": f"{settings.TOKENMIX_SANDBOX_URL}{spec['path']}",
        "auth_header": spec.get("auth_header", "Authorization"),
        "auth_scheme": spec.get("auth_scheme", "Bearer"),
        "extra_headers": spec.get("extra_headers", {}),
        "apis": spec["apis"],
        "allows_private_addresses": True,
        "source": "ours",
    }


def _load_providers(loaded: Loaded) -> dict[str, Provider]:
    seeder = Seeder(Provider, ("slug",), "providers", loaded)
    providers = {
        row["id"]: seeder.put(
            {"slug": row["id"]},
            {
                "name": row["name"],
                "author_prefixes": row["author_prefixes"],
                "note": row.get("note", ""),
            },
        )
        for row in providers_file()["providers"]
    }
    seeder.flush()
    return providers


def _load_hosts(loaded: Loaded) -> dict[str, Host]:
    seeder = Seeder(Host, ("slug",), "hosts", loaded)
    hosts = {
        slug: seeder.put({"slug": slug}, _host_values(slug, row))
        for slug, row in providers_file()["hosts"].items()
    }
    seeder.flush()
    return hosts


def _host_values(slug: str, row: Mapping[str, Any]) -> dict[str, Any]:
    auth = row["auth"]
    return {
        "name": slug,
        "mode": Host.Mode.LIVE,
        "kind": row["kind"],
        "base_url": row["base_url"].rstrip("/"),
        "base_url_templates": row.get("base_url_templates") or [],
        "auth_header": auth["header"],
        "auth_scheme": next((word for word in SCHEMES if word in auth["scheme"]), ""),
        "auth_env": auth.get("env", ""),
        "extra_headers": auth.get("extra_headers") or {},
        "apis": row["apis"],
        "currency": row["currency"],
        "regions": row.get("regions") or [],
        "notes": row.get("notes") or [],
        "source": row["source"],
    }


def _load_models(
    rows: list[Mapping[str, Any]], providers: Mapping[str, Provider], loaded: Loaded
) -> dict[str, Model]:
    seeder = Seeder(Model, ("slug",), "models", loaded)
    models = {
        row["id"]: seeder.put(
            {"slug": row["id"]}, _model_values(row, providers[row["provider"]], position)
        )
        for position, row in enumerate(rows)
    }
    seeder.flush()
    return models


def _model_values(row: Mapping[str, Any], provider: Provider, position: int) -> dict[str, Any]:
    kept = ("sources", "note", "shutdown_source", "shutdown_date_is_upper_bound", "released_approx")
    return {
        "name": row["name"],
        "provider": provider,
        "category": row["category"],
        "status": row["status"],
        "availability": row["availability"],
        "released": str(row.get("released", "")),
        "shutdown_date": _date(row.get("shutdown_date")),
        "replacement": row.get("replacement", ""),
        "context_window": row.get("context_window"),
        "max_input_tokens": row.get("max_input_tokens"),
        "max_output_tokens": row.get("max_output_tokens"),
        "dimensions": row.get("dimensions"),
        "input_modalities": row["modalities"]["input"],
        "output_modalities": row["modalities"]["output"],
        "features": row["features"],
        "price_status": row["price_status"],
        "position": position,
        "facts": {key: row[key] for key in kept if key in row},
    }


def _load_names(rows: list[Mapping[str, Any]], models: Mapping[str, Model], loaded: Loaded) -> None:
    known = set(ModelName.objects.values_list("name", flat=True))
    new = [
        ModelName(model=models[row["id"]], name=name, key=normalise(name))
        for row in rows
        for name in (row["id"], *row["aliases"])
        if name not in known
    ]
    ModelName.objects.bulk_create(new)
    loaded.made["names"] += len(new)


def _endpoints(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The maker's own host first; a model's last day is that of its maker."""
    direct = {**row["direct"], "shutdown_date": row.get("shutdown_date")}
    return [direct, *(row.get("alternates") or [])]


def _put_route(
    seeder: Seeder[Route], model: Model, host: Host, endpoint: Mapping[str, Any], priority: int
) -> Route:
    api = endpoint["api"]
    return seeder.put(
        {"model": model, "host": host, "upstream_id": endpoint["upstream_id"]},
        {
            "protocol": api,
            "path": _path_of(host.apis.get(api, "")),
            "quirks": quirks_file().get(host.slug, {}).get(api, {}),
            "is_direct": priority == 0 and host.mode == Host.Mode.LIVE,
            "context_window": endpoint.get("context_window"),
            "max_output_tokens": endpoint.get("max_output_tokens"),
            "priority": priority,
            "shutdown_date": _date(endpoint.get("shutdown_date")),
            "as_of": _date(endpoint.get("as_of")),
            "source": endpoint.get("source", ""),
        },
    )


def _path_of(api: str) -> str:
    """The path of "POST /chat/completions", or nothing where the data describes it in words."""
    method, _, path = api.partition(" ")
    return path if method == "POST" and path.startswith("/") and " " not in path else ""


def _told(loaded: Loaded) -> Loaded:
    """Let the gateway processes load what changed."""
    if not loaded.is_empty:
        catalog_changed()
    return loaded


def _fx() -> Decimal:
    return Decimal(models_file()["fx"]["CNY_per_USD"])


def _date(value: object) -> date | None:
    return date.fromisoformat(str(value)) if value else None
