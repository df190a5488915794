"""Money in and out of wallets by anybody but the gateway. With grants.py the only writer of money.

Each function is one money transaction, or part of its caller's: it takes the wallet's lock, so
call it late. A reference is used once: the second time nothing moves, and you are told.
"""

import logging
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connection
from django.utils import timezone
from psycopg.errors import NoDataFound

from accounts.changes import ChangeKind, record_change
from billing.chart import AccountKind, HouseAccount, TransferKind, clearing
from billing.connections import call, money_transaction
from billing.models import Wallet
from billing.money import format_usd

__all__ = [
    "AccountKind",
    "HouseAccount",
    "NotAvailable",
    "ReferenceTaken",
    "TransferKind",
    "UnknownWallet",
    "adjust",
    "clearing",
    "credit",
    "freeze",
    "open_wallet",
    "unfreeze",
]

logger = logging.getLogger(__name__)


class ReferenceTaken(Exception):  # noqa: N818  (named for what is wrong)
    """The reference stands for another movement already: other accounts, kind or amount."""


class NotAvailable(Exception):  # noqa: N818
    """The wallet has less cash than that, or gateway processes hold it."""


class UnknownWallet(LookupError):  # noqa: N818
    """There is no wallet of this number."""


def open_wallet(*, workspace_id: int, mode: str) -> int:
    """The id of the workspace's wallet in that mode, made when there is none."""
    with money_transaction():
        (wallet_id,) = call(connection, "SELECT billing_open_wallet(%s, %s)", [workspace_id, mode])
    return int(wallet_id)


def credit(  # noqa: PLR0913  (keywords of one transfer)
    *,
    wallet_id: int,
    amount: int,
    reference: str,
    source: HouseAccount,
    kind: TransferKind | str,
    actor: str = "",
    reason: str = "",
    into: AccountKind = AccountKind.CASH,
) -> bool:
    """Put money into a wallet. False: the reference is there already and nothing changed.

    Raises ReferenceTaken when it is there with other figures.
    """
    if amount <= 0:
        raise ValueError(f"A credit is more than nothing, not {amount}.")
    return _move(
        _Movement(
            wallet_id=wallet_id,
            account=into,
            amount=amount,
            reference=reference,
            kind=TransferKind(kind),
            house=source,
            actor=actor,
            reason=reason,
        )
    )


def adjust(*, wallet_id: int, amount: int, reference: str, actor: str, reason: str) -> bool:
    """Correct a wallet's cash by hand, up or down, against the operator's own money.

    False: done before. Raises NotAvailable when it would take what is not there or is granted.
    """
    if amount == 0:
        raise ValueError("An adjustment is more or less than nothing.")
    if not reason.strip():
        raise ValueError("An adjustment needs a reason.")
    return _move(
        _Movement(
            wallet_id=wallet_id,
            account=AccountKind.CASH,
            amount=amount,
            reference=reference,
            kind=TransferKind.ADJUSTMENT,
            house=HouseAccount.EQUITY,
            actor=actor,
            reason=reason,
        )
    )


def freeze(*, wallet_id: int, reason: str, actor: str) -> bool:
    """Stop a wallet from paying for new calls. False: it is frozen already.

    Gateway processes hear of it within a second; calls under way still settle.
    """
    with money_transaction():
        wallet = _locked(wallet_id)
        if wallet.frozen_at is not None:
            return False
        wallet.frozen_at = timezone.now()
        wallet.frozen_reason = reason[:500]
        wallet.save(update_fields=["frozen_at", "frozen_reason"])
        record_change(kind=ChangeKind.FREEZE, subject_id=wallet_id)
    logger.warning("wallet.frozen", extra={"wallet_id": wallet_id, "actor": actor})
    return True


def unfreeze(*, wallet_id: int, reason: str, actor: str) -> bool:
    """Let a wallet pay again. False: it is not frozen."""
    with money_transaction():
        wallet = _locked(wallet_id)
        if wallet.frozen_at is None:
            return False
        wallet.frozen_at = None
        wallet.frozen_reason = ""
        wallet.save(update_fields=["frozen_at", "frozen_reason"])
        record_change(kind=ChangeKind.FREEZE, subject_id=wallet_id)
    logger.warning(
        "wallet.unfrozen", extra={"wallet_id": wallet_id, "actor": actor, "reason": reason}
    )
    return True


def _locked(wallet_id: int) -> Wallet:
    try:
        return Wallet.objects.select_for_update(no_key=True).get(pk=wallet_id)
    except Wallet.DoesNotExist:
        raise UnknownWallet(f"There is no wallet {wallet_id}.") from None


@dataclass(frozen=True, slots=True)
class _Movement:
    """Into the wallet's account when the amount is above zero, out of it when below."""

    wallet_id: int
    account: AccountKind
    amount: int
    reference: str
    kind: TransferKind
    house: HouseAccount
    actor: str
    reason: str

    def params(self) -> list[Any]:
        kinds = [self.kind.value, self.house.kind.value, self.house.provider]
        before = [self.wallet_id, self.account.value, self.amount, self.reference]
        return [*before, *kinds, self.actor, self.reason]


def _move(movement: _Movement) -> bool:
    sql = "SELECT billing_move(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
    try:
        with money_transaction():
            (outcome,) = call(connection, sql, movement.params())
    except DatabaseError as error:
        if isinstance(error.__cause__, NoDataFound):
            raise UnknownWallet(f"There is no wallet {movement.wallet_id}.") from error
        raise
    if outcome == "CONFLICT":
        raise ReferenceTaken(f"{movement.reference!r} stands for another transfer already.")
    if outcome == "SHORT":
        raise NotAvailable(
            f"Wallet {movement.wallet_id} has less than {format_usd(-movement.amount)} available."
        )
    return bool(outcome == "MOVED")
