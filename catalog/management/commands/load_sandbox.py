"""Load the stand-in hosts and routes to them."""

from typing import Any

from django.core.management.base import BaseCommand

from catalog.loading import load_sandbox


class Command(BaseCommand):
    help = "Load stand-in hosts for every chat model (they exist in sandbox mode only)."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"Sandbox: {load_sandbox()}.")
