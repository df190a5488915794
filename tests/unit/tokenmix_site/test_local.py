"""The parts of `make run`: the lock, the made-up secrets, children that start and stop."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tokenmix_site.local import environment, lock
from tokenmix_site.local.lock import LockedError, take_lock
from tokenmix_site.local.processes import Child, ChildEndedError, Family

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
STUBBORN = [sys.executable, "-c", DEAF]
# A supervisor that hands its lock on to a child, as ours does.
PARENT = """
import subprocess, sys
from pathlib import Path
from tokenmix_site.local.lock import take_lock
lock = take_lock(Path(sys.argv[1]))
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(2)"], pass_fds=(lock.fileno,))
print("ready", flush=True)
import time; time.sleep(60)
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(os.environ, tmp_path)
    yield family
    family.stop()


class TestSecrets:
    def test_are_made_once_and_kept_private(self, tmp_path: Path) -> None:
        file = tmp_path / "secrets.env"

        made = environment.load_secrets(file)

        assert environment.load_secrets(file) == made
        assert made["STRIPE_WEBHOOK_SECRETS"].startswith("whsec_")
        assert file.stat().st_mode & 0o777 == 0o600

    def test_of_the_caller_win(self, tmp_path: Path) -> None:
        given = {"STRIPE_SECRET_KEY": "sk_test_own", "TOKENMIX_BASE_URL": "https://tokens.example"}

        environ = environment.child_environment(
            given, data=tmp_path, url="http://127.0.0.1:1", sandbox_url="http://127.0.0.1:2"
        )

        assert environ["STRIPE_SECRET_KEY"] == "sk_test_own"
        assert environ["TOKENMIX_BASE_URL"] == "https://tokens.example"


class TestLock:
    def test_waits_for_the_children_of_one_who_was_killed(self, tmp_path: Path) -> None:
        file = tmp_path / "run.lock"
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, file], stdout=subprocess.PIPE, cwd=environment.ROOT
        )
        with parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            parent.kill()
        started = time.monotonic()

        take_lock(file).release()

        assert time.monotonic() - started > 0.5

    def test_ends_what_a_killed_one_left_hanging(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lock, "ORPHAN_WAIT_S", 0.2)
        file = tmp_path / "run.lock"
        hanging = PARENT.replace("time.sleep(2)", "time.sleep(60)")
        parent = subprocess.Popen(
            [sys.executable, "-c", hanging, file], stdout=subprocess.PIPE, cwd=environment.ROOT
        )
        with parent:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"ready\n"
            parent.kill()
        started = time.monotonic()

        take_lock(file).release()

        assert time.monotonic() - started < 30

    def test_is_refused_beside_a_living_one(self, tmp_path: Path) -> None:
        held = take_lock(tmp_path / "run.lock")

        with pytest.raises(LockedError, match=f"already running here .process {os.getpid()}"):
            take_lock(tmp_path / "run.lock")

        held.release()


class TestFamily:
    def test_prefixes_what_children_say(
        self, family: Family, capsys: pytest.CaptureFixture[str]
    ) -> None:
        family.run(Child("prepare", [sys.executable, "-c", "print('made')"], stop_within_s=5))

        assert capsys.readouterr().out == "prepare | made\n"

    def test_names_the_child_that_ended(self, family: Family) -> None:
        family.start(Child("app", SLEEP, stop_within_s=5))
        family.start(Child("beat", [sys.executable, "-c", "raise SystemExit(3)"], stop_within_s=5))

        with pytest.raises(ChildEndedError, match=r"beat ended \(exit code 3\)"):
            family.watch()

    def test_kills_a_child_that_does_not_end(self, family: Family) -> None:
        family.start(Child("worker", STUBBORN, stop_within_s=0.2))
        time.sleep(0.5)
        started = time.monotonic()

        family.stop()

        assert time.monotonic() - started < 5

    def test_does_not_wait_when_hurried(self, family: Family) -> None:
        family.start(Child("worker", STUBBORN, stop_within_s=60))
        time.sleep(0.5)
        started = time.monotonic()

        family.hurry()
        family.stop()

        assert time.monotonic() - started < 5

    def test_is_out_of_reach_of_a_ctrl_c_in_the_terminal(self, family: Family) -> None:
        family.start(Child("app", SLEEP, stop_within_s=5))

        assert os.getpgid(family._running[0].process.pid) != os.getpgid(0)
