"""Notices of a provider: what comes in at the hook, and what becomes of it."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from redis import Redis

from billing import inbox, tasks, topups
from billing.payment_models import EventStatus, TopUp, TopUpState, WebhookEvent
from tokenmix_site.sandbox.stripe_hooks import sign

USD = 1_000_000_000
HOOK = "/billing/hooks/stripe/"


@pytest.fixture
def deliver(django_capture_on_commit_callbacks, settings):
    """Post a truly signed body to the hook, and do what it queued."""

    def post(body: bytes, **headers: str) -> int:
        signature = sign(body, secret=settings.STRIPE_WEBHOOK_SECRETS[0], moment=int(time.time()))
        headers = {"stripe-signature": signature, **headers}
        with django_capture_on_commit_callbacks(execute=True):
            answer = Client(enforce_csrf_checks=True).post(
                HOOK, body, content_type="application/json", headers=headers
            )
        return answer.status_code

    return post


def notice(topup: TopUp, *, event_id: str = "evt_1", **changes: Any) -> bytes:
    event = {
        "id": event_id,
        "type": "checkout.session.completed",
        "livemode": False,
        "data": {"object": {"id": topup.reference, "metadata": {"topup": str(topup.public_id)}}},
    }
    return json.dumps({**event, **changes}).encode()


def paid_top_up(customer, stripe) -> TopUp:
    topup = customer.start()
    stripe.press(topup.pay_url, "pay")
    return topup


class TestHook:
    def test_credits_a_paid_top_up(self, customer, stripe, queue, deliver):
        topup = paid_top_up(customer, stripe)

        assert deliver(notice(topup)) == 200

        topup.refresh_from_db()
        assert topup.state == TopUpState.CREDITED
        assert customer.balance == 10 * USD
        assert WebhookEvent.objects.get().status == EventStatus.DONE

    def test_copies_and_other_notices_of_the_same_money_credit_once(
        self, customer, stripe, queue, deliver
    ):
        topup = paid_top_up(customer, stripe)

        for event_id in ["evt_1", "evt_1", "evt_2", "evt_3", "evt_1"]:
            assert deliver(notice(topup, event_id=event_id)) == 200

        assert customer.payments == [10 * USD]
        assert WebhookEvent.objects.count() == 3
        assert [name for name, _ in queue] == ["billing.handle_notice"] * 3

    def test_a_lie_in_the_notice_credits_nothing(self, customer, stripe, queue, deliver):
        topup = customer.start()
        thing = {"id": topup.reference, "payment_status": "paid", "status": "complete"}

        assert deliver(notice(topup, data={"object": thing})) == 200

        assert customer.balance == 0

    def test_keeps_the_body_byte_by_byte(self, customer, stripe, queue, deliver):
        body = notice(customer.start()) + b"\n  "

        deliver(body)

        assert bytes(WebhookEvent.objects.get().body) == body

    @pytest.mark.parametrize(
        "body",
        [b"", b"\xff", b"[]", b"null", b"{}", b"[" * 50_000, b'{"id":"\\u0000","livemode":false}'],
    )
    def test_truly_signed_nonsense_is_400_and_leaves_nothing(self, deliver, db, body):
        if body == b"\xff":
            assert deliver(body, **{"stripe-signature": "t=1,v1=a"}) == 400
        assert deliver(body) == 400
        assert WebhookEvent.objects.count() == 0

    def test_a_forged_notice_is_400_and_leaves_nothing(self, customer, stripe, queue, deliver):
        topup = paid_top_up(customer, stripe)

        assert deliver(notice(topup), **{"stripe-signature": "t=1,v1=a"}) == 400

        assert WebhookEvent.objects.count() == 0
        assert customer.balance == 0

    def test_a_notice_of_the_other_mode_is_400(self, customer, stripe, queue, deliver):
        assert deliver(notice(paid_top_up(customer, stripe), livemode=True)) == 400

        assert customer.balance == 0

    def test_a_large_body_is_413(self, deliver, db):
        assert deliver(b"x" * 1_048_577) == 413

    @pytest.mark.parametrize("key", ["alipay", "stripe2"])
    def test_an_unknown_provider_is_404(self, client, db, key):
        assert client.post(f"/billing/hooks/{key}/", b"{}", "application/json").status_code == 404

    @pytest.mark.parametrize("secrets", [[], [""], ["  "]])
    def test_a_provider_without_its_secret_is_404(self, client, db, settings, secrets):
        settings.STRIPE_WEBHOOK_SECRETS = secrets
        header = {"stripe-signature": sign(b"{}", secret="", moment=int(time.time()))}

        answer = client.post(HOOK, b"{}", "application/json", headers=header)

        assert answer.status_code == 404

    def test_only_a_post_is_a_notice(self, client, db):
        assert client.get(HOOK).status_code == 405


class TestHandling:
    def test_of_a_top_up_of_nobody_is_ignored(self, customer, stripe, queue, deliver):
        body = notice(customer.start(), data={"object": {"id": "cs_test_other", "metadata": {}}})

        deliver(body)

        assert WebhookEvent.objects.get().status == EventStatus.IGNORED

    def test_of_another_kind_is_ignored(self, customer, stripe, queue, deliver):
        deliver(notice(paid_top_up(customer, stripe), type="charge.succeeded"))

        assert WebhookEvent.objects.get().status == EventStatus.IGNORED
        assert customer.balance == 0

    def test_of_another_providers_order_fails_loudly(self, customer, stripe, queue, deliver):
        topup = paid_top_up(customer, stripe)
        TopUp.objects.update(provider="alipay")
        topup.references.all().delete()

        deliver(notice(topup))

        event = WebhookEvent.objects.get()
        assert event.status == EventStatus.FAILED
        assert "alipay" in event.error
        assert customer.balance == 0

    def test_that_overtook_our_own_record_finds_the_order(self, customer, stripe, queue, deliver):
        topup = paid_top_up(customer, stripe)
        body = notice(topup)
        topup.references.all().delete()
        TopUp.objects.update(reference="", state=TopUpState.CREATED)

        deliver(body)

        assert customer.payments == [10 * USD]

    def test_with_the_provider_away_is_tried_again(
        self, customer, stripe, queue, deliver, settings
    ):
        topup = paid_top_up(customer, stripe)
        settings.STRIPE_BASE_URL = "http://127.0.0.1:1"
        assert deliver(notice(topup)) == 200
        event = WebhookEvent.objects.get()
        assert (event.status, event.attempts) == (EventStatus.NEW, 1)
        assert event.next_try_at > timezone.now()
        settings.STRIPE_BASE_URL = stripe.url
        WebhookEvent.objects.update(next_try_at=timezone.now())

        tasks.rescan_notices()

        assert customer.payments == [10 * USD]
        assert WebhookEvent.objects.get().status == EventStatus.DONE

    def test_seen_is_not_done(self, customer, stripe, deliver, monkeypatch):
        topup = paid_top_up(customer, stripe)
        with monkeypatch.context() as patch:
            patch.setattr(tasks, "enqueue", _lose)
            deliver(notice(topup))
        assert customer.balance == 0
        monkeypatch.setattr(tasks, "enqueue", lambda task, argument: task(argument))

        deliver(notice(topup))

        assert customer.payments == [10 * USD]

    def test_a_lost_queue_loses_nothing(self, customer, stripe, deliver, monkeypatch):
        topup = paid_top_up(customer, stripe)
        with monkeypatch.context() as patch:
            patch.setattr(tasks, "enqueue", _lose)
            assert deliver(notice(topup)) == 200
        soon = timezone.now() + timedelta(seconds=31)

        for event_id in inbox.due(now=soon, limit=10):
            tasks.handle_notice(event_id)

        assert customer.payments == [10 * USD]

    def test_that_dies_halfway_is_done_by_the_next_try(
        self, customer, stripe, queue, deliver, monkeypatch
    ):
        topup = paid_top_up(customer, stripe)
        with monkeypatch.context() as patch:
            patch.setattr(inbox, "finish", _die)
            with pytest.raises(KeyboardInterrupt):
                deliver(notice(topup))
        assert WebhookEvent.objects.get().status == EventStatus.NEW

        tasks.handle_notice(WebhookEvent.objects.get().id)

        assert customer.payments == [10 * USD]
        assert WebhookEvent.objects.get().status == EventStatus.DONE

    def test_is_given_up_in_the_end_and_can_be_replayed(
        self, customer, stripe, queue, deliver, settings
    ):
        topup = paid_top_up(customer, stripe)
        settings.STRIPE_BASE_URL = "http://127.0.0.1:1"
        deliver(notice(topup))
        WebhookEvent.objects.update(attempts=inbox.MOST_ATTEMPTS - 1)
        event_id = WebhookEvent.objects.get().id
        tasks.handle_notice(event_id)
        assert WebhookEvent.objects.get().status == EventStatus.FAILED
        settings.STRIPE_BASE_URL = stripe.url

        for replayed in inbox.replay(event_ids=[event_id], now=timezone.now()):
            tasks.handle_notice(replayed)

        assert customer.payments == [10 * USD]

    def test_replayed_again_changes_nothing(self, customer, stripe, queue, deliver):
        deliver(notice(paid_top_up(customer, stripe)))
        event_id = WebhookEvent.objects.get().id

        for replayed in inbox.replay(event_ids=[event_id], now=timezone.now()):
            tasks.handle_notice(replayed)

        assert customer.payments == [10 * USD]


class TestQueue:
    def test_without_a_broker_only_says_so_and_at_once(
        self, customer, stripe, deliver, settings, caplog
    ):
        topup = paid_top_up(customer, stripe)
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        began = time.monotonic()
        assert deliver(notice(topup)) == 200

        assert time.monotonic() - began < 1
        assert WebhookEvent.objects.get().status == EventStatus.NEW
        assert "payments.queue.unreachable" in caplog.text

    def test_carries_the_notice_to_a_worker(self, customer, stripe, deliver):
        assert deliver(notice(paid_top_up(customer, stripe))) == 200

        with Redis.from_url(settings.REDIS_URL) as broker:
            assert broker.llen("celery") == 1
            broker.delete("celery")


class TestBackOff:
    def test_doubles_to_an_hour(self):
        waits = [inbox.wait_after(attempts=n).total_seconds() for n in (1, 2, 3, 8, 80)]

        assert waits == [30, 60, 120, 3600, 3600]


def _lose(*_: object) -> None:
    """Take the work and forget it."""


def _die(**_: object) -> None:
    raise KeyboardInterrupt


def test_the_poller_and_the_notice_may_come_together(customer, stripe, queue, deliver):
    topup = paid_top_up(customer, stripe)
    topups.check(topup_id=topup.id, source="poller", now=timezone.now())

    deliver(notice(topup))

    assert customer.payments == [10 * USD]
