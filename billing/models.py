"""Tables of money: wallets, the ledger, and what gateway processes hold of a wallet.

Every amount is whole nano-USD. Only `ledger.py` and `grants.py` write here, through the functions
of `sql/`. Constraints are the last guard, not the first.
"""

from collections.abc import Iterable
from enum import StrEnum

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.chart import HOUSE_KINDS, WALLET_KINDS, AccountKind, TransferKind


def _values(kinds: Iterable[StrEnum]) -> list[str]:
    return [kind.value for kind in kinds]


def _choices(kinds: Iterable[StrEnum]) -> list[tuple[str, str]]:
    return [(kind.value, kind.value) for kind in kinds]


class Mode(models.TextChoices):
    """Test money and real money never meet (the values of the setting TOKENMIX_MODE)."""

    SANDBOX = "sandbox", "sandbox"
    LIVE = "live", "live"


class ProcessState(models.TextChoices):
    """A process that has ended never lives again: it starts anew under another epoch."""

    LIVE = "LIVE", "live"
    STOPPED = "STOPPED", "stopped"
    DEAD = "DEAD", "dead"


class Wallet(models.Model):
    """A workspace's money in one mode. What it may still spend is cash + promo - granted."""

    workspace = models.ForeignKey("accounts.Workspace", on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=8, choices=Mode)
    cash = models.BigIntegerField(db_default=0, help_text="Paid in and not spent, in nano-USD.")
    promo = models.BigIntegerField(db_default=0, help_text="Given and not spent, in nano-USD.")
    granted = models.BigIntegerField(
        db_default=0, help_text="Part of both that gateway processes hold, in nano-USD."
    )
    debt = models.BigIntegerField(db_default=0, help_text="Owed by the customer, in nano-USD.")
    frozen_at = models.DateTimeField(null=True, blank=True)
    frozen_reason = models.CharField(max_length=500, blank=True, db_default="")
    recall_number = models.BigIntegerField(
        db_default=0, help_text="Id of the newest change that calls grants back."
    )
    recalled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "mode"], name="billing_wallet_once_per_mode"
            ),
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="billing_wallet_mode"),
            models.CheckConstraint(condition=Q(cash__gte=0), name="billing_wallet_cash"),
            models.CheckConstraint(condition=Q(promo__gte=0), name="billing_wallet_promo"),
            models.CheckConstraint(condition=Q(debt__gte=0), name="billing_wallet_debt"),
            models.CheckConstraint(
                condition=Q(granted__gte=0, granted__lte=F("cash") + F("promo")),
                name="billing_wallet_granted",
            ),
        ]

    def __str__(self) -> str:
        return f"wallet {self.pk} ({self.mode})"


class Account(models.Model):
    """One side of transfers: a wallet's cash or promo, or an account of the house.

    A wallet's accounts are what we owe the customer: balance = credits - debits. House accounts
    have no balance row; their balance is the sum of their transfers.
    """

    kind = models.CharField(max_length=12, choices=_choices(AccountKind))
    wallet = models.ForeignKey(
        Wallet, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts"
    )
    provider = models.CharField(max_length=32, blank=True, db_default="")
    mode = models.CharField(max_length=8, choices=Mode)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "provider", "mode", "wallet"],
                name="billing_account_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(condition=Q(mode__in=Mode.values), name="billing_account_mode"),
            models.CheckConstraint(
                condition=Q(
                    kind__in=_values(WALLET_KINDS),
                    wallet__isnull=False,
                    provider="",
                )
                | Q(kind__in=_values(HOUSE_KINDS), wallet__isnull=True),
                name="billing_account_owner",
            ),
        ]
        triggers = [
            pgtrigger.Protect(
                name="billing_account_fixed", operation=pgtrigger.Update | pgtrigger.Delete
            ),
            pgtrigger.Trigger(
                name="billing_account_no_truncate",
                level=pgtrigger.Statement,
                when=pgtrigger.Before,
                operation=pgtrigger.Truncate,
                func="RAISE EXCEPTION 'pgtrigger: Cannot truncate % table', TG_TABLE_NAME;",
            ),
        ]

    def __str__(self) -> str:
        owner = f"wallet {self.wallet_id}" if self.wallet_id else self.provider
        return f"{self.kind} {owner}".strip()


class Transfer(models.Model):
    """One movement of money between two accounts. Written once, never changed.

    The two accounts have no foreign key in the database: its check would lock the row of a house
    account that all wallets share. A trigger looks them up instead; accounts are never removed.
    """

    reference = models.CharField(max_length=255, help_text="What it is for; used once.")
    kind = models.CharField(max_length=12, choices=_choices(TransferKind))
    debit = models.ForeignKey(
        Account,
        on_delete=models.PROTECT,
        related_name="debits",
        db_constraint=False,
        db_index=False,
    )
    credit = models.ForeignKey(
        Account,
        on_delete=models.PROTECT,
        related_name="credits",
        db_constraint=False,
        db_index=False,
    )
    amount = models.BigIntegerField(help_text="In nano-USD.")
    actor = models.CharField(max_length=255, blank=True, db_default="")
    reason = models.CharField(max_length=500, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["reference"], name="billing_transfer_reference"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="billing_transfer_amount"),
            models.CheckConstraint(
                condition=~Q(debit=F("credit")), name="billing_transfer_two_accounts"
            ),
            models.CheckConstraint(
                condition=~Q(reference=""), name="billing_transfer_has_reference"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=_values(TransferKind)),
                name="billing_transfer_kind",
            ),
        ]
        indexes = [
            models.Index(fields=["debit", "id"], name="billing_transfer_debits"),
            models.Index(fields=["credit", "id"], name="billing_transfer_credits"),
        ]
        triggers = [
            pgtrigger.Protect(
                name="billing_transfer_append_only", operation=pgtrigger.Update | pgtrigger.Delete
            ),
            pgtrigger.Trigger(
                name="billing_transfer_no_truncate",
                level=pgtrigger.Statement,
                when=pgtrigger.Before,
                operation=pgtrigger.Truncate,
                func="RAISE EXCEPTION 'pgtrigger: Cannot truncate % table', TG_TABLE_NAME;",
            ),
            pgtrigger.Trigger(
                name="billing_transfer_accounts",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF NOT EXISTS (
                        SELECT FROM billing_account d JOIN billing_account c ON c.mode = d.mode
                        WHERE d.id = NEW.debit_id AND c.id = NEW.credit_id
                    ) THEN
                        RAISE EXCEPTION 'Transfer % needs two accounts of one mode.', NEW.reference
                            USING ERRCODE = 'foreign_key_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.reference


class GatewayProcess(models.Model):
    """A process that sells, from its start to its end. Its epoch is never used again."""

    epoch = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=255)
    state = models.CharField(max_length=8, choices=ProcessState, db_default=ProcessState.LIVE)
    lease_until = models.DateTimeField()
    started_at = models.DateTimeField(db_default=Now())
    renewed_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    swept_at = models.DateTimeField(
        null=True, blank=True, help_text="When the last grant of a dead process was closed."
    )
    swept_grants = models.BigIntegerField(db_default=0, help_text="Grants open at its death.")
    swept_amount = models.BigIntegerField(db_default=0, help_text="Money in them, in nano-USD.")

    class Meta:
        verbose_name_plural = "gateway processes"
        constraints = [
            models.CheckConstraint(
                condition=Q(state=ProcessState.LIVE, ended_at__isnull=True)
                | Q(state__in=[ProcessState.STOPPED, ProcessState.DEAD], ended_at__isnull=False),
                name="billing_process_state",
            ),
        ]
        indexes = [
            models.Index(
                fields=["lease_until"],
                condition=Q(state=ProcessState.LIVE),
                name="billing_process_live",
            ),
            models.Index(
                fields=["epoch"],
                condition=Q(state=ProcessState.DEAD, swept_at__isnull=True),
                name="billing_process_unswept",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (epoch {self.epoch})"


class Grant(models.Model):
    """A process's share of a wallet. Open while there is money in it.

    `seq` is the newest numbered order of the process on it and `last_delta` what that moved, so
    that an order repeated after an unclear answer moves nothing twice.
    """

    process = models.ForeignKey(GatewayProcess, on_delete=models.PROTECT, related_name="grants")
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="grants")
    key_id = models.BigIntegerField(null=True, blank=True)
    period_start = models.DateTimeField(null=True, blank=True)
    amount = models.BigIntegerField(db_default=0, help_text="Left in it, in nano-USD.")
    seq = models.BigIntegerField(db_default=0)
    last_delta = models.BigIntegerField(
        db_default=0, help_text="What the order `seq` moved: taken > 0, given back < 0."
    )
    recall_seen = models.BigIntegerField(
        db_default=0, help_text="The newest recall that the process has answered."
    )
    swept = models.BigIntegerField(
        null=True, blank=True, help_text="What was in it at the death of its process."
    )
    opened_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["process", "wallet", "key_id", "period_start"],
                name="billing_grant_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=Q(amount__gt=0, closed_at__isnull=True)
                | Q(amount=0, closed_at__isnull=False),
                name="billing_grant_open_has_money",
            ),
        ]
        indexes = [
            models.Index(
                fields=["wallet", "process"],
                condition=Q(closed_at__isnull=True),
                name="billing_grant_open",
            ),
            models.Index(
                fields=["process"],
                condition=Q(closed_at__isnull=True),
                name="billing_grant_open_by_process",
            ),
        ]

    def __str__(self) -> str:
        return f"grant of wallet {self.wallet_id} to epoch {self.process_id}"


from billing.payment_models import (  # noqa: E402  (Django finds an application's tables here)
    ProviderReference,
    TopUp,
    TopUpEvent,
    WebhookEvent,
)

__all__ = [
    "Account",
    "GatewayProcess",
    "Grant",
    "Mode",
    "ProcessState",
    "ProviderReference",
    "TopUp",
    "TopUpEvent",
    "Transfer",
    "Wallet",
    "WebhookEvent",
]
