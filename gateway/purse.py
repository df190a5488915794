"""A process's money in hand: holds are taken and given back in memory, in microseconds.

Everything here runs on the event loop and never waits but in `Purses.hold` and `Hold.extend`, when
memory cannot pay: then the purse's keeper (gateway/purse_keeper.py) asks the wallet. In doubt a
purse knows of less money than its grant has, never of more.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol


class InsufficientFunds(Exception):  # noqa: N818  (named for what is wrong)
    """The wallet cannot pay for this hold, and nobody else holds its money: answer 402."""

    def __init__(self, available: int) -> None:
        super().__init__(f"The wallet has {available} nano-USD left, which is too little.")
        self.available = available


class WalletFrozen(Exception):  # noqa: N818
    """An operator or a dispute froze the wallet: nothing is sold on it."""


class MoneyUnavailable(Exception):  # noqa: N818
    """Whether the money is there cannot be known now: answer 503 with Retry-After, never 402."""

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__("The money of this wallet cannot be reached now.")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class PurseLimits:
    """How purses behave in time; tests use shorter ones."""

    idle_s: float = 60  # idle money of a rich wallet stays so long
    quiet_s: float = 2  # after a recall nobody tops up ahead
    answer_s: float = 1  # how long other holders may take to answer a recall
    poll_s: float = 0.05  # how often a recalling process looks whether they have
    wait_s: float = 3  # the longest that a hold waits for money
    demand_s: float = 10  # a purse is topped up to so much time's spend
    share_divisor: int = 4  # and to at most this part of available / live processes
    retry_s: float = 0.1  # first pause before an unclear statement is repeated
    longest_retry_s: float = 1
    most_waiting: int = 2_000  # holds that may wait on one wallet


class Demand:
    """What a wallet's calls took in the last window, less what came back."""

    __slots__ = ("_before", "_end", "_largest", "_now", "largest", "window_s")

    def __init__(self, window_s: float, now: float) -> None:
        self.window_s = window_s
        self.largest = 0  # the largest hold of this window and of the last that had any
        self._largest = 0
        self._now = 0
        self._before = 0
        self._end = now + window_s

    def took(self, amount: int, now: float) -> None:
        if now >= self._end:
            self._roll(now)
        self._now += amount
        self._largest = max(self._largest, amount)
        self.largest = max(self.largest, amount)

    def came_back(self, amount: int) -> None:
        self._now -= amount

    def total(self, now: float) -> int:
        """Spend of one window up to now; the window before counts by the part still inside."""
        if now >= self._end:
            self._roll(now)
        left_ms = int((self._end - now) * 1000)
        window_ms = max(1, int(self.window_s * 1000))
        return max(0, self._now + max(0, self._before) * left_ms // window_ms)

    def _roll(self, now: float) -> None:
        self._before = self._now if now < self._end + self.window_s else 0
        self._now = 0
        self.largest, self._largest = self._largest or self.largest, 0
        self._end = now + self.window_s


class Hold:
    """Money set aside for one open call. Ended exactly once: by `release` or by the settler."""

    __slots__ = ("_purses", "amount", "epoch", "is_open", "purse")

    def __init__(self, purses: "Purses", purse: "Purse", amount: int, epoch: int) -> None:
        self._purses = purses
        self.purse = purse
        self.amount = amount  # nano-USD
        self.epoch = epoch  # its money is in this epoch's grant
        self.is_open = True

    @property
    def wallet_id(self) -> int:
        return self.purse.wallet_id

    async def extend(self, amount: int) -> None:
        """Set aside `amount` more. Raises as `Purses.hold` does; what was held stays held."""
        await self._purses.extend(self, amount)

    def release(self) -> None:
        """Give all of it back: nothing is charged. Again, or after a settle, it does nothing."""
        if self.is_open:
            self.is_open = False
            self._purses.released(self)


@dataclass(slots=True, eq=False)
class Waiter:
    amount: int
    future: "asyncio.Future[Purse]"  # the purse that paid

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True, eq=False)
class Purse:
    """One wallet's money in this process. `free` + `held` + `returning` <= the grant's amount."""

    wallet_id: int
    epoch: int
    demand: Demand
    used_at: float
    free: int = 0  # below zero: a charge above its hold ate into other holds
    held: int = 0
    returning: int = 0  # taken out of `free`, to be sent back
    low: int = 0  # below this the purse is topped up ahead of need
    seq: int = 0  # of the last take or return
    has_grant: bool = False
    available: int | None = None  # as last heard
    live_processes: int = 1
    recall_due: int | None = None  # a recall to be answered
    quiet_until: float = 0
    answered_until: float = 0
    settling: int = 0  # calls on their way through the settler
    holds: set[Hold] = field(default_factory=set)
    unbacked: list[Hold] = field(default_factory=list)  # open calls of an epoch that was lost
    waiters: deque[Waiter] = field(default_factory=deque)
    is_dropped: bool = False
    keeper: "asyncio.Task[None] | None" = None

    def share(self, limits: PurseLimits) -> int:
        """The most that may be taken ahead of need."""
        return (self.available or 0) // (limits.share_divisor * max(1, self.live_processes))

    def is_near_empty(self, limits: PurseLimits) -> bool:
        """Not even one more call could be paid ahead of need."""
        return self.available is not None and self.share(limits) < max(1, self.demand.largest)

    def target(self, limits: PurseLimits, now: float) -> int:
        """How much should be free, seen from the last seconds' spend."""
        return min(self.share(limits), self.demand.total(now) + self.demand.largest)

    def set_low(self, limits: PurseLimits, now: float) -> None:
        if now < self.quiet_until or self.is_near_empty(limits):
            self.low = 0
            return
        target = self.target(limits, now)
        self.low = max(target // 2, min(self.demand.largest, target))

    def pull_back(self) -> None:
        """Take what is free out of reach, to be returned."""
        if self.free > 0:
            self.returning += self.free
            self.free = 0

    def serve(self) -> None:
        """Hand free money to those who wait, in their order."""
        while self.waiters:
            waiter = self.waiters[0]
            if not waiter.future.done():
                if self.free < waiter.amount:
                    return
                self.free -= waiter.amount
                self.held += waiter.amount
                waiter.future.set_result(self)
            self.waiters.popleft()

    def fail_waiters(self, error: Callable[[], Exception]) -> None:
        while self.waiters:
            self.waiters.popleft().fail(error())


class Keeper(Protocol):
    """Moves money between a purse and its wallet, in the background."""

    def wake(self, purse: Purse) -> None: ...

    async def close(self, purses: list[Purse]) -> None: ...


class Purses:
    """The purses of one process, one per wallet that calls. Use it on the event loop only."""

    def __init__(
        self,
        *,
        keeper: Keeper,
        limits: PurseLimits,
        may_admit: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.epoch = 0
        self.limits = limits
        self._keeper = keeper
        self._may_admit = may_admit
        self._clock = clock
        self._purses: dict[int, Purse] = {}
        self._seqs: dict[int, int] = {}  # of purses put away in this epoch
        self._rooms: dict[int, int] = {}  # available, heard before there was a purse

    async def hold(self, *, wallet_id: int, amount: int) -> Hold:
        """Set `amount` aside: at once from memory, else after a take from the wallet.

        Raises InsufficientFunds (402), WalletFrozen (403) or MoneyUnavailable (503).
        """
        if amount < 0:
            message = f"A hold of {amount} nano-USD is below zero."
            raise ValueError(message)
        if not self._may_admit():
            raise MoneyUnavailable
        purse = self._purses.get(wallet_id)
        if purse is None:
            purse = self._open(wallet_id)
        payer = await self._set_aside(purse, amount)
        return self._make_hold(payer, amount)

    async def extend(self, hold: Hold, amount: int) -> None:
        """Add to an open hold, as `Hold.extend` says."""
        if not self._may_admit():
            raise MoneyUnavailable
        payer = await self._set_aside(hold.purse, amount)
        if not hold.is_open:  # it was ended meanwhile
            self._put_back(payer, amount)
        elif hold.epoch == payer.epoch:
            hold.amount += amount
        else:  # what it had was lost with its epoch; what is new is real
            hold.amount, hold.epoch = amount, payer.epoch

    def room(self, wallet_id: int) -> int:
        """Purse + available as last heard; 0 when nothing was heard yet."""
        purse = self._purses.get(wallet_id)
        if purse is None or purse.available is None:
            return self._rooms.get(wallet_id, 0)
        return max(0, purse.free) + purse.available

    def note_available(self, wallet_id: int, available: int) -> None:
        """Remember what a look-up of the wallet saw, for `room` of a first call."""
        self._rooms[wallet_id] = available
        if len(self._rooms) > 100_000:  # noqa: PLR2004  (a bound, no number to tune)
            self._rooms.pop(next(iter(self._rooms)))

    @property
    def open_holds(self) -> int:
        return sum(len(purse.holds) for purse in self._purses.values())

    # What the settler says

    def empty_hold(self, wallet_id: int) -> Hold | None:
        """For a charge without a hold: it takes from the same grant. None: there is no purse."""
        purse = self._purses.get(wallet_id)
        return None if purse is None else self._make_hold(purse, 0)

    def begin_settle(self, hold: Hold, charge: int) -> None:
        """End the hold; a charge above it first takes what is free, before the database does."""
        hold.is_open = False
        purse = hold.purse
        purse.settling += 1
        excess = min(purse.free, charge - hold.amount)
        if excess > 0 and hold.epoch == purse.epoch:
            purse.free -= excess
            purse.held += excess
            hold.amount += excess

    def end_settle(self, holds: Iterable[Hold], *, epoch: int, from_grant: int) -> None:
        """Holds of one wallet were captured: `from_grant` of `epoch`'s grant was used up."""
        purse, freed = None, 0
        for hold in holds:
            purse = hold.purse
            purse.settling -= 1
            freed += self._end(hold)
        if purse is None:
            return
        if epoch == purse.epoch:
            purse.free -= from_grant
            freed -= from_grant
        purse.demand.came_back(freed)
        self._freed(purse)

    # What the process says

    def recalled(self, wallet_id: int, number: int) -> None:
        """Somebody is short: give back at once all that is free, and answer."""
        purse = self._purses.get(wallet_id)
        if purse is None or not (purse.has_grant or purse.keeper):
            return
        purse.pull_back()
        purse.recall_due = max(number, purse.recall_due or 0)
        purse.quiet_until = self._clock() + self.limits.quiet_s
        purse.low = 0
        self._keeper.wake(purse)

    def frozen(self, wallet_id: int) -> None:
        """The wallet was frozen or released: nothing more is sold from memory."""
        purse = self._purses.get(wallet_id)
        if purse is not None:
            purse.pull_back()
            purse.low = 0
            self._keeper.wake(purse)

    def reset(self, epoch: int) -> None:
        """Drop all purses: their epoch is over. Open calls try to get new holds, best effort."""
        self.epoch = epoch
        dropped, self._purses = self._purses, {}
        self._seqs.clear()
        for old in dropped.values():
            old.is_dropped = True
            purse = self._open(old.wallet_id)
            purse.demand, purse.settling = old.demand, old.settling
            purse.holds, purse.waiters = old.holds, old.waiters
            for hold in purse.holds:
                hold.purse = purse
            purse.unbacked = [hold for hold in purse.holds if hold.is_open and hold.amount]
            if purse.unbacked or purse.waiters:
                self._keeper.wake(purse)

    def tick(self) -> None:
        """Give back what has been idle; to be called every second or two."""
        now = self._clock()
        for purse in list(self._purses.values()):
            if now - purse.used_at < self.limits.idle_s or purse.waiters or purse.keeper:
                continue
            if purse.has_grant:
                purse.pull_back()
                self._keeper.wake(purse)
            elif not purse.holds and not purse.settling:
                self._seqs[purse.wallet_id] = purse.seq
                del self._purses[purse.wallet_id]

    async def close(self) -> None:
        """Nobody waits for money any more and nothing is asked of wallets: the process stops."""
        for purse in self._purses.values():
            purse.fail_waiters(MoneyUnavailable)
        await self._keeper.close(list(self._purses.values()))

    def _open(self, wallet_id: int) -> Purse:
        now = self._clock()
        purse = Purse(wallet_id, self.epoch, Demand(self.limits.demand_s, now), now)
        purse.seq = self._seqs.get(wallet_id, 0)
        self._purses[wallet_id] = purse
        return purse

    def _make_hold(self, payer: Purse, amount: int) -> Hold:
        hold = Hold(self, payer, amount, payer.epoch)
        if payer.is_dropped:  # its epoch ended in this very turn of the loop
            hold.purse = self._purses.get(payer.wallet_id) or self._open(payer.wallet_id)
            hold.purse.unbacked.append(hold)
            self._keeper.wake(hold.purse)
        hold.purse.holds.add(hold)
        return hold

    async def _set_aside(self, purse: Purse, amount: int) -> Purse:
        """Move `amount` from free to held; returns the purse that paid (epochs may change)."""
        now = purse.used_at = self._clock()
        purse.demand.took(amount, now)
        if purse.free >= amount and not purse.waiters:
            purse.free -= amount
            purse.held += amount
            if purse.free < purse.low:
                self._keeper.wake(purse)
            return purse
        return await self._wait(purse, amount)

    async def _wait(self, purse: Purse, amount: int) -> Purse:
        if len(purse.waiters) >= self.limits.most_waiting:
            raise MoneyUnavailable
        loop = asyncio.get_running_loop()
        waiter = Waiter(amount, loop.create_future())
        purse.waiters.append(waiter)
        timer = loop.call_later(self.limits.wait_s, waiter.fail, MoneyUnavailable())
        self._keeper.wake(purse)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            future = waiter.future
            if future.done() and not future.cancelled() and future.exception() is None:
                self._put_back(future.result(), amount)  # it had just come
            raise
        finally:
            timer.cancel()

    def released(self, hold: Hold) -> None:
        """Give an ended hold's money back to its purse."""
        self._end(hold)
        hold.purse.demand.came_back(hold.amount)
        self._freed(hold.purse)

    def _end(self, hold: Hold) -> int:
        """Free what was held; how much that is."""
        purse = hold.purse
        purse.holds.discard(hold)
        if hold.epoch != purse.epoch:
            return 0
        purse.held -= hold.amount
        purse.free += hold.amount
        return hold.amount

    def _put_back(self, purse: Purse, amount: int) -> None:
        purse.held -= amount
        purse.free += amount
        if not purse.is_dropped:
            self._freed(purse)

    def _freed(self, purse: Purse) -> None:
        """Money came back: to those who wait; near empty, to the wallet at once."""
        purse.used_at = self._clock()
        if purse.waiters:
            purse.serve()
        if purse.free > 0 and (purse.low == 0 or purse.waiters):
            self._keeper.wake(purse)
