"""Reads of top-ups for pages: plain values, always through the workspace that owns them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billing.money import NanoUsd
from billing.payment_models import OPEN_STATES, TopUp, TopUpState


class NoSuchTopUp(LookupError):  # noqa: N818  (named for what is wrong)
    """The workspace has no such top-up."""


@dataclass(frozen=True, slots=True)
class TopUpView:
    """What a page shows of a top-up."""

    id: int
    public_id: UUID
    state: TopUpState
    state_label: str
    credit_nano_usd: NanoUsd
    provider: str
    pay_url: str  # "" when there is nothing left to pay
    created_at: datetime
    expires_at: datetime
    credited_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


def list_top_ups(*, workspace_id: int, limit: int) -> list[TopUpView]:
    """Return the newest top-ups of the workspace."""
    rows = TopUp.objects.filter(workspace_id=workspace_id).order_by("-id")[:limit]
    return [_view(row) for row in rows]


def get_top_up(*, workspace_id: int, public_id: UUID) -> TopUpView:
    """Return one top-up of the workspace. Raises NoSuchTopUp."""
    row = TopUp.objects.filter(workspace_id=workspace_id, public_id=public_id).first()
    if row is None:
        raise NoSuchTopUp(f"There is no top-up {public_id} in this workspace.")
    return _view(row)


def _view(row: TopUp) -> TopUpView:
    return TopUpView(
        id=row.id,
        public_id=row.public_id,
        state=TopUpState(row.state),
        state_label=row.get_state_display(),
        credit_nano_usd=NanoUsd(row.credit_nano_usd),
        provider=row.provider,
        pay_url=row.pay_url if row.state == TopUpState.PENDING else "",
        created_at=row.created_at,
        expires_at=row.expires_at,
        credited_at=row.credited_at,
    )
