"""The operator's view of money: everything to read, nothing to edit, and three ways to act."""

from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import grants
from billing.models import Account, GatewayProcess, Grant, Transfer, Wallet
from billing.queries import WalletView
from tests.factories.billing import again, make_process, make_wallet

pytestmark = pytest.mark.django_db

TABLES = [Account, GatewayProcess, Grant, Transfer, Wallet]


@pytest.fixture
def wallet() -> WalletView:
    wallet = make_wallet(cash=12_500_000_000, promo=1)
    grants.take(epoch=make_process(), wallet_id=wallet.id, want=100, need=100, seq=1)
    return wallet


@pytest.fixture
def operator() -> User:
    return get_user_model().objects.create_superuser("boss@example.com", "secret")


@pytest.fixture
def browser(client: Client, operator: User) -> Client:
    client.force_login(operator)
    return client


def address(wallet: WalletView, act: str) -> str:
    return reverse(f"admin:billing_wallet_{act}", args=[wallet.id])


class TestReading:
    @pytest.mark.parametrize("table", TABLES)
    def test_shows_lists_and_rows(self, browser: Client, wallet: WalletView, table: type) -> None:
        name = f"admin:billing_{table._meta.model_name}"  # type: ignore[attr-defined]
        row = table.objects.order_by("-pk").first()  # type: ignore[attr-defined]

        assert browser.get(reverse(f"{name}_changelist"), {"q": "1"}).status_code == 200
        page = browser.get(reverse(f"{name}_change", args=[row.pk]))
        assert page.status_code == 200
        assert 'name="_save"' not in page.text

    @pytest.mark.parametrize("table", TABLES)
    def test_changes_adds_and_deletes_nothing(
        self, browser: Client, wallet: WalletView, table: type
    ) -> None:
        name = f"admin:billing_{table._meta.model_name}"  # type: ignore[attr-defined]
        row = table.objects.order_by("-pk").first()  # type: ignore[attr-defined]

        assert browser.get(reverse(f"{name}_add")).status_code == 403
        assert browser.post(reverse(f"{name}_delete", args=[row.pk])).status_code == 403
        assert browser.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403

    def test_shows_money_as_people_read_it(self, browser: Client, wallet: WalletView) -> None:
        page = browser.get(reverse("admin:billing_wallet_changelist"))

        assert "$12.500000001" in page.text
        assert "$0.0000001" in page.text

    def test_finds_open_grants(self, browser: Client, wallet: WalletView) -> None:
        listed = reverse("admin:billing_grant_changelist")

        counts = [
            browser.get(listed, {"open": choice}).context["cl"].result_count
            for choice in ("yes", "no", "all")
        ]
        assert counts == [1, 0, 1]


class TestActing:
    def send(self, browser: Client, wallet: WalletView, act: str, **fields: str) -> object:
        return browser.post(address(wallet, act), {"_form_submitted": "on", **fields})

    def test_credits_once_per_form(self, browser: Client, wallet: WalletView) -> None:
        form = {"amount": "10", "reason": "sorry for the outage", "name": str(uuid4())}

        self.send(browser, wallet, "credit", **form)
        self.send(browser, wallet, "credit", **form)

        assert again(wallet).cash == 22_500_000_000
        transfer = Transfer.objects.select_related("debit").order_by("-id")[0]
        assert (transfer.kind, transfer.debit.kind) == ("ADJUSTMENT", "EQUITY")
        assert transfer.reason == "sorry for the outage"
        assert transfer.actor.startswith("staff:")
        assert LogEntry.objects.count() == 2

    def test_each_form_has_a_name_of_its_own(self, browser: Client, wallet: WalletView) -> None:
        pages = [browser.get(address(wallet, "credit")).text for _ in range(2)]

        assert pages[0] != pages[1]
        assert 'name="amount"' in pages[0]

    @pytest.mark.parametrize(
        "fields",
        [{"amount": "0"}, {"amount": "-1"}, {"amount": "x"}, {"amount": "5", "reason": ""}],
    )
    def test_refuses_a_form_with_mistakes(
        self, browser: Client, wallet: WalletView, fields: dict[str, str]
    ) -> None:
        self.send(browser, wallet, "credit", **{"reason": "x", "name": "n", **fields})

        assert again(wallet).cash == 12_500_000_000

    def test_freezes_and_unfreezes(self, browser: Client, wallet: WalletView) -> None:
        self.send(browser, wallet, "freeze", reason="fraud")
        assert again(wallet).frozen_reason == "fraud"

        self.send(browser, wallet, "unfreeze", reason="cleared")
        assert not again(wallet).is_frozen

    @pytest.mark.parametrize("act", ["credit", "freeze", "unfreeze"])
    def test_needs_the_right_to(self, client: Client, wallet: WalletView, act: str) -> None:
        reader = get_user_model().objects.create_user("a@example.com", "secret", is_staff=True)
        reader.user_permissions.set(Permission.objects.filter(codename="view_wallet"))
        client.force_login(reader)

        answer = self.send(client, wallet, act, amount="5", reason="x", name="n")

        assert answer.status_code == 403  # type: ignore[attr-defined]
        assert again(wallet).cash == 12_500_000_000
        assert not again(wallet).is_frozen
