"""Which state a top-up goes to when the provider says what is true: pure decisions, no database."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from billing.payment_models import TopUpState
from billing.payments.base import PaymentState, PaymentStatus

_MONEY = frozenset({TopUpState.PROCESSING, TopUpState.CREDITED, TopUpState.REVIEW})
_ENDS = frozenset({TopUpState.EXPIRED, TopUpState.FAILED})

# Money that comes late is never lost: EXPIRED and FAILED still lead to CREDITED.
EDGES: Mapping[TopUpState, frozenset[TopUpState]] = {
    TopUpState.CREATED: _MONEY | _ENDS | {TopUpState.PENDING},
    TopUpState.PENDING: _MONEY | _ENDS,
    TopUpState.PROCESSING: _ENDS | {TopUpState.CREDITED, TopUpState.REVIEW},
    TopUpState.EXPIRED: _MONEY,
    TopUpState.FAILED: _MONEY,
    TopUpState.REVIEW: frozenset(),  # a person decides
    TopUpState.CREDITED: frozenset(),
}
TARGETS: Mapping[PaymentStatus, TopUpState] = {
    PaymentStatus.PROCESSING: TopUpState.PROCESSING,
    PaymentStatus.PAID: TopUpState.CREDITED,
    PaymentStatus.FAILED: TopUpState.FAILED,
    PaymentStatus.EXPIRED: TopUpState.EXPIRED,
    PaymentStatus.STRANGE: TopUpState.REVIEW,
}
# Open top-ups are asked for every minute while somebody may be waiting, then ever more rarely.
CHECK_EVERY = (
    (timedelta(hours=6), timedelta(seconds=60)),
    (timedelta(days=1), timedelta(minutes=10)),
)
CHECK_RARELY = timedelta(hours=1)


class NotThisPayment(Exception):  # noqa: N818  (named for what is wrong)
    """The payment belongs to another provider, order or mode: it must not touch this top-up."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What our row says that the provider's payment has to be."""

    state: TopUpState
    provider: str
    public_id: UUID
    is_live: bool
    reference: str  # "" while we never heard the provider's name for it
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True)
class Move:
    """The state to go to and what to remember about it."""

    to: TopUpState
    note: str = ""


def judge(*, expected: Expected, payment: PaymentState) -> Move | None:
    """Decide what the truth changes: None for nothing. Raises NotThisPayment."""
    _check_identity(expected, payment)
    target = TARGETS.get(payment.status)
    if target is None or target not in EDGES[expected.state]:
        return None
    if target is TopUpState.CREDITED:
        difference = _difference(expected, payment)
        return Move(TopUpState.REVIEW, difference) if difference else Move(target)
    if target is TopUpState.REVIEW:
        return Move(target, "The provider calls it complete, but nothing was paid.")
    return Move(target)


def check_interval(*, age: timedelta) -> timedelta:
    """How long the poller waits before it asks about an open top-up of this age again."""
    for limit, interval in CHECK_EVERY:
        if age < limit:
            return interval
    return CHECK_RARELY


def _check_identity(expected: Expected, payment: PaymentState) -> None:
    if payment.provider != expected.provider:
        raise NotThisPayment(f"The top-up is one of {expected.provider}, not {payment.provider}.")
    if payment.order != str(expected.public_id):
        raise NotThisPayment(f"The payment {payment.reference} names the order {payment.order!r}.")
    if payment.is_live != expected.is_live:
        raise NotThisPayment(f"The payment {payment.reference} is of the other mode.")
    if expected.reference and payment.reference != expected.reference:
        raise NotThisPayment(
            f"The top-up is paid through {expected.reference}, not {payment.reference}."
        )


def _difference(expected: Expected, payment: PaymentState) -> str:
    asked = (expected.amount_minor, expected.currency)
    paid = (payment.amount_minor, payment.currency)
    if asked == paid:
        return ""
    return f"Asked for {asked[0]} {asked[1]}, paid {paid[0]} {paid[1]} (smallest units)."
