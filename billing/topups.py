"""Top-ups: start one, and confirm it once, whatever told us about it and however often.

Our row comes first, then the provider's. Only `confirm` credits, under the row's lock and in the
same transaction as the state, from the truth that was read back from the provider.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from billing import ledger, queries
from billing.chart import TransferKind, clearing
from billing.money import NANO_PER_CENT, NanoUsd
from billing.payment_models import OPEN_STATES, ProviderReference, TopUp, TopUpEvent, TopUpState
from billing.payments.base import (
    Order,
    PaymentState,
    ProviderRefused,
    ProviderUnavailable,
    UnknownPayment,
)
from billing.payments.registry import get_provider
from billing.topup_states import (
    EDGES,
    Expected,
    Move,
    NotThisPayment,
    check_interval,
    judge,
)

logger = logging.getLogger(__name__)

SMALLEST = NanoUsd(5_000_000_000)
LARGEST = NanoUsd(10_000_000_000_000)
PAY_WITHIN = timedelta(hours=1)  # Stripe: between 30 minutes and 24 hours
OPEN_WITHIN = timedelta(minutes=25)  # a pay page that opens later would be too short for Stripe
ASK_AT_MOST_EVERY = timedelta(seconds=6)
CURRENCY = "usd"
NOTE_LENGTH = 500


class InvalidTopUp(ValueError):  # noqa: N818  (named for what is wrong)
    """The amount can't be topped up."""


class FormUsedAlready(Exception):  # noqa: N818
    """The form started another top-up before."""


class CouldNotStart(Exception):  # noqa: N818
    """The provider did not open the payment. Nothing was charged."""


class IllegalMove(RuntimeError):  # noqa: N818
    """The state machine has no such edge."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a customer asked for. The key is drawn once per form."""

    workspace_id: int
    user_id: int
    provider: str
    credit: NanoUsd
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Started:
    """A top-up and where its customer goes on: "" when there is nothing left to pay."""

    public_id: UUID
    pay_url: str


def start(*, purchase: Purchase, now: datetime) -> Started:
    """Record the top-up, then open the payment. The same form gives the same top-up.

    Raises InvalidTopUp, FormUsedAlready, CouldNotStart and NoSuchProvider.
    """
    _check_amount(purchase.credit)
    get_provider(key=purchase.provider)
    topup = _record(purchase, now)
    if topup.state == TopUpState.CREATED:
        topup = open_payment(topup_id=topup.id, now=now)
    is_payable = topup.state == TopUpState.PENDING
    return Started(public_id=topup.public_id, pay_url=topup.pay_url if is_payable else "")


def open_payment(*, topup_id: int, now: datetime) -> TopUp:
    """Ask the provider for its pay page; the same top-up asked for twice is one payment.

    Raises CouldNotStart: with the outcome unknown the top-up stays CREATED and is tried again.
    """
    topup = TopUp.objects.get(id=topup_id)
    try:
        redirect = get_provider(key=topup.provider).create(_order_of(topup))
    except ProviderUnavailable as error:
        logger.warning("topup.open.unknown", extra={"topup": topup_id})
        raise CouldNotStart("The payment service did not answer. Please try again.") from error
    except ProviderRefused as error:
        logger.exception("The payment provider refused to open the payment of a top-up.")
        _end(topup_id, TopUpState.FAILED, source="open", note=str(error))
        raise CouldNotStart("The payment service refused this payment.") from error
    with transaction.atomic(durable=True):
        topup = _locked(topup_id)
        _remember(topup, (redirect.reference,))
        topup.reference, topup.pay_url = redirect.reference, redirect.url
        topup.save(update_fields=["reference", "pay_url", "updated_at"])
        if topup.state == TopUpState.CREATED:
            _move(topup, Move(TopUpState.PENDING), source="open", now=now)
    return topup


def confirm(*, topup_id: int, payment: PaymentState, source: str, now: datetime) -> TopUpState:
    """Bring the top-up to what is true at the provider, and credit the wallet when it is paid.

    Doing it twice, or many times at once, changes nothing. Raises NotThisPayment.
    """
    with transaction.atomic(durable=True):
        topup = _locked(topup_id)
        move = judge(expected=_expected(topup), payment=payment)
        _remember(topup, (payment.reference, *payment.references))
        if not topup.reference:
            topup.reference = payment.reference
            topup.save(update_fields=["reference", "updated_at"])
        if move:
            _move(topup, move, source=source, now=now)
            if move.to == TopUpState.CREDITED:
                _credit(topup)
    return TopUpState(topup.state)


def check(*, topup_id: int, source: str, now: datetime, reference: str = "") -> TopUpState:
    """Read the truth from the provider, outside any transaction, and confirm.

    Raises NotThisPayment, and ProviderUnavailable, ProviderRefused or NoSuchProvider when the
    truth can't be read now.
    """
    topup = TopUp.objects.get(id=topup_id)
    if topup.mode != settings.TOKENMIX_MODE:
        raise NotThisPayment(f"The top-up {topup.public_id} is one of the mode {topup.mode}.")
    known = topup.reference or reference
    if not known:
        return _open_again(topup, now)
    try:
        payment = get_provider(key=topup.provider).fetch(known)
    except UnknownPayment:
        logger.warning("topup.check.unknown_payment", extra={"topup": topup_id})
        if now < topup.expires_at:
            return TopUpState(topup.state)
        return _end(topup_id, TopUpState.EXPIRED, source=source, note="Unknown to the provider.")
    return confirm(topup_id=topup_id, payment=payment, source=source, now=now)


def cancel(*, workspace_id: int, public_id: UUID, now: datetime) -> TopUpState:
    """Close the pay page of a top-up that nobody paid; what was paid is credited instead.

    Raises TopUp.DoesNotExist, and as `check`.
    """
    topup = TopUp.objects.get(workspace_id=workspace_id, public_id=public_id)
    if topup.state not in OPEN_STATES or not topup.reference:
        return TopUpState(topup.state)
    try:
        get_provider(key=topup.provider).cancel(topup.reference)
    except UnknownPayment:
        logger.warning("topup.cancel.unknown_payment", extra={"topup": topup.id})
    return check(topup_id=topup.id, source="cancel", now=now)


def find(*, provider: str, references: tuple[str, ...], order: str) -> int | None:
    """Id of the top-up that a notice is about: by the provider's names for it, or by ours.

    Raises NotThisPayment when the order is one of another provider.
    """
    known = ProviderReference.objects.filter(provider=provider, reference__in=references)
    topup_id = known.order_by("id").values_list("topup_id", flat=True).first()
    if topup_id is not None:
        return topup_id
    try:
        topup = TopUp.objects.filter(public_id=UUID(order)).first()
    except ValueError:
        return None
    if topup and topup.provider != provider:
        raise NotThisPayment(f"{provider} names the order {order} of {topup.provider}.")
    return topup.id if topup else None


def claim_due(*, now: datetime, limit: int) -> list[int]:
    """Ids of open top-ups that the provider should be asked about; each is handed out once."""
    due = TopUp.objects.filter(
        state__in=OPEN_STATES, next_check_at__lte=now, mode=settings.TOKENMIX_MODE
    ).order_by("next_check_at", "id")
    with transaction.atomic():
        topups = list(due.select_for_update(skip_locked=True)[:limit])
        for topup in topups:
            topup.next_check_at = now + check_interval(age=now - topup.created_at)
        TopUp.objects.bulk_update(topups, ["next_check_at"])
    return [topup.id for topup in topups]


def may_ask_now(*, topup_id: int, now: datetime) -> bool:
    """Whether a page may have the provider asked: only so often, however many pages are open."""
    recently = now - ASK_AT_MOST_EVERY
    waiting = TopUp.objects.filter(id=topup_id, state__in=OPEN_STATES)
    return bool(waiting.exclude(asked_at__gt=recently).update(asked_at=now))


def _check_amount(credit: NanoUsd) -> None:
    if not SMALLEST <= credit <= LARGEST or credit % NANO_PER_CENT:
        raise InvalidTopUp("A top-up is between $5.00 and $10,000.00, in whole cents.")


def _record(purchase: Purchase, now: datetime) -> TopUp:
    wallet_id = queries.wallet_id_of(workspace_id=purchase.workspace_id)
    cents = purchase.credit // NANO_PER_CENT
    with transaction.atomic(durable=True):
        topup, is_new = TopUp.objects.get_or_create(
            workspace_id=purchase.workspace_id,
            idempotency_key=purchase.idempotency_key,
            defaults={
                "wallet_id": wallet_id,
                "user_id": purchase.user_id,
                "mode": settings.TOKENMIX_MODE,
                "provider": purchase.provider,
                "credit_nano_usd": purchase.credit,
                "pay_amount_minor": cents,
                "pay_currency": CURRENCY,
                "expires_at": now + PAY_WITHIN,
                "next_check_at": now + check_interval(age=timedelta()),
            },
        )
        if is_new:
            TopUpEvent.objects.create(topup=topup, after=TopUpState.CREATED, source="form")
    if (topup.provider, topup.credit_nano_usd) != (purchase.provider, purchase.credit):
        raise FormUsedAlready("This form has started another top-up. Please start again.")
    return topup


def _order_of(topup: TopUp) -> Order:
    page = f"{settings.BASE_URL}/wallet/top-up/{topup.public_id}/"
    return Order(
        public_id=topup.public_id,
        amount_minor=topup.pay_amount_minor,
        currency=topup.pay_currency,
        description="TokenMix credit",
        idempotency_key=f"topup:{topup.public_id}",
        expires_at_s=int(topup.expires_at.timestamp()),
        success_url=page,
        cancel_url=f"{page}?left=1",
    )


def _open_again(topup: TopUp, now: datetime) -> TopUpState:
    """Finish an opening whose outcome we never learned; nobody can have paid it yet."""
    if now >= topup.expires_at:
        return _end(topup.id, TopUpState.EXPIRED, source="poller", note="It was never opened.")
    if now - topup.created_at > OPEN_WITHIN:
        return TopUpState(topup.state)
    try:
        return TopUpState(open_payment(topup_id=topup.id, now=now).state)
    except CouldNotStart:
        return TopUpState(TopUp.objects.get(id=topup.id).state)


def _end(topup_id: int, state: TopUpState, *, source: str, note: str) -> TopUpState:
    with transaction.atomic(durable=True):
        topup = _locked(topup_id)
        if state in EDGES[TopUpState(topup.state)]:
            _move(topup, Move(state, note), source=source, now=None)
    return TopUpState(topup.state)


def _locked(topup_id: int) -> TopUp:
    return TopUp.objects.select_for_update().get(id=topup_id)


def _expected(topup: TopUp) -> Expected:
    return Expected(
        state=TopUpState(topup.state),
        provider=topup.provider,
        public_id=topup.public_id,
        is_live=topup.mode == "live",
        reference=topup.reference,
        amount_minor=topup.pay_amount_minor,
        currency=topup.pay_currency,
    )


def _remember(topup: TopUp, references: tuple[str, ...]) -> None:
    rows = [
        ProviderReference(provider=topup.provider, reference=reference, topup=topup)
        for reference in references
    ]
    ProviderReference.objects.bulk_create(rows, ignore_conflicts=True)
    of_others = ProviderReference.objects.filter(
        provider=topup.provider, reference__in=references
    ).exclude(topup=topup)
    if of_others.exists():
        raise NotThisPayment(f"One of {references} belongs to another top-up.")


def _move(topup: TopUp, move: Move, *, source: str, now: datetime | None) -> None:
    before = TopUpState(topup.state)
    if move.to not in EDGES[before]:
        raise IllegalMove(f"A top-up does not go from {before} to {move.to}.")
    note = move.note[:NOTE_LENGTH]
    topup.state = move.to
    topup.credited_at = now if move.to == TopUpState.CREDITED else None
    topup.review_reason = note if move.to == TopUpState.REVIEW else ""
    topup.save(update_fields=["state", "credited_at", "review_reason", "updated_at"])
    TopUpEvent.objects.create(topup=topup, before=before, after=move.to, source=source, note=note)
    if move.to == TopUpState.REVIEW:
        logger.error("topup.review", extra={"topup": topup.id, "reason": note})


def _credit(topup: TopUp) -> None:
    ledger.credit(
        wallet_id=topup.wallet_id,
        amount=NanoUsd(topup.credit_nano_usd),
        reference=f"payment:{topup.id}",
        source=clearing(provider=topup.provider),
        kind=TransferKind.TOP_UP,
        actor=f"provider:{topup.provider}",
    )
