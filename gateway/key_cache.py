"""Who calls with which key: the database's answers, kept a while, evicted when a key changes."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from accounts.api_keys import Caller, RevokedKey, has_valid_checksum, hash_key

Answer = Caller | RevokedKey | None

FRESH_S = 60.0  # then asked again; an older answer is used only while the database is away
UNKNOWN_FRESH_S = 5.0
MOST_KNOWN = 100_000
MOST_UNKNOWN = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    answer: Answer
    fresh_until: float


class KeyCache:
    """Answers by the hash of the secret; one look-up at a time for each. Event loop only."""

    def __init__(
        self, *, find: Callable[[bytes], Awaitable[Answer]], clock: Callable[[], float]
    ) -> None:
        self._find = find
        self._clock = clock
        self._known: OrderedDict[bytes, Entry] = OrderedDict()
        self._unknown: OrderedDict[bytes, Entry] = OrderedDict()
        self._hash_of: dict[int, bytes] = {}  # key id -> hash
        self._running: dict[bytes, asyncio.Task[Answer]] = {}
        self._evictions = 0
        self.used: set[int] = set()  # key ids since this was last taken

    async def caller(self, secret: str) -> Answer:
        """Who calls. A malformed secret costs no query. Raises what the look-up raises."""
        key_hash = hash_key(secret)
        entry = self._known.get(key_hash) or self._unknown.get(key_hash)
        if entry is None and not has_valid_checksum(secret):
            return None
        answer: Answer
        if entry is not None and self._clock() < entry.fresh_until:
            answer = entry.answer
        else:
            answer = await self._look_up(key_hash, entry)
        if answer is not None:
            self.used.add(answer.key_id)
        return answer

    def evict(self, key_id: int) -> None:
        """The key changed: ask again at its next call, also when a look-up is on its way."""
        self._evictions += 1
        key_hash = self._hash_of.pop(key_id, None)
        if key_hash is not None:
            self._known.pop(key_hash, None)

    def clear(self) -> None:
        self._evictions += 1
        self._known.clear()
        self._unknown.clear()
        self._hash_of.clear()

    async def _look_up(self, key_hash: bytes, stale: Entry | None) -> Answer:
        task = self._running.get(key_hash)
        if task is None:
            task = asyncio.create_task(self._ask(key_hash), name="key-look-up")
            self._running[key_hash] = task
            task.add_done_callback(lambda _: self._running.pop(key_hash, None))
        try:
            return await asyncio.shield(task)
        except Exception:
            if stale is not None and key_hash in self._known:
                return stale.answer
            raise

    async def _ask(self, key_hash: bytes) -> Answer:
        evictions = self._evictions
        answer = await self._find(key_hash)
        if evictions == self._evictions:  # else it may be older than the change
            self._keep(key_hash, answer)
        return answer

    def _keep(self, key_hash: bytes, answer: Answer) -> None:
        now = self._clock()
        if answer is None:
            self._unknown[key_hash] = Entry(None, now + UNKNOWN_FRESH_S)
            if len(self._unknown) > MOST_UNKNOWN:
                self._unknown.popitem(last=False)
            return
        self._known[key_hash] = Entry(answer, now + FRESH_S)
        self._known.move_to_end(key_hash)
        self._hash_of[answer.key_id] = key_hash
        if len(self._known) > MOST_KNOWN:
            _, oldest = self._known.popitem(last=False)
            if oldest.answer is not None:
                self._hash_of.pop(oldest.answer.key_id, None)
