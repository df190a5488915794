"""The chart of accounts: between which accounts money moves, and why. Pure values, no database.

A customer's accounts are what we owe: they grow by credits. A debit of `CLEARING` is money that a
payment provider owes us; a debit of `EQUITY` is money that the operator gives.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class AccountKind(StrEnum):
    """What an account is for. The first two belong to a wallet, the others to the house."""

    CASH = "CASH"
    PROMO = "PROMO"
    CLEARING = "CLEARING"
    REVENUE = "REVENUE"
    FEES = "FEES"
    WRITE_OFF = "WRITE_OFF"
    BREAKAGE = "BREAKAGE"
    EQUITY = "EQUITY"


WALLET_KINDS = (AccountKind.CASH, AccountKind.PROMO)
HOUSE_KINDS = tuple(kind for kind in AccountKind if kind not in WALLET_KINDS)


class TransferKind(StrEnum):
    """Why money moved."""

    TOP_UP = "TOP_UP"
    PROMOTION = "PROMOTION"
    CHARGE = "CHARGE"
    WRITE_OFF = "WRITE_OFF"
    REFUND = "REFUND"
    ADJUSTMENT = "ADJUSTMENT"


@dataclass(frozen=True)
class HouseAccount:
    """An account of the house, in the mode of the wallet at the other end of the transfer."""

    kind: AccountKind
    provider: str = ""

    CLEARING: ClassVar["HouseAccount"]
    EQUITY: ClassVar["HouseAccount"]

    def __post_init__(self) -> None:
        if self.kind in WALLET_KINDS:
            message = f"{self.kind} is an account of a wallet, not of the house."
            raise ValueError(message)


HouseAccount.CLEARING = HouseAccount(AccountKind.CLEARING)
HouseAccount.EQUITY = HouseAccount(AccountKind.EQUITY)


def clearing(*, provider: str) -> HouseAccount:
    """What the payment provider owes us until it pays out."""
    return HouseAccount(AccountKind.CLEARING, provider)
