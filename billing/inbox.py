"""The inbox of verified notices: stored once, handled until done. Seen is not done.

The row is the truth: a notice whose task was lost with the broker is found by the rescan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from billing.payment_models import EventStatus, WebhookEvent
from billing.payments.base import VerifiedEvent

FIRST_RESCAN = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=1)
MOST_ATTEMPTS = 80  # about three days
ERROR_LENGTH = 1000
KEPT_HEADERS = ("content-type", "user-agent", "stripe-signature")
HEADER_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class Stored:
    """A notice taken out for handling."""

    id: int
    provider: str
    body: bytes
    attempts: int


def store(
    *, provider: str, event: VerifiedEvent, raw: bytes, headers: Mapping[str, str], now: datetime
) -> int | None:
    """Keep the notice; a second copy changes nothing. Returns its id while it is to be handled."""
    WebhookEvent.objects.bulk_create(
        [
            WebhookEvent(
                provider=provider,
                event_id=event.event_id,
                kind=event.kind,
                body=raw,
                headers=_kept(headers),
                next_try_at=now + FIRST_RESCAN,
            )
        ],
        ignore_conflicts=True,
    )
    row = WebhookEvent.objects.only("id", "status").get(provider=provider, event_id=event.event_id)
    return row.id if row.status in {EventStatus.NEW, EventStatus.FAILED} else None


def take(*, event_id: int, now: datetime) -> Stored | None:
    """Take the notice for one attempt: None when it is done. A crash after this retries it."""
    with transaction.atomic():
        row = WebhookEvent.objects.select_for_update().get(id=event_id)
        if row.status not in {EventStatus.NEW, EventStatus.FAILED}:
            return None
        row.status = EventStatus.NEW
        row.attempts += 1
        row.next_try_at = now + wait_after(attempts=row.attempts)
        row.save(update_fields=["status", "attempts", "next_try_at"])
    return Stored(id=row.id, provider=row.provider, body=bytes(row.body), attempts=row.attempts)


def finish(*, event_id: int, status: EventStatus, now: datetime, note: str = "") -> None:
    """Close the notice."""
    WebhookEvent.objects.filter(id=event_id).update(
        status=status, handled_at=now, error=note[:ERROR_LENGTH]
    )


def postpone(*, stored: Stored, now: datetime, error: str) -> None:
    """Keep the notice for the next attempt, or give it up after the last."""
    if stored.attempts >= MOST_ATTEMPTS:
        finish(event_id=stored.id, status=EventStatus.FAILED, now=now, note=error)
    else:
        WebhookEvent.objects.filter(id=stored.id).update(error=error[:ERROR_LENGTH])


def replay(*, event_ids: list[int], now: datetime) -> list[int]:
    """Open the notices again, whatever became of them. Handling one twice changes nothing."""
    WebhookEvent.objects.filter(id__in=event_ids).update(
        status=EventStatus.NEW, attempts=0, next_try_at=now, handled_at=None, error=""
    )
    return event_ids


def due(*, now: datetime, limit: int) -> list[int]:
    """Ids of notices that wait for their next attempt; each is handed out once in a while."""
    waiting = WebhookEvent.objects.filter(status=EventStatus.NEW, next_try_at__lte=now)
    with transaction.atomic():
        ids = list(
            waiting.order_by("next_try_at", "id")
            .select_for_update(skip_locked=True)
            .values_list("id", flat=True)[:limit]
        )
        WebhookEvent.objects.filter(id__in=ids).update(next_try_at=now + FIRST_RESCAN)
    return ids


def wait_after(*, attempts: int) -> timedelta:
    """How long until the next attempt: 30 s, doubling to an hour."""
    return min(FIRST_RESCAN * (1 << min(attempts - 1, 10)), LONGEST_WAIT)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: headers[name][:HEADER_LENGTH].replace("\0", "")
        for name in KEPT_HEADERS
        if name in headers
    }
