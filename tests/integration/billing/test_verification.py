"""verify_ledger finds what was planted, whatever it is, and only that."""

from io import StringIO

import pgtrigger
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing import grants
from billing.queries import WalletView
from billing.verification import Difference, verify_ledger
from tests.factories.billing import make_process, make_wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def wallet() -> WalletView:
    make_wallet(cash=77)
    wallet = make_wallet(cash=1_000, promo=200)
    epoch = make_process()
    grants.take(epoch=epoch, wallet_id=wallet.id, want=300, need=300, seq=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_capture(%s, %s, 250, 'u')", [epoch, wallet.id])
    return wallet


def plant(sql: str, *params: object) -> None:
    """Change the tables as nobody can while the triggers stand."""
    with pgtrigger.ignore(), connection.cursor() as cursor:
        cursor.execute(sql, params)


class TestVerifyLedger:
    def test_finds_nothing_in_a_sound_ledger(self, wallet: WalletView) -> None:
        assert verify_ledger() == []

    @pytest.mark.parametrize(
        ("table", "change", "what", "stored", "computed"),
        [
            ("wallet", "cash = cash + 1 WHERE id = %s", "cash", 951, 950),
            ("wallet", "promo = promo + 1 WHERE id = %s", "promo", 1, 0),
            ("wallet", "granted = granted - 1 WHERE id = %s", "granted", 49, 50),
            ("grant", "amount = amount + 1 WHERE wallet_id = %s", "granted", 50, 51),
        ],
    )
    def test_finds_a_planted_difference(
        self,
        wallet: WalletView,
        table: str,
        change: str,
        what: str,
        stored: int,
        computed: int,
    ) -> None:
        plant(f"UPDATE billing_{table} SET {change}", wallet.id)

        assert verify_ledger() == [Difference(wallet.id, what, stored, computed)]

    def test_finds_a_changed_transfer(self, wallet: WalletView) -> None:
        plant("UPDATE billing_transfer SET amount = amount - 1 WHERE reference = 'u:cash'")

        assert verify_ledger() == [Difference(wallet.id, "cash", 950, 951)]

    def test_finds_a_missing_transfer(self, wallet: WalletView) -> None:
        plant("DELETE FROM billing_transfer WHERE reference = 'u:promo'")

        assert verify_ledger() == [Difference(wallet.id, "promo", 0, 200)]

    def test_finds_a_transfer_whose_account_is_gone(self, wallet: WalletView) -> None:
        plant("DELETE FROM billing_account WHERE kind = 'REVENUE'")

        found = verify_ledger()

        assert [difference.wallet_id for difference in found] == [None, None]
        assert "u:cash without its accounts" in str(found[0])


class TestCommand:
    def test_says_that_all_is_well(self, wallet: WalletView) -> None:
        out = StringIO()

        call_command("verify_ledger", stdout=out)

        assert out.getvalue() == "The ledger is sound.\n"

    def test_fails_with_every_difference(self, wallet: WalletView) -> None:
        plant("UPDATE billing_wallet SET cash = cash + 1 WHERE id = %s", wallet.id)
        errors = StringIO()

        with pytest.raises(CommandError, match="1 differences"):
            call_command("verify_ledger", stderr=errors)

        assert errors.getvalue() == (
            f"wallet {wallet.id}: cash: is $0.000000951, should be $0.00000095\n"
        )
