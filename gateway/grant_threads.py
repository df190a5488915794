"""The statements of billing/grants.py for the event loop, in the threads named `grants`."""

from billing import grants
from billing.grants import Taken
from gateway.database_threads import DatabaseThreads


class GrantThreads:
    """What gateway.purse_keeper.Grants asks for. Any error means that the answer is unclear."""

    def __init__(self, threads: DatabaseThreads) -> None:
        self._threads = threads

    async def take(self, *, epoch: int, wallet_id: int, want: int, need: int, seq: int) -> Taken:
        return await self._threads.run(
            lambda: grants.take(epoch=epoch, wallet_id=wallet_id, want=want, need=need, seq=seq)
        )

    async def give_back(
        self, *, epoch: int, wallet_id: int, amount: int, seq: int, recall_seen: int
    ) -> int:
        return await self._threads.run(
            lambda: grants.give_back(
                epoch=epoch, wallet_id=wallet_id, amount=amount, seq=seq, recall_seen=recall_seen
            )
        )

    async def recall(self, *, wallet_id: int, epoch: int) -> int:
        return await self._threads.run(lambda: grants.recall(wallet_id=wallet_id, epoch=epoch))

    async def recall_answered(self, *, wallet_id: int, epoch: int, number: int) -> bool:
        return await self._threads.run(
            lambda: grants.recall_answered(wallet_id=wallet_id, epoch=epoch, number=number)
        )
