"""Money in the admin: all of it can be read, none of it edited.

Wallets are credited and frozen through the ledger, with a reason.
"""

from typing import Any
from uuid import uuid4

from django import forms
from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

import billing.payment_admin  # noqa: F401  (registers its own tables)
from billing import ledger
from billing.models import Account, GatewayProcess, Grant, Transfer, Wallet
from billing.money import InvalidAmount, NanoUsd, format_usd, parse_usd
from billing.queries import balance_of


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Nobody adds, changes or deletes rows of money by hand."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class ReasonForm(BaseDialogForm):  # type: ignore[misc]  # unfold ships no types
    reason = forms.CharField(label=_("Reason"), max_length=500, widget=UnfoldAdminTextInputWidget)


class CreditForm(ReasonForm):
    """Carries a name of its own, so that a second click credits nothing more."""

    amount = forms.CharField(
        label=_("Amount in USD"),
        help_text=_("Such as 12.50. The customer can read the reason."),
        widget=UnfoldAdminTextInputWidget,
    )
    name = forms.CharField(widget=forms.HiddenInput, max_length=64, initial=lambda: str(uuid4()))

    field_order = ("amount", "reason")

    def clean_amount(self) -> NanoUsd:
        try:
            amount = parse_usd(self.cleaned_data["amount"].strip())
        except InvalidAmount as error:
            raise forms.ValidationError(str(error)) from error
        if amount == 0:
            raise forms.ValidationError(gettext("Credit more than nothing."))
        return amount


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("id", "workspace", "mode", "balance", "available", "held", "frozen_at")
    list_filter = ("mode", ("frozen_at", admin.EmptyFieldListFilter))
    list_select_related = ("workspace",)
    search_fields = ("workspace__name", "workspace__memberships__user__email")
    ordering = ("-id",)
    fields = (
        "workspace", "mode", "balance", "cash_usd", "promo_usd", "held", "available", "debt_usd",
        "frozen_at", "frozen_reason", "created_at",
    )  # fmt: skip
    readonly_fields = ("balance", "cash_usd", "promo_usd", "held", "available", "debt_usd")
    actions_detail = ("credit", "freeze", "unfreeze")

    @admin.display(description=_("balance"))
    def balance(self, row: Wallet) -> str:
        return format_usd(row.cash + row.promo - row.debt)

    @admin.display(description=_("available"))
    def available(self, row: Wallet) -> str:
        return format_usd(row.cash + row.promo - row.granted)

    @admin.display(description=_("held by gateways"), ordering="granted")
    def held(self, row: Wallet) -> str:
        return format_usd(row.granted)

    @admin.display(description=_("cash"))
    def cash_usd(self, row: Wallet) -> str:
        return format_usd(row.cash)

    @admin.display(description=_("promotional"))
    def promo_usd(self, row: Wallet) -> str:
        return format_usd(row.promo)

    @admin.display(description=_("debt"))
    def debt_usd(self, row: Wallet) -> str:
        return format_usd(row.debt)

    @action(  # type: ignore[untyped-decorator]  # unfold ships no types
        description=_("Credit"),
        url_path="credit",
        permissions=["handle"],
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": _("Credit this wallet"),
            "description": _("The money is the operator's own; it is booked as an adjustment."),
            "form_class": CreditForm,
            "form_submit_text": _("Credit"),
        },
    )
    def credit(self, request: HttpRequest, form: CreditForm, object_id: str) -> HttpResponse:
        amount = form.cleaned_data["amount"]
        is_new = ledger.adjust(
            wallet_id=int(object_id),
            amount=amount,
            reference=f"manual:{form.cleaned_data['name']}",
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
        )
        done = _("%(amount)s credited.") if is_new else _("%(amount)s was credited before.")
        return self._done(request, object_id, done % {"amount": format_usd(amount)})

    @action(  # type: ignore[untyped-decorator]  # unfold ships no types
        description=_("Freeze"),
        url_path="freeze",
        permissions=["handle"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": _("Freeze this wallet"),
            "description": _(
                "It pays for no new call within a second; running calls still settle."
            ),
            "form_class": ReasonForm,
            "form_submit_text": _("Freeze"),
        },
    )
    def freeze(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        is_new = ledger.freeze(
            wallet_id=int(object_id),
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
        )
        done = _("The wallet is frozen.") if is_new else _("The wallet was frozen before.")
        return self._done(request, object_id, done)

    @action(  # type: ignore[untyped-decorator]  # unfold ships no types
        description=_("Unfreeze"),
        url_path="unfreeze",
        permissions=["handle"],
        dialog={
            "title": _("Let this wallet pay again"),
            "description": "",
            "form_class": ReasonForm,
            "form_submit_text": _("Unfreeze"),
        },
    )
    def unfreeze(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        is_new = ledger.unfreeze(
            wallet_id=int(object_id),
            reason=form.cleaned_data["reason"],
            actor=actor_of(request),
        )
        done = _("The wallet pays again.") if is_new else _("The wallet was not frozen.")
        return self._done(request, object_id, done)

    def has_handle_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("billing.change_wallet")

    def _done(self, request: HttpRequest, object_id: str, text: Any) -> HttpResponse:
        """Tell the operator, keep it in the admin's log, and show the wallet again."""
        self.log_change(request, Wallet.objects.get(pk=object_id), str(text))
        self.message_user(request, text, messages.SUCCESS)
        page = reverse("admin:billing_wallet_change", args=[object_id])
        return HttpResponse(headers={"HX-Redirect": page})


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "provider", "wallet", "mode")
    list_filter = ("kind", "mode", "provider")
    search_fields = ("=wallet__id",)
    ordering = ("id",)
    list_select_related = ("wallet",)
    readonly_fields = ("balance",)

    @admin.display(description=_("credits - debits"))
    def balance(self, row: Account) -> str:
        return format_usd(balance_of(account_id=row.pk))


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    list_display = ("id", "created_at", "kind", "debit", "credit", "usd", "reference", "actor")
    list_filter = ("kind", "debit__mode")
    list_select_related = ("debit", "credit")
    search_fields = ("=reference", "=debit__wallet__id", "=credit__wallet__id")
    ordering = ("-id",)
    show_full_result_count = False
    fields = ("reference", "kind", "debit", "credit", "usd", "actor", "reason", "created_at")
    readonly_fields = ("usd",)

    @admin.display(description=_("amount"), ordering="amount")
    def usd(self, row: Transfer) -> str:
        return format_usd(row.amount)


@admin.register(GatewayProcess)
class GatewayProcessAdmin(ReadOnlyAdmin):
    list_display = (
        "epoch", "name", "state", "lease_until", "started_at", "ended_at", "swept_grants", "swept",
    )  # fmt: skip
    list_filter = ("state",)
    search_fields = ("name",)
    ordering = ("-epoch",)
    readonly_fields = ("swept",)
    exclude = ("swept_amount",)

    @admin.display(description=_("swept amount"), ordering="swept_amount")
    def swept(self, row: GatewayProcess) -> str:
        return format_usd(row.swept_amount)


class OpenGrants(admin.SimpleListFilter):
    title = _("open")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Open")), ("no", _("Closed"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Grant]) -> QuerySet[Grant]:
        if self.value() not in {"yes", "no"}:
            return queryset
        return queryset.filter(Q(closed_at__isnull=self.value() == "yes"))


@admin.register(Grant)
class GrantAdmin(ReadOnlyAdmin):
    list_display = ("id", "process", "wallet", "usd", "seq", "opened_at", "closed_at", "swept_usd")
    list_filter = (OpenGrants,)
    list_select_related = ("process", "wallet")
    search_fields = ("=wallet__id", "=process__epoch")
    ordering = ("-id",)
    readonly_fields = ("usd", "swept_usd")
    exclude = ("amount", "swept")

    @admin.display(description=_("amount"), ordering="amount")
    def usd(self, row: Grant) -> str:
        return format_usd(row.amount)

    @admin.display(description=_("swept"), ordering="swept")
    def swept_usd(self, row: Grant) -> str:
        return "" if row.swept is None else format_usd(row.swept)


def actor_of(request: HttpRequest) -> str:
    """The operator in the ledger's words."""
    return f"staff:{request.user.pk}"
