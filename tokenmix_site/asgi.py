"""HTTP and WebSocket entry: /v1 is the gateway's own application, all else Django's and Channels'.

/v1 branches off before any Django code runs: Django's handler alone costs more than our whole call.
"""

import logging
import os
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
Hook = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Api:
    """The /v1 application and what opens and closes it with the process."""

    application: Asgi
    startup: Hook
    shutdown: Hook


@dataclass(frozen=True, slots=True)
class Site:
    """Everything behind one port. A part that this process does not serve is None."""

    api: Api | None
    portal: Asgi | None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "http" and _is_api(scope["path"]):
            await self._serve(self.api.application if self.api else None, scope, receive, send)
        elif kind == "http" and scope["path"] == "/healthz":
            await _answer(send, status=200, text="ok\n")
        else:
            # Daphne takes root_path from a request header of anybody's; reverse() must not.
            await self._serve(self.portal, {**scope, "root_path": ""}, receive, send)

    async def _serve(self, part: Asgi | None, scope: Message, receive: Receive, send: Send) -> None:
        if part is not None:
            await part(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            await _answer(send, status=404, text="This process does not serve this path.\n")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Only uvicorn speaks it; under Daphne the gateway opens itself at its first call."""
        for stage in ("startup", "shutdown"):
            await receive()
            try:
                if self.api:
                    await getattr(self.api, stage)()
            except Exception as error:
                logger.exception("The gateway failed in its %s", stage)
                await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
                return
            await send({"type": f"lifespan.{stage}.complete"})


def _is_api(path: str) -> bool:
    return path.startswith("/v1/") or path == "/v1"


async def _answer(send: Send, *, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def _build() -> Site:
    """The parts that TOKENMIX_SERVE names: all, web or gateway."""
    django = get_asgi_application()  # sets Django up: what follows imports models
    from django.conf import settings
    from django.urls import path

    from gateway import asgi as gateway
    from tokenmix_site.consumers import LiveConsumer

    socket = URLRouter([path("ws/live/", LiveConsumer.as_asgi())])
    portal = ProtocolTypeRouter(
        {
            "http": django,
            "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(socket)),
        }
    )
    api = Api(gateway.application, gateway.startup, gateway.shutdown)
    serve = settings.TOKENMIX_SERVE
    return Site(
        api=api if serve in {"all", "gateway"} else None,
        portal=portal if serve in {"all", "web"} else None,
    )


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tokenmix_site.settings.production")
application = _build()
