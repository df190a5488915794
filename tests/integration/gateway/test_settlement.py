"""The settler against PostgreSQL: every call charged once, whole and durable."""

import asyncio
import logging
from contextlib import asynccontextmanager

import psycopg
import pytest
from django.db import connection

from billing import grants
from billing.connections import money_connection
from billing.models import Transfer
from gateway.models import Attempt, UsageRecord
from gateway.purse import PurseLimits, Purses
from gateway.settlement import SettleLimits, SettlementFailed, Settler
from tests.factories.billing import again, make_process, make_wallet
from tests.factories.gateway import make_record

pytestmark = pytest.mark.django_db(transaction=True)


class NoKeeper:
    def wake(self, purse):
        pass

    async def close(self, purses):
        pass


class LosesAnswers(Settler):
    """Commits, and the first time does not learn of it."""

    times = 1

    def _commit(self, epoch, batch):
        answer = super()._commit(epoch, batch)
        if self.times:
            self.times -= 1
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return answer


@asynccontextmanager
async def settling(epoch=0, cls=Settler, **options):
    purses = Purses(
        keeper=NoKeeper(),
        limits=PurseLimits(),
        may_admit=lambda: True,
        clock=asyncio.get_running_loop().time,
    )
    purses.reset(epoch)
    settler = cls(purses=purses, epoch=lambda: epoch, **options)
    settler.start()
    try:
        yield settler
    finally:
        await settler.stop(within_s=2)


def settle(*records, **options):
    """Settle the records together; what each was answered (or the exception)."""

    async def run():
        async with settling(**options) as settler:
            return await asyncio.gather(
                *(settler.settle(record) for record in records), return_exceptions=True
            )

    return asyncio.run(run())


def settle_with_hold(wallet, epoch, *, granted, held, charge, **options):
    """Settle one call whose hold is in a purse of `granted`; that purse."""

    async def run():
        async with settling(epoch, **options) as settler:
            purses = settler._purses
            purse = purses._open(wallet.id)
            purse.free, purse.has_grant = granted, True
            hold = await purses.hold(wallet_id=wallet.id, amount=held)
            await settler.settle(make_record(wallet, charge=charge, hold=hold))
            assert not hold.is_open
            return purse

    return asyncio.run(run())


def take(epoch, wallet, amount):
    grants.take(epoch=epoch, wallet_id=wallet.id, want=amount, need=amount, seq=1)


class TestSettle:
    def test_writes_the_call_and_charges_it(self):
        wallet = make_wallet(cash=1_000)
        record = make_record(wallet, charge=300)

        [settled] = settle(record)

        row = UsageRecord.objects.get(id=record.call_id)
        attempt = Attempt.objects.get(call_id=record.call_id)
        assert settled.paid_nano_usd == 300
        assert (row.charge_nano_usd, row.paid_nano_usd, row.epoch) == (300, 300, 0)
        assert row.tokens == {"input": 10, "output": 5}
        assert (row.input_tokens, row.output_tokens) == (10, 5)
        assert row.components == [["input", 10, 30_000_000, 300]]
        assert row.admitted_at == record.admitted_at
        assert (attempt.n, attempt.host, attempt.status) == (1, "sandbox-openai", 200)
        assert again(wallet).cash == 700

    def test_lands_in_the_partition_of_its_month(self):
        record = make_record(make_wallet(cash=1_000), charge=300)

        settle(record)

        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM gateway_usagerecord_default")
            assert cursor.fetchone() == (0,)

    def test_charges_a_batch_with_one_transfer_per_wallet(self):
        wallets = [make_wallet(cash=10_000) for _ in range(2)]
        records = [make_record(wallet, charge=100) for wallet in wallets for _ in range(20)]

        settle(*records)

        transfers = list(Transfer.objects.filter(kind="CHARGE").values_list("amount", flat=True))
        assert sum(transfers) == 40 * 100
        assert len(transfers) < 20
        assert [again(wallet).cash for wallet in wallets] == [8_000, 8_000]

    def test_keeps_the_reference_of_the_transfer_in_the_row(self):
        wallet = make_wallet(cash=1_000)
        record = make_record(wallet, charge=300)

        settle(record)

        row = UsageRecord.objects.get(id=record.call_id)
        reference = Transfer.objects.get(kind="CHARGE").reference
        assert reference == f"settlement:{row.settlement_id}:{wallet.id}:cash"

    def test_takes_from_the_grant_of_its_process_first(self):
        wallet, epoch = make_wallet(cash=1_000), make_process()
        take(epoch, wallet, 400)

        settle(make_record(wallet, charge=300), epoch=epoch)

        after = again(wallet)
        assert (after.cash, after.granted) == (700, 100)

    def test_a_process_that_is_not_live_charges_what_is_available(self):
        wallet = make_wallet(cash=1_000)
        record = make_record(wallet, charge=300)

        [settled] = settle(record, epoch=999_999)

        assert settled.paid_nano_usd == 300
        assert UsageRecord.objects.get(id=record.call_id).epoch == 0

    def test_a_short_wallet_pays_calls_in_their_order(self):
        wallet = make_wallet(cash=250)
        records = [make_record(wallet, charge=100) for _ in range(4)]

        settled = settle(*records)

        rows = UsageRecord.objects.filter(wallet_id=wallet.id).order_by("id")
        write_offs = Transfer.objects.filter(kind="WRITE_OFF").values_list("amount", flat=True)
        assert [each.paid_nano_usd for each in settled] == [100, 100, 50, 0]
        assert [row.paid_nano_usd for row in rows] == [100, 100, 50, 0]
        assert again(wallet).cash == 0
        assert sum(write_offs) == 150

    def test_a_call_without_a_charge_is_written_down_and_moves_nothing(self):
        record = make_record(make_wallet(cash=250), status=502, attempts=())

        [settled] = settle(record)

        assert settled.paid_nano_usd == 0
        assert UsageRecord.objects.filter(id=record.call_id).exists()
        assert not Transfer.objects.filter(kind="CHARGE").exists()

    def test_takes_odd_texts_from_outside(self):
        odd = "a\x00b\ud800c" + "x" * 1_000
        record = make_record(make_wallet(cash=250), charge=1, requested_model=odd)

        settle(record)

        row = UsageRecord.objects.get(id=record.call_id)
        assert row.requested_model.startswith("a\ufffdb?c")
        assert len(row.requested_model) == 500

    def test_frees_what_was_held_above_the_charge(self):
        wallet, epoch = make_wallet(cash=1_000), make_process()
        take(epoch, wallet, 400)

        purse = settle_with_hold(wallet, epoch, granted=400, held=350, charge=300)

        assert (purse.free, purse.held, purse.settling) == (100, 0, 0)
        assert again(wallet).granted == 100


class TestUnclearCommit:
    def test_repeated_it_charges_nothing_twice(self, caplog):
        wallet = make_wallet(cash=1_000)

        [settled] = settle(make_record(wallet, charge=300), cls=LosesAnswers)

        assert settled.paid_nano_usd == 300
        assert again(wallet).cash == 700
        assert UsageRecord.objects.count() == 1
        assert Attempt.objects.count() == 1
        assert not [each for each in caplog.records if each.levelno >= logging.ERROR]

    def test_the_purse_rather_knows_of_less(self):
        wallet, epoch = make_wallet(cash=1_000), make_process()
        take(epoch, wallet, 400)

        purse = settle_with_hold(wallet, epoch, granted=400, held=350, charge=300, cls=LosesAnswers)

        assert purse.free + purse.held <= again(wallet).granted

    def test_other_numbers_for_the_same_call_raise_an_alarm(self, caplog):
        wallet = make_wallet(cash=1_000)
        record = make_record(wallet, charge=300)
        settle(record)

        [settled] = settle(make_record(wallet, charge=310, call_id=record.call_id))

        assert settled.paid_nano_usd == 300
        assert again(wallet).cash == 700
        assert "settlement.record.differs" in caplog.text


class TestDatabaseAway:
    def test_the_answer_is_given_up_and_the_call_is_settled_later(self):
        wallet = make_wallet(cash=1_000)
        away = [True]

        def connect():
            if away:
                raise psycopg.OperationalError("connection refused")
            return money_connection()

        async def run():
            limits = SettleLimits(answer_within_s=0.1, retry_s=0.02)
            async with settling(limits=limits, connect=connect) as settler:
                with pytest.raises(SettlementFailed):
                    await settler.settle(make_record(wallet, charge=300))
                away.clear()

        asyncio.run(run())

        assert again(wallet).cash == 700

    def test_a_call_with_impossible_data_does_not_hold_up_others(self, caplog):
        wallet = make_wallet(cash=1_000)
        records = [make_record(wallet, charge=100) for _ in range(3)]
        impossible = make_record(wallet, charge=100, status=99_999)

        answers = settle(records[0], impossible, *records[1:])

        kinds = [type(answer).__name__ for answer in answers]
        assert kinds == ["Settled", "SettlementFailed", "Settled", "Settled"]
        assert again(wallet).cash == 700
        assert "settlement.record.lost" in caplog.text

    def test_a_database_that_lacks_the_function_for_a_while_loses_nothing(self, caplog):
        class Lacks(LosesAnswers):
            def _commit(self, epoch, batch):
                if self.times:
                    self.times -= 1
                    raise psycopg.errors.UndefinedFunction("gateway_settle")
                return super()._commit(epoch, batch)

        wallet = make_wallet(cash=1_000)

        [settled] = settle(make_record(wallet, charge=300), cls=Lacks)

        assert settled.paid_nano_usd == 300
        assert again(wallet).cash == 700
        assert [each.levelname for each in caplog.records if "unclear" in each.message] == ["ERROR"]

    def test_more_than_may_wait_is_refused(self):
        record = make_record(make_wallet(cash=1_000), charge=1)

        [answer] = settle(record, limits=SettleLimits(most_waiting=0))

        assert isinstance(answer, SettlementFailed)
