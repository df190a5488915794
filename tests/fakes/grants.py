"""A wallet and its grants in memory, as purses see them: the same answers as billing/grants.py."""

import asyncio
from dataclasses import dataclass, field

from billing.grants import Taken, TakeStatus


@dataclass
class Order:
    seq: int = 0
    delta: int = 0


@dataclass
class FakeWallet:
    available: int
    is_frozen: bool = False
    granted: dict[int, int] = field(default_factory=dict)  # by epoch
    orders: dict[int, Order] = field(default_factory=dict)
    recalls: int = 0
    answered: dict[int, int] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    live_processes: int = 1


class FakeGrants:
    """`unclear` statements are done and then raise, as when the answer is lost."""

    def __init__(self, wallet: FakeWallet) -> None:
        self.wallet = wallet
        self.unclear = 0
        self.sent: list[tuple] = []
        self.at_once = 0
        self.most_at_once = 0

    async def take(self, *, epoch, wallet_id, want, need, seq):
        await self._begin("take", want, need, seq)
        wallet = self.wallet
        order = wallet.orders.setdefault(epoch, Order())
        if epoch in wallet.dead:
            status, amount = TakeStatus.DEAD, 0
        elif seq == order.seq and order.delta > 0:
            status, amount = TakeStatus.TAKEN, order.delta
        elif wallet.is_frozen:
            status, amount = TakeStatus.FROZEN, 0
        elif wallet.available < need:
            status, amount = TakeStatus.SHORT, 0
        else:
            assert seq > order.seq
            status, amount = TakeStatus.TAKEN, want if wallet.available >= want else need
            self._move(epoch, amount, seq)
        self._end()
        elsewhere = sum(wallet.granted.values()) - wallet.granted.get(epoch, 0)
        return Taken(
            status, amount, wallet.available, elsewhere, wallet.live_processes, wallet.recalls
        )

    async def give_back(self, *, epoch, wallet_id, amount, seq, recall_seen):
        await self._begin("give_back", amount, recall_seen, seq)
        order = self.wallet.orders.setdefault(epoch, Order())
        if seq == order.seq:
            back = -order.delta
        else:
            assert seq > order.seq
            back = min(amount, self.wallet.granted.get(epoch, 0))
            self._move(epoch, -back, seq)
        self.wallet.answered[epoch] = max(self.wallet.answered.get(epoch, 0), recall_seen)
        self._end()
        return back

    async def recall(self, *, wallet_id, epoch):
        await self._begin("recall")
        self.wallet.recalls += 1
        self._end()
        return self.wallet.recalls

    async def recall_answered(self, *, wallet_id, epoch, number):
        await self._begin("recall_answered", number)
        self._end()
        return all(
            self.wallet.answered.get(other, 0) >= number or not amount
            for other, amount in self.wallet.granted.items()
            if other != epoch
        )

    def of(self, name):
        return [sent for sent in self.sent if sent[0] == name]

    def _move(self, epoch, amount, seq):
        self.wallet.available -= amount
        self.wallet.granted[epoch] = self.wallet.granted.get(epoch, 0) + amount
        self.wallet.orders[epoch] = Order(seq, amount)

    async def _begin(self, *sent):
        self.sent.append(sent)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)

    def _end(self):
        self.at_once -= 1
        if self.unclear:
            self.unclear -= 1
            raise ConnectionError("the answer was lost")
