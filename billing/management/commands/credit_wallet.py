"""`manage.py credit_wallet`: the operator puts money into a wallet by hand."""

from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from accounts.workspaces import NoWorkspaceError, workspace_of
from billing import ledger
from billing.money import InvalidAmount, format_usd, parse_usd
from billing.queries import wallet_of


class Command(BaseCommand):
    help = "Credit a wallet by hand, from the operator's own money."

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--workspace", type=int, help="Number of the workspace.")
        whose.add_argument("--email", help="E-mail address of a member.")
        parser.add_argument("--amount", required=True, help="In USD, such as 12.50.")
        parser.add_argument("--reason", required=True, help="Why; the customer can read it.")
        parser.add_argument(
            "--reference", default="", help="A name of your own: the same one credits only once."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            amount = parse_usd(options["amount"])
        except InvalidAmount as error:
            raise CommandError(str(error)) from error
        if amount == 0:
            raise CommandError("Credit more than nothing.")
        workspace_id = options["workspace"] or _workspace_of(options["email"])
        try:
            wallet = wallet_of(workspace_id=workspace_id)
        except IntegrityError as error:
            raise CommandError(f"There is no workspace {workspace_id}.") from error
        is_new = ledger.adjust(
            wallet_id=wallet.id,
            amount=amount,
            reference=f"manual:{options['reference'] or uuid4()}",
            actor="manage.py credit_wallet",
            reason=options["reason"],
        )
        balance = format_usd(wallet_of(workspace_id=wallet.workspace_id).balance)
        done = f"Credited {format_usd(amount)}" if is_new else "Nothing to do, credited before"
        self.stdout.write(f"{done}. Wallet {wallet.id} has {balance}.")


def _workspace_of(email: str) -> int:
    user = get_user_model().objects.filter(email__iexact=email).first()
    if user is None:
        raise CommandError(f"There is no user {email}.")
    try:
        return workspace_of(user_id=user.pk).id
    except NoWorkspaceError as error:
        raise CommandError(str(error)) from error
