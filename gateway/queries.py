"""Reads of usage as plain values, newest first. Always of one workspace. Amounts are nano-USD."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Count, Sum

from billing.money import NanoUsd
from catalog.pricing import Component
from gateway.call_ids import lowest_id, time_of
from gateway.models import Attempt, UsageRecord

LONGEST_PAGE = 200


@dataclass(frozen=True, slots=True)
class AttemptView:
    n: int
    host: str
    status: int | None
    reason: str
    started_at: datetime
    duration_ms: int
    cost: NanoUsd


@dataclass(frozen=True, slots=True)
class CallView:
    """One call as its owner sees it; `attempts` only in `call_of`."""

    id: UUID
    at: datetime
    workspace_id: int
    key_id: int | None
    mode: str
    model: str
    requested_model: str
    endpoint: str
    is_stream: bool
    host: str
    outcome: str
    status: int
    finish_reason: str
    usage_outcome: str
    service_tier: str
    tokens: Mapping[str, int]
    input_tokens: int
    output_tokens: int
    web_searches: int
    first_byte_ms: int | None
    total_ms: int
    gateway_ms: float | None
    charge: NanoUsd
    paid: NanoUsd
    components: tuple[Component, ...]
    request_id: str
    price_version_id: int | None
    attempts: tuple[AttemptView, ...] = ()


@dataclass(frozen=True, slots=True)
class Spend:
    """What a workspace's calls came to. `paid` is below `charge` by what was written off."""

    calls: int
    charge: NanoUsd
    paid: NanoUsd
    input_tokens: int
    output_tokens: int


def calls_of(*, workspace_id: int, before: UUID | None = None, limit: int) -> list[CallView]:
    """Calls older than `before` (the last id of the page before), newest first."""
    rows = UsageRecord.objects.filter(workspace_id=workspace_id)
    if before is not None:
        rows = rows.filter(id__lt=before)
    return [_view(row) for row in rows.order_by("-id")[: min(limit, LONGEST_PAGE)]]


def call_of(*, workspace_id: int, call_id: UUID) -> CallView | None:
    """One call with its attempts; None when the workspace has no such call."""
    row = UsageRecord.objects.filter(workspace_id=workspace_id, id=call_id).first()
    if row is None:
        return None
    return _view(row, list(Attempt.objects.filter(call_id=call_id).order_by("n")))


def spend_of(*, workspace_id: int, since: datetime, until: datetime | None = None) -> Spend:
    """Sum up the calls from `since` on, up to `until`."""
    rows = UsageRecord.objects.filter(workspace_id=workspace_id, id__gte=lowest_id(since))
    if until is not None:
        rows = rows.filter(id__lt=lowest_id(until))
    sums = rows.aggregate(
        calls=Count("id"),
        charge=Sum("charge_nano_usd", default=0),
        paid=Sum("paid_nano_usd", default=0),
        input_tokens=Sum("input_tokens", default=0),
        output_tokens=Sum("output_tokens", default=0),
    )
    return Spend(
        calls=int(sums["calls"]),
        charge=NanoUsd(int(sums["charge"])),
        paid=NanoUsd(int(sums["paid"])),
        input_tokens=int(sums["input_tokens"]),
        output_tokens=int(sums["output_tokens"]),
    )


def _view(row: UsageRecord, attempts: Sequence[Attempt] | None = None) -> CallView:
    return CallView(
        id=row.id,
        at=time_of(row.id),
        workspace_id=row.workspace_id,
        key_id=row.key_id,
        mode=row.mode,
        model=row.model,
        requested_model=row.requested_model,
        endpoint=row.endpoint,
        is_stream=row.is_stream,
        host=row.host,
        outcome=row.outcome,
        status=row.status,
        finish_reason=row.finish_reason,
        usage_outcome=row.usage_outcome,
        service_tier=row.service_tier,
        tokens=row.tokens,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        web_searches=row.web_searches,
        first_byte_ms=row.first_byte_ms,
        total_ms=row.total_ms,
        gateway_ms=row.gateway_ms,
        charge=NanoUsd(row.charge_nano_usd),
        paid=NanoUsd(row.paid_nano_usd),
        components=tuple(Component(*part) for part in row.components),
        request_id=row.request_id,
        price_version_id=row.price_version_id,
        attempts=tuple(_attempt(attempt) for attempt in attempts or ()),
    )


def _attempt(attempt: Attempt) -> AttemptView:
    return AttemptView(
        n=attempt.n,
        host=attempt.host,
        status=attempt.status,
        reason=attempt.reason,
        started_at=attempt.started_at,
        duration_ms=attempt.duration_ms,
        cost=NanoUsd(attempt.cost_nano_usd),
    )
