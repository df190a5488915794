"""Whatever happens in whatever order, wallets equal transfers and grants, and nothing goes below 0.

Each example plays a list of orders on two wallets and two processes, and keeps its own account of
what must come out.
"""

from dataclasses import dataclass, field

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import grants, ledger
from billing.grants import ProcessEnded
from billing.models import Transfer
from billing.queries import WalletView
from billing.sweeper import Sweeper
from billing.verification import verify_ledger
from tests.factories.billing import again, make_process, make_wallet, put, reference

pytestmark = pytest.mark.django_db

amounts = st.integers(min_value=1, max_value=400)
which = st.integers(min_value=0, max_value=1)
kinds = st.sampled_from(
    ["credit", "promo", "adjust", "take", "repeat", "back", "capture", "stop", "die", "freeze"]
)
orders = st.lists(st.tuples(kinds, which, which, amounts), max_size=25)


@dataclass
class World:
    """Two wallets, two processes, and what each wallet ought to have."""

    wallets: list[WalletView] = field(default_factory=lambda: [make_wallet(), make_wallet()])
    epochs: list[int] = field(default_factory=lambda: [make_process(), make_process()])
    balances: list[int] = field(default_factory=lambda: [0, 0])
    seq: int = 0
    last_take: tuple[int, int, int, int] | None = None

    def play(self, kind: str, wallet: int, process: int, amount: int) -> None:
        self.seq += 1
        getattr(self, kind)(wallet, process, amount)

    def credit(self, wallet: int, process: int, amount: int) -> None:
        put(self.wallets[wallet], amount)
        self.balances[wallet] += amount

    def promo(self, wallet: int, process: int, amount: int) -> None:
        put(self.wallets[wallet], amount, into=ledger.AccountKind.PROMO, kind="PROMOTION")  # type: ignore[arg-type]
        self.balances[wallet] += amount

    def adjust(self, wallet: int, process: int, amount: int) -> None:
        try:
            ledger.adjust(
                wallet_id=self.wallets[wallet].id,
                amount=-amount,
                reference=reference(),
                actor="staff",
                reason="a mistake",
            )
        except ledger.NotAvailable:
            return
        self.balances[wallet] -= amount

    def take(self, wallet: int, process: int, amount: int) -> None:
        self.last_take = (wallet, process, amount, self.seq)
        self._take(*self.last_take)

    def repeat(self, wallet: int, process: int, amount: int) -> None:
        if self.last_take is None:
            return
        before = again(self.wallets[self.last_take[0]])
        first = self._take(*self.last_take)
        second = self._take(*self.last_take)
        assert first == second
        assert before.cash == again(self.wallets[self.last_take[0]]).cash

    def _take(self, wallet: int, process: int, amount: int, seq: int) -> grants.Taken:
        return grants.take(
            epoch=self.epochs[process],
            wallet_id=self.wallets[wallet].id,
            want=2 * amount,
            need=amount,
            seq=seq,
        )

    def back(self, wallet: int, process: int, amount: int) -> None:
        self.last_take = None
        try:
            grants.give_back(
                epoch=self.epochs[process],
                wallet_id=self.wallets[wallet].id,
                amount=amount,
                seq=self.seq,
            )
        except ProcessEnded:
            self.epochs[process] = make_process()

    def capture(self, wallet: int, process: int, amount: int) -> None:
        name = reference()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT * FROM billing_capture(%s, %s, %s, %s)",
                [self.epochs[process], self.wallets[wallet].id, amount, name],
            )
            paid, from_grant = cursor.fetchone()
        assert 0 <= from_grant <= paid <= amount
        self.balances[wallet] -= paid
        written = Transfer.objects.filter(reference__startswith=f"{name}:")
        assert sum(transfer.amount for transfer in written) == amount

    def stop(self, wallet: int, process: int, amount: int) -> None:
        grants.stop_process(epoch=self.epochs[process])

    def die(self, wallet: int, process: int, amount: int) -> None:
        grants.renew_lease(epoch=self.epochs[process], lease_s=-1)
        Sweeper(delay_s=0).pass_(0)

    def freeze(self, wallet: int, process: int, amount: int) -> None:
        act = ledger.freeze if amount % 2 else ledger.unfreeze
        act(wallet_id=self.wallets[wallet].id, reason="x", actor="staff")

    def check(self) -> None:
        now = [again(wallet) for wallet in self.wallets]
        assert [wallet.cash + wallet.promo for wallet in now] == self.balances
        assert all(0 <= wallet.granted <= wallet.cash + wallet.promo for wallet in now)
        assert verify_ledger() == []


class TestAnyMix:
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(played=orders)
    def test_keeps_wallets_equal_to_transfers_and_grants(
        self, played: list[tuple[str, int, int, int]]
    ) -> None:
        world = World()
        for order in played:
            world.play(*order)
            world.check()
        for epoch in world.epochs:
            grants.stop_process(epoch=epoch)
        assert [again(wallet).granted for wallet in world.wallets] == [0, 0]
