"""The operator's view of calls: read only, since usage is written by settling alone."""

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin

from billing.money import format_usd
from gateway.call_ids import time_of
from gateway.models import Attempt, UsageRecord

MOST_COUNTED = 10_000


class NewestPaginator(Paginator[UsageRecord]):
    """Pages of the newest calls: counting them all would read every partition."""

    @cached_property
    def count(self) -> int:
        newest: QuerySet[UsageRecord] = self.object_list[:MOST_COUNTED]  # type: ignore[assignment]  # always a query set here
        return newest.count()


@admin.register(UsageRecord)
class UsageRecordAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Calls, newest first."""

    paginator = NewestPaginator

    list_display = ("at", "workspace_id", "model", "host", "outcome", "status", "charged", "margin")
    search_fields = ("id__exact", "request_id__exact")
    search_help_text = _("A call id or a request id, whole.")
    ordering = ("-id",)
    list_per_page = 50
    show_full_result_count = False
    readonly_fields = ("at", "charged", "margin", "attempts")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UsageRecord | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UsageRecord | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[UsageRecord]:
        return UsageRecord.objects.all()

    @admin.display(description=_("made"), ordering="id")
    def at(self, record: UsageRecord) -> str:
        return f"{time_of(record.id):%Y-%m-%d %H:%M:%S}"

    @admin.display(description=_("paid"))
    def charged(self, record: UsageRecord) -> str:
        return format_usd(record.paid_nano_usd)

    @admin.display(description=_("margin"))
    def margin(self, record: UsageRecord) -> str:
        return format_usd(record.paid_nano_usd - record.cost_nano_usd)

    @admin.display(description=_("attempts"))
    def attempts(self, record: UsageRecord) -> SafeString:
        lines = (
            (each.n, each.host, each.status or "-", each.reason or "answered", each.duration_ms)
            for each in Attempt.objects.filter(call_id=record.id).order_by("n")
        )
        return format_html_join("\n", "<div>{}. {}: {} {}, {} ms</div>", lines)
