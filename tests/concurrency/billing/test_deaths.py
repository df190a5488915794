"""A process dies while it, others and the sweepers act on the same wallet at the same instant."""

import threading

import psycopg
import pytest
from django.db import connection, transaction

from billing import grants
from billing.connections import money_connection
from billing.grants import ProcessEnded, TakeStatus
from billing.models import GatewayProcess, Grant
from billing.queries import WalletView
from billing.sweeper import Sweeper, Swept
from billing.verification import verify_ledger
from tests.concurrency.billing.at_once import at_once, functions_changed
from tests.factories.billing import again, make_process, make_wallet

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 8


def watched() -> Sweeper:
    """A sweeper that will sweep what is late now at its pass of second 20."""
    sweeper = Sweeper(delay_s=20)
    for moment in (0, 5, 10, 15):
        sweeper.pass_(moment)
    return sweeper


def late_holder(wallet: WalletView, amount: int) -> int:
    epoch = make_process(lease_s=-1)
    grants.take(epoch=epoch, wallet_id=wallet.id, want=amount, need=amount, seq=1)
    return epoch


def open_grants(epoch: int) -> int:
    return Grant.objects.filter(process_id=epoch, closed_at__isnull=True).count()


class TestSweepAgainstEverybody:
    def test_leaves_every_nano_where_it_belongs(self) -> None:
        for _ in range(ROUNDS):
            self.one_round()
        assert verify_ledger() == []

    def one_round(self) -> None:
        wallet = make_wallet(cash=1_000)
        late = late_holder(wallet, 600)
        other = make_process()
        sweeper = watched()

        swept, own, others, back, _ = at_once(
            [
                lambda: sweeper.pass_(20),
                lambda: self.take(late, wallet, 100, seq=2),
                lambda: self.take(other, wallet, 300, seq=1),
                lambda: grants.give_back(epoch=late, wallet_id=wallet.id, amount=50, seq=3),
                lambda: self.capture(late, wallet, 70),
            ]
        )

        assert isinstance(swept, Swept)
        assert swept.processes == 1
        assert open_grants(late) == 0
        assert isinstance(back, int | ProcessEnded | Exception)
        held = others.amount if isinstance(others, grants.Taken) else 0
        after = again(wallet)
        assert after.granted == held
        assert after.cash == 930
        if isinstance(own, grants.Taken) and own.status == TakeStatus.DEAD:
            assert own.amount == 0

    def take(self, epoch: int, wallet: WalletView, amount: int, seq: int) -> grants.Taken:
        return grants.take(epoch=epoch, wallet_id=wallet.id, want=amount, need=amount, seq=seq)

    def capture(self, epoch: int, wallet: WalletView, charge: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT billing_capture(%s, %s, %s, 'u' || %s)",
                [epoch, wallet.id, charge, wallet.id],
            )


class TestTwoSweepers:
    def test_sweep_a_death_once(self) -> None:
        wallets = [make_wallet(cash=100) for _ in range(5)]
        late = make_process(lease_s=-1)
        for wallet in wallets:
            grants.take(epoch=late, wallet_id=wallet.id, want=40, need=40, seq=1)
        sweepers = [watched() for _ in range(4)]

        found = at_once([lambda sweeper=sweeper: sweeper.pass_(20) for sweeper in sweepers])

        assert sum(swept.processes for swept in found) == 1  # type: ignore[union-attr]
        assert sum(swept.amount for swept in found) == 200  # type: ignore[union-attr]
        dead = GatewayProcess.objects.get(epoch=late)
        assert (dead.state, dead.swept_grants, dead.swept_amount) == ("DEAD", 5, 200)
        assert [again(wallet).granted for wallet in wallets] == [0] * 5
        assert verify_ledger() == []


class TestTakeUnderWay:
    """The process has begun a take, and commits it only after the sweeper has looked."""

    def test_is_waited_for(self) -> None:
        late, swept = self.sweep_during_a_take()

        assert swept == Swept(processes=1, grants=1, amount=100)
        assert open_grants(late) == 0

    def test_control_without_the_process_lock_its_grant_is_overlooked(self) -> None:
        unlocked = "WHERE p.epoch = p_epoch;\n    IF v_state"
        with functions_changed((unlocked.replace(";", " FOR UPDATE;"), unlocked)):
            late, swept = self.sweep_during_a_take()

        assert swept == Swept(processes=1, grants=0, amount=0)
        assert open_grants(late) == 1

    def sweep_during_a_take(self) -> tuple[int, Swept | Exception]:
        wallet = make_wallet(cash=1_000)
        late = make_process(lease_s=-1)
        sweeper = watched()
        begun, commit = threading.Event(), threading.Event()

        def take() -> None:
            with transaction.atomic():
                grants.take(epoch=late, wallet_id=wallet.id, want=100, need=100, seq=1)
                begun.set()
                commit.wait(0.4)

        def sweep() -> Swept:
            begun.wait(5)
            try:
                return sweeper.pass_(20)
            finally:
                commit.set()

        _, swept = at_once([take, sweep])
        return late, swept  # type: ignore[return-value]


class TestStopAgainstTake:
    def test_leaves_nothing_open(self) -> None:
        for _ in range(ROUNDS):
            wallet = make_wallet(cash=1_000)
            epoch = make_process()

            def take(wallet: WalletView = wallet, epoch: int = epoch) -> grants.Taken:
                return grants.take(epoch=epoch, wallet_id=wallet.id, want=100, need=100, seq=1)

            def stop(epoch: int = epoch) -> int:
                return grants.stop_process(epoch=epoch)

            taken, closed = at_once([take, stop])

            assert isinstance(taken, grants.Taken)
            assert taken.amount == closed
            assert again(wallet).granted == 0
        assert verify_ledger() == []


class TestWalletThatIsHeldUp:
    def test_does_not_keep_the_others_waiting(self) -> None:
        wallets = [make_wallet(cash=1_000), make_wallet(cash=1_000)]
        late = make_process(lease_s=-1)
        for wallet in wallets:
            grants.take(epoch=late, wallet_id=wallet.id, want=100, need=100, seq=1)
        sweeper = watched()

        with money_connection() as patient, money_connection() as held:
            patient.execute("SET statement_timeout = '200ms'")
            with held.transaction():
                held.execute("SELECT billing_lock(NULL, ARRAY[%s::bigint])", [wallets[0].id])
                with pytest.raises(psycopg.errors.QueryCanceled):
                    sweeper.pass_(20, connection=patient)
                assert [again(wallet).granted for wallet in wallets] == [100, 0]

            assert sweeper.pass_(21, connection=patient) == Swept(1, 2, 200)

        assert verify_ledger() == []
