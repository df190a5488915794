"""A process's right to sell: one thread that registers it, renews its lease and hears of changes.

The lease counts from the moment its renewal was sent, on the clock that also runs while the machine
sleeps. It is renewed only while the event loop ticks, and only once the newest catalog is loaded:
so no process sells at an older price, and one that hangs stops selling.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from django.db import connection

from accounts.api_keys import mark_used
from accounts.changes import ChangeKind
from billing import grants
from catalog.queries import catalog_number, load_snapshot
from catalog.routes import Snapshot
from gateway.database_threads import close_session, open_session

logger = logging.getLogger(__name__)

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
CHANGES_WINDOW_S = 60  # rows are looked for so far back, since their ids commit out of order
CHANGES = (
    "SELECT id, kind, subject_id FROM accounts_change"
    " WHERE created_at > clock_timestamp() - make_interval(secs => %s) ORDER BY id"
)


def boot_clock() -> float:
    """Seconds since the machine started, its sleep included."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class LeaseLimits:
    lease_s: float = 10
    beat_s: float = 2
    poll_s: float = 0.5
    near_empty_poll_s: float = 0.1  # while money that others may recall is here
    margin_s: float = 2  # nothing is admitted so near the end; less of a short lease
    tick_within_s: float = 2  # the event loop must answer within this to be renewed
    retry_s: float = 0.2

    @property
    def sells_s(self) -> float:
        return self.lease_s - min(self.margin_s, self.lease_s / 5)


@dataclass(frozen=True, slots=True)
class Lease:
    """One lease, replaced whole at each renewal. Times are of `boot_clock`."""

    epoch: int
    ends_at: float
    sells_until: float
    database_ahead_s: float  # database time (Unix) less boot_clock


NO_LEASE = Lease(epoch=0, ends_at=0, sells_until=0, database_ahead_s=time.time() - boot_clock())


class Holder(Protocol):
    """Whom the lease is for. All are called on the event loop."""

    def began(self, epoch: int) -> None:
        """A new epoch begins: money of the one before is gone."""

    def changed(self, kind: str, subject_id: int, number: int) -> None: ...

    def missed_changes(self) -> None:
        """Changes may have been missed: forget what they could have changed."""

    def ticked(self) -> None:
        """Another beat."""

    def needs_fast_polls(self) -> bool:
        """Read in the lease's thread."""
        ...

    def takes_used_keys(self) -> set[int]:
        """Key ids called with since the last time; read in the lease's thread."""
        ...


class LoopStalled(Exception):  # noqa: N818  (named for what is wrong)
    """The event loop did not answer in time."""


class LeaseThread(threading.Thread):
    """Registers, renews, polls and sweeps until it is stopped; then ends the epoch."""

    def __init__(
        self,
        *,
        name: str,
        holder: Holder,
        limits: LeaseLimits,
        call_soon: Callable[[Callable[[], None]], None],
        sweep: Callable[[], object],
    ) -> None:
        super().__init__(name="lease", daemon=True)
        self.lease = NO_LEASE
        self.snapshot: Snapshot | None = None
        self.is_ready = threading.Event()
        self._process_name = name
        self._holder = holder
        self._limits = limits
        self._call_soon = call_soon
        self._sweep = sweep
        self._dead_epoch = 0
        self._seen: set[int] = set()
        self._polled_at: float | None = None
        self._next_beat = 0.0
        self._used_noted_at = 0.0
        self._stopping = threading.Event()
        self._woken = threading.Event()

    def lost(self, epoch: int) -> None:
        """The database says that the epoch is over: stop selling and start a new one."""
        if epoch == self.lease.epoch:
            self._dead_epoch = epoch
            self._woken.set()

    def sells(self) -> bool:
        lease = self.lease
        return boot_clock() < lease.sells_until and lease.epoch != self._dead_epoch

    def stop(self) -> None:
        self._stopping.set()
        self._woken.set()

    def abandon(self) -> None:
        """End as a killed process would: nothing is told to the database. For tests."""
        self._process_name = ""
        self.stop()

    # In the thread

    def run(self) -> None:
        while not self._stopping.is_set():
            pause = self._limits.retry_s
            try:
                open_session()
                self._round()
                pause = self._pause()
            except LoopStalled:
                logger.warning("lease.loop.stalled epoch=%s: not renewed.", self.lease.epoch)
            except Exception as error:  # noqa: BLE001  (whatever it was: try anew until stopped)
                logger.warning("lease.round.failed epoch=%s: %r", self.lease.epoch, error)
                close_session()
            self._woken.wait(pause)
            self._woken.clear()
        self._end()

    def _round(self) -> None:
        now = boot_clock()
        if now >= self.lease.ends_at or self.lease.epoch == self._dead_epoch:
            self._begin()
        elif now >= self._next_beat:
            self._renew()
        else:
            self._poll()

    def _pause(self) -> float:
        limits = self._limits
        poll_s = limits.near_empty_poll_s if self._holder.needs_fast_polls() else limits.poll_s
        return max(0.0, min(poll_s, self._next_beat - boot_clock()))

    def _begin(self) -> None:
        """Register a new epoch, the first or after a lost one, whose grants are then closed."""
        before = self.lease.epoch
        self._on_loop(self._holder.ticked)
        self._load_catalog()
        sent_at = boot_clock()
        registered = grants.register_process(name=self._process_name, lease_s=self._limits.lease_s)
        self._poll()
        self._load_catalog()
        self._on_loop(lambda: self._holder.began(registered.epoch))
        self._adopt(registered.epoch, sent_at, registered.database_time)
        self.is_ready.set()
        if before:
            logger.error("lease.lost epoch=%s: selling again as %s.", before, registered.epoch)
            grants.stop_process(epoch=before)

    def _renew(self) -> None:
        self._on_loop(self._holder.ticked)
        epoch, sent_at = self.lease.epoch, boot_clock()
        renewed = grants.renew_lease(epoch=epoch, lease_s=self._limits.lease_s)
        if not renewed.is_live:
            self.lost(epoch)
            return
        self._poll()
        self._load_catalog()
        if boot_clock() < self.lease.ends_at:  # else it ran out meanwhile: a new epoch
            self._adopt(epoch, sent_at, renewed.database_time)
        self._after_beat()

    def _adopt(self, epoch: int, sent_at: float, database_time: datetime) -> None:
        ahead = database_time.timestamp() - (sent_at + boot_clock()) / 2
        limits = self._limits
        self.lease = Lease(epoch, sent_at + limits.lease_s, sent_at + limits.sells_s, ahead)
        self._next_beat = sent_at + limits.beat_s

    def _load_catalog(self) -> None:
        if self.snapshot is None or catalog_number() != self.snapshot.number:
            self.snapshot = load_snapshot()

    def _poll(self) -> None:
        """Hear of changes; those committed before this process listened concern it not."""
        is_first = self._polled_at is None
        is_late = not is_first and boot_clock() - (self._polled_at or 0) > CHANGES_WINDOW_S / 2
        with connection.cursor() as cursor:
            cursor.execute(CHANGES, [CHANGES_WINDOW_S])
            rows: list[tuple[int, str, int]] = cursor.fetchall()
        fresh = [row for row in rows if row[0] not in self._seen]
        self._seen = {number for number, _, _ in rows}
        self._polled_at = boot_clock()
        if is_late:
            self._call_soon(self._holder.missed_changes)
        if is_first or not fresh:
            return
        for number, kind, subject_id in fresh:
            self._tell(kind, subject_id, number)
        if any(kind == ChangeKind.CATALOG for _, kind, _ in fresh):
            self._load_catalog()

    def _tell(self, kind: str, subject_id: int, number: int) -> None:
        self._call_soon(lambda: self._holder.changed(kind, subject_id, number))

    def _on_loop(self, function: Callable[[], None]) -> None:
        """Run it on the event loop and wait for it: proof that the loop ticks."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self._call_soon(run)
        if not done.wait(self._limits.tick_within_s):
            raise LoopStalled

    def _after_beat(self) -> None:
        """Work that may fail without harm to the lease."""
        try:
            self._sweep()
            if boot_clock() - self._used_noted_at > CHANGES_WINDOW_S:
                self._note_used_keys()
        except Exception:
            logger.exception("The sweep of ended processes failed; it is tried again.")
            close_session()

    def _note_used_keys(self) -> None:
        self._used_noted_at = boot_clock()
        if used := self._holder.takes_used_keys():
            at = datetime.fromtimestamp(boot_clock() + self.lease.database_ahead_s, UTC)
            mark_used(key_ids=used, at=at)

    def _end(self) -> None:
        try:
            if self.lease.epoch and self._process_name:
                open_session()
                grants.stop_process(epoch=self.lease.epoch)
        except Exception:
            logger.exception("The epoch could not be ended; a sweeper closes its grants.")
        finally:
            self.lease = NO_LEASE
            close_session()
