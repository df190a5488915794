"""The ledger: every reference once, nothing changed afterwards, constraints as the last guard."""

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from accounts.changes import ChangeKind
from accounts.models import Change, Workspace
from billing import grants, ledger
from billing.chart import clearing
from billing.ledger import AccountKind, HouseAccount, TransferKind
from billing.models import Account, Transfer, Wallet
from billing.queries import WalletView, statement, wallet_id_of, wallet_of
from billing.verification import verify_ledger
from tests.factories.billing import again, make_process, make_wallet, put, reference

pytestmark = pytest.mark.django_db


@pytest.fixture
def wallet() -> WalletView:
    return make_wallet(cash=1_000)


def execute(sql: str, *params: object) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, params)


class TestWalletOf:
    def test_makes_the_wallet_at_its_first_reading(self) -> None:
        workspace = Workspace.objects.create(name="Acme")

        first = wallet_of(workspace_id=workspace.pk)

        assert (first.balance, first.available, first.mode) == (0, 0, "sandbox")
        assert wallet_of(workspace_id=workspace.pk) == first
        assert wallet_id_of(workspace_id=workspace.pk) == first.id

    def test_keeps_test_money_and_real_money_apart(self, settings: object) -> None:
        sandbox = make_wallet(cash=1_000)

        settings.TOKENMIX_MODE = "live"  # type: ignore[attr-defined]
        live = again(sandbox)

        assert live.id != sandbox.id
        assert (live.mode, live.balance) == ("live", 0)

    def test_shows_the_debt_in_the_balance_only(self, wallet: WalletView) -> None:
        Wallet.objects.filter(pk=wallet.id).update(debt=300)

        assert (again(wallet).balance, again(wallet).available) == (700, 1_000)


class TestCredit:
    def test_moves_money_from_the_house_to_the_wallet(self, wallet: WalletView) -> None:
        is_new = ledger.credit(
            wallet_id=wallet.id,
            amount=500,
            reference="payment:1",
            source=clearing(provider="stripe"),
            kind=TransferKind.TOP_UP,
            actor="provider:stripe",
        )

        assert is_new
        assert again(wallet).cash == 1_500
        transfer = Transfer.objects.get(reference="payment:1")
        assert (transfer.debit.kind, transfer.debit.provider) == ("CLEARING", "stripe")
        assert (transfer.credit.kind, transfer.credit.wallet_id) == ("CASH", wallet.id)
        assert (transfer.amount, transfer.actor) == (500, "provider:stripe")

    def test_twice_moves_once_and_says_so(self, wallet: WalletView) -> None:
        def credit() -> bool:
            return ledger.credit(
                wallet_id=wallet.id,
                amount=500,
                reference="payment:1",
                source=HouseAccount.CLEARING,
                kind="TOP_UP",
            )

        assert [credit(), credit(), credit()] == [True, False, False]
        assert again(wallet).cash == 1_500

    @pytest.mark.parametrize("difference", ["amount", "wallet", "source", "kind"])
    def test_refuses_a_reference_that_means_something_else(
        self, wallet: WalletView, difference: str
    ) -> None:
        order = {
            "wallet_id": wallet.id,
            "amount": 500,
            "source": HouseAccount.CLEARING,
            "kind": TransferKind.TOP_UP,
        }
        ledger.credit(**order, reference="payment:1")  # type: ignore[arg-type]
        others = {
            "amount": {"amount": 501},
            "wallet": {"wallet_id": make_wallet().id},
            "source": {"source": HouseAccount.EQUITY},
            "kind": {"kind": TransferKind.PROMOTION},
        }

        with pytest.raises(ledger.ReferenceTaken):
            ledger.credit(**{**order, **others[difference]}, reference="payment:1")  # type: ignore[arg-type]

        assert again(wallet).cash == 1_500
        assert verify_ledger() == []

    @pytest.mark.parametrize("amount", [0, -1])
    def test_refuses_nothing_and_less(self, wallet: WalletView, amount: int) -> None:
        with pytest.raises(ValueError, match="more than nothing"):
            ledger.credit(
                wallet_id=wallet.id,
                amount=amount,
                reference="x",
                source=HouseAccount.CLEARING,
                kind="TOP_UP",
            )

    def test_refuses_a_wallet_that_does_not_exist(self) -> None:
        with pytest.raises(ledger.UnknownWallet):
            ledger.credit(
                wallet_id=404, amount=1, reference="x", source=HouseAccount.CLEARING, kind="TOP_UP"
            )

    def test_fails_whole_when_a_wallet_overflows(self, wallet: WalletView) -> None:
        with pytest.raises(DatabaseError), transaction.atomic():
            put(wallet, 2**63 - 1)

        assert again(wallet).cash == 1_000
        assert verify_ledger() == []


class TestAdjust:
    def adjust(self, wallet: WalletView, amount: int, name: str = "") -> bool:
        return ledger.adjust(
            wallet_id=wallet.id,
            amount=amount,
            reference=name or reference(),
            actor="staff",
            reason="goodwill",
        )

    def test_moves_cash_up_and_down(self, wallet: WalletView) -> None:
        self.adjust(wallet, 50)
        self.adjust(wallet, -1_050)

        assert again(wallet).cash == 0
        assert verify_ledger() == []

    def test_repeats_as_done_even_when_the_money_is_gone(self, wallet: WalletView) -> None:
        assert self.adjust(wallet, -1_000, "a") is True
        assert self.adjust(wallet, -1_000, "a") is False

    def test_takes_no_more_than_is_there(self, wallet: WalletView) -> None:
        with pytest.raises(ledger.NotAvailable):
            self.adjust(wallet, -1_001)

        assert again(wallet).cash == 1_000

    def test_takes_nothing_that_is_granted(self, wallet: WalletView) -> None:
        grants.take(epoch=make_process(), wallet_id=wallet.id, want=900, need=900, seq=1)

        with pytest.raises(ledger.NotAvailable):
            self.adjust(wallet, -101)
        self.adjust(wallet, -100)

    def test_takes_no_promotional_money(self) -> None:
        wallet = make_wallet(cash=10, promo=100)

        with pytest.raises(ledger.NotAvailable):
            self.adjust(wallet, -11)

    def test_wants_a_reason(self, wallet: WalletView) -> None:
        with pytest.raises(ValueError, match="reason"):
            ledger.adjust(wallet_id=wallet.id, amount=1, reference="x", actor="staff", reason=" ")


class TestFreeze:
    def test_is_told_to_the_gateways_once(self, wallet: WalletView) -> None:
        assert ledger.freeze(wallet_id=wallet.id, reason="dispute", actor="staff") is True
        assert ledger.freeze(wallet_id=wallet.id, reason="again", actor="staff") is False

        assert again(wallet).is_frozen
        assert again(wallet).frozen_reason == "dispute"
        told = Change.objects.filter(kind=ChangeKind.FREEZE, subject_id=wallet.id)
        assert told.count() == 1

    def test_is_undone(self, wallet: WalletView) -> None:
        ledger.freeze(wallet_id=wallet.id, reason="dispute", actor="staff")

        assert ledger.unfreeze(wallet_id=wallet.id, reason="won", actor="staff") is True
        assert ledger.unfreeze(wallet_id=wallet.id, reason="won", actor="staff") is False

        assert not again(wallet).is_frozen
        assert Change.objects.filter(kind=ChangeKind.FREEZE, subject_id=wallet.id).count() == 2

    def test_takes_credits_all_the_same(self, wallet: WalletView) -> None:
        ledger.freeze(wallet_id=wallet.id, reason="dispute", actor="staff")

        put(wallet, 5)

        assert again(wallet).cash == 1_005

    def test_refuses_a_wallet_that_does_not_exist(self) -> None:
        with pytest.raises(ledger.UnknownWallet):
            ledger.freeze(wallet_id=404, reason="x", actor="staff")


class TestAppendOnly:
    def test_the_orm_changes_nothing(self, wallet: WalletView) -> None:
        transfer = Transfer.objects.get()

        with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
            Transfer.objects.update(amount=1)
        with pytest.raises(DatabaseError, match="Cannot update"), transaction.atomic():
            transfer.save(update_fields=["reason"])
        with pytest.raises(DatabaseError, match="Cannot update or delete"), transaction.atomic():
            transfer.delete()
        with pytest.raises(DatabaseError, match="Cannot update or delete"), transaction.atomic():
            Transfer.objects.all().delete()

    @pytest.mark.parametrize(
        "sql",
        [
            "UPDATE billing_transfer SET amount = amount + 1",
            "DELETE FROM billing_transfer",
            "TRUNCATE billing_transfer",
            "TRUNCATE billing_account CASCADE",
            "UPDATE billing_account SET kind = 'PROMO' WHERE kind = 'CASH'",
            "DELETE FROM billing_account WHERE kind = 'FEES' OR true",
        ],
    )
    def test_raw_sql_changes_nothing(self, wallet: WalletView, sql: str) -> None:
        execute("SET CONSTRAINTS ALL IMMEDIATE")  # as after a commit
        with pytest.raises(DatabaseError, match="pgtrigger: Cannot"):
            execute(sql)

        assert again(wallet).cash == 1_000
        assert verify_ledger() == []


class TestConstraints:
    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ("cash = -1", "billing_wallet_cash"),
            ("promo = -1", "billing_wallet_promo"),
            ("debt = -1", "billing_wallet_debt"),
            ("granted = -1", "billing_wallet_granted"),
            ("granted = cash + promo + 1", "billing_wallet_granted"),
            ("mode = 'test'", "billing_wallet_mode"),
        ],
    )
    def test_keep_a_wallet_whole(self, wallet: WalletView, change: str, constraint: str) -> None:
        with pytest.raises(IntegrityError, match=constraint):
            execute(f"UPDATE billing_wallet SET {change} WHERE id = %s", wallet.id)

    def test_give_a_workspace_one_wallet_per_mode(self, wallet: WalletView) -> None:
        with pytest.raises(IntegrityError, match="billing_wallet_once_per_mode"):
            execute(
                "INSERT INTO billing_wallet (workspace_id, mode) VALUES (%s, 'sandbox')",
                wallet.workspace_id,
            )

    @pytest.mark.parametrize("amount", [0, -1])
    def test_refuse_an_empty_transfer(self, wallet: WalletView, amount: int) -> None:
        with pytest.raises(IntegrityError, match="billing_transfer_amount"):
            self.transfer(wallet, amount=amount)

    def test_refuse_a_reference_twice(self, wallet: WalletView) -> None:
        self.transfer(wallet, name="once")
        with pytest.raises(IntegrityError, match="billing_transfer_reference"):
            self.transfer(wallet, name="once")

    def test_refuse_a_transfer_to_itself(self, wallet: WalletView) -> None:
        account = Account.objects.get(wallet_id=wallet.id, kind="CASH")
        with pytest.raises(IntegrityError, match="billing_transfer_two_accounts"):
            self.transfer(wallet, debit=account.pk)

    def test_refuse_an_account_that_does_not_exist(self, wallet: WalletView) -> None:
        with pytest.raises(IntegrityError, match="two accounts of one mode"):
            self.transfer(wallet, debit=404_404)

    def test_refuse_to_mix_test_money_with_real(self, wallet: WalletView) -> None:
        live = Account.objects.create(kind="CLEARING", mode="live")
        with pytest.raises(IntegrityError, match="two accounts of one mode"):
            self.transfer(wallet, debit=live.pk)

    def test_refuse_a_house_account_with_a_wallet(self, wallet: WalletView) -> None:
        with pytest.raises(IntegrityError, match="billing_account_owner"), transaction.atomic():
            Account.objects.create(kind="REVENUE", mode="sandbox", wallet_id=wallet.id)

    def test_refuse_a_second_house_account(self, wallet: WalletView) -> None:
        with pytest.raises(IntegrityError, match="billing_account_once"), transaction.atomic():
            Account.objects.create(kind="REVENUE", mode="sandbox")

    def transfer(
        self, wallet: WalletView, *, amount: int = 1, name: str = "x", debit: int | None = None
    ) -> None:
        with transaction.atomic():
            Transfer.objects.create(
                reference=name,
                kind=TransferKind.ADJUSTMENT,
                debit_id=debit or Account.objects.get(kind="CLEARING", mode="sandbox").pk,
                credit_id=Account.objects.get(wallet_id=wallet.id, kind=AccountKind.CASH).pk,
                amount=amount,
            )


class TestStatement:
    def test_shows_newest_first_with_signs(self, wallet: WalletView) -> None:
        put(wallet, 10, into=AccountKind.PROMO, kind=TransferKind.PROMOTION)
        ledger.adjust(
            wallet_id=wallet.id, amount=-200, reference="a", actor="staff", reason="a mistake"
        )
        put(make_wallet(), 77)

        lines = statement(wallet_id=wallet.id, limit=10)

        assert [(line.kind, line.account, line.amount) for line in lines] == [
            ("ADJUSTMENT", "CASH", -200),
            ("PROMOTION", "PROMO", 10),
            ("TOP_UP", "CASH", 1_000),
        ]
        assert lines[0].reason == "a mistake"
        assert len(statement(wallet_id=wallet.id, limit=2)) == 2
