"""`make run` for tests: the whole product in a folder and on ports of its own."""

import email
import email.message
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tokenmix_site.local.stores import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
HEALTHY_WITHIN_S = 180
STOP_WITHIN_S = 75
GREETING = "Ctrl-C stops everything"
# What the supervisor decides by itself unless it is told: tests want its own decision.
DECIDED = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "CREDENTIAL_KEYS", "DJANGO_SETTINGS_MODULE")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def new_data_folder() -> Path:
    """A folder that the database's user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tm-run-"))
    folder.chmod(0o755)
    return folder


@dataclass
class LocalRun:
    """A supervisor that was started; everything it prints is in `log`."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    sandbox_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def operator(self) -> tuple[str, str]:
        """E-mail address and password of the demo operator."""
        address, password = (self.data / "operator.txt").read_text().split()
        return address, password

    def mails(self, *, to: str) -> list[email.message.Message]:
        """The mails that the product sent to this address, oldest first."""
        files = sorted((self.data / "mail").glob("*.log"), key=lambda file: file.stat().st_mtime)
        texts = [text for file in files for text in file.read_text().split("-" * 79 + "\n")]
        parsed = [email.message_from_string(text.lstrip()) for text in texts if text.strip()]
        return [mail for mail in parsed if to in str(mail["To"])]

    def wait_until_healthy(self) -> "LocalRun":
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while GREETING not in self.output():
            code = self.process.poll()
            assert code is None, f"`make run` ended with {code}:\n{self.output()}"
            assert time.monotonic() < deadline, f"`make run` is not healthy:\n{self.output()}"
            time.sleep(0.1)
        return self

    def stop(self, signum: int = signal.SIGINT) -> int:
        """Ask it to end; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            return self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pid_of(self, name: str) -> int:
        """The process of one of its children, by the name that it announced."""
        found = re.search(rf"Started {name} \(process (\d+)\)", self.output())
        assert found is not None, self.output()
        return int(found[1])

    def is_anybody_left(self) -> bool:
        """Whether a process that it started still runs: each holds the lock of the data folder."""
        with (self.data / "run.lock").open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def start(
    *, data: Path, port: int | None = None, sandbox_port: int | None = None, shell: bool = False
) -> LocalRun:
    """Start the supervisor; with `shell`, below a parent as `make` is one, which `process` is."""
    port, sandbox_port = port or free_port(), sandbox_port or free_port()
    given = {name: value for name, value in os.environ.items() if name not in DECIDED}
    command = [sys.executable, "-m", "tokenmix_site.local.run"]
    if shell:
        command = [
            "sh",
            "-c",
            f"'{sys.executable}' -m tokenmix_site.local.run --with-parent & wait",
        ]
    log = data / f"run-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=given
            | {"TOKENMIX_DATA": str(data), "PORT": str(port), "SANDBOX_PORT": str(sandbox_port)},
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  (no threads fork here)
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    return LocalRun(process, data, port, sandbox_port, log)


def remove(data: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
