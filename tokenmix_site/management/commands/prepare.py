"""`manage.py prepare`: brings a database up to date; safe to repeat, and before every start."""

import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.workspaces import create_workspace_for

OPERATOR_EMAIL = "operator@example.com"


class Command(BaseCommand):
    help = "Migrate, make partitions, load the catalog (in sandbox mode the stand-in hosts too)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--operator-file",
            type=Path,
            help="Make a demo operator when there is none, and keep how to log in in this file.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=options["verbosity"])
        call_command("ensure_partitions")
        call_command("load_catalog")
        if settings.TOKENMIX_MODE == "sandbox":
            call_command("load_sandbox")
        if options["operator_file"]:
            self._make_operator(options["operator_file"])

    @transaction.atomic
    def _make_operator(self, file: Path) -> None:
        user_model = get_user_model()
        if user_model.objects.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(12)
        user = user_model.objects.create_superuser(OPERATOR_EMAIL, password)
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        create_workspace_for(user=user)
        file.touch(mode=0o600)
        file.write_text(f"{OPERATOR_EMAIL}\n{password}\n")
        self.stdout.write(f"Made the operator {OPERATOR_EMAIL}.")
