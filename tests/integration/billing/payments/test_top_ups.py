"""A top-up from its start to the wallet, without any notice."""

from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from django.db import DatabaseError
from django.utils import timezone

from billing import ledger, tasks, topups
from billing.money import NanoUsd
from billing.payment_models import ProviderReference, TopUp, TopUpEvent, TopUpState
from billing.payments.base import ProviderUnavailable
from billing.payments.registry import get_provider
from billing.topup_states import NotThisPayment
from tests.integration.billing.payments.conftest import make_customer

USD = 1_000_000_000


def check(topup: TopUp) -> TopUp:
    topups.check(topup_id=topup.id, source="test", now=timezone.now())
    topup.refresh_from_db()
    return topup


def truth(topup: TopUp):
    return get_provider(key="stripe").fetch(topup.reference)


def confirm(topup: TopUp, payment) -> TopUp:
    topups.confirm(topup_id=topup.id, payment=payment, source="test", now=timezone.now())
    topup.refresh_from_db()
    return topup


class TestStart:
    def test_records_first_and_then_opens_the_payment(self, customer, stripe):
        topup = customer.start(25)

        assert topup.state == TopUpState.PENDING
        assert (topup.pay_amount_minor, topup.pay_currency) == (2500, "usd")
        assert topup.pay_url.startswith(stripe.url)
        assert list(topup.history.order_by("id").values_list("after", flat=True)) == [
            TopUpState.CREATED,
            TopUpState.PENDING,
        ]

    def test_the_same_form_twice_is_one_payment(self, customer, stripe):
        topup = customer.start(token="one")

        assert customer.start(token="one") == topup
        assert TopUp.objects.count() == 1
        assert ProviderReference.objects.count() == 1

    def test_refuses_a_form_that_was_used_for_another_amount(self, customer, stripe):
        customer.start(10, token="one")

        with pytest.raises(topups.FormUsedAlready):
            customer.start(100, token="one")

    @pytest.mark.parametrize("usd", [4, 10_001, 0, -10])
    def test_refuses_amounts_out_of_bounds(self, customer, stripe, usd):
        with pytest.raises(topups.InvalidTopUp):
            customer.start(usd)

    def test_the_largest_amount_arrives(self, customer, stripe):
        topup = customer.start(10_000)
        stripe.press(topup.pay_url, "pay")

        check(topup)

        assert customer.balance == 10_000 * USD

    def test_with_stripe_away_the_row_waits_and_is_opened_later(self, customer, stripe, settings):
        settings.STRIPE_BASE_URL = "http://127.0.0.1:1"
        with pytest.raises(topups.CouldNotStart):
            customer.start(token="one")
        topup = TopUp.objects.get()
        assert topup.state == TopUpState.CREATED

        settings.STRIPE_BASE_URL = stripe.url

        assert check(topup).state == TopUpState.PENDING
        assert customer.start(token="one") == topup

    def test_an_answer_that_was_lost_leaves_one_payment(self, customer, stripe, monkeypatch):
        provider = type(get_provider(key="stripe"))
        real = provider.create
        opened = []

        def lose_the_answer(self, order):
            opened.append(real(self, order))
            raise ProviderUnavailable("The answer was lost.")

        with monkeypatch.context() as patch:
            patch.setattr(provider, "create", lose_the_answer)
            with pytest.raises(topups.CouldNotStart):
                customer.start()

        assert check(TopUp.objects.get()).reference == opened[0].reference


class TestConfirm:
    def test_credits_what_was_paid_once(self, customer, stripe):
        topup = customer.start(10)
        stripe.press(topup.pay_url, "pay")

        for _ in range(3):
            check(topup)

        assert topup.state == TopUpState.CREDITED
        assert topup.credited_at is not None
        assert customer.payments == [10 * USD]
        assert customer.balance == 10 * USD
        assert TopUpEvent.objects.filter(after=TopUpState.CREDITED).count() == 1

    def test_credits_nothing_before_it_is_paid(self, customer, stripe):
        topup = check(customer.start())

        assert topup.state == TopUpState.PENDING
        assert customer.balance == 0

    def test_a_slow_payment_is_credited_when_it_arrives(self, customer, stripe):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay_later")
        assert check(topup).state == TopUpState.PROCESSING
        assert customer.balance == 0

        stripe.control(session=topup.reference, settle="paid")

        assert check(topup).state == TopUpState.CREDITED
        assert customer.balance == 10 * USD

    def test_a_slow_payment_that_fails_credits_nothing(self, customer, stripe):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay_later")
        stripe.control(session=topup.reference, settle="failed")

        assert check(topup).state == TopUpState.FAILED
        assert customer.balance == 0

    @pytest.mark.parametrize("state", [TopUpState.EXPIRED, TopUpState.FAILED])
    def test_late_money_is_credited(self, customer, stripe, state):
        topup = customer.start()
        TopUp.objects.update(state=state)
        stripe.press(topup.pay_url, "pay")

        assert check(topup).state == TopUpState.CREDITED
        assert customer.balance == 10 * USD

    def test_an_expired_session_after_the_money_changes_nothing(self, customer, stripe):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        check(topup)
        stripe.control(
            session=topup.reference, set={"status": "expired", "payment_status": "unpaid"}
        )

        assert check(topup).state == TopUpState.CREDITED
        assert customer.balance == 10 * USD

    @pytest.mark.parametrize("change", [{"amount_total": 999}, {"currency": "jpy"}])
    def test_another_amount_or_currency_goes_to_review(self, customer, stripe, change):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        stripe.control(session=topup.reference, set=change)

        assert check(topup).state == TopUpState.REVIEW
        assert "Asked for 1000 usd" in topup.review_reason
        assert customer.balance == 0

    @pytest.mark.parametrize(
        "change", [{"livemode": True}, {"client_reference_id": "another"}, {"id": "cs_test_x"}]
    )
    def test_another_mode_order_or_session_touches_nothing(self, customer, stripe, change):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        stripe.control(session=topup.reference, set=change)

        with pytest.raises(NotThisPayment):
            check(topup)

        topup.refresh_from_db()
        assert topup.state == TopUpState.PENDING
        assert customer.balance == 0

    def test_another_provider_touches_nothing(self, customer, stripe):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")

        with pytest.raises(NotThisPayment):
            confirm(topup, replace(truth(topup), provider="alipay"))

        assert customer.balance == 0

    def test_one_payment_never_pays_two_top_ups(self, customer, stripe):
        paid, other = customer.start(), make_customer("other@example.com").start()
        stripe.press(paid.pay_url, "pay")
        TopUp.objects.filter(id=other.id).update(reference="")
        stolen = replace(truth(paid), order=str(other.public_id))

        with pytest.raises(NotThisPayment):
            confirm(other, stolen)

        assert customer.payments == []

    def test_a_failing_ledger_leaves_the_top_up_to_the_next_try(
        self, customer, stripe, monkeypatch
    ):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "credit", _fail)
            with pytest.raises(DatabaseError):
                check(topup)
        topup.refresh_from_db()
        assert topup.state == TopUpState.PENDING

        assert check(topup).state == TopUpState.CREDITED
        assert customer.payments == [10 * USD]

    def test_a_sandbox_top_up_is_dead_in_live_mode(self, customer, stripe, settings):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        settings.TOKENMIX_MODE = "live"

        with pytest.raises(NotThisPayment):
            check(topup)


class TestPoller:
    def test_credits_what_no_notice_told(self, customer, stripe, queue):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        TopUp.objects.update(next_check_at=timezone.now())

        tasks.poll_top_ups()

        topup.refresh_from_db()
        assert topup.state == TopUpState.CREDITED
        assert customer.balance == 10 * USD

    def test_asks_within_two_minutes_and_hands_each_out_once(self, customer, stripe):
        topup = customer.start()
        soon = timezone.now() + timedelta(seconds=120 - tasks.EVERY_S)

        assert topups.claim_due(now=soon, limit=10) == [topup.id]
        assert topups.claim_due(now=soon, limit=10) == []

    def test_survives_a_provider_that_is_away(self, customer, stripe, queue, settings):
        topup = customer.start()
        TopUp.objects.update(next_check_at=timezone.now())
        settings.STRIPE_BASE_URL = "http://127.0.0.1:1"

        tasks.poll_top_ups()

        topup.refresh_from_db()
        assert topup.state == TopUpState.PENDING

    def test_a_payment_that_stripe_forgot_ends_after_its_time(self, customer, stripe):
        topup = customer.start()
        TopUp.objects.update(reference="cs_test_forgotten")
        assert check(topup).state == TopUpState.PENDING

        topups.check(topup_id=topup.id, source="test", now=topup.expires_at)

        topup.refresh_from_db()
        assert topup.state == TopUpState.EXPIRED


class TestCancel:
    def test_closes_the_pay_page(self, customer, stripe):
        topup = customer.start()

        topups.cancel(
            workspace_id=customer.workspace_id, public_id=topup.public_id, now=timezone.now()
        )

        topup.refresh_from_db()
        assert topup.state == TopUpState.EXPIRED
        assert "expired" in httpx.get(topup.pay_url, trust_env=False).text

    def test_credits_what_was_paid_meanwhile(self, customer, stripe):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")

        topups.cancel(
            workspace_id=customer.workspace_id, public_id=topup.public_id, now=timezone.now()
        )

        assert customer.balance == 10 * USD

    def test_knows_only_its_own_workspace(self, customer, stripe):
        topup, stranger = customer.start(), make_customer("stranger@example.com")

        with pytest.raises(TopUp.DoesNotExist):
            topups.cancel(
                workspace_id=stranger.workspace_id,
                public_id=topup.public_id,
                now=timezone.now(),
            )


class TestHistory:
    def test_can_not_be_changed(self, customer, stripe):
        customer.start()

        with pytest.raises(DatabaseError, match="update"):
            TopUpEvent.objects.update(note="never happened")


def _fail(**_: object) -> NanoUsd:
    raise DatabaseError("The disk is gone.")
