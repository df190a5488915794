"""A fixture for every test run: lets Django empty the tables after a test that commits.

The ledger refuses TRUNCATE, and `flush` after a `transaction=True` test is one. So this, and only
this, statement of the test run is let past the triggers.
"""

from collections.abc import Iterator
from typing import Any

import pgtrigger
import pytest
from django.db.backends.base.operations import BaseDatabaseOperations


@pytest.fixture(autouse=True, scope="session")
def flush_past_the_ledger_triggers() -> Iterator[None]:
    original = BaseDatabaseOperations.execute_sql_flush

    def flush(self: BaseDatabaseOperations, sql_list: list[Any]) -> None:
        with pgtrigger.ignore():
            original(self, sql_list)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", flush)
        yield
