"""Wallets and processes for tests, made through the functions that the product uses."""

from itertools import count

from django.conf import settings

from accounts.models import Workspace
from billing import grants, ledger
from billing.ledger import AccountKind, HouseAccount, TransferKind
from billing.queries import WalletView, wallet_of

_references = count(1)


def reference() -> str:
    """A reference that no other test has used."""
    return f"test:{next(_references)}"


def make_wallet(*, cash: int = 0, promo: int = 0) -> WalletView:
    """A wallet of a new workspace with that much in it, in nano-USD."""
    workspace = Workspace.objects.create(name="Acme")
    wallet = wallet_of(workspace_id=workspace.pk)
    if cash:
        put(wallet, cash)
    if promo:
        put(wallet, promo, into=AccountKind.PROMO, kind=TransferKind.PROMOTION)
    return again(wallet)


def put(
    wallet: WalletView,
    amount: int,
    *,
    into: AccountKind = AccountKind.CASH,
    kind: TransferKind = TransferKind.TOP_UP,
) -> None:
    source = HouseAccount.CLEARING if kind == TransferKind.TOP_UP else HouseAccount.EQUITY
    ledger.credit(
        wallet_id=wallet.id,
        amount=amount,
        reference=reference(),
        source=source,
        kind=kind,
        into=into,
    )


def again(wallet: WalletView) -> WalletView:
    """The wallet as it stands now."""
    return wallet_of(workspace_id=wallet.workspace_id)


def make_process(*, lease_s: float | None = None) -> int:
    """The epoch of a new live process."""
    lease = settings.TOKENMIX_LEASE_S if lease_s is None else lease_s
    return grants.register_process(name="test", lease_s=lease).epoch
