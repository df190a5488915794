"""One `make run` per data folder: a lock that its child processes hold with it.

The children inherit the open file, so the lock is free only when the last of them is gone,
however their supervisor ended.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

WAIT_S = 30
ORPHAN_WAIT_S = 8  # what outlives a killed supervisor so long does not end by itself
NOTICE_S = 1.0  # within it, one who was told to end has noticed and says so
POLL_S = 0.1
SUPERVISOR = b"tokenmix_site.local.run"  # another start that waits too: not an orphan


class LockedError(Exception):
    """The data folder is in use; the text names the process."""


@dataclass(frozen=True, slots=True)
class RunLock:
    """A held lock. `fileno` is to be inherited by every child."""

    fileno: int

    def set_state(self, state: str) -> None:
        os.ftruncate(self.fileno, 0)
        os.pwrite(self.fileno, json.dumps({"pid": os.getpid(), "state": state}).encode(), 0)

    def release(self) -> None:
        os.close(self.fileno)


def take_lock(file: Path) -> RunLock:
    """Take the lock, waiting up to WAIT_S for one who is ending. Raises LockedError."""
    fileno = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    started = time.monotonic()
    while not _try(fileno):
        waited = time.monotonic() - started
        pid, state = _holder(fileno)
        if waited > NOTICE_S and state == "running" and _is_alive(pid):
            message = f"`make run` is already running here (process {pid}): stop it first."
            raise LockedError(message)
        if waited > WAIT_S:
            message = f"What process {pid} has started is still ending; it holds {file}. Try again."
            raise LockedError(message)
        if waited > ORPHAN_WAIT_S and not _is_alive(pid):
            _kill_holders(file)
        time.sleep(POLL_S)
    lock = RunLock(fileno)
    lock.set_state("running")
    return lock


def _try(fileno: int) -> bool:
    try:
        fcntl.flock(fileno, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kill_holders(file: Path) -> None:
    """End what a dead supervisor has left: only its children can have this file open."""
    for pid in _holders(file):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _holders(file: Path) -> Iterator[int]:
    """The orphans that have the file open (Linux; elsewhere none can be told)."""
    target = str(file.resolve())
    for folder in Path("/proc").glob("[0-9]*/fd"):
        pid = int(folder.parent.name)
        if pid == os.getpid():
            continue
        with suppress(OSError):  # it has ended, or is another user's
            is_waiting = SUPERVISOR in Path(f"/proc/{pid}/cmdline").read_bytes()
            if not is_waiting and any(str(fd.readlink()) == target for fd in folder.iterdir()):
                yield pid


def _holder(fileno: int) -> tuple[int, str]:
    try:
        holder = json.loads(os.pread(fileno, 200, 0))
        return int(holder["pid"]), str(holder["state"])
    except (ValueError, KeyError):  # taken this moment, not written yet
        return 0, "starting"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A dead process whose parent has not asked for it yet still has its number.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
