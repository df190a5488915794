"""A process's money in hand: holds are taken and given back in memory, in microseconds."""


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


class Hold:
    """Money set aside for one open call. Ended exactly once: by `release` or by the settler."""

    amount: int  # nano-USD
    wallet_id: int

    async def extend(self, amount: int) -> None:
        """Set aside `amount` more. Raises as `Purses.hold` does; what was held stays held."""
        raise NotImplementedError

    def release(self) -> None:
        """Give all of it back: nothing is charged. Doing it again, or after a settle, does nothing."""
        raise NotImplementedError


class Purses:
    """The purses of one process, one per wallet that calls. Use it on the event loop only."""

    async def hold(self, *, wallet_id: int, amount: int) -> Hold:
        """Set `amount` aside: at once from memory, else after a take from the wallet.

        Raises InsufficientFunds (402), WalletFrozen (403) or MoneyUnavailable (503).
        """
        raise NotImplementedError

    def room(self, wallet_id: int) -> int:
        """Purse + available as last heard; 0 when nothing was heard yet."""
        raise NotImplementedError
