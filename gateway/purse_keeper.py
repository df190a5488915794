"""Moves money between purses and their wallets: tops up ahead of need, returns, recalls.

One task per purse that has something to do, so one statement at a time per wallet. A take or return
carries the grant's next `seq`; after an unclear answer the same statement is repeated before
anything else on that grant, and the database answers it as the first time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from billing.grants import ProcessEnded, Taken, TakeStatus
from gateway.purse import InsufficientFunds, MoneyUnavailable, Purse, PurseLimits, WalletFrozen

logger = logging.getLogger(__name__)

T = TypeVar("T")
Step = Callable[[Purse], Awaitable[None]]
ALL = 2**62  # a return of everything: the database bounds it by what the grant has


class Dropped(Exception):  # noqa: N818  (named for what happened)
    """The purse's epoch is over: nothing more is to be done for it."""


class Grants(Protocol):
    """The statements of billing/grants.py, off the event loop."""

    async def take(
        self, *, epoch: int, wallet_id: int, want: int, need: int, seq: int
    ) -> Taken: ...

    async def give_back(
        self, *, epoch: int, wallet_id: int, amount: int, seq: int, recall_seen: int
    ) -> int: ...

    async def recall(self, *, wallet_id: int, epoch: int) -> int: ...

    async def recall_answered(self, *, wallet_id: int, epoch: int, number: int) -> bool: ...


class PurseKeeper:
    """Runs a task per purse while there is something to do for it."""

    def __init__(
        self,
        *,
        grants: Grants,
        limits: PurseLimits,
        clock: Callable[[], float],
        on_dead: Callable[[int], None],
    ) -> None:
        self._grants = grants
        self._limits = limits
        self._clock = clock
        self._on_dead = on_dead  # called with an epoch that the database no longer knows as live
        self._is_closed = False
        self.near_empty_at = float("-inf")  # when a purse last met a wallet that is near empty

    def wake(self, purse: Purse) -> None:
        if purse.keeper is None and not self._is_closed:
            purse.keeper = asyncio.create_task(self._run(purse), name=f"purse-{purse.wallet_id}")

    async def close(self, purses: list[Purse]) -> None:
        """Start nothing more and wait for the statement that each purse is at."""
        self._is_closed = True
        running = [purse.keeper for purse in purses if purse.keeper is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, purse: Purse) -> None:
        try:
            while (step := self._next_step(purse)) is not None:
                await step(purse)
        except Dropped:
            pass
        except Exception:
            logger.exception("A purse could not be kept; its waiting calls are refused.")
            purse.fail_waiters(MoneyUnavailable)
        finally:
            purse.keeper = None

    def _next_step(self, purse: Purse) -> Step | None:
        if purse.is_dropped:
            return None
        purse.serve()
        if purse.recall_due is not None:
            return self._give_back if purse.has_grant else self._forget_recall
        if purse.unbacked:
            return self._retake
        if purse.waiters:
            return self._take_for_waiters
        return self._ahead_of_need(purse)

    def _ahead_of_need(self, purse: Purse) -> Step | None:
        """With nobody waiting: what is too much goes back, what runs low is topped up."""
        now = self._clock()
        if now < purse.quiet_until or purse.is_near_empty(self._limits):
            purse.pull_back()
        if purse.returning or self._is_idle(purse, now):
            return self._give_back
        if 0 < purse.low > purse.free:
            return self._top_up
        return None

    def _is_idle(self, purse: Purse, now: float) -> bool:
        is_unused = not purse.held and not purse.settling
        return purse.has_grant and is_unused and now - purse.used_at >= self._limits.idle_s

    # Steps

    async def _forget_recall(self, purse: Purse) -> None:
        """No open grant: nobody waits for an answer from us."""
        purse.recall_due = None

    async def _give_back(self, purse: Purse) -> None:
        purse.pull_back()
        number, purse.recall_due = purse.recall_due or 0, None
        closes = not (purse.held or purse.settling)
        amount, purse.returning = ALL if closes else purse.returning, 0
        purse.seq += 1
        epoch, seq = purse.epoch, purse.seq
        returned = await self._until_clear(
            purse,
            lambda: self._grants.give_back(
                epoch=epoch,
                wallet_id=purse.wallet_id,
                amount=amount,
                seq=seq,
                recall_seen=number,
            ),
        )
        purse.has_grant = not closes
        purse.available = (purse.available or 0) + returned
        if closes:
            purse.low = 0

    async def _retake(self, purse: Purse) -> None:
        """Take holds in the new epoch for calls that were open in the lost one; best effort."""
        holds = [h for h in purse.unbacked if h.is_open and h.epoch != purse.epoch]
        purse.unbacked = []
        amount = sum(hold.amount for hold in holds)
        taken = await self._take(purse, amount, amount) if amount else None
        if taken is None or taken.status is not TakeStatus.TAKEN:
            return
        for hold in holds:
            if hold.is_open and hold.epoch != purse.epoch:
                hold.epoch = purse.epoch
                purse.held += hold.amount
                purse.free -= hold.amount

    async def _take_for_waiters(self, purse: Purse) -> None:
        now = self._clock()
        need = purse.waiters[0].amount - purse.free
        waiting = [w.amount for w in purse.waiters if not w.future.done()]
        wished = sum(waiting) - purse.free
        if now >= purse.quiet_until:
            wished += purse.target(self._limits, now)
        want = max(need, min(wished, purse.share(self._limits)))
        taken = await self._take(purse, want, need)
        if taken.status is TakeStatus.SHORT:
            await self._short(purse, taken)

    async def _top_up(self, purse: Purse) -> None:
        now = self._clock()
        want = purse.target(self._limits, now) - purse.free
        if want <= 0:
            purse.set_low(self._limits, now)
            purse.low = min(purse.low, max(0, purse.free))
            return
        await self._take(purse, want, want)

    async def _take(self, purse: Purse, want: int, need: int) -> Taken:
        """One take, its money and news put into the purse."""
        purse.seq += 1
        epoch, seq = purse.epoch, purse.seq
        taken = await self._until_clear(
            purse,
            lambda: self._grants.take(
                epoch=epoch, wallet_id=purse.wallet_id, want=want, need=need, seq=seq
            ),
        )
        if taken.status is TakeStatus.DEAD:
            self._on_dead(epoch)
            raise Dropped
        purse.available = taken.available
        purse.live_processes = taken.live_processes
        if taken.status is TakeStatus.TAKEN:
            purse.has_grant = True
            purse.free += taken.amount
        elif taken.status is TakeStatus.FROZEN:
            purse.pull_back()
            purse.fail_waiters(WalletFrozen)
        purse.set_low(self._limits, self._clock())
        if purse.is_near_empty(self._limits):
            self.near_empty_at = self._clock()
        return taken

    # Near empty

    async def _short(self, purse: Purse, taken: Taken) -> None:
        """The wallet cannot pay for the first that waits: call back what others hold, once."""
        if taken.granted_elsewhere == 0:
            self._refuse(purse, taken.available)
            return
        if self._clock() < purse.answered_until:
            await self._try_once_more(purse)
            return
        wallet_id, epoch = purse.wallet_id, purse.epoch
        number = await self._until_clear(
            purse, lambda: self._grants.recall(wallet_id=wallet_id, epoch=epoch)
        )
        purse.quiet_until = self._clock() + self._limits.quiet_s
        await self._await_answers(purse, number)

    async def _try_once_more(self, purse: Purse) -> None:
        """All holders answered lately and return at once what they free: it may be under way."""
        await asyncio.sleep(self._limits.poll_s)
        if purse.is_dropped:
            raise Dropped
        purse.serve()
        if purse.waiters:
            need = purse.waiters[0].amount - purse.free
            taken = await self._take(purse, need, need)
            if taken.status is TakeStatus.SHORT:
                self._refuse(purse, taken.available)

    async def _await_answers(self, purse: Purse, number: int) -> None:
        """Try the take again until it succeeds, all have answered, or a second has passed."""
        wallet_id, epoch = purse.wallet_id, purse.epoch
        deadline = self._clock() + self._limits.answer_s
        while True:
            is_answered = await self._until_clear(
                purse,
                lambda: self._grants.recall_answered(
                    wallet_id=wallet_id, epoch=epoch, number=number
                ),
            )
            if purse.recall_due is not None and purse.has_grant:
                await self._give_back(purse)
            purse.serve()
            if not purse.waiters:
                return
            need = purse.waiters[0].amount - purse.free
            taken = await self._take(purse, need, need)
            if taken.status is not TakeStatus.SHORT:
                return
            if is_answered:
                purse.answered_until = self._clock() + self._limits.quiet_s
                self._refuse(purse, taken.available)
                return
            if self._clock() >= deadline:
                purse.fail_waiters(MoneyUnavailable)
                return
            await asyncio.sleep(self._limits.poll_s)

    def _refuse(self, purse: Purse, available: int) -> None:
        """402 for all whom the wallet cannot pay; smaller holds may still find money."""
        purse.serve()
        if not purse.waiters:
            return
        room = max(0, purse.free + available)
        purse.waiters.popleft().fail(InsufficientFunds(room))
        for waiter in purse.waiters:
            if waiter.amount > room:
                waiter.fail(InsufficientFunds(room))  # `serve` skips those that are done

    async def _until_clear(self, purse: Purse, statement: Callable[[], Awaitable[T]]) -> T:
        """Repeat the statement until its answer is known. Raises Dropped when its epoch ends."""
        pause = self._limits.retry_s
        while True:
            try:
                answer = await statement()
            except ProcessEnded:
                self._on_dead(purse.epoch)
                raise Dropped from None
            except Exception as error:  # noqa: BLE001  (whatever it was, the answer is unclear)
                logger.warning("grant.statement.unclear wallet=%s: %s", purse.wallet_id, error)
            else:
                if purse.is_dropped:
                    raise Dropped
                return answer
            await asyncio.sleep(pause)
            pause = min(pause * 2, self._limits.longest_retry_s)
            if purse.is_dropped:
                raise Dropped
