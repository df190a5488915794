"""One payment that is reported many times at once is credited once."""

import pytest
from django.db import connection

from accounts.models import Workspace
from billing import ledger
from billing.chart import clearing
from billing.models import Transfer
from billing.queries import wallet_of
from billing.verification import verify_ledger
from tests.concurrency.billing.at_once import at_once, functions_changed, without_constraint
from tests.factories.billing import again, make_wallet

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 8


def credit(wallet_id: int) -> bool:
    return ledger.credit(
        wallet_id=wallet_id,
        amount=500,
        reference="payment:1",
        source=clearing(provider="stripe"),
        kind="TOP_UP",
    )


class TestDuplicateCredits:
    def test_move_money_once(self) -> None:
        wallet = make_wallet()

        results = at_once([lambda: credit(wallet.id)] * THREADS)

        assert sorted(results) == [False] * (THREADS - 1) + [True]  # type: ignore[type-var]
        assert again(wallet).cash == 500
        assert verify_ledger() == []

    def test_of_two_wallets_are_a_conflict(self) -> None:
        wallets = [make_wallet(), make_wallet()]

        results = at_once([lambda id_=wallet.id: credit(id_) for wallet in wallets] * 4)

        assert results.count(True) == 1
        assert results.count(False) == 3
        assert sum(isinstance(result, ledger.ReferenceTaken) for result in results) == 4
        assert sum(again(wallet).cash for wallet in wallets) == 500
        assert verify_ledger() == []

    def test_control_without_lock_and_unique_reference_they_move_it_again(self) -> None:
        wallet = make_wallet()
        self.make_the_clearing_account()

        with (
            functions_changed(
                (" ORDER BY w.id FOR NO KEY UPDATE", " ORDER BY w.id"),
                ("    ON CONFLICT (reference) DO NOTHING;", ";"),
                ("    IF -p_amount > ", "    PERFORM pg_sleep(0.1);\n    IF -p_amount > "),
            ),
            without_constraint("billing_transfer", "billing_transfer_reference"),
        ):
            at_once([lambda: credit(wallet.id)] * THREADS)

            assert Transfer.objects.count() > 1
            assert again(wallet).cash > 500

    def make_the_clearing_account(self) -> None:
        """Else its first insert makes the others wait, as a lock would."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT billing_house_account('CLEARING', 'stripe', 'sandbox')")


class TestFirstReading:
    def test_makes_one_wallet_for_many_readers(self) -> None:
        workspace_id = Workspace.objects.create(name="Acme").pk

        wallets = at_once([lambda: wallet_of(workspace_id=workspace_id).id] * THREADS)

        assert len(set(wallets)) == 1
