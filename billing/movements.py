"""What moved in a wallet, in its owner's words, with the top-up that brought it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing.chart import TransferKind
from billing.money import NanoUsd
from billing.payment_models import TopUp
from billing.queries import StatementLine, statement

PAYMENT = "payment:"
WORDS: Mapping[str, Promise] = {
    TransferKind.TOP_UP: _("Top-up"),
    TransferKind.PROMOTION: _("Promotional credit"),
    TransferKind.CHARGE: _("Usage"),
    TransferKind.REFUND: _("Refund"),
    TransferKind.ADJUSTMENT: _("Adjustment"),
}


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of the wallet's page."""

    at: datetime
    what: str
    reason: str
    reference: str
    amount: NanoUsd
    top_up: UUID | None


def latest_movements(*, wallet_id: int, limit: int) -> list[Movement]:
    """Return the newest movements first."""
    lines = statement(wallet_id=wallet_id, limit=limit)
    ids = [_top_up_id(line) for line in lines]
    known = dict(
        TopUp.objects.filter(wallet_id=wallet_id, id__in=[i for i in ids if i]).values_list(
            "id", "public_id"
        )
    )
    return [_movement(line, known) for line in lines]


def _movement(line: StatementLine, known: Mapping[int, UUID]) -> Movement:
    return Movement(
        at=line.at,
        what=str(WORDS.get(line.kind, line.kind)),
        reason=line.reason,
        reference=line.reference,
        amount=line.amount,
        top_up=known.get(_top_up_id(line)),
    )


def _top_up_id(line: StatementLine) -> int:
    text = line.reference.removeprefix(PAYMENT)
    is_payment = line.reference.startswith(PAYMENT) and text.isascii() and text.isdigit()
    return int(text) if is_payment else 0
