"""`manage.py go_live`: the checklist before real money; ends with 1 while something is missing."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from catalog.editing import confirm_below_cost
from catalog.queries import BELOW_COST, load_snapshot
from tokenmix_site.going_live import checklist, refusals


class Command(BaseCommand):
    help = "Print what must be in place before real money, and what is missing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--confirm-below-cost",
            metavar="REASON",
            help="Sell every model that is off for being under cost, for this reason.",
        )
        parser.add_argument("--author", default="command line", help="Who confirms.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["confirm_below_cost"]:
            self._confirm(options["confirm_below_cost"], options["author"])
        checks = checklist()
        for check in checks:
            mark = "ok  " if check.is_met else "note" if check.is_note else "NO  "
            self.stdout.write(f"{mark} {check.title}")
            for detail in check.details:
                self.stdout.write(f"       {detail}")
        missing = refusals(checks)
        if missing:
            self.stdout.write(f"Not ready to go live: {len(missing)} to do.")
            sys.exit(1)
        self.stdout.write("Ready for real money.")

    def _confirm(self, reason: str, author: str) -> None:
        models = load_snapshot().models.values()
        slugs = [model.slug for model in models if model.not_callable_because == BELOW_COST]
        count = confirm_below_cost(slugs=slugs, author=author, reason=reason)
        self.stdout.write(f"{count} models may be sold below cost.")
