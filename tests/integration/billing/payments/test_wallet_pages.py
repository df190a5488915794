"""The wallet's pages in a browser's place: forms, the way to the pay page, the way back."""

from uuid import uuid4

import pytest
from django.test import Client

from accounts.models import Membership, Role
from billing.payment_models import TopUp, TopUpState
from tests.integration.billing.payments.conftest import make_customer

TEN_USD = 10_000_000_000


@pytest.fixture
def browser(customer) -> Client:
    client = Client()
    client.force_login(customer.user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def form(**changes: str) -> dict[str, str]:
    return {
        "amount": "10",
        "other_amount": "",
        "provider": "stripe",
        "token": str(uuid4()),
    } | changes


def page_of(topup: TopUp) -> str:
    return f"/wallet/top-up/{topup.public_id}/"


class TestWallet:
    def test_shows_balance_form_and_history(self, browser, customer, stripe, queue):
        topup = customer.start(10)
        stripe.press(topup.pay_url, "pay")
        browser.get(page_of(topup))

        page = browser.get("/wallet/").content.decode()

        assert f'data-nano-usd="{TEN_USD}"' in page
        assert "$10.00" in page
        assert page.count(page_of(topup)) == 2  # the top-up and its movement
        assert f"payment:{topup.id}" in page

    def test_lets_the_form_lead_to_the_pay_page(self, browser, stripe):
        policy = browser.get("/wallet/").headers["Content-Security-Policy"]

        assert f"form-action 'self' {stripe.url}" in policy

    def test_has_no_form_without_a_provider(self, browser, settings):
        settings.STRIPE_WEBHOOK_SECRETS = []

        page = browser.get("/wallet/").content.decode()

        assert "top-up-form" not in page
        assert "No payment service" in page

    def test_is_for_people_who_are_signed_in(self, client, db):
        assert client.get("/wallet/").status_code == 302


class TestStart:
    def test_leads_to_the_pay_page(self, browser, stripe):
        answer = browser.post("/wallet/top-up/", form())

        topup = TopUp.objects.get()
        assert answer.status_code == 302
        assert answer.headers["Location"] == topup.pay_url
        assert topup.credit_nano_usd == TEN_USD

    def test_a_double_click_leads_to_the_same_page(self, browser, stripe):
        values = form()

        first, second = (browser.post("/wallet/top-up/", values) for _ in range(2))

        assert first.headers["Location"] == second.headers["Location"]
        assert TopUp.objects.count() == 1

    @pytest.mark.parametrize(
        ("text", "cents"),
        [("12.50", 1250), ("$5", 500), ("10,000.00", 1_000_000), ("5.000000000", 500)],
    )
    def test_takes_an_amount_of_ones_own(self, browser, stripe, text, cents):
        browser.post("/wallet/top-up/", form(amount="other", other_amount=text))

        assert TopUp.objects.get().pay_amount_minor == cents

    @pytest.mark.parametrize(
        "text",
        ["", "4.99", "10000.01", "-10", "1e3", "ten", "10.001", "NaN", "\uff19", "9" * 20, "10\0"],
    )
    def test_says_what_is_wrong_with_an_amount(self, browser, stripe, text):
        answer = browser.post("/wallet/top-up/", form(amount="other", other_amount=text))

        assert answer.status_code == 422
        assert TopUp.objects.count() == 0

    def test_asks_which_of_two_amounts_is_meant(self, browser, stripe):
        answer = browser.post("/wallet/top-up/", form(amount="10", other_amount="100"))

        assert answer.status_code == 422
        assert "or clear it" in answer.content.decode()
        assert TopUp.objects.count() == 0

    @pytest.mark.parametrize(
        "changes", [{"provider": "alipay"}, {"amount": "7"}, {"token": "x"}, {"provider": ""}]
    )
    def test_refuses_what_the_form_does_not_offer(self, browser, stripe, changes):
        assert browser.post("/wallet/top-up/", form(**changes)).status_code == 422
        assert TopUp.objects.count() == 0

    def test_ignores_an_amount_that_was_slipped_in(self, browser, stripe):
        browser.post("/wallet/top-up/", form(credit="1", pay_amount_minor="1"))

        assert TopUp.objects.get().pay_amount_minor == 1000

    def test_says_so_when_the_provider_is_away_and_tries_again(self, browser, stripe, settings):
        values = form()
        settings.STRIPE_BASE_URL = "http://127.0.0.1:1"
        answer = browser.post("/wallet/top-up/", values)
        assert answer.status_code == 422
        assert "did not answer" in answer.content.decode()
        assert values["token"] in answer.content.decode()
        settings.STRIPE_BASE_URL = stripe.url

        assert browser.post("/wallet/top-up/", values).status_code == 302
        assert TopUp.objects.count() == 1

    def test_a_form_used_before_gives_a_fresh_one(self, browser, stripe):
        values = form()
        browser.post("/wallet/top-up/", values)

        answer = browser.post("/wallet/top-up/", values | {"amount": "100"})

        assert answer.headers["Location"] == "/wallet/"
        assert TopUp.objects.count() == 1


class TestReturn:
    def test_does_not_credit_by_itself(self, browser, customer, stripe, monkeypatch):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        monkeypatch.setattr("billing.tasks.enqueue", lambda *_: None)

        page = browser.get(page_of(topup)).content.decode()

        assert "We are checking" in page
        assert 'hx-trigger="every 2s"' in page
        assert customer.balance == 0

    def test_without_paying_credits_nothing(self, browser, customer, stripe, queue):
        topup = customer.start()

        for _ in range(3):
            browser.get(page_of(topup))

        topup.refresh_from_db()
        assert topup.state == TopUpState.PENDING
        assert customer.balance == 0
        assert len(queue) == 1  # asked once, however often the page is shown

    def test_shows_the_credit_and_stops_asking(self, browser, customer, stripe, queue):
        topup = customer.start()
        stripe.press(topup.pay_url, "pay")
        browser.get(page_of(topup))

        answer = browser.get(page_of(topup), headers={"HX-Request": "true"})

        assert 'data-state="CREDITED"' in answer.content.decode()
        assert "hx-trigger" not in answer.content.decode()
        assert "<html" not in answer.content.decode()

    def test_is_not_found_for_others(self, customer, stripe, browser):
        foreign = make_customer("stranger@example.com").start()

        assert browser.get(page_of(foreign)).status_code == 404
        assert browser.post(page_of(foreign) + "cancel/").status_code == 404

    def test_offers_to_go_on_or_to_cancel_after_leaving(self, browser, customer, stripe):
        topup = customer.start()

        page = browser.get(page_of(topup) + "?left=1").content.decode()

        assert "You left the payment page" in page
        assert topup.pay_url in page

    def test_cancelling_ends_it(self, browser, customer, stripe):
        topup = customer.start()

        answer = browser.post(page_of(topup) + "cancel/", follow=True)

        assert 'data-state="EXPIRED"' in answer.content.decode()
        assert "Nothing was charged" in answer.content.decode()

    def test_a_get_cancels_nothing(self, browser, customer, stripe):
        assert browser.get(page_of(customer.start()) + "cancel/").status_code == 405


class TestRoles:
    def test_who_does_not_pay_can_only_look(self, browser, customer, stripe):
        topup = customer.start()
        Membership.objects.filter(user=customer.user).update(role=Role.DEVELOPER)

        assert "top-up-form" not in browser.get("/wallet/").content.decode()
        assert browser.post("/wallet/top-up/", form()).status_code == 403
        assert browser.post(page_of(topup) + "cancel/").status_code == 403
        assert browser.get(page_of(topup)).status_code == 200
