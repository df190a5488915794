"""Reads of wallets and their statements, as plain values. Amounts are nano-USD."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db.models import Sum

from billing import ledger
from billing.chart import WALLET_KINDS
from billing.models import Account, Transfer, Wallet
from billing.money import NanoUsd

LONGEST_STATEMENT = 1_000


@dataclass(frozen=True, slots=True)
class WalletView:
    """A wallet as it stands. `balance` is what a person sees, `available` what may be granted."""

    id: int
    workspace_id: int
    mode: str
    cash: NanoUsd
    promo: NanoUsd
    granted: NanoUsd
    debt: NanoUsd
    is_frozen: bool
    frozen_reason: str

    @property
    def available(self) -> NanoUsd:
        return NanoUsd(self.cash + self.promo - self.granted)

    @property
    def balance(self) -> NanoUsd:
        return NanoUsd(self.cash + self.promo - self.debt)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One transfer as the wallet's owner sees it: money in is above zero, money out below."""

    id: int
    at: datetime
    kind: str
    account: str
    amount: NanoUsd
    reference: str
    reason: str


def wallet_of(*, workspace_id: int) -> WalletView:
    """The workspace's wallet in this installation's mode, made at its first reading."""
    wallet = _find(workspace_id)
    if wallet is None:
        wallet_id = ledger.open_wallet(workspace_id=workspace_id, mode=settings.TOKENMIX_MODE)
        wallet = Wallet.objects.get(pk=wallet_id)
    return _view(wallet)


def wallet_id_of(*, workspace_id: int) -> int:
    return wallet_of(workspace_id=workspace_id).id


def statement(*, wallet_id: int, limit: int) -> list[StatementLine]:
    """The wallet's newest transfers, newest first, at most LONGEST_STATEMENT."""
    most = min(limit, LONGEST_STATEMENT)
    found = Transfer.objects.select_related("debit", "credit").order_by("-id")
    newest: list[Transfer] = []
    for account in Account.objects.filter(wallet_id=wallet_id).values_list("id", flat=True):
        # One query per account and side, since just those are answered from an index in order.
        newest += found.filter(debit_id=account)[:most]
        newest += found.filter(credit_id=account)[:most]
    newest.sort(key=lambda transfer: transfer.pk, reverse=True)
    return [_line(transfer) for transfer in newest[:most]]


def balance_of(*, account_id: int) -> NanoUsd:
    """Credits minus debits of an account: what we owe by it; below zero, what is owed to us."""
    credited = Transfer.objects.filter(credit_id=account_id).aggregate(sum=Sum("amount"))
    debited = Transfer.objects.filter(debit_id=account_id).aggregate(sum=Sum("amount"))
    return NanoUsd(int(credited["sum"] or 0) - int(debited["sum"] or 0))


def _find(workspace_id: int) -> Wallet | None:
    return Wallet.objects.filter(workspace_id=workspace_id, mode=settings.TOKENMIX_MODE).first()


def _view(wallet: Wallet) -> WalletView:
    return WalletView(
        id=wallet.pk,
        workspace_id=wallet.workspace_id,
        mode=wallet.mode,
        cash=NanoUsd(wallet.cash),
        promo=NanoUsd(wallet.promo),
        granted=NanoUsd(wallet.granted),
        debt=NanoUsd(wallet.debt),
        is_frozen=wallet.frozen_at is not None,
        frozen_reason=wallet.frozen_reason,
    )


def _line(transfer: Transfer) -> StatementLine:
    is_in = transfer.credit.kind in WALLET_KINDS
    return StatementLine(
        id=transfer.pk,
        at=transfer.created_at,
        kind=transfer.kind,
        account=transfer.credit.kind if is_in else transfer.debit.kind,
        amount=NanoUsd(transfer.amount if is_in else -transfer.amount),
        reference=transfer.reference,
        reason=transfer.reason,
    )
