"""The data files, loaded once for a module; what a test changes is undone after it."""

from collections.abc import Iterator

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from catalog.loading import load_catalog, load_sandbox


@pytest.fixture(scope="module")
def loaded(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Providers, hosts, models, names, routes and prices of the data files, and stand-in hosts."""
    with django_db_blocker.unblock(), transaction.atomic():
        load_catalog()
        load_sandbox()
        yield
        transaction.set_rollback(True)


@pytest.fixture
def catalog(loaded: None, db: None) -> None:
    """The loaded catalog, in a savepoint of this test's own."""
