"""The stand-in Stripe delivers as Stripe does: again until its notice is taken."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from billing.payments.stripe import StripePayments


class Site:
    """A site whose hook fails at first, and keeps what came."""

    def __init__(self) -> None:
        self.failures = 2
        self.taken: list[tuple[bytes, dict[str, str]]] = []

    async def __call__(self, scope, receive, send) -> None:
        body = (await receive())["body"]
        status = 200
        if self.failures:
            self.failures, status = self.failures - 1, 500
        else:
            pairs = scope["headers"]
            self.taken.append((body, {name.decode(): value.decode() for name, value in pairs}))
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def site(settings) -> Iterator[Site]:
    site = Site()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        settings.BASE_URL = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(site, log_level="error", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield site
        server.should_exit = True
        thread.join(timeout=10)


def test_a_notice_comes_again_until_it_is_taken(customer, stripe, site):
    stripe.webhooks("none")
    stripe.press(customer.start().pay_url, "pay")

    deadline = time.monotonic() + 20
    while len(site.taken) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)

    kinds = sorted(StripePayments().verify(*notice).kind for notice in site.taken)
    assert kinds == ["checkout.session.completed", "payment_intent.succeeded"]
