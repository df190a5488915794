"""Purses: money in memory, and what they ask of the wallet."""

import asyncio

import pytest

from gateway.purse import (
    InsufficientFunds,
    MoneyUnavailable,
    PurseLimits,
    Purses,
    WalletFrozen,
)
from gateway.purse_keeper import PurseKeeper
from tests.fakes.grants import FakeGrants, FakeWallet

WALLET = 7
LIMITS = PurseLimits(answer_s=0.2, poll_s=0.01, wait_s=1, retry_s=0.01, quiet_s=0.3)


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


class Bench:
    """One process's purses against a fake wallet."""

    def __init__(self, wallet, *, epoch=1, clock=None, limits=LIMITS):
        self.grants = FakeGrants(wallet)
        self.clock = clock or asyncio.get_running_loop().time
        self.is_admitting = True
        self.dead = []
        self.purses = Purses(
            keeper=PurseKeeper(
                grants=self.grants, limits=limits, clock=self.clock, on_dead=self.dead.append
            ),
            limits=limits,
            may_admit=lambda: self.is_admitting,
            clock=self.clock,
        )
        self.purses.reset(epoch)

    async def hold(self, amount):
        return await self.purses.hold(wallet_id=WALLET, amount=amount)

    def capture(self, hold, charge):
        """What the settler does, with a database that charges the grant first."""
        wallet, epoch = self.grants.wallet, hold.epoch
        self.purses.begin_settle(hold, charge)
        from_grant = min(charge, wallet.granted.get(epoch, 0))
        wallet.granted[epoch] -= from_grant
        wallet.available -= min(charge - from_grant, wallet.available)
        self.purses.end_settle([hold], epoch=epoch, from_grant=from_grant)

    @property
    def purse(self):
        return self.purses._purses[WALLET]

    def in_memory(self):
        purse = self.purse
        return purse.free + purse.held + purse.returning


async def quiet():
    for _ in range(30):
        await asyncio.sleep(0)


class TestHold:
    async def test_takes_from_the_wallet_first_and_from_memory_then(self):
        bench = Bench(FakeWallet(available=1_000_000))

        await bench.hold(100)
        await quiet()
        taken = len(bench.grants.sent)
        await bench.hold(100)

        assert taken == 2  # for the call, then ahead of need
        assert bench.grants.sent[0] == ("take", 100, 100, 1)
        assert bench.purse.held == 200

    async def test_a_call_every_ten_seconds_pays_no_round_trip(self):
        clock = Clock()
        bench = Bench(FakeWallet(available=1_000_000), clock=clock)
        bench.capture(await bench.hold(100), 60)
        await quiet()

        waits = []
        for _ in range(20):
            clock.now += 10
            bench.purses.tick()
            await quiet()
            free = bench.purse.free
            bench.capture(await bench.hold(100), 60)
            await quiet()
            waits.append(free < 100)

        assert not any(waits)

    async def test_releasing_twice_gives_back_once(self):
        bench = Bench(FakeWallet(available=1_000_000))
        hold = await bench.hold(100)
        await quiet()
        before = bench.purse.free

        hold.release()
        hold.release()

        assert bench.purse.free == before + 100
        assert bench.purses.open_holds == 0

    async def test_of_nothing_needs_no_wallet(self):
        bench = Bench(FakeWallet(available=0))

        hold = await bench.hold(0)

        assert hold.amount == 0
        assert not bench.grants.sent

    async def test_is_refused_with_402_when_nobody_else_holds_anything(self):
        bench = Bench(FakeWallet(available=99))

        with pytest.raises(InsufficientFunds) as refusal:
            await bench.hold(100)

        assert refusal.value.available == 99
        assert not bench.grants.of("recall")

    async def test_is_refused_as_frozen(self):
        bench = Bench(FakeWallet(available=1_000, is_frozen=True))

        with pytest.raises(WalletFrozen):
            await bench.hold(100)

    async def test_is_unavailable_near_the_end_of_the_lease(self):
        bench = Bench(FakeWallet(available=1_000))
        bench.is_admitting = False

        with pytest.raises(MoneyUnavailable):
            await bench.hold(100)

    async def test_is_unavailable_when_the_epoch_is_over(self):
        bench = Bench(FakeWallet(available=1_000, dead={1}))

        with pytest.raises(MoneyUnavailable):
            await bench.hold(100)
        assert bench.dead

    async def test_a_caller_who_leaves_while_waiting_leaves_the_money(self):
        wallet = FakeWallet(available=100)
        bench = Bench(wallet)
        waiting = asyncio.create_task(bench.hold(100))
        while not bench.grants.sent:  # noqa: ASYNC110
            await asyncio.sleep(0)

        waiting.cancel()
        await quiet()

        assert (wallet.available, wallet.granted[1]) == (100, 0)

    async def test_serves_those_who_wait_in_their_order(self):
        bench = Bench(FakeWallet(available=250))

        answers = await asyncio.gather(*(bench.hold(100) for _ in range(4)), return_exceptions=True)

        kinds = [type(answer).__name__ for answer in answers]
        assert kinds == ["Hold", "Hold", "InsufficientFunds", "InsufficientFunds"]


class TestExtend:
    async def test_adds_to_the_hold(self):
        bench = Bench(FakeWallet(available=1_000))
        hold = await bench.hold(100)

        await hold.extend(50)

        assert hold.amount == 150
        assert bench.purse.held == 150

    async def test_keeps_what_was_held_when_the_wallet_is_empty(self):
        bench = Bench(FakeWallet(available=100))
        hold = await bench.hold(100)

        with pytest.raises(InsufficientFunds):
            await hold.extend(50)

        assert hold.amount == 100

    async def test_of_a_hold_that_ended_meanwhile_goes_back(self):
        wallet = FakeWallet(available=150)
        bench = Bench(wallet)
        hold = await bench.hold(100)
        extending = asyncio.create_task(hold.extend(50))
        await asyncio.sleep(0)

        hold.release()
        await extending
        await quiet()

        assert wallet.available == 150


class TestSettle:
    async def test_what_was_held_above_the_charge_is_free_again(self):
        bench = Bench(FakeWallet(available=1_000_000))
        hold = await bench.hold(100)
        await quiet()
        free = bench.purse.free

        bench.capture(hold, 60)

        assert bench.purse.free == free + 40
        assert bench.in_memory() == bench.grants.wallet.granted[1]

    async def test_a_charge_above_the_hold_takes_free_money_before_the_database_does(self):
        bench = Bench(FakeWallet(available=1_000_000))
        hold = await bench.hold(100)
        await quiet()
        free = bench.purse.free

        bench.purses.begin_settle(hold, 130)

        assert bench.purse.free == free - 30

    async def test_memory_never_knows_of_more_than_the_grant(self):
        bench = Bench(FakeWallet(available=100_000))
        for charge in (60, 100, 140, 500, 5_000):
            bench.capture(await bench.hold(100), charge)
            await quiet()

            assert bench.in_memory() <= bench.grants.wallet.granted[1]


class TestAheadOfNeed:
    async def test_takes_at_most_a_quarter_shared_by_the_live_processes(self):
        wallet = FakeWallet(available=8_000, live_processes=2)
        bench = Bench(wallet)

        for _ in range(5):
            await bench.hold(100)
            await quiet()

        ahead = [want for _, want, _, _ in bench.grants.of("take")[1:]]
        assert max(ahead) <= 8_000 // 4 // 2

    async def test_keeps_idle_money_a_minute_then_closes_the_grant(self):
        clock, wallet = Clock(), FakeWallet(available=1_000_000)
        bench = Bench(wallet, clock=clock)
        (await bench.hold(100)).release()
        await quiet()

        clock.now += 59
        bench.purses.tick()
        await quiet()
        kept = wallet.granted[1]
        clock.now += 2
        bench.purses.tick()
        await quiet()

        assert kept > 0
        assert (wallet.granted[1], wallet.available) == (0, 1_000_000)

    async def test_forgets_a_purse_that_is_empty_and_idle_but_not_its_number(self):
        clock, wallet = Clock(), FakeWallet(available=1_000_000)
        bench = Bench(wallet, clock=clock)
        (await bench.hold(100)).release()
        await quiet()
        for _ in range(2):
            clock.now += 61
            bench.purses.tick()
            await quiet()

        forgotten = not bench.purses._purses
        await bench.hold(100)  # an order with a number used before would be refused

        assert forgotten

    async def test_near_empty_gives_back_at_once(self):
        wallet = FakeWallet(available=300)
        bench = Bench(wallet)

        (await bench.hold(100)).release()
        await quiet()

        assert (wallet.available, wallet.granted[1]) == (300, 0)


class TestUnclearAnswers:
    async def test_the_same_take_is_repeated_before_anything_else(self):
        wallet = FakeWallet(available=1_000)
        bench = Bench(wallet)
        bench.grants.unclear = 3

        hold = await bench.hold(400)

        assert hold.amount == 400
        assert bench.grants.sent[:4] == [("take", 400, 400, 1)] * 4
        assert wallet.granted[1] == 400

    async def test_the_same_return_is_repeated(self):
        wallet = FakeWallet(available=300)
        bench = Bench(wallet)
        hold = await bench.hold(100)
        bench.grants.unclear = 2

        hold.release()
        await asyncio.sleep(0.1)

        assert len(set(bench.grants.of("give_back"))) == 1
        assert (wallet.available, wallet.granted[1]) == (300, 0)

    async def test_one_statement_at_a_time_for_a_wallet(self):
        bench = Bench(FakeWallet(available=5_000))

        holds = await asyncio.gather(*(bench.hold(100) for _ in range(40)))
        for hold in holds:
            bench.capture(hold, 90)
        await quiet()

        assert bench.grants.most_at_once == 1

    async def test_a_hold_does_not_wait_for_ever(self):
        bench = Bench(FakeWallet(available=1_000), limits=PurseLimits(wait_s=0.05, retry_s=0.01))
        bench.grants.unclear = 1_000_000

        with pytest.raises(MoneyUnavailable):
            await bench.hold(100)


class TestRecall:
    async def test_gives_back_what_is_free_and_answers(self):
        wallet = FakeWallet(available=1_000_000)
        bench = Bench(wallet)
        await bench.hold(100)
        await quiet()

        bench.purses.recalled(WALLET, 5)
        await quiet()

        assert (wallet.granted[1], wallet.answered[1]) == (100, 5)
        assert bench.purse.free == 0

    async def test_answers_when_all_is_in_use(self):
        wallet = FakeWallet(available=100)
        bench = Bench(wallet)
        await bench.hold(100)

        bench.purses.recalled(WALLET, 5)
        await quiet()

        assert wallet.answered[1] == 5

    async def test_for_a_while_nobody_tops_up_ahead(self):
        clock = Clock()
        bench = Bench(FakeWallet(available=1_000_000), clock=clock)
        await bench.hold(100)
        await quiet()
        bench.purses.recalled(WALLET, 5)
        await quiet()

        await bench.hold(100)
        await quiet()

        assert bench.grants.of("take")[-1][1:3] == (100, 100)
        assert bench.purse.free == 0

    async def test_402_once_the_holders_have_answered_and_the_money_is_in_use(self):
        wallet = FakeWallet(available=100)
        other, bench = Bench(wallet, epoch=2), Bench(wallet)
        await other.hold(100)
        waiting = asyncio.create_task(bench.hold(100))
        await asyncio.sleep(0.05)

        other.purses.recalled(WALLET, wallet.recalls)

        with pytest.raises(InsufficientFunds):
            await waiting

    async def test_served_when_the_holders_give_back(self):
        wallet = FakeWallet(available=100)
        other, bench = Bench(wallet, epoch=2), Bench(wallet)
        held = await other.hold(100)
        waiting = asyncio.create_task(bench.hold(100))
        await asyncio.sleep(0.05)

        held.release()

        assert (await waiting).amount == 100

    async def test_503_when_a_holder_does_not_answer(self):
        wallet = FakeWallet(available=100)
        other, bench = Bench(wallet, epoch=2), Bench(wallet)
        await other.hold(100)

        with pytest.raises(MoneyUnavailable):
            await bench.hold(100)

    async def test_is_sent_once_for_all_who_wait(self):
        wallet = FakeWallet(available=100)
        other, bench = Bench(wallet, epoch=2), Bench(wallet)
        await other.hold(100)

        await asyncio.gather(*(bench.hold(100) for _ in range(20)), return_exceptions=True)

        assert wallet.recalls == 1

    async def test_two_short_processes_with_part_of_the_money_do_not_block_each_other(self):
        wallet = FakeWallet(available=1_000_000, live_processes=2)
        first, second = Bench(wallet, epoch=1), Bench(wallet, epoch=2)
        for bench in (first, second):
            (await bench.hold(60)).release()
            await quiet()
        wallet.available = 0  # all that is left lies free in the two purses

        waiting = [asyncio.create_task(bench.hold(100)) for bench in (first, second)]
        await asyncio.sleep(0.05)
        for bench in (first, second):
            bench.purses.recalled(WALLET, wallet.recalls)
        answers = await asyncio.gather(*waiting, return_exceptions=True)

        assert any(not isinstance(answer, Exception) for answer in answers)


class TestFreeze:
    async def test_nothing_more_is_sold_from_memory(self):
        wallet = FakeWallet(available=1_000_000)
        bench = Bench(wallet)
        await bench.hold(100)
        await quiet()
        wallet.is_frozen = True

        bench.purses.frozen(WALLET)

        with pytest.raises(WalletFrozen):
            await bench.hold(1)
        await quiet()
        assert wallet.granted[1] == 100


class TestReset:
    async def test_open_calls_take_new_holds(self):
        wallet = FakeWallet(available=1_000)
        bench = Bench(wallet)
        hold = await bench.hold(100)

        bench.purses.reset(2)
        await quiet()

        assert (hold.epoch, bench.purse.held) == (2, 100)
        assert bench.in_memory() == wallet.granted[2]

    async def test_what_the_old_epoch_had_counts_as_nothing(self):
        wallet = FakeWallet(available=100)
        bench = Bench(wallet)
        hold = await bench.hold(100)

        bench.purses.reset(2)
        await quiet()
        hold.release()

        assert bench.purse.free == 0

    async def test_those_who_wait_are_served_by_the_new_epoch(self):
        wallet = FakeWallet(available=1_000, dead={1})
        bench = Bench(wallet)
        waiting = asyncio.create_task(bench.hold(100))
        await asyncio.sleep(0.02)

        bench.purses.reset(2)

        assert (await waiting).epoch == 2

    async def test_a_settle_under_way_frees_nothing_in_the_new_epoch(self):
        bench = Bench(FakeWallet(available=100))
        hold = await bench.hold(100)
        bench.purses.begin_settle(hold, 60)

        bench.purses.reset(2)
        bench.purses.end_settle([hold], epoch=1, from_grant=60)

        assert (bench.purse.free, bench.purse.settling, bench.purses.open_holds) == (0, 0, 0)


class TestRoom:
    async def test_is_what_a_look_up_saw_before_the_first_take(self):
        bench = Bench(FakeWallet(available=1_000))

        bench.purses.note_available(WALLET, 1_000)

        assert bench.purses.room(WALLET) == 1_000

    async def test_is_purse_and_available_as_last_heard(self):
        bench = Bench(FakeWallet(available=1_000_000))

        await bench.hold(100)
        await quiet()

        assert bench.purses.room(WALLET) == 1_000_000 - 100
