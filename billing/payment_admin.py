"""Admin of money coming in: top-ups and the inbox can be read; a notice can be handled again."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import ngettext
from unfold.admin import ModelAdmin, TabularInline

from billing import inbox, tasks
from billing.money import format_usd
from billing.payment_models import ProviderReference, TopUp, TopUpEvent, WebhookEvent

LARGEST_SHOWN_BODY = 20_000


class ReadOnly:
    """Nobody adds, changes or deletes rows here."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class HistoryInline(ReadOnly, TabularInline):  # type: ignore[misc]  # unfold has no types
    model = TopUpEvent
    fields = ("at", "before", "after", "source", "note")
    readonly_fields = fields
    ordering = ("id",)
    extra = 0


class ReferenceInline(ReadOnly, TabularInline):  # type: ignore[misc]  # unfold has no types
    model = ProviderReference
    fields = ("provider", "reference", "seen_at")
    readonly_fields = fields
    ordering = ("id",)
    extra = 0


@admin.register(TopUp)
class TopUpAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ("public_id", "workspace", "credit", "provider", "mode", "state", "created_at")
    list_filter = ("state", "provider", "mode")
    search_fields = ("public_id", "reference", "references__reference", "user__email")
    list_select_related = ("workspace",)
    ordering = ("-id",)
    date_hierarchy = "created_at"
    inlines = (HistoryInline, ReferenceInline)
    exclude = ("idempotency_key", "pay_url")

    @admin.display(description="credit", ordering="credit_nano_usd")
    def credit(self, row: TopUp) -> str:
        return format_usd(row.credit_nano_usd)


@admin.register(WebhookEvent)
class WebhookEventAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ("received_at", "provider", "kind", "event_id", "status", "attempts", "error")
    list_filter = ("status", "provider", "kind")
    search_fields = ("event_id",)
    ordering = ("-received_at", "-id")
    date_hierarchy = "received_at"
    exclude = ("body",)
    readonly_fields = ("text",)
    actions = ("replay",)

    @admin.display(description="body")
    def text(self, row: WebhookEvent) -> str:
        return bytes(row.body)[:LARGEST_SHOWN_BODY].decode("utf-8", "replace")

    @admin.action(description="Replay: handle the notices again", permissions=["replay"])
    def replay(self, request: HttpRequest, rows: QuerySet[WebhookEvent]) -> None:
        ids = inbox.replay(event_ids=list(rows.values_list("id", flat=True)), now=timezone.now())
        for event_id in ids:
            tasks.enqueue(tasks.handle_notice, event_id)
        text = ngettext("%(count)d notice is queued.", "%(count)d notices are queued.", len(ids))
        self.message_user(request, text % {"count": len(ids)}, messages.INFO)

    def has_replay_permission(self, request: HttpRequest) -> bool:
        """Handling a notice again changes no row by hand, but is more than reading."""
        return request.user.has_perm("billing.change_webhookevent")
