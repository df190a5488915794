"""`manage.py bench_setup`: a mock model, a funded wallet and a key, for load tests."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.api_keys import create_key
from accounts.models import User
from accounts.workspaces import create_workspace_for, workspace_of
from billing import ledger
from billing.ledger import HouseAccount
from billing.money import NANO_PER_USD, NanoUsd
from billing.queries import wallet_of
from catalog.editing import store_credential
from catalog.models import Host, Model, ModelName, PriceRate, PriceVersion, Provider, Route
from catalog.records import EPOCH, MTOK_UNIT

MODEL = "mock-model"
EMAIL = "bench@example.com"
FUNDS = NanoUsd(1_000_000 * NANO_PER_USD)
LIST_RATES = {"input": 2_375_000_000, "cached_input": 237_500_000, "output": 4_250_000_000}


class Command(BaseCommand):
    help = "Set up one model at a mock upstream, a rich wallet and a key (sandbox mode only)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--upstream", required=True, help="Base URL of the mock upstream.")
        parser.add_argument("--upstream-key", required=True)
        parser.add_argument("--key-file", required=True, type=Path, help="Where the new key goes.")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if settings.TOKENMIX_MODE != "sandbox":
            message = "bench_setup invents money: it runs in sandbox mode only."
            raise CommandError(message)
        call_command("ensure_partitions", verbosity=0)
        host = self._make_host(options["upstream"])
        store_credential(host_id=host.pk, secret=options["upstream_key"])
        self._make_model(host)
        options["key_file"].write_text(self._make_key())

    def _make_host(self, upstream: str) -> Host:
        host, _ = Host.objects.update_or_create(
            slug="bench",
            defaults={
                "name": "Mock upstream",
                "mode": Host.Mode.SANDBOX,
                "kind": "sandbox",
                "base_url": upstream.rstrip("/"),
                "apis": {"openai_chat": "POST /chat/completions"},
                "bills_after_hangup": False,
                "allows_private_addresses": True,
            },
        )
        return host

    def _make_model(self, host: Host) -> None:
        provider, _ = Provider.objects.get_or_create(slug="bench", defaults={"name": "Bench"})
        model, is_new = Model.objects.get_or_create(
            slug=MODEL,
            defaults={
                "name": "Mock model",
                "provider": provider,
                "category": "chat",
                "status": "active",
                "availability": "direct",
                "context_window": 1_000_000,
                "max_output_tokens": 100_000,
                "input_modalities": ["text"],
                "output_modalities": ["text"],
                "features": ["streaming", "tools"],
            },
        )
        if not is_new:
            return
        ModelName.objects.create(model=model, name=MODEL, key=MODEL)
        route = Route.objects.create(
            model=model,
            host=host,
            protocol="openai_chat",
            path="/chat/completions",
            upstream_id=MODEL,
        )
        for owner in ({"model": model}, {"route": route}):
            version = PriceVersion.objects.create(
                **owner, valid_from=EPOCH, origin=PriceVersion.Origin.ADMIN, fingerprint=""
            )
            PriceRate.objects.bulk_create(
                PriceRate(version=version, dimension=name, unit=MTOK_UNIT, amount_nano_usd=rate)
                for name, rate in LIST_RATES.items()
            )

    def _make_key(self) -> str:
        user = User.objects.filter(email=EMAIL).first() or User.objects.create_user(EMAIL)
        create_workspace_for(user=user)
        workspace = workspace_of(user_id=user.pk)
        ledger.credit(
            wallet_id=wallet_of(workspace_id=workspace.id).id,
            amount=FUNDS,
            reference="bench:funds",
            source=HouseAccount.CLEARING,
            kind="TOP_UP",
        )
        return create_key(workspace_id=workspace.id, user_id=user.pk, name="bench").secret
