"""A customer, a Stripe on loopback, and a clock that tests may read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.workspaces import create_workspace_for
from billing import connections, queries, tasks, topups
from billing.models import Transfer
from billing.money import NanoUsd
from billing.payment_models import TopUp
from tests.fakes.stripe_stand_in import StandIn, running_stand_in


@dataclass(frozen=True)
class Customer:
    user: User
    workspace_id: int

    def start(self, usd: int = 10, *, token: str = "") -> TopUp:
        purchase = topups.Purchase(
            workspace_id=self.workspace_id,
            user_id=self.user.pk,
            provider="stripe",
            credit=NanoUsd(usd * 1_000_000_000),
            idempotency_key=token or str(uuid4()),
        )
        started = topups.start(purchase=purchase, now=timezone.now())
        return TopUp.objects.get(public_id=started.public_id)

    @property
    def balance(self) -> int:
        return queries.wallet_of(workspace_id=self.workspace_id).balance

    @property
    def payments(self) -> list[int]:
        rows = Transfer.objects.filter(reference__startswith="payment:").order_by("id")
        return list(rows.values_list("amount", flat=True))


def make_customer(email: str = "payer@example.com") -> Customer:
    user = User.objects.create_user(email, "only-for-tests-4711")
    return Customer(user=user, workspace_id=create_workspace_for(user=user).id)


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test is one transaction, and may idle in it while a pay page is read on a busy machine."""
    monkeypatch.setitem(connections.SETTINGS, "idle_in_transaction_session_timeout", "60000")


@pytest.fixture
def customer(db: None) -> Customer:
    return make_customer()


@pytest.fixture(scope="session")
def one_stand_in() -> Iterator[StandIn]:
    with running_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def stripe(one_stand_in: StandIn, settings) -> Iterator[StandIn]:
    """Stripe without notices, so that a test decides what is told and when."""
    settings.STRIPE_BASE_URL = one_stand_in.url
    one_stand_in.webhooks("drop")
    yield one_stand_in
    one_stand_in.webhooks("drop")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A queue whose work is done at once, and remembered."""
    done: list[tuple[str, int]] = []

    def run(task: Any, argument: int) -> None:
        done.append((task.name, argument))
        task(argument)

    monkeypatch.setattr(tasks, "enqueue", run)
    return done
