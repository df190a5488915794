"""`make run`: starts everything, stops everything, and starts again whatever happened before."""

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes import local_run
from tests.fakes.local_run import LocalRun

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """One data folder for all, as on a developer's machine."""
    folder = local_run.new_data_folder()
    yield folder
    local_run.remove(folder)


@pytest.fixture
def started(data: Path) -> Iterator[list[LocalRun]]:
    """The runs of a test, ended with it."""
    runs: list[LocalRun] = []
    yield runs
    for run in runs:
        run.stop()


def _wait_until_nobody_is_left(run: LocalRun, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while run.is_anybody_left():
        assert time.monotonic() < deadline, f"still running after {within_s} s:\n{run.output()}"
        time.sleep(0.1)


def _pid_of(data: Path, part: str) -> int:
    """The process of this run whose command line has `part` in it."""
    marked = f"TOKENMIX_DATA={data}".encode()
    found = [
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdecimal()
        and part.encode() in (folder / "cmdline").read_bytes()
        and marked in (folder / "environ").read_bytes()
    ]
    return min(found)


class TestRun:
    def test_serves_everything_until_ctrl_c(self, data: Path, started: list[LocalRun]) -> None:
        run = local_run.start(data=data)
        started.append(run)
        run.wait_until_healthy()

        home = httpx.get(f"{run.url}/")
        models = httpx.get(f"{run.base_url}/models")
        sandbox = httpx.get(f"{run.sandbox_url}/healthz")
        address, password = run.operator()
        modes = {(data / name).stat().st_mode & 0o777 for name in ("secrets.env", "operator.txt")}
        code = run.stop(signal.SIGINT)

        assert (home.status_code, models.status_code, sandbox.status_code) == (200, 401, 200)
        assert code == 0, run.output()
        assert not run.is_anybody_left()
        assert "Traceback" not in run.output()
        assert modes == {0o600}
        assert re.search(rf"{address}\s+{re.escape(password)}", run.output())

    def test_starts_at_once_after_it_was_killed(self, data: Path, started: list[LocalRun]) -> None:
        first = local_run.start(data=data)
        started.append(first)
        first.wait_until_healthy()

        first.kill()
        second = local_run.start(data=data, port=first.port, sandbox_port=first.sandbox_port)
        started.append(second)
        second.wait_until_healthy()

        assert httpx.get(f"{second.url}/healthz").status_code == 200
        assert second.stop(signal.SIGTERM) == 0, second.output()
        assert not second.is_anybody_left()

    def test_ends_with_the_make_that_started_it(self, data: Path, started: list[LocalRun]) -> None:
        run = local_run.start(data=data, shell=True)
        started.append(run)
        run.wait_until_healthy()

        run.kill()

        _wait_until_nobody_is_left(run, within_s=15)

    @pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
    def test_stops_when_one_child_dies(self, data: Path, started: list[LocalRun]) -> None:
        run = local_run.start(data=data)
        started.append(run)
        run.wait_until_healthy()

        rival = local_run.start(data=data)
        rival_code = rival.process.wait(15)
        rival_words = rival.output()
        os.kill(_pid_of(data, "beat"), signal.SIGKILL)
        code = run.process.wait(local_run.STOP_WITHIN_S)

        assert rival_code == 1
        assert f"already running here (process {run.process.pid})" in rival_words
        assert code == 1
        assert not run.is_anybody_left()

    def test_names_a_taken_port(self, data: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            run = local_run.start(data=data, port=port)

            assert run.process.wait(15) == 1
        assert f"Port {port} is taken: stop what listens there, or set PORT." in run.output()
