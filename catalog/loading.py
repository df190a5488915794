"""Loads the data files into the tables: idempotent, and never over an operator's edits.

Every seeded row keeps the fingerprint of what the files said when it was last loaded. A row is
written only when the files now say something else; a field that an operator changed meanwhile is
kept (it differs from what the files said last). Prices get new versions, never new figures.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.conf import settings
from django.db import models, transaction

from accounts.changes import ChangeKind, record_change
from catalog.credentials import encrypt
from catalog.editing import earliest_validity
from catalog.models import (
    Host,
    HostCredential,
    Model,
    ModelName,
    PriceRate,
    PriceVersion,
    Provider,
    Route,
)
from catalog.records import (
    PriceRecord,
    cost_prices,
    fingerprint,
    list_prices,
    models_file,
    providers_file,
)
from catalog.routes import normalise

Row = TypeVar("Row", bound=models.Model)

SANDBOX_SECRET = "sandbox"  # noqa: S105  (what the stand-ins accept)


@dataclass(slots=True)
class Loaded:
    """How many rows of each kind were made or changed."""

    made: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    @property
    def is_empty(self) -> bool:
        return not (self.made.total() or self.changed.total())

    def __str__(self) -> str:
        if self.is_empty:
            return "nothing to change"
        kinds = sorted({*self.made, *self.changed})
        return ", ".join(
            f"{kind}: {self.made[kind]} new, {self.changed[kind]} changed" for kind in kinds
        )


@transaction.atomic
def load_catalog() -> Loaded:
    """Load providers, hosts, models, names, routes and prices from the data files."""
    loaded = Loaded()
    providers = _load_providers(loaded)
    hosts = _load_hosts(loaded)
    fx = Decimal(models_file()["fx"]["CNY_per_USD"])
    for position, row in enumerate(models_file()["models"]):
        model = _load_model(row, providers[row["provider"]], position, loaded)
        _load_names(model, row, loaded)
        _load_prices({"model": model}, list_prices(row), loaded)
        endpoints = [row["direct"], *(row.get("alternates") or [])]
        for priority, endpoint in enumerate(endpoints):
            route = _load_route(model, hosts[endpoint["host"]], endpoint, priority, loaded)
            _load_prices({"route": route}, cost_prices(endpoint, fx), loaded)
    if not loaded.is_empty:
        record_change(kind=ChangeKind.CATALOG, subject_id=0)
    return loaded


@transaction.atomic
def load_sandbox() -> Loaded:
    """Stand-in hosts, and routes to them for every chat model; costs are the direct host's."""
    loaded = Loaded()
    hosts = {slug: _load_sandbox_host(slug, spec, loaded) for slug, spec in SANDBOX_HOSTS.items()}
    fx = Decimal(models_file()["fx"]["CNY_per_USD"])
    known = {model.slug: model for model in Model.objects.all()}
    for row in models_file()["models"]:
        if row["category"] != "chat":
            continue
        direct = row["direct"]
        speaks_anthropic = direct["api"] == "anthropic_messages"
        slugs = (
            ["sandbox-anthropic"] if speaks_anthropic else ["sandbox-openai", "sandbox-openai-b"]
        )
        for priority, slug in enumerate(slugs):
            api = "anthropic_messages" if speaks_anthropic else "openai_chat"
            endpoint = {"host": slug, "upstream_id": direct["upstream_id"], "api": api}
            route = _load_route(known[row["id"]], hosts[slug], endpoint, priority, loaded)
            cost = {k: v for k, v in direct.items() if k != "price_history"}
            _load_prices({"route": route}, cost_prices(cost, fx), loaded)
    if not loaded.is_empty:
        record_change(kind=ChangeKind.CATALOG, subject_id=0)
    return loaded


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


def _load_sandbox_host(slug: str, spec: Mapping[str, Any], loaded: Loaded) -> Host:
    values = {
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
    host = _write(Host, {"slug": slug}, values, "hosts", loaded)
    if not HostCredential.objects.filter(host=host).exists():
        HostCredential.objects.create(host=host, secret_encrypted=encrypt(SANDBOX_SECRET))
    return host


def _load_providers(loaded: Loaded) -> dict[str, Provider]:
    return {
        row["id"]: _write(
            Provider,
            {"slug": row["id"]},
            {
                "name": row["name"],
                "author_prefixes": row["author_prefixes"],
                "note": row.get("note", ""),
            },
            "providers",
            loaded,
        )
        for row in providers_file()["providers"]
    }


def _load_hosts(loaded: Loaded) -> dict[str, Host]:
    hosts = {}
    for slug, row in providers_file()["hosts"].items():
        auth = row["auth"]
        values = {
            "name": slug,
            "mode": Host.Mode.LIVE,
            "kind": row["kind"],
            "base_url": row["base_url"].rstrip("/"),
            "base_url_templates": row.get("base_url_templates") or [],
            "auth_header": auth["header"],
            "auth_scheme": "Bearer" if "Bearer" in auth["scheme"] else "",
            "auth_env": auth.get("env", ""),
            "extra_headers": auth.get("extra_headers") or {},
            "apis": row["apis"],
            "currency": row["currency"],
            "regions": row.get("regions") or [],
            "notes": row.get("notes") or [],
            "source": row["source"],
        }
        hosts[slug] = _write(Host, {"slug": slug}, values, "hosts", loaded)
    return hosts


def _load_model(row: Mapping[str, Any], provider: Provider, position: int, loaded: Loaded) -> Model:
    values = {
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
        "facts": {
            key: row[key]
            for key in (
                "sources",
                "note",
                "shutdown_source",
                "shutdown_date_is_upper_bound",
                "released_approx",
            )
            if key in row
        },
    }
    return _write(Model, {"slug": row["id"]}, values, "models", loaded)


def _load_names(model: Model, row: Mapping[str, Any], loaded: Loaded) -> None:
    known = set(model.names.values_list("name", flat=True))
    new = [name for name in (row["id"], *row["aliases"]) if name not in known]
    ModelName.objects.bulk_create(
        [ModelName(model=model, name=name, key=normalise(name)) for name in new]
    )
    loaded.made["names"] += len(new)


def _load_route(
    model: Model, host: Host, endpoint: Mapping[str, Any], priority: int, loaded: Loaded
) -> Route:
    api = endpoint["api"]
    values = {
        "protocol": api,
        "path": _path_of(host.apis.get(api, "")),
        "is_direct": priority == 0 and host.mode == Host.Mode.LIVE,
        "context_window": endpoint.get("context_window"),
        "max_output_tokens": endpoint.get("max_output_tokens"),
        "priority": priority,
        "shutdown_date": _date(endpoint.get("shutdown_date")),
        "as_of": _date(endpoint.get("as_of")),
        "source": endpoint.get("source", ""),
    }
    keys = {"model": model, "host": host, "upstream_id": endpoint["upstream_id"]}
    return _write(Route, keys, values, "routes", loaded)


def _path_of(api: str) -> str:
    """The path of "POST /chat/completions", or nothing where the data describes it in words."""
    words = api.split()
    return words[1] if len(words) == 2 and words[1].startswith("/") else ""  # noqa: PLR2004


def _write(
    table: type[Row], keys: Mapping[str, Any], values: Mapping[str, Any], kind: str, loaded: Loaded
) -> Row:
    """Make the row, or bring it to what the files say now, but for what an operator changed."""
    print_now = fingerprint({name: _plain(value) for name, value in values.items()})
    row = _existing(table, keys)
    if row is None:
        loaded.made[kind] += 1
        return table.objects.create(**keys, **values, seed_fingerprint=print_now)
    if row.seed_fingerprint == print_now:  # type: ignore[attr-defined]  # every seeded table has it
        return row
    if row.seed_fingerprint == _row_fingerprint(row, values):  # type: ignore[attr-defined]  # as above
        for name, value in values.items():
            setattr(row, name, value)
        row.seed_fingerprint = print_now  # type: ignore[attr-defined]  # as above
        row.save(update_fields=[*values, "seed_fingerprint"])
        loaded.changed[kind] += 1
    return row


def _existing(table: type[Row], keys: Mapping[str, Any]) -> Row | None:
    return table.objects.filter(**keys).first()


def _row_fingerprint(row: models.Model, values: Mapping[str, Any]) -> str:
    return fingerprint({name: _plain(getattr(row, name)) for name in values})


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, models.Model) else value


def _load_prices(owner: Mapping[str, Any], records: list[PriceRecord], loaded: Loaded) -> None:
    known = list(PriceVersion.objects.filter(**owner).order_by("id"))
    for record in records:
        alike = [v for v in known if v.origin == record.origin]
        if record.origin == PriceVersion.Origin.SEED:
            if alike and alike[-1].fingerprint == record.fingerprint:
                continue
            if any(v.origin == PriceVersion.Origin.ADMIN for v in known):
                continue  # the operator sets this price now
            start = earliest_validity(datetime.now(UTC)) if alike else record.valid_from
        else:
            if any(v.valid_from == record.valid_from for v in alike):
                continue
            start = record.valid_from
        _make_version(owner, record, start)
        loaded.made["price versions"] += 1


def _make_version(owner: Mapping[str, Any], record: PriceRecord, valid_from: datetime) -> None:
    version = PriceVersion.objects.create(
        **owner,
        valid_from=valid_from,
        origin=record.origin,
        author="catalog data",
        reason=f"Catalog data of {models_file()['as_of']}",
        service_tiers=dict(record.service_tiers),
        surcharges=list(record.surcharges),
        windows=list(record.windows),
        native=record.native,
        facts=dict(record.facts),
        fingerprint=record.fingerprint,
    )
    PriceRate.objects.bulk_create(
        [
            PriceRate(
                version=version,
                dimension=rate.dimension,
                unit=rate.unit,
                above_input_tokens=rate.above_input_tokens,
                window=rate.window,
                details=dict(rate.details or {}),
                amount_nano_usd=rate.amount_nano_usd,
            )
            for rate in record.rates
        ]
    )


def _date(value: object) -> date | None:
    return date.fromisoformat(str(value)) if value else None
