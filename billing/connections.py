"""Connections that move money: short time-outs, and durable commits whatever the server's default.

A statement waits at most two seconds and nobody holds the money lock for longer while idle.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import psycopg
from django.db import connection, connections, transaction

TIMEOUT_MS = 2_000
TCP_TIMEOUT_MS = 5_000
SETTINGS = {
    "statement_timeout": str(TIMEOUT_MS),
    "idle_in_transaction_session_timeout": str(TIMEOUT_MS),
    "synchronous_commit": "on",
}
OPTIONS = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())


class Cursor(Protocol):
    """What the wrappers need of a DB-API cursor."""

    def execute(self, query: Any, params: Any = ...) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Any: ...


class MoneyConnection(Protocol):
    """Django's connection of this thread or one of `money_connection`."""

    def cursor(self) -> AbstractContextManager[Any]: ...


def money_connection() -> psycopg.Connection[tuple[Any, ...]]:
    """A new connection of psycopg to the default database, in autocommit mode, to be closed by you.

    For threads that move money all the time, each with a connection of its own.
    """
    params = connections["default"].get_connection_params()
    for name in ("context", "cursor_factory", "prepare_threshold"):
        params.pop(name, None)
    options = f"{params.pop('options', '')} {OPTIONS}".strip()
    return psycopg.connect(
        autocommit=True, options=options, tcp_user_timeout=TCP_TIMEOUT_MS, **params
    )


@contextmanager
def money_transaction() -> Iterator[None]:
    """A transaction on this thread's Django connection under the same settings."""
    with transaction.atomic():
        names = ", ".join(f"set_config('{name}', %s, true)" for name in SETTINGS)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {names}", list(SETTINGS.values()))
        yield


def call(connection: MoneyConnection, sql: str, params: list[Any]) -> tuple[Any, ...]:
    """The one row that a money function answers with: one statement, so one transaction."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row: tuple[Any, ...] = cursor.fetchone()
    return row
