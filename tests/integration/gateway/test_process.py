"""A gateway process against PostgreSQL: lease, changes, keys, money, the graceful end."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from accounts.api_keys import Caller, RevokedKey, create_key, revoke_key
from accounts.changes import ChangeKind, record_change
from billing import grants, ledger
from billing.models import GatewayProcess, Grant
from catalog.routes import Snapshot
from gateway import lease
from gateway.lease import LeaseLimits
from gateway.process import NotReady, Process, ProcessLimits, current_process, stop_current_process
from gateway.purse import MoneyUnavailable, PurseLimits, WalletFrozen
from tests.factories.billing import again, make_wallet
from tests.factories.gateway import make_record

pytestmark = pytest.mark.django_db(transaction=True)

SHORT = ProcessLimits(
    lease=LeaseLimits(lease_s=1, beat_s=0.2, poll_s=0.1, near_empty_poll_s=0.05),
    purse=PurseLimits(idle_s=0.5, quiet_s=0.3),
    drain_s=1,
)


class FakeCatalog:
    """A catalog of nothing but its number."""

    def __init__(self, monkeypatch):
        self.number = 1
        monkeypatch.setattr(lease, "catalog_number", lambda: self.number)
        monkeypatch.setattr(lease, "load_snapshot", self.load)

    def load(self):
        return Snapshot(number=self.number, built_at=datetime.now(UTC), models={}, names={})


@pytest.fixture(autouse=True)
def catalog(monkeypatch):
    return FakeCatalog(monkeypatch)


@asynccontextmanager
async def running(limits=SHORT):
    process = Process(name="test", limits=limits)
    await process.start()
    try:
        yield process
    finally:
        await process.stop()


async def in_database(function, *args, **kwargs):
    """Run it in a thread whose connection is closed again."""

    def run():
        try:
            return function(*args, **kwargs)
        finally:
            connection.close()

    return await asyncio.to_thread(run)


async def until(claim, within_s=3.0):
    deadline = asyncio.get_running_loop().time() + within_s
    while not claim():
        assert asyncio.get_running_loop().time() < deadline, "it did not come true in time"
        await asyncio.sleep(0.01)


def make_user():
    return get_user_model().objects.create_user("ada@example.com", "x")


class TestLease:
    def test_is_renewed_while_the_loop_ticks(self):
        async def run():
            async with running() as process:
                epoch = process.epoch
                await asyncio.sleep(1.6)  # longer than a lease
                return epoch, process.epoch, process.is_admitting

        before, after, is_admitting = asyncio.run(run())

        assert before == after > 0
        assert is_admitting

    def test_a_loop_that_hangs_sells_nothing_and_begins_a_new_epoch(self):
        import time

        async def run():
            async with running() as process:
                epoch = process.epoch
                time.sleep(1.3)  # noqa: ASYNC251  (the hang)
                sold = process.is_admitting
                await until(lambda: process.epoch != epoch and process.is_admitting)
                return sold, epoch

        sold, epoch = asyncio.run(run())

        assert not sold
        assert GatewayProcess.objects.get(epoch=epoch).state == "STOPPED"

    def test_lost_it_drops_its_purses_and_takes_new_holds(self):
        wallet = make_wallet(cash=1_000_000)

        async def run():
            async with running() as process:
                epoch = process.epoch
                hold = await process.money.hold(wallet_id=wallet.id, amount=1_000)
                await in_database(declare_dead, epoch)
                await until(lambda: process.epoch != epoch and hold.epoch == process.epoch)
                settled = await process.settler.settle(make_record(wallet, charge=600, hold=hold))
                return epoch, process.epoch, settled

        before, after, settled = asyncio.run(run())

        assert before < after
        assert settled.paid_nano_usd == 600
        assert (again(wallet).cash, again(wallet).granted) == (999_400, 0)

    def test_holds_fail_with_503_while_it_is_lost(self):
        wallet = make_wallet(cash=1_000_000)

        async def run():
            async with running() as process:
                process._on_dead(process.epoch)
                with pytest.raises(MoneyUnavailable):
                    await process.money.hold(wallet_id=wallet.id, amount=1)

        asyncio.run(run())

    def test_gives_the_clock_of_the_database(self):
        async def run():
            async with running() as process:
                return await in_database(database_time), process.database_now()

        theirs, ours = asyncio.run(run())

        assert abs((theirs - ours).total_seconds()) < 0.5

    def test_a_database_that_cannot_be_reached_is_not_ready(self, monkeypatch):
        def fail(**_):
            raise ConnectionError("refused")

        monkeypatch.setattr(grants, "register_process", fail)

        async def run():
            process = Process(limits=ProcessLimits(lease=SHORT.lease, start_within_s=0.3))
            with pytest.raises(NotReady):
                await process.start()
            await process.stop()

        asyncio.run(run())


class TestCatalog:
    def test_a_change_swaps_the_snapshot_within_a_second(self, catalog):
        async def run():
            async with running() as process:
                assert process.snapshot.number == 1
                catalog.number = 2
                await in_database(record_change, kind=ChangeKind.CATALOG, subject_id=0)
                await until(lambda: process.snapshot.number == 2, within_s=1)

        asyncio.run(run())

    def test_the_lease_is_not_renewed_with_an_older_catalog(self, catalog, monkeypatch):
        def fail():
            raise ConnectionError("refused")

        async def run():
            async with running() as process:
                monkeypatch.setattr(lease, "load_snapshot", fail)
                catalog.number = 2
                await until(lambda: not process.is_admitting)
                monkeypatch.setattr(lease, "load_snapshot", catalog.load)
                await until(lambda: process.is_admitting)
                return process.snapshot.number

        assert asyncio.run(run()) == 2


class TestAuthenticate:
    def test_a_malformed_secret_costs_no_query(self):
        async def run():
            process = Process(limits=SHORT)  # not started: a query would fail
            process._look_ups.close()
            return await process.authenticate("sk-tm-" + "0" * 49)

        assert asyncio.run(run()) is None

    def test_a_revoked_key_is_refused_within_a_second(self):
        user, wallet = make_user(), make_wallet()
        key = create_key(workspace_id=wallet.workspace_id, user_id=user.pk, name="CI")
        answers = []

        async def run():
            async with running() as process:
                answers.append(await process.authenticate(key.secret))
                await in_database(revoke_key, workspace_id=wallet.workspace_id, key_id=key.id)
                deadline = asyncio.get_running_loop().time() + 1
                while asyncio.get_running_loop().time() < deadline:
                    answers.append(await process.authenticate(key.secret))
                    if isinstance(answers[-1], RevokedKey):
                        return
                    await asyncio.sleep(0.01)

        asyncio.run(run())

        assert isinstance(answers[0], Caller)
        assert answers[-1] == RevokedKey(key.id)

    def test_asks_the_database_once_for_many_callers(self, monkeypatch):
        from gateway import process as module

        user, wallet = make_user(), make_wallet()
        key = create_key(workspace_id=wallet.workspace_id, user_id=user.pk, name="CI")
        asked, find = [], module.find_caller

        def counting(*, key_hash):
            asked.append(key_hash)
            return find(key_hash=key_hash)

        monkeypatch.setattr(module, "find_caller", counting)

        async def run():
            async with running() as process:
                first = await asyncio.gather(*(process.authenticate(key.secret) for _ in range(50)))
                return [*first, await process.authenticate(key.secret)]

        callers = asyncio.run(run())

        assert len(asked) == 1
        assert {caller.key_id for caller in callers} == {key.id}

    def test_notes_when_the_key_was_used(self):
        from accounts.api_keys import get_key

        user, wallet = make_user(), make_wallet()
        key = create_key(workspace_id=wallet.workspace_id, user_id=user.pk, name="CI")

        async def run():
            async with running() as process:
                await process.authenticate(key.secret)
                process._lease_thread._used_noted_at = 0
                await until(lambda: not process._keys.used)
                await asyncio.sleep(0.3)

        asyncio.run(run())

        assert get_key(workspace_id=wallet.workspace_id, key_id=key.id).last_used_at is not None


class TestMoney:
    def test_a_frozen_wallet_sells_nothing_within_a_second(self):
        wallet = make_wallet(cash=1_000_000)

        async def run():
            async with running() as process:
                state = await process.wallet(wallet.workspace_id)
                (await process.money.hold(wallet_id=wallet.id, amount=100)).release()
                await in_database(ledger.freeze, wallet_id=wallet.id, reason="x", actor="y")
                await asyncio.sleep(0.5)
                with pytest.raises(WalletFrozen):
                    await process.money.hold(wallet_id=wallet.id, amount=100)
                return state, await process.wallet(wallet.workspace_id)

        before, after = asyncio.run(run())

        assert (before.is_frozen, after.is_frozen) == (False, True)

    def test_idle_money_goes_back_and_the_grant_is_closed(self):
        wallet = make_wallet(cash=1_000_000)

        async def run():
            async with running() as process:
                (await process.money.hold(wallet_id=wallet.id, amount=100)).release()
                await asyncio.sleep(0.1)
                granted = (await in_database(again, wallet)).granted
                await asyncio.sleep(1.2)
                return granted, (await in_database(again, wallet)).granted

        before, after = asyncio.run(run())

        assert before > 0
        assert after == 0

    def test_knows_the_room_of_a_wallet_before_its_first_hold(self):
        wallet = make_wallet(cash=1_000)

        async def run():
            async with running() as process:
                state = await process.wallet(wallet.workspace_id)
                return state.wallet_id, process.money.room(wallet.id)

        assert asyncio.run(run()) == (wallet.id, 1_000)


class TestStop:
    def test_waits_for_open_calls_and_gives_everything_back(self):
        wallet = make_wallet(cash=1_000_000)

        async def run():
            process = Process(name="test", limits=SHORT)
            await process.start()
            hold = await process.money.hold(wallet_id=wallet.id, amount=1_000)
            stopping = asyncio.create_task(process.stop())
            await asyncio.sleep(0.1)
            admitted = process.is_admitting
            await process.settler.settle(make_record(wallet, charge=600, hold=hold))
            await stopping
            return admitted

        assert not asyncio.run(run())
        assert (again(wallet).cash, again(wallet).granted) == (999_400, 0)
        assert not Grant.objects.filter(closed_at=None).exists()
        assert [p.state for p in GatewayProcess.objects.all()] == ["STOPPED"]

    def test_does_not_wait_for_ever(self):
        wallet = make_wallet(cash=1_000_000)

        async def run():
            process = Process(name="test", limits=SHORT)
            await process.start()
            await process.money.hold(wallet_id=wallet.id, amount=1_000)
            await process.stop()

        asyncio.run(run())

        assert again(wallet).granted == 0


class TestCurrentProcess:
    def test_is_one_per_event_loop(self, settings):
        settings.TOKENMIX_LEASE_S = 2

        async def run():
            processes = await asyncio.gather(*(current_process() for _ in range(10)))
            await stop_current_process()
            return processes

        processes = asyncio.run(run())

        assert len(set(map(id, processes))) == 1
        assert GatewayProcess.objects.count() == 1


def declare_dead(epoch):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_declare_dead(epoch, lease_until) FROM billing_gatewayprocess"
            " WHERE epoch = %s",
            [epoch],
        )


def database_time():
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]
