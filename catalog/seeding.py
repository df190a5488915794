"""Writes rows of the data files into tables in bulk, and never over an operator's edits.

A seeded row keeps a digest of each field as the files last said it. A field is written again only
when the files say something else now and nobody changed it meanwhile. Prices get new versions,
never new figures.
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
    kept: Counter[str] = field(default_factory=Counter)  # edited here: the files' news are ignored

    @property
    def is_empty(self) -> bool:
        return not (self.made.total() or self.changed.total())

    def __str__(self) -> str:
        kinds = sorted({*self.made, *self.changed})
        parts = [f"{kind}: {self.made[kind]} new, {self.changed[kind]} changed" for kind in kinds]
        words = "nothing to change" if self.is_empty else ", ".join(parts)
        kept = [f"{count} {kind}" for kind, count in sorted(self.kept.items())]
        return f"{words}; left as edited here: {', '.join(kept)}" if kept else words


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
        """The row as the files say it now, but for fields that an operator changed."""
        key = tuple(_plain(keys[name]) for name in self._keys)
        row = self._known.get(key)
        if row is None:
            said = {name: _digest(value) for name, value in values.items()}
            row = self._known[key] = self._table(**keys, **values, seeded=said)
            self._new.append(row)
        elif changes := {n: v for n, v in values.items() if self._is_news(row, n, v)}:
            self._change(row, changes)
        return row

    def _is_news(self, row: Row, name: str, value: Any) -> bool:
        """Whether the files say something else than before, of a field that is as they left it."""
        said, now, stands = _seeded(row).get(name), _digest(value), _digest(getattr(row, name))
        if said == now:
            return False
        is_untouched = stands == said if said else stands in (now, _digest(_default(row, name)))
        self._loaded.kept[self._kind] += not is_untouched
        return is_untouched

    def _change(self, row: Row, changes: Mapping[str, Any]) -> None:
        for name, value in changes.items():
            setattr(row, name, value)
            _seeded(row)[name] = _digest(value)
        self._changed.append(row)
        self._fields.update(changes)

    def flush(self) -> None:
        manager = self._table.objects  # type: ignore[attr-defined]  # every table has it
        manager.bulk_create(self._new, batch_size=BATCH)
        if self._changed:
            fields = [*sorted(self._fields), "seeded"]
            manager.bulk_update(self._changed, fields, batch_size=BATCH)
        self._loaded.made[self._kind] += len(self._new)
        self._loaded.changed[self._kind] += len(self._changed)
        self._new, self._changed = [], []

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
            start = _start(record, known, self._loaded.kept)
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


def _start(record: PriceRecord, known: list[PriceVersion], kept: Counter[str]) -> datetime | None:
    """When the record begins to hold; None: it is there, or the operator sets this price now."""
    if not known:  # the first load: nothing was sold at another price
        return record.valid_from
    alike = [version for version in known if version.origin == record.origin]
    if record.origin == PriceVersion.Origin.SEED:
        is_there = bool(alike) and alike[-1].fingerprint == record.fingerprint
    else:
        is_there = any(
            version.fingerprint == record.fingerprint and version.valid_from >= record.valid_from
            for version in alike
        )
    if is_there:
        return None
    if record.origin == PriceVersion.Origin.HISTORY:
        return record.valid_from
    if any(version.origin == PriceVersion.Origin.ADMIN for version in known):
        kept["prices"] += 1
        return None
    return max(record.valid_from, earliest_validity(datetime.now(UTC)))


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


def _seeded(row: models.Model) -> dict[str, str]:
    said: dict[str, str] = row.seeded  # type: ignore[attr-defined]  # every seeded table has it
    return said


def _default(row: models.Model, name: str) -> Any:
    """What a field holds before the files speak of it."""
    field = row._meta.get_field(name)  # noqa: SLF001  (Django's public way to a field)
    assert isinstance(field, models.Field)
    return field.get_default()


def _digest(value: Any) -> str:
    return fingerprint(_plain(value))[:16]


def _plain(value: Any) -> Any:
    return value.pk if isinstance(value, models.Model) else value
