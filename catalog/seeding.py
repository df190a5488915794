"""Writes rows of the data files into tables in bulk, and never over an operator's edits.

A seeded row keeps the fingerprint of what the files said when it was last written. It is written
again only when the files say something else now and nobody changed it meanwhile. Prices get new
versions, never new figures.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db import models

from catalog.editing import earliest_validity
from catalog.models import PriceRate, PriceVersion
from catalog.records import PriceRecord, fingerprint, models_file

Row = TypeVar("Row", bound=models.Model)
BATCH = 2000


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
        parts = (f"{kind}: {self.made[kind]} new, {self.changed[kind]} changed" for kind in kinds)
        return ", ".join(parts)


class Seeder(Generic[Row]):
    """Rows of one table, found by the values of `keys`; new and changed ones go in at `flush`."""

    def __init__(self, table: type[Row], keys: tuple[str, ...], kind: str, loaded: Loaded) -> None:
        self._table = table
        self._keys = keys
        self._kind = kind
        self._loaded = loaded
        self._known = {self._key_of(row): row for row in table.objects.all()}  # type: ignore[attr-defined]  # every table has it
        self._new: list[Row] = []
        self._changed: list[Row] = []
        self._fields: set[str] = set()

    def put(self, keys: Mapping[str, Any], values: Mapping[str, Any]) -> Row:
        """The row as the files say it now, but for what an operator changed."""
        key = tuple(_plain(keys[name]) for name in self._keys)
        now = fingerprint({name: _plain(value) for name, value in values.items()})
        row = self._known.get(key)
        if row is None:
            row = self._table(**keys, **values, seed_fingerprint=now)
            self._known[key] = row
            self._new.append(row)
        elif self._may_change(row, values, now):
            for name, value in {**values, "seed_fingerprint": now}.items():
                setattr(row, name, value)
            self._changed.append(row)
            self._fields.update(values)
        return row

    def flush(self) -> None:
        manager = self._table.objects  # type: ignore[attr-defined]  # every table has it
        manager.bulk_create(self._new, batch_size=BATCH)
        if self._changed:
            fields = [*sorted(self._fields), "seed_fingerprint"]
            manager.bulk_update(self._changed, fields, batch_size=BATCH)
        self._loaded.made[self._kind] += len(self._new)
        self._loaded.changed[self._kind] += len(self._changed)
        self._new, self._changed = [], []

    def _may_change(self, row: Row, values: Mapping[str, Any], now: str) -> bool:
        before: str = row.seed_fingerprint  # type: ignore[attr-defined]  # every seeded table has it
        untouched = fingerprint({name: _plain(getattr(row, name)) for name in values})
        return before not in (now, "") and before == untouched

    def _key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(_plain(getattr(row, name)) for name in self._keys)


class PriceSeeder:
    """Price versions of models and routes that the files have and the tables have not."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._known: dict[tuple[int | None, int | None], list[PriceVersion]] = defaultdict(list)
        for version in PriceVersion.objects.order_by("id"):
            self._known[version.model_id, version.route_id].append(version)
        self._new: list[tuple[PriceVersion, PriceRecord]] = []

    def put(self, owner: Mapping[str, models.Model], records: Iterable[PriceRecord]) -> None:
        model, route = owner.get("model"), owner.get("route")
        known = self._known[model.pk if model else None, route.pk if route else None]
        for record in records:
            start = _start(record, known)
            if start is not None:
                self._new.append((_version(owner, record, start), record))

    def flush(self) -> None:
        PriceVersion.objects.bulk_create([version for version, _ in self._new], batch_size=BATCH)
        rates = [
            PriceRate(
                version=version,
                dimension=rate.dimension,
                unit=rate.unit,
                above_input_tokens=rate.above_input_tokens,
                window=rate.window,
                details=dict(rate.details or {}),
                amount_nano_usd=rate.amount_nano_usd,
            )
            for version, record in self._new
            for rate in record.rates
        ]
        PriceRate.objects.bulk_create(rates, batch_size=BATCH)
        self._loaded.made["price versions"] += len(self._new)
        self._new = []


def _start(record: PriceRecord, known: list[PriceVersion]) -> datetime | None:
    """When the record begins to hold; None: it is there, or the operator sets this price now."""
    alike = [version for version in known if version.origin == record.origin]
    if record.origin != PriceVersion.Origin.SEED:
        is_there = any(version.valid_from == record.valid_from for version in alike)
        return None if is_there else record.valid_from
    if not alike:
        return record.valid_from
    is_there = alike[-1].fingerprint == record.fingerprint
    is_edited = any(version.origin == PriceVersion.Origin.ADMIN for version in known)
    return None if is_there or is_edited else earliest_validity(datetime.now(UTC))


def _version(
    owner: Mapping[str, models.Model], record: PriceRecord, valid_from: datetime
) -> PriceVersion:
    return PriceVersion(
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


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, models.Model) else value
