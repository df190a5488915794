"""The sandbox as one ASGI application: providers and payment services, by path.

Run it with `uvicorn tokenmix_site.sandbox.app:application --port 8090`. In a live installation it
refuses to start.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokenmix_site.settings.dev")

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tokenmix_site.sandbox.providers import (
    WIRES,
    Providers,
    Receive,
    Scope,
    Send,
    read_body,
)

App = Callable[[Scope, Receive, Send], Awaitable[None]]
_CONTROLS = ("/_faults", "/_requests")


class Sandbox:
    """Splits requests by the first part of their path."""

    def __init__(self, stripe: App) -> None:
        self.providers = Providers()
        self._stripe = stripe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        mount, slash, rest = path.removeprefix("/").partition("/")
        if mount in WIRES:
            inner = {**scope, "path": slash + rest}
            await self.providers.serve(mount, inner, receive, send)
        elif mount == "stripe":
            inner = {**scope, "root_path": f"{scope.get('root_path', '')}/stripe"}
            await self._stripe(inner, receive, send)
        elif path in _CONTROLS:
            raw = await read_body(receive)
            await _answer(send, *self.providers.control(scope["method"], path, raw))
        elif path == "/healthz":
            await _answer(send, 200, {"status": "ok", "mode": "sandbox"})
        else:
            await _answer(send, 404, {"error": f"There is nothing at {path} in the sandbox."})


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Send, status: int, value: Any) -> None:
    body = orjson.dumps(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create_application() -> Sandbox:
    """Make the service. Raises ImproperlyConfigured in a live installation."""
    if settings.TOKENMIX_MODE != "sandbox":
        raise ImproperlyConfigured(
            "The sandbox does not run beside live money: TOKENMIX_MODE is "
            f"{settings.TOKENMIX_MODE!r}."
        )
    from tokenmix_site.sandbox.stripe import application as stripe  # noqa: PLC0415  (checks too)

    return Sandbox(stripe)


application = create_application()
