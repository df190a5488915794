"""A few named threads that speak to the database for the event loop, each on its own connection.

Statements there are short, so a session gives up early: it must never hang behind a lock.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection
from django.db.utils import DatabaseError, InterfaceError

logger = logging.getLogger(__name__)

T = TypeVar("T")
STATEMENT_TIMEOUT_MS = 2_000
CLOSE_WITHIN_S = 3
_prepared = threading.local()


def open_session() -> None:
    """Connect this thread, if it is not connected, and bound how long a statement may take."""
    connection.ensure_connection()
    if getattr(_prepared, "session", None) is not connection.connection:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SET synchronous_commit = on; SET statement_timeout = {STATEMENT_TIMEOUT_MS};"
                f"SET idle_in_transaction_session_timeout = {STATEMENT_TIMEOUT_MS}"
            )
        _prepared.session = connection.connection


def close_session() -> None:
    """Close this thread's connection; the next use opens another."""
    _prepared.session = None
    connection.close()


class TooBusy(Exception):  # noqa: N818  (named for what is wrong)
    """So much waits for the database already that more would only wait in vain."""


class DatabaseThreads:
    """Runs functions in `size` threads, in order of arrival, `most_waiting` at most."""

    def __init__(self, *, name: str, size: int, most_waiting: int) -> None:
        self._size = size
        self._most_waiting = most_waiting
        self._waiting = 0
        self._executor = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, function: Callable[[], T]) -> T:
        """Answer of the function. What it raises is raised here, after a fresh connection."""
        if self._waiting >= self._most_waiting:
            raise TooBusy
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, _in_session, function
            )
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Close every thread's connection and end the threads. Blocks: call it off the loop."""
        barrier = threading.Barrier(self._size)
        for _ in range(self._size):
            self._executor.submit(_leave, barrier)
        self._executor.shutdown(wait=True)


def _in_session(function: Callable[[], T]) -> T:
    try:
        open_session()
        return function()
    except (DatabaseError, InterfaceError):
        close_session()
        raise


def _leave(barrier: threading.Barrier) -> None:
    """Each thread takes one of these, since none is free before all have come."""
    try:
        barrier.wait(CLOSE_WITHIN_S)
    except threading.BrokenBarrierError:
        logger.warning("A database thread was busy at the end; its connection is closed later.")
    close_session()
