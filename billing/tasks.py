"""Background work on payments: handle stored notices, find what no notice told us.

Each task is re-creatable from rows: with the broker gone nothing is lost, only later.
"""

import logging
from contextlib import closing
from typing import Any

from celery import Task, shared_task
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from billing import inbox, topups
from billing.payment_models import EventStatus
from billing.payments.base import (
    Forged,
    ProviderRefused,
    ProviderUnavailable,
)
from billing.payments.registry import NoSuchProvider, get_provider
from billing.topup_states import NotThisPayment

logger = logging.getLogger(__name__)

BATCH = 200
BROKER_TIMEOUT_S = 1.0
EVERY_S = 30.0
BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    name: {"task": name, "schedule": EVERY_S, "options": {"expires": EVERY_S}}
    for name in ("billing.rescan_notices", "billing.poll_top_ups")
}
NOT_NOW = (ProviderUnavailable, ProviderRefused, NoSuchProvider)


def enqueue(task: "Task[..., None]", argument: int) -> None:
    """Queue the task. Without a broker this only logs: the rescan and the poller find the row."""
    try:
        _require_broker()
        task.apply_async((argument,), retry=False)
    except (OperationalError, RedisError, OSError):
        logger.warning("payments.queue.unreachable", extra={"task": task.name})


@shared_task(name="billing.handle_notice")
def handle_notice(event_id: int) -> None:
    """Handle one stored notice; done already is fine."""
    stored = inbox.take(event_id=event_id, now=timezone.now())
    if stored is None:
        return
    try:
        status, note = _handle(stored)
    except NOT_NOW as error:
        logger.warning("payments.notice.postponed", extra={"event": event_id})
        inbox.postpone(stored=stored, now=timezone.now(), error=str(error))
    except NotThisPayment as error:
        logger.exception("A notice names a top-up that it must not touch.")
        inbox.finish(
            event_id=event_id, status=EventStatus.FAILED, now=timezone.now(), note=str(error)
        )
    else:
        inbox.finish(event_id=event_id, status=status, now=timezone.now(), note=note)


@shared_task(name="billing.check_top_up")
def check_top_up(topup_id: int) -> None:
    """Ask the provider about one top-up."""
    try:
        topups.check(topup_id=topup_id, source="poller", now=timezone.now())
    except NOT_NOW:
        logger.warning("topup.check.postponed", extra={"topup": topup_id})
    except NotThisPayment:
        logger.exception("The provider's payment is not the one of the top-up.")


@shared_task(name="billing.rescan_notices")
def rescan_notices() -> None:
    """Queue every notice whose task was lost or whose next attempt is due."""
    for event_id in inbox.due(now=timezone.now(), limit=BATCH):
        enqueue(handle_notice, event_id)


@shared_task(name="billing.poll_top_ups")
def poll_top_ups() -> None:
    """Queue a check of every open top-up that is due: what no notice told us is found here."""
    for topup_id in topups.claim_due(now=timezone.now(), limit=BATCH):
        enqueue(check_top_up, topup_id)


def _require_broker() -> None:
    # The publisher itself tries for many seconds, while a provider waits for its answer.
    broker = Redis.from_url(
        settings.REDIS_URL,
        socket_connect_timeout=BROKER_TIMEOUT_S,
        socket_timeout=BROKER_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    with closing(broker):
        broker.ping()


def _handle(stored: inbox.Stored) -> tuple[EventStatus, str]:
    provider = get_provider(key=stored.provider)
    try:
        event = provider.read(stored.body)
    except Forged as error:
        return EventStatus.FAILED, str(error)
    if not event.is_about_payment:
        return EventStatus.IGNORED, f"Of no interest: {event.kind}."
    topup_id = topups.find(provider=stored.provider, references=event.references, order=event.order)
    if topup_id is None:
        return EventStatus.IGNORED, "It names no top-up of ours."
    source = f"notice {event.event_id}"[:64]
    topups.check(topup_id=topup_id, source=source, now=timezone.now(), reference=event.reference)
    return EventStatus.DONE, ""
