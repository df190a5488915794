"""A pytest plugin: starts a throw-away PostgreSQL and Valkey before Django reads its settings.

Loaded by `-p tests.stores`, since pytest-django reads the settings before any conftest.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tokenmix_site.local import stores

FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
_running: list[stores.Store] = []
_folders: list[Path] = []


def _start() -> None:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # its controller started them
        # A database of Redis each: one worker's tasks must not reach another's database.
        number = int(worker.removeprefix("gw")) + 1
        os.environ["REDIS_URL"] = os.environ["REDIS_URL"].replace("?db=0", f"?db={number}")
        return
    folder = Path(tempfile.mkdtemp(prefix="tm-test-"))
    folder.chmod(0o755)
    _folders.append(folder)
    if not os.environ.get("DATABASE_URL"):
        postgres = stores.start_postgres(data=folder / "postgres", options=FAST)
        _running.append(postgres)
        os.environ["DATABASE_URL"] = postgres.url
    if not os.environ.get("REDIS_URL"):
        valkey = stores.start_valkey(folder=folder / "valkey")
        _running.append(valkey)
        os.environ["REDIS_URL"] = valkey.url


_start()


def pytest_unconfigure(config: pytest.Config) -> None:
    for store in reversed(_running):
        store.stop()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
