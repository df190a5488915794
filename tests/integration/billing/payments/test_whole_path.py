"""The whole way of the money: form, Stripe's page, signed notice, queue, worker, wallet."""

import time
from collections.abc import Callable, Iterator

import pytest
from celery.contrib.testing.worker import start_worker

from billing.payment_models import TopUp, TopUpState, WebhookEvent
from billing.tasks import poll_top_ups, rescan_notices
from tests.integration.billing.payments.conftest import Customer, make_customer
from tokenmix_site.celery import app

pytestmark = pytest.mark.django_db(transaction=True)

TEN_USD = 10_000_000_000
LONGEST_WAIT_S = 20


@pytest.fixture
def worker() -> Iterator[None]:
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="warning"):
        yield


@pytest.fixture
def payer(transactional_db, stripe, live_server, settings) -> Customer:
    settings.BASE_URL = live_server.url
    return make_customer()


def wait_until(is_so: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < LONGEST_WAIT_S, "It did not happen in time."
        time.sleep(0.05)


def state(topup: TopUp) -> str:
    return TopUp.objects.values_list("state", flat=True).get(id=topup.id)


@pytest.mark.usefixtures("worker")
class TestPayment:
    def test_arrives_by_a_notice(self, payer, stripe):
        stripe.webhooks("none")
        topup = payer.start(10)

        stripe.press(topup.pay_url, "pay")

        wait_until(lambda: state(topup) == TopUpState.CREDITED)
        assert payer.payments == [TEN_USD]
        assert payer.balance == TEN_USD

    @pytest.mark.parametrize("fault", ["duplicate", "reorder", "delay"])
    def test_arrives_once_however_the_notices_come(self, payer, stripe, fault):
        stripe.webhooks(fault, delay_s=0.2)
        topup = payer.start(10)

        stripe.press(topup.pay_url, "pay")

        wait_until(lambda: WebhookEvent.objects.filter(status="DONE").count() == 2)
        assert state(topup) == TopUpState.CREDITED
        assert payer.payments == [TEN_USD]

    def test_arrives_by_the_poller_when_all_notices_are_lost(self, payer, stripe):
        stripe.webhooks("drop")
        topup = payer.start(10)
        stripe.press(topup.pay_url, "pay")
        TopUp.objects.update(next_check_at=topup.created_at)

        poll_top_ups.delay()

        wait_until(lambda: state(topup) == TopUpState.CREDITED)
        assert payer.payments == [TEN_USD]
        assert WebhookEvent.objects.count() == 0

    @pytest.mark.parametrize("fault", ["wrong_secret", "stale"])
    def test_is_not_believed_from_a_bad_notice(self, payer, stripe, fault):
        stripe.webhooks(fault)
        topup = payer.start(10)

        stripe.press(topup.pay_url, "pay")
        time.sleep(0.5)

        assert WebhookEvent.objects.count() == 0
        assert state(topup) == TopUpState.PENDING


def test_without_a_worker_waits_in_the_inbox_for_one(payer, stripe):
    stripe.webhooks("none")
    topup = payer.start(10)
    stripe.press(topup.pay_url, "pay")
    wait_until(lambda: WebhookEvent.objects.count() == 2)
    assert payer.balance == 0
    WebhookEvent.objects.update(next_try_at=topup.created_at)

    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="warning"):
        rescan_notices.delay()
        wait_until(lambda: state(topup) == TopUpState.CREDITED)

    assert payer.payments == [TEN_USD]
