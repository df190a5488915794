"""The sweeper: only a death that it has itself watched, without losing sight, frees money."""

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection

from billing import grants
from billing.models import GatewayProcess, Grant
from billing.queries import WalletView
from billing.sweeper import Sweeper, Swept
from billing.verification import verify_ledger
from tests.factories.billing import again, make_process, make_wallet

pytestmark = pytest.mark.django_db

NOBODY = Swept(processes=0, grants=0, amount=0)


@pytest.fixture
def sweeper() -> Sweeper:
    return Sweeper(delay_s=20)


@pytest.fixture
def wallet() -> WalletView:
    return make_wallet(cash=1_000)


@pytest.fixture
def late(wallet: WalletView) -> int:
    """A process whose lease has ended, with 400 in hand."""
    return holder(wallet, 400, lease_s=-1)


def holder(wallet: WalletView, amount: int, *, lease_s: float) -> int:
    epoch = make_process(lease_s=lease_s)
    grants.take(epoch=epoch, wallet_id=wallet.id, want=amount, need=amount, seq=1)
    return epoch


def watch(sweeper: Sweeper, *, start: float, end: float, step: float = 5) -> list[Swept]:
    """A pass at every step from start to end, both included."""
    moments = [start + n * step for n in range(int((end - start) / step) + 1)]
    return [sweeper.pass_(moment) for moment in moments]


def state(epoch: int) -> str:
    return GatewayProcess.objects.get(epoch=epoch).state


class TestSweeper:
    def test_sweeps_after_the_whole_delay_and_not_before(
        self, sweeper: Sweeper, wallet: WalletView, late: int
    ) -> None:
        assert watch(sweeper, start=100, end=115) == [NOBODY] * 4
        assert (state(late), again(wallet).granted) == ("LIVE", 400)

        assert sweeper.pass_(120) == Swept(processes=1, grants=1, amount=400)

        assert (state(late), again(wallet).granted) == ("DEAD", 0)
        assert sweeper.pass_(121) == NOBODY
        assert verify_ledger() == []

    def test_writes_down_what_the_dead_held(self, sweeper: Sweeper, late: int) -> None:
        grants.take(epoch=late, wallet_id=make_wallet(cash=50).id, want=7, need=7, seq=1)

        watch(sweeper, start=0, end=20)

        dead = GatewayProcess.objects.get(epoch=late)
        assert (dead.swept_grants, dead.swept_amount) == (2, 407)
        assert dead.swept_at is not None

    def test_leaves_the_living_alone(self, sweeper: Sweeper, wallet: WalletView) -> None:
        alive = holder(wallet, 400, lease_s=60)

        watch(sweeper, start=0, end=60)

        assert (state(alive), again(wallet).granted) == ("LIVE", 400)

    def test_starts_again_when_the_lease_moved(self, sweeper: Sweeper, late: int) -> None:
        watch(sweeper, start=0, end=15)
        grants.renew_lease(epoch=late, lease_s=-0.5)

        watch(sweeper, start=20, end=35)
        assert state(late) == "LIVE"

        sweeper.pass_(40)
        assert state(late) == "DEAD"

    def test_does_not_declare_dead_whose_lease_moved_at_the_last_moment(
        self, sweeper: Sweeper, late: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watch(sweeper, start=0, end=15)
        original = Sweeper._due

        def renew_after_looking(*args: object) -> object:
            found = original(*args)  # type: ignore[arg-type]
            grants.renew_lease(epoch=late, lease_s=10)
            return found

        monkeypatch.setattr(Sweeper, "_due", renew_after_looking)
        sweeper.pass_(20)

        assert state(late) == "LIVE"

    def test_starts_again_after_an_error_of_the_database(self, sweeper: Sweeper, late: int) -> None:
        watch(sweeper, start=0, end=15)
        with pytest.raises(OperationalError):
            sweeper.pass_(18, connection=BrokenConnection())

        watch(sweeper, start=20, end=35)
        assert state(late) == "LIVE"

        sweeper.pass_(40)
        assert state(late) == "DEAD"

    @pytest.mark.parametrize("end", ["forgotten", "asleep"])
    def test_starts_again_after_lost_contact(self, sweeper: Sweeper, late: int, end: str) -> None:
        watch(sweeper, start=0, end=5)
        if end == "forgotten":
            sweeper.forget()

        watch(sweeper, start=10 if end == "forgotten" else 16, end=29)
        assert state(late) == "LIVE"

        watch(sweeper, start=32, end=42)
        assert state(late) == "DEAD"

    def test_finishes_what_a_crash_left_undone(
        self, sweeper: Sweeper, wallet: WalletView, late: int
    ) -> None:
        stopped = holder(wallet, 100, lease_s=60)
        with connection.cursor() as cursor:
            cursor.execute("SELECT billing_stop(%s)", [stopped])
            cursor.execute(
                "SELECT billing_declare_dead(epoch, lease_until) FROM billing_gatewayprocess"
                " WHERE epoch = %s",
                [late],
            )

        assert sweeper.pass_(0) == Swept(processes=1, grants=1, amount=400)

        assert again(wallet).granted == 0
        assert GatewayProcess.objects.get(epoch=stopped).swept_at is None
        assert verify_ledger() == []

    def test_counts_grants_that_a_taker_closed_first(
        self, sweeper: Sweeper, wallet: WalletView, late: int
    ) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT billing_declare_dead(epoch, lease_until) FROM billing_gatewayprocess"
                " WHERE epoch = %s",
                [late],
            )
        holder(wallet, 1_000, lease_s=60)

        assert sweeper.pass_(0) == Swept(processes=1, grants=1, amount=400)

    def test_needs_nothing_of_a_process_that_stopped(
        self, sweeper: Sweeper, wallet: WalletView, late: int
    ) -> None:
        grants.stop_process(epoch=late)

        assert watch(sweeper, start=0, end=40) == [NOBODY] * 9
        assert state(late) == "STOPPED"

    def test_takes_its_delay_from_the_settings(self, settings: object) -> None:
        settings.TOKENMIX_SWEEP_DELAY_S = 3  # type: ignore[attr-defined]

        assert Sweeper().delay_s == 3


class BrokenConnection:
    def cursor(self) -> object:
        raise OperationalError("server closed the connection unexpectedly")


@pytest.mark.django_db(transaction=True)
class TestSweepCommand:
    def test_watches_for_the_delay_and_sweeps(
        self, settings: object, capsys: pytest.CaptureFixture[str]
    ) -> None:
        settings.TOKENMIX_SWEEP_DELAY_S = 1  # type: ignore[attr-defined]
        wallet = make_wallet(cash=1_000)
        holder(wallet, 400, lease_s=-1)

        call_command("sweep")

        assert capsys.readouterr().out == "Swept 1 processes with 1 open grants.\n"
        assert again(wallet).granted == 0
        assert not Grant.objects.filter(closed_at__isnull=True).exists()
