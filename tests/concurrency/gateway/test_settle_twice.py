"""A settle whose commit was not heard of is repeated, also inside a larger batch: charged once.

The control sums what came in instead of what went in; then the same repeat charges twice.
"""

import asyncio
import threading

import psycopg
import pytest
from django.db import connection

from billing.verification import verify_ledger
from gateway.models import UsageRecord
from gateway.purse import PurseLimits, Purses
from gateway.settlement import SettleLimits, Settler
from tests.factories.billing import again, make_wallet
from tests.factories.gateway import make_record

pytestmark = pytest.mark.django_db(transaction=True)


class NoKeeper:
    def wake(self, purse):
        pass

    async def close(self, purses):
        pass


class LosesFirstAnswer(Settler):
    """Commits the first batch, learns of nothing, and repeats it among all that came since."""

    def __init__(self, **options):
        super().__init__(**options)
        self.is_lost = threading.Event()
        self.may_repeat = threading.Event()
        self.batches = []

    def _commit(self, epoch, batch):
        answer = super()._commit(epoch, batch)
        self.batches.append(len(batch))
        if not self.is_lost.is_set():
            self.is_lost.set()
            self.may_repeat.wait(5)
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return answer


def settle_with_a_lost_answer(first, later):
    """How large the batches were, and what each call paid."""

    async def run():
        settler = LosesFirstAnswer(
            purses=Purses(
                keeper=NoKeeper(), limits=PurseLimits(), may_admit=lambda: True, clock=lambda: 0.0
            ),
            epoch=lambda: 0,
            limits=SettleLimits(retry_s=0.01),
        )
        settler.start()
        before = [asyncio.ensure_future(settler.settle(record)) for record in first]
        await asyncio.to_thread(settler.is_lost.wait, 5)
        after = [asyncio.ensure_future(settler.settle(record)) for record in later]
        await asyncio.sleep(0)
        settler.may_repeat.set()
        settled = await asyncio.gather(*before, *after)
        await settler.stop(within_s=2)
        return settler.batches, [each.paid_nano_usd for each in settled]

    return asyncio.run(run())


@pytest.fixture
def _sums_what_came_in():
    """The guard taken out of the settling function, for one test."""
    name = "gateway_settle(bigint, uuid, bigint[], integer, json, json)"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_get_functiondef('{name}'::regprocedure)")
        guarded = cursor.fetchone()[0]
        unguarded = guarded.replace(
            "FROM put GROUP BY", "FROM json_populate_recordset(v_base, p_rows) GROUP BY"
        )
        assert unguarded != guarded
        cursor.execute(unguarded.replace("%", "%%"))
    yield
    with connection.cursor() as cursor:
        cursor.execute(guarded.replace("%", "%%"))


class TestLostCommit:
    def test_repeated_inside_a_larger_batch_it_charges_nothing_twice(self):
        wallets = [make_wallet(cash=10_000), make_wallet(cash=10_000)]
        first = [make_record(wallets[0], charge=300)]
        later = [make_record(wallet, charge=100) for wallet in wallets for _ in range(3)]

        batches, paid = settle_with_a_lost_answer(first, later)

        assert batches == [1, 7]
        assert paid == [300] + [100] * 6
        assert [again(wallet).cash for wallet in wallets] == [10_000 - 600, 10_000 - 300]
        assert UsageRecord.objects.count() == 7
        verify_ledger()

    @pytest.mark.usefixtures("_sums_what_came_in")
    def test_control_without_the_guard_it_charges_twice(self):
        wallet = make_wallet(cash=10_000)
        first = [make_record(wallet, charge=300)]
        later = [make_record(wallet, charge=100)]

        settle_with_a_lost_answer(first, later)

        assert again(wallet).cash == 10_000 - 700
