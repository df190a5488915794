"""Notices of the stand-in Stripe: truly signed, delivered in the background, broken on demand."""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import httpx
from django.conf import settings

logger = logging.getLogger(__name__)

RETRY_AFTER_S = (0.0, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0)
TIMEOUT_S = 10.0
STALE_S = 3600
MOST_IN_FLIGHT = 1000


class Fault(StrEnum):
    """What goes wrong with the notices."""

    NONE = "none"
    DROP = "drop"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"
    STALE = "stale"
    WRONG_SECRET = "wrong_secret"  # noqa: S105  (a fault, not a secret)


class Hooks:
    """Delivers events to the site's hook, each until it answers 2xx or the retries are over."""

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.delay_s = 2.0
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        """Deliver in the background."""
        if self.fault is Fault.DROP or len(self._tasks) >= MOST_IN_FLIGHT:
            return
        ordered = list(reversed(events)) if self.fault is Fault.REORDER else list(events)
        copies = 2 if self.fault is Fault.DUPLICATE else 1
        delay_s = self.delay_s if self.fault is Fault.DELAY else 0.0
        for event in ordered * copies:
            body = json.dumps(event, indent=2).encode()
            task = asyncio.create_task(_deliver(body, self._signer(), delay_s))
            self._tasks.add(task)  # the loop itself keeps only weak references
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Drop what is not delivered yet."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _signer(self) -> Callable[[bytes], str]:
        age_s = STALE_S if self.fault is Fault.STALE else 0
        wrong = "whsec_of_somebody_else"
        secret = wrong if self.fault is Fault.WRONG_SECRET else settings.STRIPE_WEBHOOK_SECRETS[0]
        return lambda body: sign(body, secret=secret, moment=int(time.time()) - age_s)


def sign(body: bytes, *, secret: str, moment: int) -> str:
    """Make the Stripe-Signature header: docs.stripe.com/webhooks#verify-manually."""
    message = f"{moment}.".encode() + body
    digest = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


async def _deliver(body: bytes, signed: Callable[[bytes], str], delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    url = f"{settings.BASE_URL}/billing/hooks/stripe/"
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client:
        for wait_s in RETRY_AFTER_S:
            await asyncio.sleep(wait_s)
            headers = {
                "content-type": "application/json; charset=utf-8",
                "user-agent": "Stripe/1.0 (stand-in)",
                "stripe-signature": signed(body),
            }
            try:
                answer = await client.post(url, content=body, headers=headers)
            except httpx.HTTPError as error:
                logger.warning("sandbox.hook.unreachable %s", error)
                continue
            if answer.is_success:
                return
            logger.warning("sandbox.hook.refused %s", answer.status_code)
