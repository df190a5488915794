"""Child processes of `make run`: started, listened to, watched and stopped in order.

Each child leads its own process group, so a Ctrl-C in the terminal reaches the supervisor alone,
and dies with the supervisor even when that is killed.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tokenmix_site.local.stores import die_with_parent

POLL_S = 0.2
STOP_POLL_S = 0.02
KILLED_WITHIN_S = 5
COLOURS = {"app": 36, "sandbox": 35, "worker": 32, "beat": 33, "prepare": 34}


@dataclass(frozen=True, slots=True)
class Child:
    """What to start. `orphan_signal` is what the kernel sends it when the supervisor is killed."""

    name: str
    command: Sequence[str]
    stop_within_s: float
    orphan_signal: int = signal.SIGTERM


class ChildEndedError(Exception):
    """A child ended that should have stayed, or ended badly."""

    def __init__(self, name: str, code: int) -> None:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        super().__init__(f"{name} ended ({how}); its last lines are above.")


@dataclass(slots=True)
class Family:
    """The running children, in the order in which they are to be stopped."""

    environ: Mapping[str, str]
    folder: Path
    keep_open: Sequence[int] = ()
    is_hurried: bool = False
    _running: list["Running"] = field(default_factory=list)

    def start(self, child: Child) -> int:
        """Start a child that is to stay; its process id."""
        running = self._spawn(child)
        self._running.append(running)
        return running.process.pid

    def run(self, child: Child) -> None:
        """Run a child that is to end by itself. Raises ChildEndedError unless it ends well."""
        running = self._spawn(child)
        try:
            code = running.process.wait()
        finally:
            running.stop(self)
        if code:
            raise ChildEndedError(child.name, code)

    def check(self) -> None:
        """Raise ChildEndedError when a child has ended."""
        for running in self._running:
            if (code := running.process.poll()) is not None:
                raise ChildEndedError(running.child.name, code)

    def watch(self) -> None:
        """Return never: raises ChildEndedError when the first child ends."""
        while True:
            self.check()
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End all, one after the other, so that the first can still use what the last serves."""
        for running in self._running:
            running.stop(self)
        self._running.clear()

    def hurry(self) -> None:
        """Wait for nobody any more: who has not ended is killed."""
        self.is_hurried = True

    def _spawn(self, child: Child) -> "Running":
        process = subprocess.Popen(  # noqa: S603  (our own commands)
            child.command,
            preexec_fn=die_with_parent(child.orphan_signal),  # noqa: PLW1509  (from the main thread)
            process_group=0,
            pass_fds=self.keep_open,
            cwd=self.folder,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        relay = threading.Thread(target=_relay, args=(child.name, process.stdout), daemon=True)
        relay.start()
        return Running(child, process, relay)


@dataclass(frozen=True, slots=True)
class Running:
    """A started child, and the thread that reads what it says (it only reads: the main forks)."""

    child: Child
    process: subprocess.Popen[bytes]
    relay: threading.Thread

    def stop(self, family: Family) -> None:
        """End it and everything of its group: asked first, killed when it takes too long."""
        deadline = time.monotonic() + self.child.stop_within_s
        if self.process.poll() is None:
            self.process.terminate()
        while self.process.poll() is None and time.monotonic() < deadline:
            if family.is_hurried:
                break
            time.sleep(STOP_POLL_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(KILLED_WITHIN_S)
        self.relay.join(KILLED_WITHIN_S)


def say(name: str, text: str) -> None:
    """Print one line under a name. A reader of our output who has left is no reason to stop."""
    colour = COLOURS.get(name)
    label = f"{name:<8}|"
    if colour and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        label = f"\x1b[{colour}m{label}\x1b[0m"
    with suppress(OSError):
        sys.stdout.write(f"{label} {text}\n")
        sys.stdout.flush()


def _relay(name: str, lines: IO[bytes]) -> None:
    with lines:
        for line in lines:
            say(name, line.decode(errors="replace").rstrip())
