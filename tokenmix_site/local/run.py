"""`make run`: the whole product on one machine, under one supervisor.

    python -m tokenmix_site.local.run [--with-parent]

It starts PostgreSQL and Valkey (unless DATABASE_URL and REDIS_URL name others), brings the
database up to date, starts site, sandbox, worker and beat, and stops everything in that order,
the servers last: on Ctrl-C, on SIGTERM, and when one of them ends. When it is killed itself, the
kernel ends them; with --with-parent (for `make`) it ends with its parent in the same way.
"""

import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import FrameType

from tokenmix_site.local import environment, stores
from tokenmix_site.local.lock import LockedError, RunLock, take_lock
from tokenmix_site.local.processes import Child, ChildEndedError, Family, say

HOST = "127.0.0.1"
HEALTHY_WITHIN_S = 120
HEALTH_TIMEOUT_S = 2
POLL_S = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 4  # for open streams; production drains longer (deploy/Procfile)


class NotStartedError(Exception):
    """The product could not be started; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where this run keeps its data and listens."""

    data: Path
    port: int
    sandbox_port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def sandbox_url(self) -> str:
        return f"http://{HOST}:{self.sandbox_port}"


def main() -> int:
    for signum in STOP_SIGNALS:
        signal.signal(signum, _interrupt)
    if "--with-parent" in sys.argv[1:]:
        stores.end_with_parent(signal.SIGTERM)
    try:
        _run()
    except KeyboardInterrupt:
        say("run", "Stopped.")
        return 0
    except (NotStartedError, LockedError, stores.StoreError, ChildEndedError) as error:
        say("run", str(error))
    return 1


def _run() -> None:
    given = environment.own_environment()
    plan = _plan(given)
    plan.data.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = take_lock(plan.data / "run.lock")
        stack.callback(lock.release)
        _refuse_taken_ports(plan)
        environ = environment.child_environment(
            given, data=plan.data, url=plan.url, sandbox_url=plan.sandbox_url
        )
        family = Family(environ, environment.ROOT, keep_open=(lock.fileno,))
        _start_stores(environ, plan.data, lock, stack)
        environment.write_private(plan.data / "run.env", _own_part(environ))
        stack.callback(family.stop)
        stack.callback(_begin_to_stop, lock, family)
        family.run(_prepare(plan))
        for child in _children(plan):
            pid = family.start(child)
            say("run", f"Started {child.name} (process {pid}).")
        _wait_until_healthy(family, plan)
        _greet(plan)
        family.watch()


def _plan(given: dict[str, str]) -> Plan:
    ports = []
    for name, default in (("PORT", "8000"), ("SANDBOX_PORT", "8090")):
        text = given.get(name, default)
        if not text.isdecimal() or not 0 < int(text) < 2**16:
            message = f"{name} is {text!r}: it must be a port number from 1 to 65535."
            raise NotStartedError(message)
        ports.append(int(text))
    return Plan(environment.data_folder(given), *ports)


def _refuse_taken_ports(plan: Plan) -> None:
    for name, port in (("PORT", plan.port), ("SANDBOX_PORT", plan.sandbox_port)):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
            except OSError as error:
                message = f"Port {port} is taken: stop what listens there, or set {name}."
                raise NotStartedError(message) from error


def _start_stores(environ: dict[str, str], data: Path, lock: RunLock, stack: ExitStack) -> None:
    """Start the servers that no variable names, and put their addresses into `environ`."""
    if "DATABASE_URL" not in environ:
        say("run", "Starting PostgreSQL …")
        postgres = stores.start_postgres(
            data=data / "postgres", log=data / "postgres.log", keep_open=(lock.fileno,)
        )
        stack.callback(postgres.stop)
        environ["DATABASE_URL"] = stores.create_database(postgres.url, "tokenmix")
    if "REDIS_URL" not in environ:
        valkey = stores.start_valkey(folder=data / "valkey", keep_open=(lock.fileno,))
        stack.callback(valkey.stop)
        environ["REDIS_URL"] = valkey.url


def _own_part(environ: dict[str, str]) -> dict[str, str]:
    """The variables that a command in another terminal needs to join this run."""
    prefixes = ("TOKENMIX_", "STRIPE_", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "CREDENTIAL_")
    return {name: value for name, value in environ.items() if name.startswith(prefixes)}


def _prepare(plan: Plan) -> Child:
    operator = plan.data / "operator.txt"
    command = ["manage.py", "prepare", "--verbosity", "0", "--operator-file", str(operator)]
    return Child("prepare", [sys.executable, *command], stop_within_s=10)


def _children(plan: Plan) -> list[Child]:
    python = sys.executable
    uvicorn = [
        python, "-m", "uvicorn", "--host", HOST, "--loop", "uvloop", "--http", "httptools",
        "--no-proxy-headers", "--no-server-header", "--no-access-log", "--log-level", "warning",
        "--timeout-graceful-shutdown", str(GRACE_S),
    ]  # fmt: skip
    # Celery fears root for the sake of pickle, which our tasks never use.
    quiet = ["-W", "ignore:You're running the worker with superuser privileges"]
    celery = [python, *quiet, "-m", "celery", "--quiet", "-A", "tokenmix_site"]
    return [
        Child(
            "app",
            [*uvicorn, "--port", str(plan.port), "tokenmix_site.asgi:application"],
            stop_within_s=GRACE_S + 30,  # then the gateway drains, settles, gives its money back
            orphan_signal=signal.SIGKILL,  # its database ends too: what it held is swept later
        ),
        Child(
            "sandbox",
            [*uvicorn, "--port", str(plan.sandbox_port), "tokenmix_site.sandbox.app:application"],
            stop_within_s=GRACE_S + 2,
            orphan_signal=signal.SIGKILL,
        ),
        Child(
            "worker",
            [*celery, "worker", "--concurrency", "2", "--loglevel", "WARNING"],
            stop_within_s=10,
            orphan_signal=signal.SIGQUIT,  # do not wait for tasks: they are re-creatable
        ),
        Child(
            "beat",
            [*celery, "beat", "--loglevel", "ERROR", "--pidfile=",
             "--schedule", str(plan.data / "beat-schedule")],
            stop_within_s=5,
        ),
    ]  # fmt: skip


def _wait_until_healthy(family: Family, plan: Plan) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + HEALTHY_WITHIN_S
    for address in (plan.sandbox_url, plan.url):
        while not _is_healthy(opener, f"{address}/healthz"):
            family.check()
            if time.monotonic() > deadline:
                message = f"{address} did not answer within {HEALTHY_WITHIN_S} s."
                raise NotStartedError(message)
            time.sleep(POLL_S)
    family.check()


def _is_healthy(opener: urllib.request.OpenerDirector, url: str) -> bool:
    try:
        with opener.open(url, timeout=HEALTH_TIMEOUT_S) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


def _greet(plan: Plan) -> None:
    operator = plan.data / "operator.txt"
    lines = [
        f"TokenMix runs at   {plan.url}",
        f"base_url for SDKs  {plan.url}/v1",
        f"its mails          {plan.url}/dev/mail/",
    ]
    if operator.exists():
        email, password = operator.read_text().split()
        lines.append(f"operator           {plan.url}/admin/  {email}  {password}")
    for line in [*lines, "Ctrl-C stops everything; a second one does not wait for open streams."]:
        say("run", line)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _begin_to_stop(lock: RunLock, family: Family) -> None:
    """From here on a signal does not interrupt what stops; it only makes it impatient."""
    lock.set_state("stopping")
    for signum in STOP_SIGNALS:
        signal.signal(signum, lambda *_: family.hurry())


if __name__ == "__main__":
    sys.exit(main())
