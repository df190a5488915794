"""Finds gateway processes that died, and frees the money that they held.

Only a lease whose end this sweeper has itself watched, unchanged and without losing contact with
the database, for the whole delay is swept: so an outage of the database sweeps nobody.
"""

import logging
import time
from dataclasses import dataclass
from datetime import datetime

import django.db
import psycopg
from django.conf import settings
from django.db import connection as default_connection

from billing.connections import MoneyConnection, call
from billing.grants import close_grants

MOST_AT_ONCE = 1_000
LONGEST_CLOSING_S = 1.0  # of one pass: whoever sweeps beside its own work has that to do too
DATABASE_ERRORS = (django.db.Error, psycopg.Error)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swept:
    """What was written down in one pass: processes, and what they held when they died."""

    processes: int
    grants: int
    amount: int


@dataclass(frozen=True, slots=True)
class _Watch:
    lease_until: datetime
    since: float


class Sweeper:
    """Remembers which leases it saw ended and since when, on its own monotonic clock.

    Call `pass_` at least every `longest_gap_s`: a longer silence counts as lost contact. Any
    number of sweepers may work side by side.
    """

    def __init__(self, *, delay_s: float | None = None) -> None:
        self.delay_s = settings.TOKENMIX_SWEEP_DELAY_S if delay_s is None else delay_s
        self.longest_gap_s = self.delay_s / 2
        self._watched: dict[int, _Watch] = {}
        self._last_contact: float | None = None

    def pass_(
        self, now: float | None = None, *, connection: MoneyConnection = default_connection
    ) -> Swept:
        """Look once; declare dead what is due, close its grants, and write down what they held.

        `now` is a time of a monotonic clock, in seconds. Each step is a transaction of its own, so
        the connection must be in autocommit mode. A database error is raised and forgets
        everything that was watched.
        """
        moment = time.monotonic() if now is None else now
        if self._last_contact is None or moment - self._last_contact > self.longest_gap_s:
            self._watched.clear()
        try:
            for epoch, lease_until in self._due(connection, moment):
                self._declare_dead(connection, epoch, lease_until)
            _close_all(connection)
            swept = Swept(*call(connection, "SELECT * FROM billing_record_sweeps()", []))
        except DATABASE_ERRORS:
            self.forget()
            raise
        self._last_contact = moment
        if swept.processes:
            logger.warning(
                "sweeper.swept: %s processes, %s grants, %s nano-USD",
                swept.processes, swept.grants, swept.amount,
            )  # fmt: skip
        return swept

    def forget(self) -> None:
        """Contact was lost (a connection could not be made, say): watch everything anew."""
        self._watched.clear()
        self._last_contact = None

    def _due(self, connection: MoneyConnection, now: float) -> list[tuple[int, datetime]]:
        """Takes note of every ended lease and returns those watched for the whole delay."""
        self._watched = {
            epoch: self._still(epoch, lease_until, now)
            for epoch, lease_until in _ended_leases(connection)
        }
        return [
            (epoch, watch.lease_until)
            for epoch, watch in self._watched.items()
            if now - watch.since >= self.delay_s
        ]

    def _still(self, epoch: int, lease_until: datetime, now: float) -> _Watch:
        known = self._watched.get(epoch)
        if known is not None and known.lease_until == lease_until:
            return known
        return _Watch(lease_until=lease_until, since=now)

    def _declare_dead(self, connection: MoneyConnection, epoch: int, lease_until: datetime) -> None:
        (is_dead,) = call(connection, "SELECT billing_declare_dead(%s, %s)", [epoch, lease_until])
        del self._watched[epoch]
        if is_dead:
            logger.warning("process.dead", extra={"epoch": epoch})


def _ended_leases(connection: MoneyConnection) -> list[tuple[int, datetime]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT epoch, lease_until FROM billing_gatewayprocess"
            " WHERE state = 'LIVE' AND lease_until <= clock_timestamp()"
            " ORDER BY epoch LIMIT %s",
            [MOST_AT_ONCE],
        )
        return [(epoch, lease_until) for epoch, lease_until in cursor.fetchall()]


def _close_all(connection: MoneyConnection) -> None:
    """Close the open grants of ended processes, wallet by wallet, for LONGEST_CLOSING_S at most.

    Those of an earlier pass that was cut short, and of stops that were, are among them. A wallet
    that somebody holds on to does not keep the others waiting: its error is raised at the end.
    """
    failure: Exception | None = None
    deadline = time.monotonic() + LONGEST_CLOSING_S
    for wallet_id in _wallets_to_close(connection):
        try:
            close_grants(connection=connection, wallet_id=wallet_id)
        except DATABASE_ERRORS as error:
            failure = error
        if time.monotonic() > deadline:
            break
    if failure is not None:
        raise failure


def _wallets_to_close(connection: MoneyConnection) -> list[int]:
    """In random order, so that a wallet that is held up is not always the first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT g.wallet_id FROM billing_grant g"
            " JOIN billing_gatewayprocess p ON p.epoch = g.process_id"
            " WHERE g.closed_at IS NULL AND p.state <> 'LIVE'"
            " GROUP BY g.wallet_id ORDER BY random() LIMIT %s",
            [MOST_AT_ONCE],
        )
        return [wallet_id for (wallet_id,) in cursor.fetchall()]
