"""Which part of the site answers what, and how the gateway opens and closes with the process."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from tokenmix_site.asgi import Api, Receive, Send, Site

Message = MutableMapping[str, Any]


class Part:
    """An application that answers with its name and remembers what it saw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scopes: list[Message] = []

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.name.encode()})


class Hooks:
    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.done: list[str] = []

    async def startup(self) -> None:
        self._do("startup")

    async def shutdown(self) -> None:
        self._do("shutdown")

    def _do(self, stage: str) -> None:
        if stage == self.failing:
            raise OSError("no database")
        self.done.append(stage)


def _api(hooks: Hooks) -> Api:
    return Api(Part("api"), hooks.startup, hooks.shutdown)


async def _call(site: Site, **scope: Any) -> list[Message]:
    sent: list[Message] = []
    stages = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> Message:
        return {"type": next(stages)}

    async def send(message: Message) -> None:
        sent.append(message)

    await site(scope, receive, send)
    return sent


async def _get(site: Site, path: str) -> tuple[int, bytes]:
    start, body = await _call(site, type="http", path=path)
    return start["status"], body["body"]


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "part"),
        [
            ("/v1", b"api"),
            ("/v1/models", b"api"),
            ("/v1x", b"portal"),
            ("/", b"portal"),
            ("/models/v1/", b"portal"),
        ],
    )
    async def test_split(self, path: str, part: bytes) -> None:
        site = Site(api=_api(Hooks()), portal=Part("portal"))

        assert await _get(site, path) == (200, part)

    async def test_health_is_answered_by_every_process(self) -> None:
        assert await _get(Site(api=None, portal=None), "/healthz") == (200, b"ok\n")

    async def test_a_part_that_is_not_served_is_not_found(self) -> None:
        web = Site(api=None, portal=Part("portal"))
        gateway = Site(api=_api(Hooks()), portal=None)

        assert (await _get(web, "/v1/models"))[0] == 404
        assert (await _get(gateway, "/wallet/"))[0] == 404

    async def test_a_websocket_is_refused_where_no_portal_is(self) -> None:
        site = Site(api=_api(Hooks()), portal=None)

        assert await _call(site, type="websocket", path="/ws/live/") == [
            {"type": "websocket.close"}
        ]

    async def test_a_prefix_sent_by_a_visitor_is_dropped(self) -> None:
        portal = Part("portal")

        await _call(Site(api=None, portal=portal), type="http", path="/aa/", root_path="/aa")

        assert portal.scopes[0]["root_path"] == ""


class TestLifespan:
    async def test_opens_and_closes_the_gateway(self) -> None:
        hooks = Hooks()

        sent = await _call(Site(api=_api(hooks), portal=None), type="lifespan")

        assert hooks.done == ["startup", "shutdown"]
        assert [message["type"] for message in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]

    async def test_says_why_the_gateway_does_not_open(self) -> None:
        sent = await _call(Site(api=_api(Hooks("startup")), portal=None), type="lifespan")

        assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]
