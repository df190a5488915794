"""Grants: what a process takes of a wallet, gives back, is asked for, and loses when it ends."""

from datetime import timedelta

import pytest
from django.db import DataError, IntegrityError, connection, transaction
from django.utils import timezone

from accounts.changes import ChangeKind
from accounts.models import Change
from billing import grants, ledger
from billing.grants import ProcessEnded, TakeStatus
from billing.models import GatewayProcess, Grant
from billing.queries import WalletView
from billing.verification import verify_ledger
from tests.factories.billing import again, make_process, make_wallet

pytestmark = pytest.mark.django_db


@pytest.fixture
def wallet() -> WalletView:
    return make_wallet(cash=1_000)


@pytest.fixture
def epoch() -> int:
    return make_process()


def take(
    epoch: int, wallet: WalletView, amount: int, *, seq: int = 1, want: int | None = None
) -> grants.Taken:
    return grants.take(
        epoch=epoch,
        wallet_id=wallet.id,
        want=amount if want is None else want,
        need=amount,
        seq=seq,
    )


def declare_dead(epoch: int) -> None:
    """As the sweeper does, without its waiting."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_declare_dead(epoch, lease_until) FROM billing_gatewayprocess"
            " WHERE epoch = %s",
            [epoch],
        )
        assert cursor.fetchone() == (True,)


class TestProcess:
    def test_gets_an_epoch_that_is_never_used_again(self) -> None:
        first = grants.register_process(name="a", lease_s=10)
        second = grants.register_process(name="a", lease_s=10)

        assert second.epoch > first.epoch
        lease = GatewayProcess.objects.get(epoch=first.epoch).lease_until - first.database_time
        assert lease == timedelta(seconds=10)

    def test_renews_its_lease(self, epoch: int) -> None:
        renewed = grants.renew_lease(epoch=epoch, lease_s=60)

        assert renewed.is_live
        left = GatewayProcess.objects.get(epoch=epoch).lease_until - renewed.database_time
        assert timedelta(seconds=59) < left <= timedelta(seconds=60)

    def test_renews_a_lease_that_ended_while_nobody_declared_it_dead(self) -> None:
        late = make_process(lease_s=-30)

        assert grants.renew_lease(epoch=late, lease_s=10).is_live

    def test_never_lives_again(self, epoch: int) -> None:
        stopped = make_process()
        grants.stop_process(epoch=stopped)
        declare_dead(epoch)

        assert not grants.renew_lease(epoch=stopped, lease_s=10).is_live
        assert not grants.renew_lease(epoch=epoch, lease_s=10).is_live
        assert not grants.renew_lease(epoch=404_404, lease_s=10).is_live


class TestTake:
    def test_takes_what_is_wanted_when_it_is_there(self, wallet: WalletView, epoch: int) -> None:
        taken = take(epoch, wallet, 10, want=400)

        assert (taken.status, taken.amount, taken.available) == (TakeStatus.TAKEN, 400, 600)
        assert again(wallet).granted == 400
        assert verify_ledger() == []

    def test_takes_just_the_need_when_less_is_there(self, wallet: WalletView, epoch: int) -> None:
        taken = take(epoch, wallet, 900, want=1_001)

        assert (taken.status, taken.amount, taken.available) == (TakeStatus.TAKEN, 900, 100)

    def test_takes_all_or_nothing(self, wallet: WalletView, epoch: int) -> None:
        taken = take(epoch, wallet, 1_001)

        assert (taken.status, taken.amount, taken.available) == (TakeStatus.SHORT, 0, 1_000)
        assert again(wallet).granted == 0
        assert take(epoch, wallet, 1_000, seq=2).amount == 1_000

    def test_counts_promotional_money(self, epoch: int) -> None:
        wallet = make_wallet(cash=1, promo=9)

        assert take(epoch, wallet, 10).amount == 10

    def test_adds_to_the_grant(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 10)
        take(epoch, wallet, 5, seq=2)

        assert Grant.objects.get().amount == 15

    def test_tells_what_others_hold(self, wallet: WalletView, epoch: int) -> None:
        other = make_process()
        make_process(lease_s=-1)
        take(other, wallet, 300)

        taken = take(epoch, wallet, 50)

        assert (taken.granted_elsewhere, taken.live_processes) == (300, 2)
        assert take(epoch, wallet, 5_000, seq=2).granted_elsewhere == 300

    def test_repeated_moves_nothing_and_says_the_same(self, wallet: WalletView, epoch: int) -> None:
        first = take(epoch, wallet, 100, want=400)
        repeated = take(epoch, wallet, 100, want=400)

        assert repeated == first
        assert again(wallet).granted == 400

    def test_repeated_says_the_same_when_the_money_has_moved_on(
        self, wallet: WalletView, epoch: int
    ) -> None:
        take(epoch, wallet, 400)
        self.capture(epoch, wallet, 400)
        ledger.freeze(wallet_id=wallet.id, reason="x", actor="staff")

        assert take(epoch, wallet, 400).amount == 400
        assert again(wallet).granted == 0

    def test_repeated_after_a_refusal_may_succeed(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 1_500)
        ledger.adjust(
            wallet_id=wallet.id, amount=500, reference="a", actor="staff", reason="goodwill"
        )

        assert take(epoch, wallet, 1_500).amount == 1_500

    def test_refuses_an_older_order(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 1, seq=2)

        with pytest.raises(DataError, match="comes after order 2"), transaction.atomic():
            take(epoch, wallet, 1, seq=1)
        assert again(wallet).granted == 1

    def test_refuses_the_number_of_a_give_back(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 10)
        grants.give_back(epoch=epoch, wallet_id=wallet.id, amount=5, seq=2)

        with pytest.raises(DataError), transaction.atomic():
            take(epoch, wallet, 10, seq=2)

    @pytest.mark.parametrize(
        ("want", "need", "seq"), [(0, 0, 1), (5, 6, 1), (-1, -1, 1), (1, 1, 0)]
    )
    def test_refuses_senseless_orders(
        self, wallet: WalletView, epoch: int, want: int, need: int, seq: int
    ) -> None:
        with pytest.raises(DataError), transaction.atomic():
            grants.take(epoch=epoch, wallet_id=wallet.id, want=want, need=need, seq=seq)

    def test_takes_nothing_of_a_frozen_wallet(self, wallet: WalletView, epoch: int) -> None:
        ledger.freeze(wallet_id=wallet.id, reason="x", actor="staff")

        taken = take(epoch, wallet, 1)

        assert (taken.status, taken.amount) == (TakeStatus.FROZEN, 0)
        assert again(wallet).granted == 0

    @pytest.mark.parametrize("end", [declare_dead, lambda epoch: grants.stop_process(epoch=epoch)])
    def test_is_refused_after_the_end(self, wallet: WalletView, epoch: int, end: object) -> None:
        take(epoch, wallet, 10)
        end(epoch)  # type: ignore[operator]

        assert take(epoch, wallet, 10).status == TakeStatus.DEAD
        assert take(epoch, wallet, 10, seq=2).status == TakeStatus.DEAD
        assert take(404_404, wallet, 10).status == TakeStatus.DEAD
        with pytest.raises(ProcessEnded):
            grants.give_back(epoch=epoch, wallet_id=wallet.id, amount=10, seq=2)
        assert again(wallet).granted == 0

    def test_closes_a_dead_processs_grant_first(self, wallet: WalletView, epoch: int) -> None:
        dead = make_process()
        take(dead, wallet, 1_000)
        declare_dead(dead)

        taken = take(epoch, wallet, 1_000)

        assert (taken.status, taken.amount, taken.granted_elsewhere) == ("TAKEN", 1_000, 0)
        closed = Grant.objects.get(process_id=dead)
        assert (closed.amount, closed.swept) == (0, 1_000)
        assert closed.closed_at is not None
        assert verify_ledger() == []

    def test_does_not_touch_the_grant_of_a_process_that_is_merely_late(
        self, wallet: WalletView, epoch: int
    ) -> None:
        late = make_process(lease_s=-30)
        take(late, wallet, 1_000)

        assert take(epoch, wallet, 1).status == TakeStatus.SHORT

    def test_last_guard_is_the_constraint(self, wallet: WalletView, epoch: int) -> None:
        with (
            pytest.raises(IntegrityError, match="billing_wallet_granted"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT billing_grant_more(%s, %s, 1001, 1)", [epoch, wallet.id])

    def capture(self, epoch: int, wallet: WalletView, charge: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT billing_capture(%s, %s, %s, 'x')", [epoch, wallet.id, charge])


class TestGiveBack:
    def give_back(
        self, epoch: int, wallet: WalletView, amount: int, *, seq: int = 2, recall_seen: int = 0
    ) -> int:
        return grants.give_back(
            epoch=epoch, wallet_id=wallet.id, amount=amount, seq=seq, recall_seen=recall_seen
        )

    def test_makes_money_available_again(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 700)

        assert self.give_back(epoch, wallet, 300) == 300
        assert again(wallet).available == 600
        assert verify_ledger() == []

    def test_gives_no_more_than_the_grant(self, wallet: WalletView, epoch: int) -> None:
        take(make_process(), wallet, 200)
        take(epoch, wallet, 100)

        assert self.give_back(epoch, wallet, 5_000) == 100
        assert again(wallet).granted == 200

    def test_repeated_gives_once(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 700)

        assert [self.give_back(epoch, wallet, 300) for _ in range(3)] == [300, 300, 300]
        assert again(wallet).granted == 400

    def test_closes_an_empty_grant_and_a_take_opens_it_again(
        self, wallet: WalletView, epoch: int
    ) -> None:
        take(epoch, wallet, 700)
        self.give_back(epoch, wallet, 700)

        assert Grant.objects.get().closed_at is not None
        assert self.give_back(epoch, wallet, 700) == 700
        assert again(wallet).granted == 0
        take(epoch, wallet, 5, seq=3)
        assert Grant.objects.get().closed_at is None
        assert verify_ledger() == []

    def test_without_a_grant_gives_nothing(self, wallet: WalletView, epoch: int) -> None:
        assert self.give_back(epoch, wallet, 10) == 0

    def test_refuses_the_number_of_a_take(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 10)

        with pytest.raises(DataError), transaction.atomic():
            self.give_back(epoch, wallet, 10, seq=1)
        with pytest.raises(DataError), transaction.atomic():
            self.give_back(epoch, wallet, -1, seq=2)

    def test_works_on_a_frozen_wallet(self, wallet: WalletView, epoch: int) -> None:
        take(epoch, wallet, 10)
        ledger.freeze(wallet_id=wallet.id, reason="x", actor="staff")

        assert self.give_back(epoch, wallet, 10) == 10


class TestRecall:
    def recall(self, wallet: WalletView, epoch: int) -> int:
        return grants.recall(wallet_id=wallet.id, epoch=epoch)

    def is_answered(self, wallet: WalletView, epoch: int, number: int) -> bool:
        return grants.recall_answered(wallet_id=wallet.id, epoch=epoch, number=number)

    def changes(self) -> list[int]:
        found = Change.objects.filter(kind=ChangeKind.RECALL).order_by("id")
        return [change.pk for change in found]

    def test_is_a_change_that_the_holders_poll(self, wallet: WalletView, epoch: int) -> None:
        take(make_process(), wallet, 600)

        number = self.recall(wallet, epoch)

        change = Change.objects.get(kind=ChangeKind.RECALL)
        assert (change.pk, change.subject_id) == (number, wallet.id)
        assert abs(timezone.now() - change.created_at) < timedelta(seconds=30)
        assert take(epoch, wallet, 500).recall_number == number

    def test_is_answered_when_every_other_holder_has_answered(
        self, wallet: WalletView, epoch: int
    ) -> None:
        busy, idle = make_process(), make_process()
        take(busy, wallet, 300)
        take(idle, wallet, 300)
        take(epoch, wallet, 10)
        number = self.recall(wallet, epoch)

        assert not self.is_answered(wallet, epoch, number)
        grants.give_back(epoch=idle, wallet_id=wallet.id, amount=300, seq=2, recall_seen=number)
        assert not self.is_answered(wallet, epoch, number)
        grants.give_back(epoch=busy, wallet_id=wallet.id, amount=0, seq=2, recall_seen=number)
        assert self.is_answered(wallet, epoch, number)

    def test_coalesces_while_it_waits(self, wallet: WalletView, epoch: int) -> None:
        holder, third = make_process(), make_process()
        take(holder, wallet, 900)

        numbers = {self.recall(wallet, epoch), self.recall(wallet, third)}

        assert self.changes() == list(numbers)

    def test_is_made_anew_once_answered(self, wallet: WalletView, epoch: int) -> None:
        holder = make_process()
        take(holder, wallet, 900)
        first = self.recall(wallet, epoch)
        grants.give_back(epoch=holder, wallet_id=wallet.id, amount=1, seq=2, recall_seen=first)

        second = self.recall(wallet, epoch)

        assert second > first
        assert not self.is_answered(wallet, epoch, second)

    def test_is_made_anew_when_a_holder_stays_silent(self, wallet: WalletView, epoch: int) -> None:
        take(make_process(), wallet, 900)
        first = self.recall(wallet, epoch)
        with connection.cursor() as cursor:
            cursor.execute("UPDATE billing_wallet SET recalled_at = recalled_at - interval '1 s'")

        assert self.recall(wallet, epoch) > first

    def test_asks_nobody_when_nobody_else_holds_anything(
        self, wallet: WalletView, epoch: int
    ) -> None:
        take(epoch, wallet, 900)
        emptied = make_process()
        take(emptied, wallet, 50)
        grants.give_back(epoch=emptied, wallet_id=wallet.id, amount=50, seq=2)

        number = self.recall(wallet, epoch)

        assert self.changes() == []
        assert self.is_answered(wallet, epoch, number)

    def test_does_not_wait_for_the_dead(self, wallet: WalletView, epoch: int) -> None:
        dead = make_process()
        take(dead, wallet, 900)
        number = self.recall(wallet, epoch)

        declare_dead(dead)

        assert self.is_answered(wallet, epoch, number)


class TestStop:
    def test_closes_every_grant(self, epoch: int) -> None:
        wallets = [make_wallet(cash=100) for _ in range(3)]
        for wallet in wallets:
            take(epoch, wallet, 40)

        assert grants.stop_process(epoch=epoch) == 120

        assert [again(wallet).granted for wallet in wallets] == [0, 0, 0]
        process = GatewayProcess.objects.get(epoch=epoch)
        assert (process.state, process.swept_at) == ("STOPPED", None)
        assert not Grant.objects.filter(swept__isnull=False).exists()
        assert grants.stop_process(epoch=epoch) == 0
        assert verify_ledger() == []

    def test_leaves_the_dead_dead(self, epoch: int) -> None:
        declare_dead(epoch)

        grants.stop_process(epoch=epoch)

        assert GatewayProcess.objects.get(epoch=epoch).state == "DEAD"
