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
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.fakes import local_run
from tests.fakes.local_run import LocalRun

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(480),  # each starts the product whole, some twice
    pytest.mark.xdist_group("processes"),
]


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


class TestRun:
    def test_serves_everything_and_ends_with_make(
        self, data: Path, started: list[LocalRun]
    ) -> None:
        run = local_run.start(data=data, shell=True)
        started.append(run)
        run.wait_until_healthy()

        home = httpx.get(f"{run.url}/")
        models = httpx.get(f"{run.base_url}/models")
        sandbox = httpx.get(f"{run.sandbox_url}/healthz")
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"{run.url}/ws/live/".replace("http", "ws")),
        ):
            pass
        run.kill()  # what `make` would be: the supervisor's parent

        assert (home.status_code, models.status_code, sandbox.status_code) == (200, 401, 200)
        assert refused.value.response.status_code == 403  # nobody is signed in
        assert "Traceback" not in run.output()
        address, password = run.operator()
        assert re.search(rf"{address}\s+{re.escape(password)}", run.output())
        modes = {(data / name).stat().st_mode & 0o777 for name in ("secrets.env", "operator.txt")}
        assert modes == {0o600}
        _wait_until_nobody_is_left(run, within_s=15)

    def test_ctrl_c_stops_all_and_nobody_else_can_start(
        self, data: Path, started: list[LocalRun]
    ) -> None:
        run = local_run.start(data=data)
        started.append(run)
        run.wait_until_healthy()

        rival = local_run.start(data=data)
        rival_code = rival.process.wait(15)
        code = run.stop(signal.SIGINT)

        assert rival_code == 1
        assert f"already running here (process {run.process.pid})" in rival.output()
        assert code == 0, run.output()
        assert not run.is_anybody_left()
        assert "Traceback" not in run.output()

    def test_starts_at_once_after_it_was_killed_and_stops_when_a_child_dies(
        self, data: Path, started: list[LocalRun]
    ) -> None:
        first = local_run.start(data=data)
        started.append(first)
        first.wait_until_healthy()

        first.kill()
        second = local_run.start(data=data, port=first.port, sandbox_port=first.sandbox_port)
        started.append(second)
        second.wait_until_healthy()
        answer = httpx.get(f"{second.url}/healthz")
        os.kill(second.pid_of("beat"), signal.SIGKILL)
        code = second.process.wait(local_run.STOP_WITHIN_S)

        assert answer.status_code == 200
        assert code == 1
        assert "beat ended (signal 9)" in second.output()
        assert not second.is_anybody_left()

    def test_names_a_taken_port(self, data: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            run = local_run.start(data=data, port=port)

            assert run.process.wait(15) == 1
        assert f"Port {port} is taken: stop what listens there, or set PORT." in run.output()
