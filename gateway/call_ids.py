"""Ids of calls: UUIDv7 (RFC 9562), rising within a process, whose time bounds filters by time.

Usage rows are partitioned by id, so a filter by time must become bounds on the id: `lowest_id`.
"""

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

_RANDOM_BITS = 74
_SYSTEM = random.SystemRandom()  # a fork must not repeat the ids of its parent
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _compose(value: int) -> UUID:
    """The id of 122 bits: 48 of milliseconds, then 74 of chance around version and variant."""
    high, low = value >> 62, value & ((1 << 62) - 1)
    millis, chance = high >> 12, high & 0xFFF
    return UUID(int=millis << 80 | 0x7 << 76 | chance << 64 | 0b10 << 62 | low)


class CallIds:
    """Makes ids, each greater than the last, from any thread."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def make(self, now_ns: int) -> UUID:
        """A new id of the moment; when the clock stands or goes back, just above the last one."""
        chance = _SYSTEM.getrandbits(_RANDOM_BITS)
        value = (now_ns // 1_000_000) << _RANDOM_BITS | chance
        with self._lock:
            if value <= self._last:
                value = self._last + 1 + (chance & 0xFFFF_FFFF)
            self._last = value
        return _compose(value)


_ids = CallIds()


def new_call_id() -> UUID:
    return _ids.make(time.time_ns())


def time_of(call_id: UUID) -> datetime:
    """When the id was made, to the millisecond."""
    return _EPOCH + (call_id.int >> 80) * _MILLISECOND


def lowest_id(at: datetime) -> UUID:
    """The bound between ids made before `at` (smaller) and from `at` on."""
    return UUID(int=(at - _EPOCH) // _MILLISECOND << 80)
