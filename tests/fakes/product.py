"""The product's own processes, started as an operator would, for tests that need several.

Each is a real subprocess with its own event loop, lease and purses, on the test's database.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import httpx
from django.conf import settings
from django.db import connection

from tokenmix_site.local.stores import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 40
STOP_WITHIN_S = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_database_url() -> str:
    """The address of the database that this test runs on, for a subprocess."""
    found = connection.settings_dict
    return f"postgresql://{found['USER']}@{quote(str(found['HOST']), safe='')}/{found['NAME']}"


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def stop(self) -> int:
        """Ask it to end as a deploy does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def kill(self) -> None:
        """What a lost machine looks like."""
        self.process.kill()
        self.process.wait(STOP_WITHIN_S)


@dataclass
class Product:
    """Starts processes on one set of stores and ends what is left of them."""

    folder: Path
    sandbox_port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    running: list[Running] = field(default_factory=list)

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox_port}"

    def start_sandbox(self) -> Running:
        application = "tokenmix_site.sandbox.app:application"
        return self._wait(self._launch(application, self.sandbox_port, "sandbox"))

    def start_gateway(self, port: int | None = None) -> Running:
        return self._wait(self._launch_gateway(port or free_port()))

    def start_gateways(self, count: int) -> list[Running]:
        """Several at once: most of a start is reading code."""
        launched = [self._launch_gateway(free_port()) for _ in range(count)]
        return [self._wait(running) for running in launched]

    def _launch_gateway(self, port: int) -> Running:
        return self._launch("tokenmix_site.asgi:application", port, "gateway")

    def stop(self) -> None:
        for running in reversed(self.running):
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGTERM)
        for running in reversed(self.running):
            try:
                running.process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait(STOP_WITHIN_S)

    def _launch(self, application: str, port: int, name: str) -> Running:
        log = self.folder / f"{name}-{port}.log"
        command = [
            sys.executable, "-m", "uvicorn", application, "--port", str(port), "--loop", "uvloop",
            "--http", "httptools", "--log-level", "warning", "--timeout-graceful-shutdown", "15",
        ]  # fmt: skip
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509  (from the main thread)
            )
        running = Running(process, port, log)
        self.running.append(running)
        return running

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tokenmix_site.settings.test",
            "DATABASE_URL": test_database_url(),
            "REDIS_URL": settings.REDIS_URL,
            "TOKENMIX_SERVE": "gateway",
            "TOKENMIX_SANDBOX_URL": self.sandbox_url,
            **self.environment,
        }

    def _wait(self, running: Running) -> Running:
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if running.process.poll() is not None:
                break
            try:
                if httpx.get(f"{running.url}/healthz", timeout=2).status_code < 500:
                    return running
            except httpx.TransportError:
                time.sleep(0.1)
        message = f"{running.log.name} did not come up:\n{running.log.read_text()[-4000:]}"
        raise AssertionError(message)


@contextmanager
def product(folder: Path, **environment: str) -> Iterator[Product]:
    """A Product whose processes end with the block."""
    found = Product(folder, environment=environment)
    try:
        yield found
    finally:
        found.stop()
