"""deploy/Procfile: Daphne serves the portal and a WebSocket, uvicorn serves /v1."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.fakes.local_run import free_port
from tokenmix_site.local import stores
from tokenmix_site.local.stores import die_with_parent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("processes")]

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 60
STOP_WITHIN_S = 20
IDLE_S = 7  # longer than any wait for Redis: a quiet line must stay open
MAKE_A_CUSTOMER = """
import json
from importlib import import_module
from accounts.api_keys import create_key
from accounts.workspaces import create_workspace_for, workspace_of
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model

user = get_user_model().objects.create_user("customer@example.com", "correct horse battery")
create_workspace_for(user=user)
workspace = workspace_of(user_id=user.pk)
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.create()
key = create_key(workspace_id=workspace.id, user_id=user.pk, name="deploy")
print(json.dumps({"session": session.session_key, "key": key.secret, "workspace": workspace.id}))
"""
SEND_A_PING = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

message = {{"type": "live.ping", "payload": {{"changed": "wallet"}}}}
async_to_sync(get_channel_layer().group_send)("workspace-{workspace}", message)
"""


@dataclass(frozen=True)
class Installation:
    """A database that is ready, with one customer in it, and the environment to reach it."""

    environ: Mapping[str, str]
    session: str
    key: str
    workspace: int

    def shell(self, code: str) -> str:
        return _manage(self.environ, "shell", "--no-imports", "-c", code)


def _manage(environ: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=dict(environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    server, web_port = os.environ["DATABASE_URL"], free_port()
    environ = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.integration.deployed_settings",
        "TEST_STATIC_ROOT": str(tmp_path_factory.mktemp("static")),
        "DATABASE_URL": stores.create_database(server, f"deploy_{os.getpid()}"),
        "SECRET_KEY": secrets.token_urlsafe(50),
        "TOKENMIX_BASE_URL": f"http://127.0.0.1:{web_port}",
        "WEB_PORT": str(web_port),
        "GATEWAY_PORT": str(free_port()),
        "GATEWAY_WORKERS": "2",
        "GATEWAY_DRAIN_S": "5",
    }
    _manage(environ, "collectstatic", "--noinput", "--verbosity", "0")
    _manage(environ, "prepare", "--verbosity", "0")
    made = json.loads(_manage(environ, "shell", "--no-imports", "-c", MAKE_A_CUSTOMER))
    return Installation(environ=environ, **made)


@pytest.fixture(scope="module")
def web(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("web") / "log"
    yield from _serve("web", installation.environ, "WEB_PORT", log)


@pytest.fixture(scope="module")
def gateway(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("gateway") / "log"
    yield from _serve("gateway", installation.environ, "GATEWAY_PORT", log)


def _command(name: str) -> str:
    """That process's line of the process file, with the Python that runs this test."""
    lines = (ROOT / "deploy/Procfile").read_text().splitlines()
    found = dict(line.split(": ", 1) for line in lines)
    return found[name].replace(".venv/bin/", f"{Path(sys.executable).parent}/")


def _serve(name: str, environ: Mapping[str, str], port: str, log: Path) -> Iterator[str]:
    """Run a process until its tests are over; then it must end when it is told to."""
    url = f"http://127.0.0.1:{environ[port]}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", _command(name)],
            cwd=ROOT,
            env=dict(environ),
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  (no threads fork here)
            process_group=0,
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_healthy(process, url, log)
        yield url
        process.terminate()
        code = process.wait(STOP_WITHIN_S)
        # uvicorn repeats the signal for its parent to see.
        assert code in {0, -signal.SIGTERM}, log.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)


class TestWeb:
    def test_serves_pages(self, web: str) -> None:
        answer = httpx.get(f"{web}/")

        assert answer.status_code == 200
        assert "text/html" in answer.headers["content-type"]

    def test_serves_the_files_of_its_pages(self, web: str) -> None:
        page = httpx.get(f"{web}/").text
        style = re.search(r'href="(/static/[^"]+\.css)"', page)
        assert style is not None

        answer = httpx.get(f"{web}{style[1]}")

        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]

    def test_does_not_serve_the_api(self, web: str) -> None:
        assert httpx.get(f"{web}/v1/models").status_code == 404

    def test_ignores_a_prefix_that_a_visitor_sends(self, web: str) -> None:
        answer = httpx.get(f"{web}/wallet/", headers={"Daphne-Root-Path": "/aa"})

        assert answer.status_code == 302
        assert answer.headers["location"].startswith("/accounts/login/")

    def test_tells_an_open_page_of_a_change(self, web: str, installation: Installation) -> None:
        cookie = {"Cookie": f"sessionid={installation.session}"}
        address = f"{web.replace('http', 'ws')}/ws/live/"

        with connect(address, origin=web, additional_headers=cookie) as socket:
            time.sleep(IDLE_S)
            installation.shell(SEND_A_PING.format(workspace=installation.workspace))
            message = json.loads(socket.recv(timeout=10))

        assert message == {"changed": "wallet"}

    @pytest.mark.parametrize("origin", ["own", "foreign"])
    def test_refuses_the_live_line(self, web: str, installation: Installation, origin: str) -> None:
        """Without a session, and from a page of another site that borrows it."""
        headers = {} if origin == "own" else {"Cookie": f"sessionid={installation.session}"}
        address = f"{web.replace('http', 'ws')}/ws/live/"

        with (
            pytest.raises(InvalidStatus) as refused,
            connect(
                address,
                origin=web if origin == "own" else "https://evil.example",
                additional_headers=headers,
            ),
        ):
            pass

        assert refused.value.response.status_code == 403


class TestGateway:
    def test_asks_for_a_key(self, gateway: str) -> None:
        answer = httpx.get(f"{gateway}/v1/models")

        assert answer.status_code == 401
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.headers["x-request-id"]

    def test_lists_models_to_a_key(self, gateway: str, installation: Installation) -> None:
        answer = httpx.get(
            f"{gateway}/v1/models", headers={"Authorization": f"Bearer {installation.key}"}
        )

        assert answer.status_code == 200
        assert len(answer.json()["data"]) > 10

    def test_does_not_serve_pages(self, gateway: str) -> None:
        assert httpx.get(f"{gateway}/").status_code == 404
