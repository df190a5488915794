"""`manage.py ensure_partitions`: make the monthly partitions of usage ahead of need."""

from typing import Any

from django.core.management.base import BaseCommand

from gateway.partitions import ensure_partitions


class Command(BaseCommand):
    help = "Make the partitions of usage records and attempts for this month and three ahead."

    def handle(self, *args: Any, **options: Any) -> None:
        made = ensure_partitions()
        for name in made:
            self.stdout.write(f"Made {name}.")
        if not made:
            self.stdout.write("Nothing to make: the partitions are there.")
