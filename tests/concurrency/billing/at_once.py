"""Many threads at once, each with a database connection of its own; and broken functions."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection

from billing.sql_functions import sources

Result = TypeVar("Result")
LONGEST_S = 30


def at_once(calls: Sequence[Callable[[], Result]]) -> list[Result | Exception]:
    """Start all calls at the same instant; their results or exceptions, in order."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result | Exception:
        try:
            connection.ensure_connection()
            barrier.wait(LONGEST_S)
            return call()
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        futures = [pool.submit(run, call) for call in calls]
        return [future.result(LONGEST_S) for future in futures]


@contextmanager
def functions_changed(*changes: tuple[str, str]) -> Iterator[None]:
    """The functions of billing/sql with texts replaced in them, until the end of the block."""
    text = "\n".join(sources())
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after)
    execute(text)
    try:
        yield
    finally:
        for source in sources():
            execute(source)


@contextmanager
def without_constraint(table: str, name: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = %s", [name]
        )
        (definition,) = cursor.fetchone()
    execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    try:
        yield
    finally:
        # NOT VALID: the broken rows of the control are still there, and are removed with the test.
        kind = "" if definition.startswith("UNIQUE") else " NOT VALID"
        if not kind:
            execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            execute(f"DELETE FROM {table}")
            execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}{kind}")


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
