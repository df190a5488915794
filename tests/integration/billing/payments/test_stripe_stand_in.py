"""The stand-in Stripe answers Stripe's own library as Stripe would."""

import time
from dataclasses import replace
from uuid import uuid4

import httpx
import pytest
import stripe as stripe_sdk
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from billing.payments.base import Order, PaymentStatus, ProviderRefused, UnknownPayment
from billing.payments.stripe import StripePayments
from tests.fakes import payments_data
from tests.fakes.stripe_stand_in import running_stand_in
from tokenmix_site.sandbox.app import create_application as sandbox
from tokenmix_site.sandbox.stripe import create_application
from tokenmix_site.sandbox.stripe_params import SESSION_PARAMS


def an_order() -> Order:
    return Order(
        public_id=uuid4(),
        amount_minor=1050,
        currency="usd",
        description="TokenMix credit",
        idempotency_key=str(uuid4()),
        expires_at_s=int(time.time()) + 3600,
        success_url="http://site.test/done/?cs={CHECKOUT_SESSION_ID}",
        cancel_url="http://site.test/left/",
    )


@pytest.fixture
def library(stripe) -> stripe_sdk.StripeClient:
    return stripe_sdk.StripeClient(
        django_settings.STRIPE_SECRET_KEY,
        base_addresses={"api": stripe.url},
        max_network_retries=0,
    )


class TestSession:
    def test_says_what_was_ordered(self, stripe):
        order = an_order()

        state = StripePayments().fetch(StripePayments().create(order).reference)

        assert state.status is PaymentStatus.OPEN
        assert (state.order, state.amount_minor) == (str(order.public_id), 1050)
        assert (state.currency, state.is_live) == ("usd", False)

    def test_asked_for_twice_is_one(self, stripe):
        order = an_order()

        assert StripePayments().create(order) == StripePayments().create(order)

    def test_refuses_a_key_with_other_parameters(self, stripe):
        order = an_order()
        StripePayments().create(order)

        with pytest.raises(ProviderRefused, match="same parameters"):
            StripePayments().create(replace(order, amount_minor=1))

    def test_carries_the_order_on_the_intent_too(self, stripe, library):
        order = an_order()
        redirect = StripePayments().create(order)
        stripe.press(redirect.url, "pay")
        intent_id = StripePayments().fetch(redirect.reference).references[0]

        intent = library.v1.payment_intents.retrieve(intent_id).to_dict()

        assert intent["metadata"] == {"topup": str(order.public_id)}
        assert (intent["status"], intent["amount_received"]) == ("succeeded", 1050)

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"payment_method_types": ["card"]}, "payment_method_types_no_longer_supported"),
            ({"colour": "red"}, "parameter_unknown"),
            ({"line_items": [{"price_data": {"colour": 1}}]}, "parameter_unknown"),
            ({"success_url": ""}, "parameter_missing"),
        ],
    )
    def test_refuses_what_stripe_refuses(self, library, params, code):
        good = {
            "mode": "payment",
            "success_url": "http://site.test/",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 500,
                        "product_data": {"name": "x"},
                    },
                }
            ],
        }
        library.v1.checkout.sessions.create(params=good)

        with pytest.raises(stripe_sdk.InvalidRequestError) as refused:
            library.v1.checkout.sessions.create(params={**good, **params})

        assert refused.value.code == code

    def test_refuses_another_key(self, stripe):
        with pytest.raises(stripe_sdk.AuthenticationError):
            stripe_sdk.StripeClient(
                "sk_test_of_somebody_else", base_addresses={"api": stripe.url}
            ).v1.checkout.sessions.retrieve("cs_test_1")

    def test_says_so_when_there_is_none(self, stripe):
        with pytest.raises(UnknownPayment):
            StripePayments().fetch("cs_test_none")

    def test_knows_the_parameters_of_the_pinned_version(self):
        contract = payments_data.load("stripe/api_contract_2026-10-28.endive.json")

        assert set(contract["endpoints"]["POST /v1/checkout/sessions"]["params"]) == SESSION_PARAMS


class TestPayPage:
    def test_says_that_no_real_money_moves(self, stripe):
        page = httpx.get(StripePayments().create(an_order()).url, trust_env=False)

        assert "Test payment, no real money" in page.text
        assert "10.50 USD" in page.text

    def test_paying_leads_back_with_the_session(self, stripe):
        redirect = StripePayments().create(an_order())

        answer = stripe.press(redirect.url, "pay")

        assert answer.headers["location"] == f"http://site.test/done/?cs={redirect.reference}"
        assert StripePayments().fetch(redirect.reference).status is PaymentStatus.PAID

    def test_declining_leaves_it_open(self, stripe):
        redirect = StripePayments().create(an_order())

        answer = stripe.press(redirect.url, "decline")

        assert "declined" in answer.text
        assert StripePayments().fetch(redirect.reference).status is PaymentStatus.OPEN

    def test_cancelling_leads_to_the_other_address(self, stripe):
        redirect = StripePayments().create(an_order())

        assert stripe.press(redirect.url, "cancel").headers["location"] == "http://site.test/left/"

    @pytest.mark.parametrize(
        ("end", "status"), [("paid", PaymentStatus.PAID), ("failed", PaymentStatus.FAILED)]
    )
    def test_a_slow_method_ends_later(self, stripe, end, status):
        redirect = StripePayments().create(an_order())
        stripe.press(redirect.url, "pay_later")
        assert StripePayments().fetch(redirect.reference).status is PaymentStatus.PROCESSING

        stripe.control(session=redirect.reference, settle=end)

        assert StripePayments().fetch(redirect.reference).status is status

    def test_an_expired_session_cannot_be_paid(self, stripe):
        redirect = StripePayments().create(an_order())
        StripePayments().cancel(redirect.reference)

        stripe.press(redirect.url, "pay")

        assert StripePayments().fetch(redirect.reference).status is PaymentStatus.EXPIRED


class TestGuard:
    def test_refuses_to_start_in_live_mode(self, settings):
        settings.TOKENMIX_MODE = "live"

        with pytest.raises(ImproperlyConfigured, match="sandbox mode only"):
            create_application()


class TestInTheSandbox:
    def test_its_pages_lie_below_its_mount(self, settings):
        with running_stand_in(sandbox(), mount="/stripe") as stand_in:
            stand_in.webhooks("drop")
            settings.STRIPE_BASE_URL = ""
            settings.TOKENMIX_SANDBOX_URL = stand_in.url.removesuffix("/stripe")
            redirect = StripePayments().create(an_order())

            stand_in.press(redirect.url, "pay")

            assert redirect.url.startswith(f"{stand_in.url}/pay/")
            assert StripePayments().fetch(redirect.reference).status is PaymentStatus.PAID
