"""`manage.py verify_ledger`: proves that wallets are what transfers and grants add up to."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.verification import verify_ledger


class Command(BaseCommand):
    help = "Prove the ledger: wallets = transfers, granted = open grants. Exit 1 on a difference."

    def handle(self, *args: Any, **options: Any) -> None:
        differences = verify_ledger()
        for difference in differences:
            self.stderr.write(str(difference))
        if differences:
            raise CommandError(f"{len(differences)} differences. Nothing was changed.")
        self.stdout.write("The ledger is sound.")
