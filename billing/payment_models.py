"""Tables of money coming in: top-ups with their history, the providers' names, the inbox."""

import uuid

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import F, Q


class TopUpState(models.TextChoices):
    """Where a top-up stands."""

    CREATED = "CREATED", "created"
    PENDING = "PENDING", "waiting for payment"
    PROCESSING = "PROCESSING", "payment in progress"
    CREDITED = "CREDITED", "credited"
    EXPIRED = "EXPIRED", "expired"
    FAILED = "FAILED", "failed"
    REVIEW = "REVIEW", "under review"


OPEN_STATES = (TopUpState.CREATED, TopUpState.PENDING, TopUpState.PROCESSING)


class TopUp(models.Model):
    """One attempt of a workspace to put money into its wallet."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey("accounts.Workspace", on_delete=models.PROTECT, related_name="+")
    wallet = models.ForeignKey("billing.Wallet", on_delete=models.PROTECT, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=8)
    provider = models.CharField(max_length=32)
    credit_nano_usd = models.BigIntegerField()
    pay_amount_minor = models.BigIntegerField(help_text="In the currency's smallest unit.")
    pay_currency = models.CharField(max_length=3, help_text="ISO 4217, lower case.")
    state = models.CharField(max_length=12, choices=TopUpState.choices, default=TopUpState.CREATED)
    review_reason = models.CharField(max_length=500, blank=True)
    idempotency_key = models.CharField(
        max_length=64, help_text="One per form that was shown, so that a double click pays once."
    )
    reference = models.CharField(
        max_length=255, blank=True, help_text="The provider's name for it."
    )
    pay_url = models.TextField(blank=True)
    expires_at = models.DateTimeField()
    next_check_at = models.DateTimeField(help_text="When the poller asks the provider again.")
    asked_at = models.DateTimeField(null=True, help_text="When a page last asked for a check.")
    credited_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "top-up"
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "idempotency_key"], name="topup_once_per_form"
            ),
            models.UniqueConstraint(
                fields=["provider", "reference"],
                condition=~Q(reference=""),
                name="topup_provider_reference",
            ),
            models.CheckConstraint(
                condition=Q(credit_nano_usd__gt=0, pay_amount_minor__gt=0),
                name="topup_amounts_positive",
            ),
            models.CheckConstraint(
                condition=Q(state__in=TopUpState.values), name="topup_state_known"
            ),
            models.CheckConstraint(
                condition=Q(state=TopUpState.CREDITED, credited_at__isnull=False)
                | (~Q(state=TopUpState.CREDITED) & Q(credited_at__isnull=True)),
                name="topup_credited_has_moment",
            ),
            models.CheckConstraint(
                condition=Q(pay_currency__regex="^[a-z]{3}$"), name="topup_currency_code"
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_check_at"],
                condition=Q(state__in=OPEN_STATES),
                name="topup_to_check",
            ),
            models.Index(fields=["workspace", "-id"], name="topup_by_workspace"),
        ]

    def __str__(self) -> str:
        return str(self.public_id)


class TopUpEvent(models.Model):
    """One change of a top-up's state: written with it, never changed."""

    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="history")
    before = models.CharField(max_length=12, choices=TopUpState.choices, blank=True)
    after = models.CharField(max_length=12, choices=TopUpState.choices)
    source = models.CharField(max_length=64, help_text="What brought it: a notice, the poller, …")
    note = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        triggers = [
            pgtrigger.Protect(
                name="topup_history_append_only",
                operation=pgtrigger.Update | pgtrigger.Delete,
            )
        ]

    def __str__(self) -> str:
        return f"{self.before or '-'} -> {self.after}"


class ProviderReference(models.Model):
    """Any name that a provider ever used for a top-up: session, intent, charge."""

    provider = models.CharField(max_length=32)
    reference = models.CharField(max_length=255)
    topup = models.ForeignKey(TopUp, on_delete=models.PROTECT, related_name="references")
    seen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["provider", "reference"], name="provider_reference_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.reference}"


class EventStatus(models.TextChoices):
    """Where a stored notice stands. Seen is not done."""

    NEW = "NEW", "to be handled"
    DONE = "DONE", "handled"
    IGNORED = "IGNORED", "of no interest"
    FAILED = "FAILED", "given up"


class WebhookEvent(models.Model):
    """The inbox: each genuine notice of a provider, once, byte by byte as it came."""

    provider = models.CharField(max_length=32)
    event_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=255)
    body = models.BinaryField()
    headers = models.JSONField(default=dict)
    status = models.CharField(max_length=8, choices=EventStatus.choices, default=EventStatus.NEW)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField()
    error = models.CharField(max_length=1000, blank=True)
    received_at = models.DateTimeField(auto_now_add=True)
    handled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_id"], name="webhook_event_once"),
            models.CheckConstraint(
                condition=Q(status__in=EventStatus.values), name="webhook_event_status_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_try_at"],
                condition=Q(status=EventStatus.NEW),
                name="webhook_event_to_handle",
            ),
            models.Index(F("received_at").desc(), name="webhook_event_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event_id}"
