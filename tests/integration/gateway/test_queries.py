"""Reads of usage."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from billing.connections import money_connection
from gateway import settlement_batch
from gateway.call_ids import CallIds
from gateway.queries import call_of, calls_of, spend_of
from gateway.settlement_batch import Entry
from tests.factories.billing import make_wallet
from tests.factories.gateway import make_record

pytestmark = pytest.mark.django_db(transaction=True)


def write(*records):
    with money_connection() as connection:
        settlement_batch.commit(
            connection, epoch=0, batch=[Entry(record, None, 0) for record in records]
        )


class TestCallsOf:
    def test_gives_the_newest_first_page_by_page(self):
        wallet = make_wallet(cash=1_000)
        records = [make_record(wallet, charge=n) for n in range(1, 6)]
        write(*records)

        first = calls_of(workspace_id=wallet.workspace_id, limit=3)
        second = calls_of(workspace_id=wallet.workspace_id, before=first[-1].id, limit=3)

        assert [call.charge for call in [*first, *second]] == [5, 4, 3, 2, 1]

    def test_gives_nothing_of_other_workspaces(self):
        wallet, other = make_wallet(cash=1_000), make_wallet()
        write(make_record(wallet, charge=1))

        assert calls_of(workspace_id=other.workspace_id, limit=10) == []


class TestCallOf:
    def test_has_components_that_add_up_and_attempts(self):
        wallet = make_wallet(cash=1_000)
        record = make_record(wallet, charge=300)
        write(record)

        call = call_of(workspace_id=wallet.workspace_id, call_id=record.call_id)

        assert call is not None
        assert sum(part.amount for part in call.components) == call.charge == call.paid == 300
        assert [attempt.host for attempt in call.attempts] == ["sandbox-openai"]

    def test_is_none_for_another_workspace(self):
        wallet, other = make_wallet(cash=1_000), make_wallet()
        record = make_record(wallet, charge=300)
        write(record)

        assert call_of(workspace_id=other.workspace_id, call_id=record.call_id) is None
        assert call_of(workspace_id=wallet.workspace_id, call_id=uuid4()) is None


class TestSpendOf:
    def test_sums_calls_made_since(self):
        wallet = make_wallet(cash=1_000)
        now = datetime.now(UTC)
        an_hour_ago = int((now - timedelta(hours=1)).timestamp()) * 1_000_000_000
        write(
            make_record(wallet, charge=100),
            make_record(wallet, charge=20),
            make_record(wallet, charge=3, call_id=CallIds().make(an_hour_ago)),
        )

        spend = spend_of(workspace_id=wallet.workspace_id, since=now - timedelta(minutes=1))

        assert (spend.calls, spend.charge, spend.paid) == (2, 120, 120)
        assert (spend.input_tokens, spend.output_tokens) == (20, 10)

    def test_of_no_calls_is_zero(self):
        wallet = make_wallet()

        spend = spend_of(workspace_id=wallet.workspace_id, since=datetime.now(UTC))

        assert (spend.calls, spend.charge) == (0, 0)
