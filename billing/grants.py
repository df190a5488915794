"""A process's share of a wallet: take, give back, recall; and the life of the process itself.

Thin typed calls of the functions in `sql/`: each is one statement, so one round trip and, on a
connection in autocommit mode, one transaction. `seq` counts a process's orders on one wallet
from 1; after an unclear answer repeat the same order with the same number before any other.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import connection as default_connection

from billing.connections import MoneyConnection, call


class TakeStatus(StrEnum):
    """TAKEN: the money is yours. SHORT: not there. FROZEN: not now. DEAD: your epoch is over."""

    TAKEN = "TAKEN"
    SHORT = "SHORT"
    FROZEN = "FROZEN"
    DEAD = "DEAD"


class ProcessEnded(Exception):  # noqa: N818  (named for what is wrong)
    """The epoch is over: its grants are closed or about to be, and belong to others."""


@dataclass(frozen=True, slots=True)
class Registered:
    epoch: int
    database_time: datetime


@dataclass(frozen=True, slots=True)
class Renewed:
    """`is_live` is False when the process was stopped or declared dead: start a new epoch."""

    is_live: bool
    database_time: datetime


@dataclass(frozen=True, slots=True)
class Taken:
    """What a take moved (0 unless TAKEN) and how the wallet stands after it, in nano-USD."""

    status: TakeStatus
    amount: int
    available: int
    granted_elsewhere: int
    live_processes: int
    recall_number: int


def register_process(
    *, connection: MoneyConnection = default_connection, name: str, lease_s: float
) -> Registered:
    """A new epoch with a lease that begins now."""
    row = call(connection, "SELECT * FROM billing_register(%s, %s)", [name, lease_s])
    return Registered(epoch=row[0], database_time=row[1])


def renew_lease(
    *, connection: MoneyConnection = default_connection, epoch: int, lease_s: float
) -> Renewed:
    row = call(connection, "SELECT * FROM billing_renew(%s, %s)", [epoch, lease_s])
    return Renewed(is_live=row[0], database_time=row[1])


def stop_process(*, connection: MoneyConnection = default_connection, epoch: int) -> int:
    """End a process on its own wish and close its grants; returns how much they held.

    Wallet by wallet: on a connection in autocommit mode each is a transaction of its own. If this
    is cut short, the sweeper or the next taker closes the rest.
    """
    (wallets,) = call(connection, "SELECT billing_stop(%s)", [epoch])
    return sum(close_grants(connection=connection, wallet_id=wallet) for wallet in wallets)


def take(
    *,
    connection: MoneyConnection = default_connection,
    epoch: int,
    wallet_id: int,
    want: int,
    need: int,
    seq: int,
) -> Taken:
    """Take `want` if it is available, else `need`, else nothing.

    The number of a refused take (SHORT, FROZEN) is not used up; using the next is as good. A
    repeated TAKEN moves nothing and returns the first amount. An older number, or one that was a
    give-back, is refused with a database error (DataError).
    """
    sql = "SELECT * FROM billing_take(%s, %s, %s, %s, %s)"
    row = call(connection, sql, [epoch, wallet_id, want, need, seq])
    return Taken(TakeStatus(row[0]), *row[1:])


def give_back(
    *,
    connection: MoneyConnection = default_connection,
    epoch: int,
    wallet_id: int,
    amount: int,
    seq: int,
    recall_seen: int = 0,
) -> int:
    """Give back at most what is in the grant; returns how much that was. Empty, it is closed.

    `recall_seen` says that this answers the recall of that number (with `amount` 0 too: "all that
    I hold is in use"). Raises ProcessEnded when the epoch is over: the money is gone from you.
    """
    sql = "SELECT billing_give_back(%s, %s, %s, %s, %s)"
    (back,) = call(connection, sql, [epoch, wallet_id, amount, seq, recall_seen])
    if back is None:
        raise ProcessEnded(f"Epoch {epoch} is over.")
    return int(back)


def recall(*, connection: MoneyConnection = default_connection, wallet_id: int, epoch: int) -> int:
    """Call back what other processes hold; returns the recall's number.

    The number is the id of the RECALL change that those processes poll. Recalls coalesce: while
    one of the last second waits for answers, or when nobody else holds anything, no new one is
    made.
    """
    (number,) = call(connection, "SELECT billing_recall(%s, %s)", [wallet_id, epoch])
    return int(number)


def recall_answered(
    *, connection: MoneyConnection = default_connection, wallet_id: int, epoch: int, number: int
) -> bool:
    """Whether each other live process has answered that recall or holds nothing of the wallet."""
    sql = "SELECT billing_recall_answered(%s, %s, %s)"
    (answered,) = call(connection, sql, [wallet_id, epoch, number])
    return bool(answered)


def close_grants(*, connection: MoneyConnection = default_connection, wallet_id: int) -> int:
    """Close what ended processes still have on a wallet; returns how much that was."""
    (closed,) = call(connection, "SELECT billing_close_grants(%s)", [wallet_id])
    return int(closed)
