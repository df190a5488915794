"""The shared sequences of Stripe's notices: each moves the money it should, and no other."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import time_machine

from billing import queries
from billing.payment_models import ProviderReference, TopUp, TopUpState
from billing.payments import registry
from billing.payments.base import PaymentState, UnknownPayment
from billing.payments.stripe import StripePayments, state_of
from tests.fakes import payments_data

NANO_PER_CENT = 10_000_000
# Refunds and disputes come later.
NAMES = [
    "card_happy",
    "alipay_async_success",
    "async_failed",
    "expired",
    "amount_mismatch",
    "forged_and_stale",
    "cny_order",
]
STATES = {
    "paid_credited": TopUpState.CREDITED,
    "processing": TopUpState.PROCESSING,
    "failed": TopUpState.FAILED,
    "expired": TopUpState.EXPIRED,
    "needs_review": TopUpState.REVIEW,
    "pending": TopUpState.PENDING,
}


class RecordedStripe(StripePayments):
    """Stripe whose truth is the newest session that a genuine notice showed."""

    def __init__(self, our_name: str, their_name: str) -> None:
        self.our_name, self.their_name = our_name, their_name
        self.seen: set[str] = set()
        self.sessions: dict[str, dict[str, Any]] = {}

    def learn(self, body: str) -> None:
        event = json.loads(body)
        thing = event["data"]["object"]
        if event["id"] in self.seen or thing["object"] != "checkout.session":
            return
        self.seen.add(event["id"])
        has_failed = event["type"].endswith("async_payment_failed")
        status = "requires_payment_method" if has_failed else "processing"
        intent = thing["payment_intent"] and {"id": thing["payment_intent"], "status": status}
        self.sessions[thing["id"]] = {**thing, "payment_intent": intent}

    def fetch(self, reference: str) -> PaymentState:
        session = self.sessions.get(reference)
        if session is None:
            raise UnknownPayment(reference)
        state = state_of(session)
        return replace(state, order=self.our_name) if state.order == self.their_name else state


def scenario_of(name: str) -> dict[str, Any]:
    scenarios = payments_data.load("stripe/scenarios.json")["scenarios"]
    return next(scenario for scenario in scenarios if scenario["name"] == name)


def top_up_of(setup: dict[str, Any], customer) -> TopUp:
    order, now = setup["topup"], datetime.now(UTC)
    topup = TopUp.objects.create(
        workspace_id=customer.workspace_id,
        wallet_id=queries.wallet_id_of(workspace_id=customer.workspace_id),
        user=customer.user,
        mode="live",
        provider=order["provider"],
        credit_nano_usd=order["credit_usd_cents"] * NANO_PER_CENT,
        pay_amount_minor=order["amount_minor"],
        pay_currency=order["currency"],
        state=TopUpState.PENDING,
        idempotency_key=str(uuid4()),
        reference=order["provider_session"],
        expires_at=now,
        next_check_at=now,
    )
    ProviderReference.objects.create(
        provider=order["provider"], reference=order["provider_session"], topup=topup
    )
    return topup


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("queue")
def test_moves_the_money_it_should(
    name, customer, settings, client, monkeypatch, django_capture_on_commit_callbacks
):
    scenario = scenario_of(name)
    setup = scenario["setup"]
    settings.TOKENMIX_MODE = "live"
    settings.STRIPE_SECRET_KEY = "sk_live_" + "0" * 24
    settings.STRIPE_WEBHOOK_SECRETS = ["whsec_" + setup["webhook_secret_without_whsec_prefix"]]
    topup = top_up_of(setup, customer)
    provider = RecordedStripe(str(topup.public_id), setup["topup"]["public_id"])
    monkeypatch.setattr(registry, "ALL", (provider,))

    for delivery in scenario["deliveries"]:
        expect = delivery["expect"]
        if delivery["sdk_16_1_0_signature_ok"]:
            provider.learn(delivery["body"])
        with (
            time_machine.travel(delivery["deliver_at"], tick=False),
            django_capture_on_commit_callbacks(execute=True),
        ):
            answer = client.post(
                "/billing/hooks/stripe/",
                delivery["body"].encode(),
                content_type="application/json",
                headers={"stripe-signature": delivery["headers"].get("Stripe-Signature", "")},
            )
        topup.refresh_from_db()

        assert f"{answer.status_code // 100}xx" == expect["http"]
        assert customer.balance == expect["wallet_cents_after"] * NANO_PER_CENT
        assert topup.state == STATES[expect["topup_state"]]
