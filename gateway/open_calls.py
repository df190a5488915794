"""Calls in flight: bounded, each in a task that no hang-up cancels, drained at the end."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress

from gateway.errors import NOT_READY, OVERLOADED
from gateway.exchange import Exchange
from gateway.upstream import HangUp

CUT_WITHIN_S = 10.0  # calls that were hung up on have so long to settle

logger = logging.getLogger(__name__)


class OpenCalls:
    """Of one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entered = 0
        self._tasks: dict[asyncio.Task[None], HangUp] = {}
        self._is_closing = False

    @property
    def count(self) -> int:
        """Requests that are being read or answered, and calls whose client has left."""
        return self._entered

    def enter(self) -> None:
        """Take a place; `leave` gives it back. Raises ApiError (503) when there is none."""
        if self._is_closing:
            raise NOT_READY.error()
        if self._entered >= self._limit:
            raise OVERLOADED.error()
        self._entered += 1

    def leave(self) -> None:
        self._entered -= 1

    async def carry(
        self, exchange: Exchange, hang_up: HangUp, work: Coroutine[object, object, None]
    ) -> None:
        """Run `work` in its own task; return when it has answered or the client has left."""
        task = asyncio.get_running_loop().create_task(work, name=exchange.request_id)
        self._tasks[task] = hang_up
        self._entered += 1

        def ended(task: asyncio.Task[None]) -> None:
            del self._tasks[task]
            self._entered -= 1
            if not task.cancelled() and task.exception() is not None:
                logger.error("call.crashed %s", exchange.request_id, exc_info=task.exception())
            if not exchange.is_complete:
                exchange.give_up()

        task.add_done_callback(ended)
        await exchange.watch()

    async def drain(self, within_s: float) -> None:
        """No new calls; let open ones end, then hang up on what is left, which settles as cut."""
        self._is_closing = True
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=within_s)
        for hang_up in list(self._tasks.values()):
            hang_up.pull()
        if self._tasks:
            _, left = await asyncio.wait(set(self._tasks), timeout=CUT_WITHIN_S)
            for task in left:
                logger.error("call.abandoned %s", task.get_name())
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
