"""Captures: a charge takes the grant, then what is available; promotional money before cash."""

import pytest
from django.db import DatabaseError, DataError, IntegrityError, connection, transaction

from billing import grants, ledger
from billing.models import Grant, Transfer
from billing.queries import WalletView
from billing.verification import verify_ledger
from tests.factories.billing import again, make_process, make_wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def epoch() -> int:
    return make_process()


def lock(epoch: int | None, *wallets: WalletView) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_lock(%s, %s)", [epoch, [wallet.id for wallet in wallets]])
        return bool(cursor.fetchone()[0])


def capture(epoch: int | None, wallet: WalletView, charge: int, name: str = "u") -> tuple[int, int]:
    """(paid, from_grant)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM billing_capture(%s, %s, %s, %s)", [epoch, wallet.id, charge, name]
        )
        return cursor.fetchone()


def granted(epoch: int, wallet: WalletView, amount: int) -> None:
    taken = grants.take(epoch=epoch, wallet_id=wallet.id, want=amount, need=amount, seq=1)
    assert taken.amount == amount


def transfers(name: str = "u") -> dict[str, int]:
    found = Transfer.objects.filter(reference__startswith=f"{name}:").order_by("id")
    return {transfer.reference.removeprefix(f"{name}:"): transfer.amount for transfer in found}


class TestLock:
    def test_says_whether_the_process_is_live(self, epoch: int) -> None:
        wallet = make_wallet()

        assert lock(epoch, wallet) is True
        assert lock(None, wallet) is False
        assert lock(404_404, wallet) is False
        grants.stop_process(epoch=epoch)
        assert lock(epoch, wallet) is False

    def test_takes_a_wallet_named_twice(self, epoch: int) -> None:
        wallet = make_wallet()

        assert lock(epoch, wallet, wallet) is True

    def test_refuses_a_wallet_that_does_not_exist(self, epoch: int) -> None:
        with (
            pytest.raises(DatabaseError, match="do not exist"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT billing_lock(%s, %s)", [epoch, [404_404]])


class TestCapture:
    def test_takes_the_grant(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)

        assert capture(epoch, wallet, 150) == (150, 150)

        after = again(wallet)
        assert (after.cash, after.granted, after.available) == (850, 250, 600)
        assert Grant.objects.get().amount == 250
        assert transfers() == {"cash": 150}
        assert verify_ledger() == []

    def test_closes_a_grant_that_it_empties(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)

        assert capture(epoch, wallet, 400) == (400, 400)

        assert Grant.objects.get().closed_at is not None
        assert verify_ledger() == []

    def test_beyond_the_grant_takes_what_is_available(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)

        assert capture(epoch, wallet, 700) == (700, 400)

        assert again(wallet).cash == 300
        assert verify_ledger() == []

    def test_writes_off_what_is_not_there(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)
        granted(make_process(), wallet, 500)

        assert capture(epoch, wallet, 700) == (500, 400)

        after = again(wallet)
        assert (after.cash, after.granted, after.available) == (500, 500, 0)
        assert transfers() == {"cash": 500, "write-off": 200}
        write_off = Transfer.objects.select_related("debit", "credit").get(reference="u:write-off")
        assert (write_off.debit.kind, write_off.credit.kind) == ("WRITE_OFF", "REVENUE")
        assert verify_ledger() == []

    def test_takes_promotional_money_before_cash(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000, promo=300)
        granted(epoch, wallet, 400)

        assert capture(epoch, wallet, 350) == (350, 350)

        assert (again(wallet).promo, again(wallet).cash) == (0, 950)
        assert transfers() == {"promo": 300, "cash": 50}

    def test_writes_nothing_for_nothing(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)

        assert capture(epoch, wallet, 0) == (0, 0)

        assert transfers() == {}
        assert again(wallet).granted == 400

    def test_of_an_empty_wallet_is_a_write_off(self, epoch: int) -> None:
        wallet = make_wallet()

        assert capture(epoch, wallet, 7) == (0, 0)

        assert transfers() == {"write-off": 7}
        assert verify_ledger() == []

    def test_settles_on_a_frozen_wallet(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)
        ledger.freeze(wallet_id=wallet.id, reason="x", actor="staff")

        assert capture(epoch, wallet, 500) == (500, 400)

    def test_of_an_ended_process_takes_what_is_available(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        granted(epoch, wallet, 400)
        granted(make_process(), wallet, 500)
        grants.stop_process(epoch=epoch)

        assert capture(epoch, wallet, 700) == (500, 0)

        assert again(wallet).granted == 500
        assert transfers() == {"cash": 500, "write-off": 200}

    def test_of_no_process_takes_what_is_available(self) -> None:
        wallet = make_wallet(cash=10)

        assert capture(None, wallet, 4) == (4, 0)

    def test_closes_the_grants_of_the_dead_before_it_writes_off(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        dead = make_process()
        granted(dead, wallet, 900)
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE billing_gatewayprocess SET state = 'DEAD', ended_at = now()"
                " WHERE epoch = %s",
                [dead],
            )

        assert capture(epoch, wallet, 700) == (700, 0)
        assert verify_ledger() == []

    def test_refuses_a_reference_twice(self, epoch: int) -> None:
        wallet = make_wallet(cash=1_000)
        capture(epoch, wallet, 10)

        with (
            pytest.raises(IntegrityError, match="billing_transfer_reference"),
            transaction.atomic(),
        ):
            capture(epoch, wallet, 10)
        assert again(wallet).cash == 990

    def test_refuses_a_negative_charge(self, epoch: int) -> None:
        with pytest.raises(DataError), transaction.atomic():
            capture(epoch, make_wallet(), -1)

    def test_serves_many_wallets_in_one_statement(self, epoch: int) -> None:
        wallets = [make_wallet(cash=100) for _ in range(3)]
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT w.id, c.paid FROM unnest(%s::bigint[]) WITH ORDINALITY AS w(id, n),"
                " LATERAL billing_capture(%s, w.id, 10 * w.n, 'batch:' || w.id) AS c ORDER BY w.n",
                [[wallet.id for wallet in wallets], epoch],
            )
            paid = [row[1] for row in cursor.fetchall()]

        assert paid == [10, 20, 30]
        assert [again(wallet).cash for wallet in wallets] == [90, 80, 70]
