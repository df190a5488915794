"""Usage -> charge, exactly once, however the call ended; durable before the answer is whole.

The settler is one thread that commits everything that waits in one transaction, and begins the next
when the last is done: batches grow with the load by themselves. A batch whose commit was unclear is
sent again with what came meanwhile; the statement charges only calls it has not seen.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import psycopg

from billing.connections import money_connection
from gateway import settlement_batch
from gateway.call_records import AttemptRecord, CallOutcome, CallRecord, Settled
from gateway.purse import Hold, Purses
from gateway.settlement_batch import Answer, Captured, Entry, captured, paid_by_call

__all__ = [
    "AttemptRecord",
    "CallOutcome",
    "CallRecord",
    "SettleLimits",
    "Settled",
    "SettlementFailed",
    "Settler",
]

logger = logging.getLogger(__name__)


class SettlementFailed(Exception):  # noqa: N818  (named for what could not be done)
    """The charge is not known to be durable: the answer must not go out whole."""


@dataclass(frozen=True, slots=True)
class SettleLimits:
    largest_batch: int = 1_000
    most_waiting: int = 10_000  # calls that are not committed yet
    answer_within_s: float = 10  # then the answer is given up; its call is still settled
    retry_s: float = 0.05  # first pause after a failed commit
    longest_retry_s: float = 1


_EXPECTED = (psycopg.OperationalError, psycopg.InterfaceError)  # the database was away, or busy
# SQLSTATE classes of what a repeat cannot cure: data exception, constraint, RAISE.
_BY_DATA = ("22", "23", "P0")


def _is_by_data(error: Exception) -> bool:
    return isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_BY_DATA)


class _Stop:
    """In the queue: commit what waits, then end."""


class Settler:
    """One thread per process that commits every waiting call in one transaction."""

    def __init__(
        self,
        *,
        purses: Purses,
        epoch: Callable[[], int],
        limits: SettleLimits = SettleLimits(),
        connect: Callable[[], psycopg.Connection] = money_connection,
    ) -> None:
        self._purses = purses
        self._epoch = epoch
        self._limits = limits
        self._connect = connect
        self._queue: SimpleQueue[Entry | _Stop] = SimpleQueue()
        self._futures: dict[
            Entry, asyncio.Future[Settled]
        ] = {}  # this and the next: event loop only
        self._waiting = 0
        self._connection: psycopg.Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_by: float | None = None
        self._thread = threading.Thread(target=self._run, name="settler", daemon=True)

    def start(self) -> None:
        """Begin to settle, for the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def settle(self, record: CallRecord) -> Settled:
        """Return once the record is committed; ends its hold. Call once per call, on the loop.

        Raises SettlementFailed when the database stays away: then withhold the final frame.
        A caller that goes away (is cancelled) does not undo it: the record is settled all the same.
        """
        assert self._loop is not None
        if self._waiting >= self._limits.most_waiting or self._stop_by is not None:
            _lost(record)
            raise SettlementFailed
        entry = Entry(record, self._end_hold(record), time.monotonic())
        future: asyncio.Future[Settled] = self._loop.create_future()
        self._futures[entry] = future
        self._waiting += 1
        self._queue.put(entry)
        return await future

    @property
    def waiting(self) -> int:
        """Calls that are not committed yet, given-up answers included."""
        return self._waiting

    async def stop(self, *, within_s: float) -> None:
        """Commit what waits, and end the thread; what cannot be committed in time is logged."""
        self._stop_by = time.monotonic() + within_s
        self._queue.put(_Stop())
        await asyncio.to_thread(self._thread.join, within_s + 3)

    def _end_hold(self, record: CallRecord) -> Hold | None:
        """With nothing to charge it is free at once, else its money waits for the commit."""
        hold = record.hold
        if record.amount == 0:
            if hold is not None:
                hold.release()
            return None
        if hold is None or not hold.is_open:
            hold = self._purses.empty_hold(record.wallet_id)
        if hold is not None:
            self._purses.begin_settle(hold, record.amount)
        return hold

    # In the thread

    def _run(self) -> None:
        pending: list[Entry] = []
        pause = self._limits.retry_s
        is_stopping = False
        while not (is_stopping and not pending):
            fresh, saw_stop = self._gather(wait=not pending and not is_stopping)
            is_stopping = is_stopping or saw_stop
            pending += fresh
            if not pending:
                continue
            batch, later = (
                pending[: self._limits.largest_batch],
                pending[self._limits.largest_batch :],
            )
            left = self._settle_some(batch)
            pending = left + later
            if not left:
                pause = self._limits.retry_s
                continue
            self._give_up_answers(pending)
            if self._stop_by is not None and time.monotonic() > self._stop_by:
                for entry in pending:
                    _lost(entry.record)
                break
            time.sleep(pause)
            pause = min(pause * 2, self._limits.longest_retry_s)
        self._disconnect()

    def _gather(self, *, wait: bool) -> tuple[list[Entry], bool]:
        """All that waits in the queue; blocks for the first if `wait`."""
        entries: list[Entry] = []
        saw_stop = False
        with suppress(Empty):
            item = self._queue.get(block=wait)
            while True:
                if isinstance(item, _Stop):
                    saw_stop = True
                else:
                    entries.append(item)
                item = self._queue.get_nowait()
        return entries, saw_stop

    def _settle_some(self, batch: list[Entry]) -> list[Entry]:
        """Commit the batch; those that must be tried again."""
        epoch = self._epoch()
        try:
            answer = self._commit(epoch, batch)
        except Exception as error:  # noqa: BLE001  (the thread must live: every call waits for it)
            self._disconnect()
            return self._not_settled(batch, error)
        self._tell(self._finish, batch, paid_by_call(batch, answer), captured(batch, answer, epoch))
        return []

    def _not_settled(self, batch: list[Entry], error: Exception) -> list[Entry]:
        """What is to be tried again: all, unless a call is refused for its own data."""
        if not _is_by_data(error):
            level = logging.WARNING if isinstance(error, _EXPECTED) else logging.ERROR
            logger.log(level, "settlement.batch.unclear calls=%s: %r", len(batch), error)
            return batch
        if len(batch) > 1:
            return [left for entry in batch for left in self._settle_some([entry])]
        logger.error("settlement.record.refused call_id=%s: %s", batch[0].record.call_id, error)
        self._tell(self._refuse, batch)
        return []

    def _commit(self, epoch: int, batch: Sequence[Entry]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        return settlement_batch.commit(self._connection, epoch=epoch, batch=batch)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def _give_up_answers(self, pending: Sequence[Entry]) -> None:
        """Answers that waited too long do not go out whole.

        Their calls stay here to be settled; the place for a local journal (DESIGN 4.5) is here.
        """
        oldest = time.monotonic() - self._limits.answer_within_s
        late = [entry for entry in pending if entry.since < oldest]
        if late:
            self._tell(self._fail, late)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            self._loop.call_soon_threadsafe(function, *arguments)

    # On the event loop again

    def _finish(
        self, batch: Sequence[Entry], paid: Sequence[int], purses: Sequence[Captured]
    ) -> None:
        self._waiting -= len(batch)
        for part in purses:
            self._purses.end_settle(part.holds, epoch=part.epoch, from_grant=part.from_grant)
        for entry, amount in zip(batch, paid, strict=True):
            future = self._futures.pop(entry, None)
            if future is not None and not future.done():
                future.set_result(Settled(amount))

    def _refuse(self, batch: Sequence[Entry]) -> None:
        """The database will never take these: an operator has to. Their holds are not freed."""
        self._waiting -= len(batch)
        for entry in batch:
            _lost(entry.record)
            if (hold := entry.hold) is not None:
                self._purses.end_settle([hold], epoch=hold.epoch, from_grant=hold.amount)
        self._fail(batch)

    def _fail(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            future = self._futures.pop(entry, None)
            if future is not None and not future.done():
                future.set_exception(SettlementFailed())


def _lost(record: CallRecord) -> None:
    logger.error(
        "settlement.record.lost call_id=%s wallet=%s charge=%s: enter it by hand.",
        record.call_id,
        record.wallet_id,
        record.amount,
    )
