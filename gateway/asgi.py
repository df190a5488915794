"""The /v1 application: path -> endpoint, one request id, and OpenAI's error body for all failures.

Plain ASGI, beside Django's: nothing of a web framework is on the way of a call.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from weakref import WeakKeyDictionary

from django.conf import settings

from gateway import metering
from gateway.breaker import Breaker
from gateway.call import Gateway
from gateway.call_ids import new_call_id
from gateway.endpoints import chat, models
from gateway.errors import INTERNAL, METHOD_NOT_ALLOWED, UNKNOWN_URL, ApiError
from gateway.exchange import ClientLeft, Exchange, Message, Receive, Send
from gateway.open_calls import OpenCalls
from gateway.process import NotReady, current_process, stop_current_process
from gateway.upstream import Timeouts, client, close_client

Endpoint = Callable[[Exchange, Gateway], Awaitable[None]]

PREFIX = "/v1/"
# The server has let open answers end before it says "shutdown" (--timeout-graceful-shutdown): the
# clients of what is open now are gone, and reading on would bill what nobody receives.
DRAIN_S = 1.0
LONGEST_SHOWN_PATH = 200
YOUNG_OBJECTS = 10_000  # made between two looks for cycles: some twenty calls
SANDBOX = (b"x-tm-mode", b"sandbox")  # test money bought this

ROUTES: dict[str, tuple[str, Endpoint]] = {
    "chat/completions": ("POST", chat.create),
    "models": ("GET", models.index),
}

logger = logging.getLogger(__name__)
_gateways: WeakKeyDictionary[asyncio.AbstractEventLoop, Gateway] = WeakKeyDictionary()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer one HTTP request."""
    exchange = Exchange(scope, receive, send, new_call_id())
    gateway = current_gateway()
    if gateway.mode == "sandbox":
        exchange.extra_headers.append(SANDBOX)
    try:
        await _endpoint(scope["method"], scope["path"])(exchange, gateway)
    except ApiError as error:
        await exchange.fail(error)
    except ClientLeft:
        pass
    except Exception:
        logger.exception("request.failed %s", exchange.request_id)
        await exchange.fail(INTERNAL.error())


def _endpoint(method: str, path: str) -> Endpoint:
    """Raises ApiError: 404 or 405."""
    name = path.removeprefix(PREFIX).strip("/")
    allowed, endpoint = ROUTES.get(name, ("", None))
    if name.startswith("models/"):
        allowed, endpoint = "GET", partial(models.retrieve, name=name.removeprefix("models/"))
    shown = path[:LONGEST_SHOWN_PATH]
    if endpoint is None:
        raise UNKNOWN_URL.error(method=method, path=shown)
    if method != allowed:
        raise METHOD_NOT_ALLOWED.error(
            headers={"allow": allowed}, path=shown, allowed=allowed, method=method
        )
    return endpoint


def current_gateway() -> Gateway:
    """What the calls of the running event loop share, made at the first one."""
    loop = asyncio.get_running_loop()
    gateway = _gateways.get(loop)
    if gateway is None:
        gateway = _gateways[loop] = Gateway(
            calls=OpenCalls(settings.TOKENMIX_MAX_IN_FLIGHT),
            breaker=Breaker(),
            timeouts=_timeouts(),
            mode=settings.TOKENMIX_MODE,
        )
    return gateway


def _timeouts() -> Timeouts:
    usual = Timeouts()
    return Timeouts(
        connect_s=usual.connect_s,
        first_byte_s=getattr(settings, "TOKENMIX_FIRST_BYTE_S", usual.first_byte_s),
        idle_s=getattr(settings, "TOKENMIX_IDLE_S", usual.idle_s),
        total_s=getattr(settings, "TOKENMIX_TOTAL_S", usual.total_s),
    )


async def startup() -> None:
    """Register this process, load catalog and tokenizer: the first call waits for none of it."""
    current_gateway()
    client()
    await asyncio.to_thread(metering.count_text, "")
    try:
        await current_process()
    except NotReady:
        logger.warning("gateway.start.late: the database does not answer; calls get 503 until then")
    _spare_the_collector()


def _spare_the_collector() -> None:
    """Code and tables stay for good: a full collection over them holds every call up for 0.1 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


async def shutdown() -> None:
    """Let open calls end, settle, give the money back, close the connections."""
    gateway = _gateways.pop(asyncio.get_running_loop(), None)
    if gateway is not None:
        await gateway.calls.drain(DRAIN_S)
    await stop_current_process()
    await close_client()
