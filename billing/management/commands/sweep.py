"""`manage.py sweep`: frees what dead gateway processes held.

Every gateway process sweeps too; this is for an installation whose last gateway is gone.
"""

import logging
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing.connections import MoneyConnection, money_connection
from billing.sweeper import DATABASE_ERRORS, Sweeper, Swept

STEPS = 10

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Watch for dead gateway processes and free the money that they held."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--watch", action="store_true", help="Go on until stopped.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Once: watch for the whole delay, then sweep. --watch: the same for ever."""
        sweeper = Sweeper()
        if options["watch"]:
            while True:
                self._watch(sweeper)
        with money_connection() as connection:
            found = [self._pass(sweeper, connection) for _ in range(STEPS + 2)]
        processes = sum(swept.processes for swept in found)
        grants = sum(swept.grants for swept in found)
        self.stdout.write(f"Swept {processes} processes with {grants} open grants.")

    def _watch(self, sweeper: Sweeper) -> None:
        """Pass after pass on one connection, until that breaks."""
        try:
            with money_connection() as connection:
                while True:
                    self._pass(sweeper, connection)
        except DATABASE_ERRORS:
            sweeper.forget()
            logger.exception("The sweeper lost the database and starts watching anew.")
            time.sleep(sweeper.delay_s / STEPS)

    def _pass(self, sweeper: Sweeper, connection: MoneyConnection) -> Swept:
        swept = sweeper.pass_(connection=connection)
        time.sleep(sweeper.delay_s / STEPS)
        return swept
