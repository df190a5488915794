"""The settling statement: one round trip and one commit for a batch of calls (sql/settle.sql)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import msgspec
import psycopg

from gateway.call_records import CallRecord
from gateway.purse import Hold
from gateway.usage_rows import encode_attempt, encode_call, fingerprint

logger = logging.getLogger(__name__)

# All parameters travel as text with a written cast, so that one prepared plan serves every batch.
SETTLE = (
    "SELECT gateway_settle("
    "%s::bigint, %s::uuid, %s::bigint[], %s::integer, %s::json, %s::json)::text"
)


@dataclass(slots=True, eq=False)
class Entry:
    """One call on its way into the database."""

    record: CallRecord
    hold: Hold | None
    since: float
    mark: int = field(init=False)
    row: str = field(init=False)
    attempts: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.mark = fingerprint(self.record)
        self.row = encode_call(self.record, self.mark).decode()
        self.attempts = [encode_attempt(self.record, a).decode() for a in self.record.attempts]


class Answer(msgspec.Struct):
    """What the statement says it did; the meaning of each is in sql/settle.sql."""

    wallets: list[tuple[int, int, int, int]]
    short: list[tuple[UUID, int]]
    known: list[tuple[UUID, int, int]] | None


_decode = msgspec.json.Decoder(Answer).decode


def commit(connection: psycopg.Connection, *, epoch: int, batch: Sequence[Entry]) -> Answer:
    """Settle the batch in a transaction of its own.

    Raises psycopg.Error; then it may be unclear whether it was committed, and the same entries may
    be sent again, also among others.
    """
    wallets = ",".join(map(str, sorted({entry.record.wallet_id for entry in batch})))
    attempts = [attempt for entry in batch for attempt in entry.attempts]
    row = connection.execute(
        SETTLE,
        (
            str(epoch),
            str(uuid4()),
            f"{{{wallets}}}",
            str(len(batch)),
            f"[{','.join([entry.row for entry in batch])}]",
            f"[{','.join(attempts)}]" if attempts else None,
        ),
        prepare=True,
    ).fetchone()
    assert row is not None
    return _decode(row[0])


@dataclass(frozen=True, slots=True)
class Captured:
    """What a batch did to one wallet's purse."""

    holds: list[Hold]
    epoch: int
    from_grant: int


def paid_by_call(batch: Sequence[Entry], answer: Answer) -> list[int]:
    """What each call paid, in the order of the batch. Alarms when a call was settled otherwise."""
    short = dict(answer.short)
    if not short and not answer.known:
        return [entry.record.amount for entry in batch]
    known = {call_id: (mark, paid) for call_id, mark, paid in answer.known or ()}
    paid = []
    for entry in batch:
        call_id = entry.record.call_id
        mark, before = known.get(call_id, (entry.mark, None))
        if mark != entry.mark:
            logger.error("settlement.record.differs call_id=%s: first numbers stay.", call_id)
        paid.append(before if before is not None else short.get(call_id, entry.record.amount))
    return paid


def captured(batch: Sequence[Entry], answer: Answer, epoch: int) -> list[Captured]:
    """What to tell the purses.

    Of a call that was known, how its charge was paid is not: so all of it counts as paid from the
    grant, and the purse rather knows of less than there is.
    """
    from_grant = {wallet: grant for wallet, _charge, _paid, grant in answer.wallets}
    known = {call_id for call_id, _mark, _paid in answer.known or ()}
    holds: dict[int, list[Hold]] = {}
    for entry in batch:
        if entry.hold is not None:
            holds.setdefault(entry.hold.wallet_id, []).append(entry.hold)
        if entry.record.call_id in known:
            wallet_id = entry.record.wallet_id
            from_grant[wallet_id] = from_grant.get(wallet_id, 0) + entry.record.amount
    return [
        Captured(of_wallet, epoch, from_grant.get(wallet_id, 0))
        for wallet_id, of_wallet in holds.items()
    ]
