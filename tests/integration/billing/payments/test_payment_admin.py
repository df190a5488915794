"""The admin of payments: everything can be read, nothing changed, a notice handled again."""

import json

import pytest
from django.test import Client
from django.utils import timezone

import billing.payment_admin  # noqa: F401  (registers the tables)
from accounts.models import User
from billing import inbox
from billing.payment_models import EventStatus, TopUp, WebhookEvent
from billing.payments.base import VerifiedEvent

TABLES = ["topup", "webhookevent"]


@pytest.fixture
def operator(db) -> Client:
    user = User.objects.create_superuser("operator@example.com", "only-for-tests-4711")
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def event(customer, stripe) -> WebhookEvent:
    topup = customer.start()
    thing = {"id": topup.reference, "metadata": {"topup": str(topup.public_id)}, "x": "<script>"}
    body = {"id": "evt_1", "type": "checkout.session.completed", "data": {"object": thing}}
    kind = str(body["type"])
    verified = VerifiedEvent(
        event_id="evt_1",
        kind=kind,
        is_about_payment=True,
        reference=topup.reference,
        order="",
        references=(),
    )
    inbox.store(
        provider="stripe",
        event=verified,
        raw=json.dumps(body).encode(),
        headers={"stripe-signature": "t=1,v1=a", "cookie": "secret"},
        now=timezone.now(),
    )
    return WebhookEvent.objects.get()


class TestAdmin:
    @pytest.mark.parametrize("table", TABLES)
    def test_lists_and_shows(self, operator, event, table):
        row = TopUp.objects.get() if table == "topup" else event

        listed = operator.get(f"/admin/billing/{table}/")
        shown = operator.get(f"/admin/billing/{table}/{row.pk}/change/")

        assert (listed.status_code, shown.status_code) == (200, 200)
        assert "evt_1" in shown.content.decode() or table == "topup"
        assert "<script>" not in shown.content.decode().split("evt_1")[-1] or table == "topup"

    @pytest.mark.parametrize("table", TABLES)
    def test_adds_changes_and_deletes_nothing(self, operator, event, table):
        row = TopUp.objects.get() if table == "topup" else event
        page = f"/admin/billing/{table}/{row.pk}"

        assert operator.get(f"/admin/billing/{table}/add/").status_code == 403
        assert operator.post(f"{page}/change/", {"state": "CREDITED"}).status_code == 403
        assert operator.post(f"{page}/delete/", {"post": "yes"}).status_code == 403

    def test_searches_by_the_providers_names(self, operator, event):
        topup = TopUp.objects.get()

        page = operator.get(f"/admin/billing/topup/?q={topup.reference}").content.decode()

        assert str(topup.public_id) in page

    def test_handles_a_notice_again(self, operator, event, stripe, customer, queue):
        stripe.press(TopUp.objects.get().pay_url, "pay")
        WebhookEvent.objects.update(status=EventStatus.FAILED, attempts=80)
        order = {"action": "replay", "_selected_action": [event.pk]}

        operator.post("/admin/billing/webhookevent/", order)

        assert WebhookEvent.objects.get().status == EventStatus.DONE
        assert customer.payments == [10_000_000_000]

    def test_keeps_no_cookies_of_a_notice(self, event):
        assert event.headers == {"stripe-signature": "t=1,v1=a"}
