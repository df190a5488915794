"""`manage.py credit_wallet`: money by hand, with a reason, once per reference."""

from io import StringIO

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command

from accounts.workspaces import create_workspace_for
from billing.models import Transfer
from billing.queries import wallet_of
from tests.factories.billing import again, make_wallet

pytestmark = pytest.mark.django_db


def credit(*arguments: str) -> str:
    out = StringIO()
    call_command("credit_wallet", *arguments, "--reason", "in-house budget", stdout=out)
    return out.getvalue()


class TestCreditWallet:
    def test_credits_a_workspace(self) -> None:
        wallet = make_wallet()

        said = credit("--workspace", str(wallet.workspace_id), "--amount", "12.50")

        assert again(wallet).cash == 12_500_000_000
        assert said == f"Credited $12.50. Wallet {wallet.id} has $12.50.\n"
        transfer = Transfer.objects.select_related("debit").get()
        assert (transfer.debit.kind, transfer.reason) == ("EQUITY", "in-house budget")

    def test_credits_the_workspace_of_a_person(self) -> None:
        user = get_user_model().objects.create_user("ann@example.com", "secret")
        workspace = create_workspace_for(user=user)

        credit("--email", "Ann@example.com", "--amount", "1")

        assert wallet_of(workspace_id=workspace.id).cash == 1_000_000_000

    def test_credits_once_per_reference(self) -> None:
        wallet = make_wallet()
        order = ["--workspace", str(wallet.workspace_id), "--amount", "1", "--reference", "june"]

        credit(*order)
        said = credit(*order)

        assert again(wallet).cash == 1_000_000_000
        assert said.startswith("Nothing to do")

    @pytest.mark.parametrize("amount", ["0", "-1", "1e3", "0.0000000001", "ten"])
    def test_refuses_what_is_no_amount(self, amount: str) -> None:
        wallet = make_wallet()

        with pytest.raises(CommandError):
            credit(f"--workspace={wallet.workspace_id}", f"--amount={amount}")

    def test_refuses_an_unknown_person(self) -> None:
        with pytest.raises(CommandError, match="There is no user"):
            credit("--email", "nobody@example.com", "--amount", "1")
