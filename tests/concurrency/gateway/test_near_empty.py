"""Many processes and calls on one wallet that cannot pay for all: none oversells, none starves."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest

from billing.models import GatewayProcess, Grant
from billing.verification import verify_ledger
from catalog.routes import Snapshot
from gateway import lease
from gateway.lease import LeaseLimits
from gateway.process import Process, ProcessLimits
from gateway.purse import PurseLimits
from tests.factories.billing import again, make_wallet
from tests.factories.gateway import make_record

pytestmark = pytest.mark.django_db(transaction=True)

COST = 1_000_000
LIMITS = ProcessLimits(
    lease=LeaseLimits(lease_s=6, beat_s=1),
    purse=PurseLimits(idle_s=1, quiet_s=1),
    drain_s=2,
)


@pytest.fixture(autouse=True)
def catalog(monkeypatch):
    snapshot = Snapshot(number=1, built_at=datetime.now(UTC), models={}, names={})
    monkeypatch.setattr(lease, "catalog_number", lambda: 1)
    monkeypatch.setattr(lease, "load_snapshot", lambda: snapshot)


@asynccontextmanager
async def processes(count, limits=LIMITS):
    async with AsyncExitStack() as stack:
        made = [Process(name=f"test-{n}", limits=limits) for n in range(count)]
        for process in made:
            stack.push_async_callback(process.stop)
        await asyncio.gather(*(process.start() for process in made))
        yield made


async def call(process, wallet, *, hold, cost):
    """One call as the pipeline makes it; the name of what refused it, or "served"."""
    try:
        held = await process.money.hold(wallet_id=wallet.id, amount=hold)
    except Exception as error:  # noqa: BLE001  (the kind is what is counted)
        return type(error).__name__
    await asyncio.sleep(0.05)
    settled = await process.settler.settle(make_record(wallet, charge=cost, hold=held))
    return "served" if settled.paid_nano_usd == cost else "short"


def burst(wallet, *, hold, idle_s=0.0):
    """200 calls at once on 4 processes; how each ended, and what the grants still hold."""

    async def run():
        async with processes(4) as made:
            ended = await asyncio.gather(
                *(call(made[n % 4], wallet, hold=hold, cost=COST) for n in range(200))
            )
            await asyncio.sleep(idle_s)
            return Counter(ended), await asyncio.to_thread(open_grants)

    return asyncio.run(run())


def open_grants():
    from django.db import connection

    try:
        return Grant.objects.filter(closed_at=None).count()
    finally:
        connection.close()


class TestNearEmpty:
    def test_a_wallet_for_fifty_serves_exactly_fifty(self):
        wallet = make_wallet(cash=50 * COST)

        ended, _ = burst(wallet, hold=COST)

        assert ended == {"served": 50, "InsufficientFunds": 150}
        assert (again(wallet).cash, again(wallet).granted) == (0, 0)
        verify_ledger()

    def test_with_holds_above_the_cost_at_least_forty_five_are_served(self):
        wallet = make_wallet(cash=50 * COST)

        ended, _ = burst(wallet, hold=COST * 11 // 10)

        assert ended["served"] >= 45
        assert ended["served"] + ended["InsufficientFunds"] == 200
        assert again(wallet).cash == (50 - ended["served"]) * COST
        verify_ledger()

    def test_no_grant_is_left_open_once_it_is_idle(self):
        wallet = make_wallet(cash=10_000 * COST)

        ended, grants = burst(wallet, hold=COST * 11 // 10, idle_s=3)

        assert ended == {"served": 200}
        assert grants == 0
        assert again(wallet).cash == 9_800 * COST

    def test_a_process_that_is_rich_gives_back_for_one_that_is_short(self):
        wallet = make_wallet(cash=100 * COST)

        async def run():
            async with processes(2, PATIENT) as (rich, poor):
                for _ in range(3):
                    (await rich.money.hold(wallet_id=wallet.id, amount=COST)).release()
                    await asyncio.sleep(0.05)
                kept = rich.money._purses[wallet.id].free
                hold = await poor.money.hold(wallet_id=wallet.id, amount=100 * COST)
                hold.release()
                return kept

        assert asyncio.run(run()) > 0


PATIENT = ProcessLimits(lease=LeaseLimits(lease_s=6, beat_s=1), drain_s=1)
SHORT_LEASE = ProcessLimits(lease=LeaseLimits(lease_s=1.5, beat_s=0.2, poll_s=0.1), drain_s=1)


class TestKilledProcess:
    def test_a_sweeper_closes_all_its_grants(self, settings):
        settings.TOKENMIX_SWEEP_DELAY_S = 1
        wallets = [make_wallet(cash=100 * COST) for _ in range(3)]

        async def run():
            async with processes(1, SHORT_LEASE):
                killed = Process(name="killed", limits=SHORT_LEASE)
                await killed.start()
                for wallet in wallets:
                    await killed.money.hold(wallet_id=wallet.id, amount=COST)
                killed._lease_thread.abandon()
                await asyncio.sleep(1.5 + 1 + 1.5)
                grants = await asyncio.to_thread(open_grants)
                await asyncio.to_thread(killed._close_threads)
                return killed, grants

        _, grants = asyncio.run(run())

        dead = GatewayProcess.objects.get(name="killed")
        assert grants == 0
        assert (dead.state, dead.swept_grants) == ("DEAD", 3)
        assert [again(wallet).granted for wallet in wallets] == [0, 0, 0]
        assert [again(wallet).cash for wallet in wallets] == [100 * COST] * 3
