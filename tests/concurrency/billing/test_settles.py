"""Settles, takes and credits of many threads: never a deadlock, never a nano lost."""

import random

import pytest
from django.db import OperationalError, connection, transaction

from billing import grants
from billing.grants import ProcessEnded, TakeStatus
from billing.queries import WalletView
from billing.sweeper import Sweeper
from billing.verification import verify_ledger
from tests.concurrency.billing.at_once import at_once
from tests.factories.billing import again, make_process, make_wallet, put

pytestmark = pytest.mark.django_db(transaction=True)


def run(sql: str, params: list[object]) -> tuple[int, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        row: tuple[int, ...] = cursor.fetchone()
    return row


def capture(epoch: int | None, wallet: WalletView, charge: int, name: str) -> tuple[int, ...]:
    return run("SELECT * FROM billing_capture(%s, %s, %s, %s)", [epoch, wallet.id, charge, name])


class TestBatches:
    """Two processes settle batches over the same wallets, named in opposite order."""

    def batch(self, name: str, wallets: list[WalletView], *, lock: bool) -> int:
        epoch = make_process()
        for n in range(10):
            with transaction.atomic():
                if lock:
                    ids = [wallet.id for wallet in wallets]
                    run("SELECT billing_lock(%s, %s)", [epoch, ids])
                for wallet in wallets:
                    capture(epoch, wallet, 1, f"{name}:{n}:{wallet.id}")
                    run("SELECT pg_sleep(0.005)", [])
        return epoch

    def test_never_deadlock(self) -> None:
        wallets = [make_wallet(cash=100) for _ in range(3)]

        results = at_once(
            [
                lambda: self.batch("a", wallets, lock=True),
                lambda: self.batch("b", wallets[::-1], lock=True),
                lambda: self.batch("c", wallets[1:] + wallets[:1], lock=True),
            ]
        )

        assert all(isinstance(result, int) for result in results), results
        assert [again(wallet).cash for wallet in wallets] == [70] * 3
        assert verify_ledger() == []

    def test_control_without_the_lock_of_all_they_deadlock(self) -> None:
        wallets = [make_wallet(cash=100) for _ in range(2)]

        results = at_once(
            [
                lambda: self.batch("a", wallets, lock=False),
                lambda: self.batch("b", wallets[::-1], lock=False),
            ]
        )

        failed = [result for result in results if isinstance(result, OperationalError)]
        assert failed
        assert "deadlock" in str(failed[0])
        assert verify_ledger() == []


class Actor:
    """A process that does anything at random, with what it believes to hold."""

    def __init__(self, seed: int, wallets: list[WalletView]) -> None:
        self.random = random.Random(seed)
        self.wallets = wallets
        self.seqs = {wallet.id: 0 for wallet in wallets}
        self.epoch = make_process()
        self.seed = seed

    def act(self, times: int) -> None:
        for n in range(times):
            wallet = self.random.choice(self.wallets)
            kind = self.random.choice(["take", "take", "back", "capture", "credit", "end"])
            getattr(self, kind)(wallet, self.random.randint(1, 60), n)

    def take(self, wallet: WalletView, amount: int, n: int) -> None:
        self.seqs[wallet.id] += 1
        for _ in range(self.random.choice([1, 1, 2])):  # sometimes repeated
            taken = grants.take(
                epoch=self.epoch,
                wallet_id=wallet.id,
                want=3 * amount,
                need=amount,
                seq=self.seqs[wallet.id],
            )
        if taken.status == TakeStatus.DEAD:
            self.begin_again()

    def back(self, wallet: WalletView, amount: int, n: int) -> None:
        self.seqs[wallet.id] += 1
        try:
            grants.give_back(
                epoch=self.epoch, wallet_id=wallet.id, amount=amount, seq=self.seqs[wallet.id]
            )
        except ProcessEnded:
            self.begin_again()

    def capture(self, wallet: WalletView, amount: int, n: int) -> None:
        capture(self.epoch, wallet, amount, f"{self.seed}:{n}")

    def credit(self, wallet: WalletView, amount: int, n: int) -> None:
        put(wallet, amount)

    def end(self, wallet: WalletView, amount: int, n: int) -> None:
        if self.random.random() < 0.3:
            grants.stop_process(epoch=self.epoch)
            self.begin_again()
        elif self.random.random() < 0.5:
            grants.renew_lease(epoch=self.epoch, lease_s=-1)  # late: a sweeper may take it

    def begin_again(self) -> None:
        self.epoch = make_process()
        self.seqs = dict.fromkeys(self.seqs, 0)


class TestAnyMixAtOnce:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_keeps_wallets_and_transfers_equal(self, seed: int) -> None:
        wallets = [make_wallet(cash=500, promo=50) for _ in range(3)]
        actors = [Actor(seed * 100 + n, wallets) for n in range(6)]
        sweeper = Sweeper(delay_s=0)

        def sweep() -> None:
            for n in range(30):
                sweeper.pass_(n)
                sweeper.longest_gap_s = 10

        results = at_once([*[lambda actor=actor: actor.act(40) for actor in actors], sweep])

        assert results == [None] * 7
        assert verify_ledger() == []
        for actor in actors:
            grants.stop_process(epoch=actor.epoch)
        Sweeper(delay_s=0).pass_(0)
        assert verify_ledger() == []
