"""Price versions in the admin: read in words, never edited; a new one is made on its own page."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin

from billing.money import format_usd
from catalog.editing import BelowCost, NoSuchRate, price_to_change, set_cost, set_list_price
from catalog.forms import PriceForm
from catalog.models import Model, PriceVersion, Route
from catalog.price_words import factor_lines, price_lines

OWNERS: dict[str, type[Model | Route]] = {"model": Model, "route": Route}


@admin.register(PriceVersion)
class PriceVersionAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    list_display = ("id", "of", "kind", "valid_from", "origin", "author", "reason", "created_at")
    list_filter = ("origin", "valid_from", ("model", admin.EmptyFieldListFilter))
    search_fields = ("model__slug", "route__model__slug", "route__host__slug", "author", "reason")
    ordering = ("-created_at", "-id")
    list_select_related = ("model", "route__model", "route__host")
    fields = (
        "of", "kind", "valid_from", "figures", "factors", "origin", "author", "reason",
        "native", "facts", "created_at",
    )  # fmt: skip
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    @admin.display(description=gettext_lazy("of"))
    def of(self, row: PriceVersion) -> str:
        if row.model is not None:
            return row.model.slug
        return f"{row.route.model.slug} @ {row.route.host.slug}" if row.route else ""

    @admin.display(description=gettext_lazy("kind"))
    def kind(self, row: PriceVersion) -> str:
        return _("list price") if row.model_id else _("cost")

    @admin.display(description=gettext_lazy("figures"))
    def figures(self, row: PriceVersion) -> SafeString:
        lines = price_lines(row.rates.order_by("id"), row.windows)
        return _listed(
            f"{line.what}: {format_usd(line.amount_nano_usd)} / {line.per} {line.when}"
            for line in lines
        )

    @admin.display(description=gettext_lazy("factors"))
    def factors(self, row: PriceVersion) -> SafeString:
        lines = factor_lines(row.service_tiers, row.surcharges)
        return _listed(f"{line.what}: × {line.factor}" for line in lines)  # noqa: RUF001

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.change_price)
        own = path("new/<str:owner>/<int:owner_id>/", page, name="catalog_change_price")
        return [own, *super().get_urls()]

    def change_price(self, request: HttpRequest, owner: str, owner_id: int) -> HttpResponse:
        """One field for each figure; saved as a new version through `editing`."""
        if not request.user.has_perm("catalog.add_priceversion"):
            raise PermissionDenied
        if owner not in OWNERS:
            raise Http404
        row = OWNERS[owner].objects.filter(pk=owner_id).first()
        if row is None:
            raise Http404
        lines = price_to_change(**_owner(owner, owner_id))
        form = PriceForm(request.POST or None, lines=lines, is_cost=owner == "route")
        if form.is_valid() and (made := self._made(request, form, owner, owner_id)):
            self.log_addition(request, made, [{"added": {}}])
            text = _("The new price holds from %(moment)s UTC.")
            moment = f"{made.valid_from:%Y-%m-%d %H:%M:%S}"
            self.message_user(request, text % {"moment": moment}, messages.SUCCESS)
            return redirect(f"admin:catalog_{owner}_change", owner_id)
        title = _("Change the price of %(what)s") % {"what": _name(row)}
        context = {**self.admin_site.each_context(request), "form": form, "title": title}
        context["back"] = row
        return TemplateResponse(request, "catalog/admin_price.html", context)

    def _made(
        self, request: HttpRequest, form: PriceForm, owner: str, owner_id: int
    ) -> PriceVersion | None:
        change = form.change(request.user.get_username())
        try:
            if owner == "route":
                return set_cost(route_id=owner_id, change=change)
            is_confirmed = form.cleaned_data["confirm_below_cost"]
            return set_list_price(model_id=owner_id, change=change, confirm_below_cost=is_confirmed)
        except (BelowCost, NoSuchRate) as error:
            form.add_error(None, str(error))
            return None


def _owner(owner: str, owner_id: int) -> dict[str, int | None]:
    return {
        "model_id": owner_id if owner == "model" else None,
        "route_id": owner_id if owner == "route" else None,
    }


def _name(row: Model | Route) -> str:
    if isinstance(row, Model):
        return row.slug
    return f"{row.model.slug} @ {row.host.slug}"


def _listed(texts: Any) -> SafeString:
    items = format_html_join("", "<li>{}</li>", ((text,) for text in texts))
    return format_html("<ul>{}</ul>", items) if items else format_html("–")  # noqa: RUF001
