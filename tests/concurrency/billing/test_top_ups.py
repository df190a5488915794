"""Many copies of the same click, notice or good news at once: one payment, one transfer."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from accounts.workspaces import create_workspace_for
from billing import inbox, queries, topups
from billing.models import Transfer
from billing.money import NanoUsd
from billing.payment_models import ProviderReference, TopUp, TopUpEvent, TopUpState, WebhookEvent
from billing.payments.base import PaymentState, PaymentStatus, VerifiedEvent
from tests.fakes.stripe_stand_in import running_stand_in

pytestmark = pytest.mark.django_db(transaction=True)

COPIES = 64
THREADS = 16
TEN_USD = 10_000_000_000


@pytest.fixture
def topup() -> TopUp:
    user = User.objects.create_user("payer@example.com", "only-for-tests-4711")
    workspace_id = create_workspace_for(user=user).id
    now = timezone.now()
    return TopUp.objects.create(
        workspace_id=workspace_id,
        wallet_id=queries.wallet_id_of(workspace_id=workspace_id),
        user=user,
        mode="sandbox",
        provider="stripe",
        credit_nano_usd=TEN_USD,
        pay_amount_minor=1000,
        pay_currency="usd",
        state=TopUpState.PENDING,
        idempotency_key=str(uuid4()),
        reference="cs_test_1",
        expires_at=now + timedelta(hours=1),
        next_check_at=now,
    )


def confirm_many(topup: TopUp) -> list[TopUpState]:
    payment = PaymentState(
        provider="stripe",
        status=PaymentStatus.PAID,
        reference="cs_test_1",
        order=str(topup.public_id),
        amount_minor=1000,
        currency="usd",
        is_live=False,
        references=("pi_1", "ch_1"),
    )
    together = threading.Barrier(THREADS)

    def confirm(number: int) -> TopUpState:
        try:
            if number < THREADS:
                together.wait(timeout=20)
            return topups.confirm(
                topup_id=topup.id, payment=payment, source=f"copy {number}", now=timezone.now()
            )
        finally:
            connection.close()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(confirm, range(COPIES)))


def credits_of(topup: TopUp) -> list[int]:
    return list(Transfer.objects.filter(kind="TOP_UP").values_list("amount", flat=True))


class TestConfirm:
    def test_of_64_copies_at_once_credits_once(self, topup):
        states = confirm_many(topup)

        assert states == [TopUpState.CREDITED] * COPIES
        assert credits_of(topup) == [TEN_USD]
        assert queries.wallet_of(workspace_id=topup.workspace_id).balance == TEN_USD
        assert TopUpEvent.objects.filter(after=TopUpState.CREDITED).count() == 1

    def test_with_its_row_lock_away_the_reference_still_holds(self, topup):
        with without_row_lock():
            confirm_many(topup)

        assert credits_of(topup) == [TEN_USD]

    def test_control_with_both_guards_away_it_credits_more_than_once(self, topup):
        with without_row_lock(), without_unique_reference():
            confirm_many(topup)

        assert len(credits_of(topup)) > 1


class TestStart:
    def test_of_16_clicks_at_once_opens_one_payment(self, settings, db):
        user = User.objects.create_user("clicker@example.com", "only-for-tests-4711")
        purchase = topups.Purchase(
            workspace_id=create_workspace_for(user=user).id,
            user_id=user.pk,
            provider="stripe",
            credit=NanoUsd(TEN_USD),
            idempotency_key="one form",
        )
        together = threading.Barrier(THREADS)

        def click(_: int) -> topups.Started:
            try:
                together.wait(timeout=20)
                return topups.start(purchase=purchase, now=timezone.now())
            finally:
                connection.close()

        with running_stand_in() as stand_in, ThreadPoolExecutor(THREADS) as pool:
            settings.STRIPE_BASE_URL = stand_in.url
            started = set(pool.map(click, range(THREADS)))

        assert len(started) == 1
        assert TopUp.objects.count() == ProviderReference.objects.count() == 1


class TestStore:
    def test_of_64_copies_of_a_notice_keeps_one(self, db):
        event = VerifiedEvent(
            event_id="evt_1",
            kind="checkout.session.completed",
            is_about_payment=True,
            reference="cs_test_1",
            order="",
            references=(),
        )

        def store(_: int) -> int | None:
            try:
                with transaction.atomic():
                    return inbox.store(
                        provider="stripe", event=event, raw=b"{}", headers={}, now=timezone.now()
                    )
            finally:
                connection.close()

        with ThreadPoolExecutor(THREADS) as pool:
            kept = set(pool.map(store, range(COPIES)))

        assert len(kept) == 1
        assert WebhookEvent.objects.count() == 1


def without_row_lock():
    def read(topup_id: int) -> TopUp:
        topup = TopUp.objects.get(id=topup_id)
        time.sleep(0.02)  # long enough for the others to read the same
        return topup

    return patch.object(topups, "_locked", read)


def without_unique_reference():
    numbers, credit = count(), topups.ledger.credit

    def credit_under_a_new_name(**values: object) -> Callable[..., bool]:
        return credit(**{**values, "reference": f"{values['reference']}:{next(numbers)}"})

    return patch.object(topups.ledger, "credit", credit_under_a_new_name)
