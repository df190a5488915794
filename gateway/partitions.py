"""Monthly partitions of usage records and attempts, made ahead of need and attached late.

A new partition is filled with nothing and attached under a lock time-out, so that a long query
never makes calls wait for it. The default partition should stay empty: a row there means that no
partition was made in time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from django.db import connection as default_connection
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from gateway.call_ids import lowest_id

TABLES = ("gateway_usagerecord", "gateway_attempt")
MONTHS_AHEAD = 3
LOCK_TIMEOUT_MS = 2_000


def ensure_partitions(
    *,
    now: datetime | None = None,
    months_ahead: int = MONTHS_AHEAD,
    connection: BaseDatabaseWrapper | None = None,
) -> list[str]:
    """Make the partitions of this month and those ahead; the names of the new ones."""
    database = connection or default_connection
    moment = now or datetime.now(UTC)
    return [
        name
        for start, end in _months(moment, months_ahead + 1)
        for table in TABLES
        if (name := _ensure(database, table, start, end)) is not None
    ]


def rows_in_default(*, connection: BaseDatabaseWrapper | None = None) -> dict[str, int]:
    """How many rows each default partition holds: more than none needs an operator."""
    counts = {}
    with (connection or default_connection).cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"SELECT count(*) FROM {table}_default")  # noqa: S608  (our names)
            counts[table] = int(cursor.fetchone()[0])
    return counts


def _months(moment: datetime, count: int) -> Iterator[tuple[datetime, datetime]]:
    first = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    for _ in range(count):
        following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
        yield first, following
        first = following


def _ensure(
    database: BaseDatabaseWrapper, table: str, start: datetime, end: datetime
) -> str | None:
    """Create and attach in one transaction; None if the partition is attached already."""
    name = f"{table}_{start:%Y_%m}"
    with transaction.atomic(using=database.alias), database.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
        cursor.execute("SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(%s)", [name])
        if cursor.fetchone() is not None:
            return None
        cursor.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {name} "
            f"(LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        )
        cursor.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM (%s) TO (%s)",
            [str(lowest_id(start)), str(lowest_id(end))],
        )
    return name
