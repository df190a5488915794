"""Load models, hosts and prices from the data files."""

from typing import Any

from django.core.management.base import BaseCommand

from catalog.loading import load_catalog
from catalog.queries import counts


class Command(BaseCommand):
    help = "Load providers, hosts, models, names and prices; a second run changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        loaded = load_catalog()
        found = counts()
        self.stdout.write(f"Catalog: {loaded}.")
        self.stdout.write(
            f"{found.models} models of {found.providers} providers at {found.hosts} hosts;"
            f" {found.names} names resolve."
        )
