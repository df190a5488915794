"""Many processes take from one wallet: together exactly what is there, and never more."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from django.db import IntegrityError

from billing import grants
from billing.grants import TakeStatus
from billing.queries import WalletView
from billing.verification import verify_ledger
from tests.concurrency.billing.at_once import at_once, functions_changed, without_constraint
from tests.factories.billing import again, make_process, make_wallet

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 8
CASH = 1_000
NEED = 30

# Between reading what is available and taking it, so that a missing lock shows.
SLOW = (
    "        amount := CASE WHEN available >= p_want",
    "        PERFORM pg_sleep(0.005);\n        amount := CASE WHEN available >= p_want",
)
NO_LOCK = (" ORDER BY w.id FOR NO KEY UPDATE", " ORDER BY w.id")


@pytest.fixture
def wallet() -> WalletView:
    return make_wallet(cash=CASH)


@pytest.fixture
def change() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def take_until_short(wallet: WalletView, *, want: int = NEED) -> int:
    """What a process of its own gets out of the wallet."""
    epoch, total, seq = make_process(), 0, 0
    while True:
        seq += 1
        taken = grants.take(epoch=epoch, wallet_id=wallet.id, want=want, need=NEED, seq=seq)
        if taken.status != TakeStatus.TAKEN:
            return total
        total += taken.amount


def race(wallet: WalletView, *, want: int = NEED) -> list[int | Exception]:
    return at_once([lambda: take_until_short(wallet, want=want)] * THREADS)


class TestTakes:
    def test_get_exactly_what_is_there(self, wallet: WalletView, change: ExitStack) -> None:
        change.enter_context(functions_changed(SLOW))

        totals = race(wallet)

        assert sum(totals) == CASH // NEED * NEED  # type: ignore[arg-type]
        assert again(wallet).granted == CASH // NEED * NEED
        assert verify_ledger() == []

    def test_get_what_is_there_when_they_want_more(self, wallet: WalletView) -> None:
        totals = race(wallet, want=7 * NEED)

        assert CASH - NEED < sum(totals) <= CASH  # type: ignore[arg-type]
        assert sum(totals) == again(wallet).granted  # type: ignore[arg-type]
        assert verify_ledger() == []

    def test_control_without_the_lock_they_overdraw(
        self, wallet: WalletView, change: ExitStack
    ) -> None:
        change.enter_context(without_constraint("billing_wallet", "billing_wallet_granted"))
        change.enter_context(functions_changed(SLOW, NO_LOCK))

        totals = race(wallet)

        assert sum(totals) > CASH  # type: ignore[arg-type]
        assert any(found.what == "granted above balance" for found in verify_ledger())

    def test_control_without_the_lock_the_constraint_is_the_last_guard(
        self, wallet: WalletView, change: ExitStack
    ) -> None:
        change.enter_context(functions_changed(SLOW, NO_LOCK))

        results = race(wallet)

        refused = [result for result in results if isinstance(result, Exception)]
        assert refused
        assert {type(error) for error in refused} == {IntegrityError}
        assert again(wallet).granted <= CASH


class TestRepeatedTake:
    def test_moves_once_when_the_first_is_still_under_way(self, wallet: WalletView) -> None:
        epoch = make_process()

        def take() -> int:
            return grants.take(epoch=epoch, wallet_id=wallet.id, want=400, need=10, seq=1).amount

        assert at_once([take] * THREADS) == [400] * THREADS
        assert again(wallet).granted == 400

    def test_gives_back_once(self, wallet: WalletView) -> None:
        epoch = make_process()
        grants.take(epoch=epoch, wallet_id=wallet.id, want=400, need=10, seq=1)

        def give_back() -> int:
            return grants.give_back(epoch=epoch, wallet_id=wallet.id, amount=150, seq=2)

        assert at_once([give_back] * THREADS) == [150] * THREADS
        assert again(wallet).granted == 250


class TestRecalls:
    def test_coalesce(self, wallet: WalletView) -> None:
        holder = make_process()
        grants.take(epoch=holder, wallet_id=wallet.id, want=CASH, need=CASH, seq=1)
        askers = [make_process() for _ in range(THREADS)]

        def ask(epoch: int) -> int:
            return grants.recall(wallet_id=wallet.id, epoch=epoch)

        numbers = at_once([lambda epoch=epoch: ask(epoch) for epoch in askers])

        assert len(set(numbers)) == 1
