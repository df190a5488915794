"""The stand-in Stripe on a loopback port, with hands to press its buttons."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from tokenmix_site.sandbox.stripe import create_application


@dataclass(frozen=True)
class StandIn:
    url: str

    def press(self, pay_url: str, action: str) -> httpx.Response:
        """Click a button of the pay page."""
        return httpx.post(pay_url, data={"action": action}, trust_env=False)

    def control(self, **order: Any) -> None:
        httpx.post(f"{self.url}/_control", json=order, trust_env=False).raise_for_status()

    def webhooks(self, fault: str, **more: Any) -> None:
        self.control(webhooks=fault, **more)


@contextmanager
def running_stand_in(app: Any = None, *, mount: str = "") -> Iterator[StandIn]:
    """Serve the stand-in alone, or an application that has it under `mount`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app or create_application(), log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield StandIn(url=f"http://127.0.0.1:{listener.getsockname()[1]}{mount}")
        server.should_exit = True
        thread.join(timeout=10)
