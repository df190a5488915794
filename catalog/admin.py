"""The catalog in the admin: facts and switches can be edited, prices only by a new version."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model as Table
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.enums import ActionVariant

import catalog.price_admin  # noqa: F401  (registers its own tables)
from catalog import editing
from catalog.changes import catalog_changed
from catalog.forms import CredentialForm, ReasonForm
from catalog.models import Host, HostCredential, Model, ModelName, Provider, Route
from catalog.routes import normalise


class CatalogAdmin(ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """Rows that the data files made are never deleted: names and history lead to them."""

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Table, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        catalog_changed()


class PricedForm(forms.ModelForm):  # type: ignore[type-arg]  # of a model or a route
    """Refuses to switch on what has no price."""

    prices = ""  # the relation that holds them

    def clean_is_enabled(self) -> bool:
        is_enabled: bool = self.cleaned_data["is_enabled"]
        is_priced = self.instance.pk and getattr(self.instance, self.prices).exists()
        if is_enabled and not is_priced:
            raise forms.ValidationError(_("It has no price yet: enter one, then enable it."))
        return is_enabled


class ModelForm(PricedForm):
    prices = "prices"

    def clean_slug(self) -> str:
        slug: str = self.cleaned_data["slug"]
        if (
            ModelName.objects.filter(key=normalise(slug))
            .exclude(model_id=self.instance.pk or 0)
            .exists()
        ):
            raise forms.ValidationError(_("This name already means another model."))
        return slug


class RouteForm(PricedForm):
    prices = "costs"


@admin.register(Provider)
class ProviderAdmin(CatalogAdmin):
    list_display = ("name", "slug", "author_prefixes")
    search_fields = ("name", "slug")
    ordering = ("name", "id")


@admin.register(Host)
class HostAdmin(CatalogAdmin):
    list_display = ("slug", "kind", "mode", "base_url", "is_enabled", "has_credential")
    list_filter = ("mode", "kind", "is_enabled", "currency")
    search_fields = ("slug", "name", "base_url")
    ordering = ("mode", "slug", "id")
    list_select_related = ("credential",)
    readonly_fields = ("mode",)
    actions_detail = ("set_credential",)

    def get_readonly_fields(self, request: HttpRequest, obj: Host | None = None) -> Any:
        return self.readonly_fields if obj else ()

    @admin.display(description=gettext_lazy("credential"), boolean=True)
    def has_credential(self, row: Host) -> bool:
        return hasattr(row, "credential")

    @action(  # type: ignore[untyped-decorator]  # unfold ships no types
        description=gettext_lazy("Set the credential"),
        url_path="credential",
        permissions=["handle"],
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": gettext_lazy("Key for this host"),
            "description": gettext_lazy("It is kept encrypted and never shown again."),
            "form_class": CredentialForm,
            "form_submit_text": gettext_lazy("Keep"),
        },
    )
    def set_credential(
        self, request: HttpRequest, form: CredentialForm, object_id: str
    ) -> HttpResponse:
        editing.store_credential(host_id=int(object_id), secret=form.cleaned_data["secret"])
        self.log_change(request, Host.objects.get(pk=object_id), "Set the credential.")
        self.message_user(request, _("The key is kept."), messages.SUCCESS)
        page = reverse("admin:catalog_host_change", args=[object_id])
        return HttpResponse(headers={"HX-Redirect": page})

    def has_handle_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("catalog.change_hostcredential")


@admin.register(HostCredential)
class HostCredentialAdmin(CatalogAdmin):
    """Which hosts have one, and since when. The secret is written on the host's page."""

    list_display = ("host", "updated_at")
    fields = ("host", "updated_at")
    ordering = ("host__slug", "id")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


class SwitchedAdmin(CatalogAdmin):
    """Models and routes: on and off one by one or many at once, and a page to change the price."""

    actions = ("enable", "disable")
    actions_detail: tuple[str, ...] = ("change_price",)
    owner = ""  # "model" or "route"

    @action(  # type: ignore[untyped-decorator]  # unfold ships no types
        description=gettext_lazy("Change the price"),
        url_path="price",
        permissions=["price"],
        variant=ActionVariant.PRIMARY,
    )
    def change_price(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect("admin:catalog_change_price", owner=self.owner, owner_id=object_id)

    def has_price_permission(self, request: HttpRequest, object_id: object = None) -> bool:
        return request.user.has_perm("catalog.add_priceversion")

    @admin.action(description=gettext_lazy("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        for row in rows:
            try:
                self._enable(row)
            except editing.NotPriced as error:
                self.message_user(request, str(error), messages.ERROR)

    @admin.action(description=gettext_lazy("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, rows: QuerySet[Any]) -> None:
        for row in rows:
            self._disable(row)

    def _enable(self, row: Any) -> None:
        raise NotImplementedError

    def _disable(self, row: Any) -> None:
        raise NotImplementedError


@admin.register(Model)
class CatalogModelAdmin(SwitchedAdmin):
    form = ModelForm
    owner = "model"
    list_display = ("slug", "name", "provider", "category", "status", "availability", "is_enabled")
    list_filter = ("is_enabled", "category", "status", "availability", "provider")
    search_fields = ("slug", "name", "names__key")
    ordering = ("position", "id")
    list_select_related = ("provider",)
    autocomplete_fields = ("provider",)
    readonly_fields = ("below_cost_reason", "below_cost_author")
    actions_detail = ("change_price", "confirm_below_cost")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return ("slug", *self.readonly_fields) if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: Table, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if isinstance(obj, Model) and not change:  # a model answers to its slug
            ModelName.objects.create(model=obj, name=obj.slug, key=normalise(obj.slug))

    @action(  # type: ignore[untyped-decorator]  # unfold ships no types
        description=gettext_lazy("Allow below cost"),
        url_path="below-cost",
        permissions=["price"],
        dialog={
            "title": gettext_lazy("Sell this model below its cost"),
            "description": gettext_lazy("In live mode it is kept off until somebody says why."),
            "form_class": ReasonForm,
            "form_submit_text": gettext_lazy("Allow"),
        },
    )
    def confirm_below_cost(
        self, request: HttpRequest, form: ReasonForm, object_id: str
    ) -> HttpResponse:
        row = Model.objects.get(pk=object_id)
        author, reason = request.user.get_username(), form.cleaned_data["reason"]
        editing.confirm_below_cost(slugs=[row.slug], author=author, reason=reason)
        self.log_change(request, row, f"Allowed below cost: {reason}")
        page = reverse("admin:catalog_model_change", args=[object_id])
        return HttpResponse(headers={"HX-Redirect": page})

    def _enable(self, row: Model) -> None:
        editing.enable_model(model_id=row.pk)

    def _disable(self, row: Model) -> None:
        editing.disable_model(model_id=row.pk)


@admin.register(ModelName)
class ModelNameAdmin(CatalogAdmin):
    """A name means one model; a new spelling is added here."""

    list_display = ("name", "model")
    search_fields = ("name", "key", "model__slug")
    ordering = ("name", "id")
    list_select_related = ("model",)
    autocomplete_fields = ("model",)
    fields = ("model", "name")

    def get_form(self, request: HttpRequest, obj: object = None, **options: Any) -> Any:
        return super().get_form(request, obj, **{**options, "form": NameForm})


class NameForm(forms.ModelForm):  # type: ignore[type-arg]  # of a name
    class Meta:
        model = ModelName
        fields = ("model", "name")

    def clean(self) -> dict[str, Any]:
        """Spellings that are read alike mean the same model."""
        found = super().clean() or self.cleaned_data
        self.instance.key = normalise(found.get("name", ""))
        others = ModelName.objects.filter(key=self.instance.key).exclude(pk=self.instance.pk)
        if taken := others.exclude(model=found.get("model")).select_related("model").first():
            raise forms.ValidationError(
                _("This name already means %(model)s.") % {"model": taken.model.slug}
            )
        return found


@admin.register(Route)
class RouteAdmin(SwitchedAdmin):
    form = RouteForm
    owner = "route"
    list_display = ("model", "host", "protocol", "upstream_id", "priority", "weight", "is_enabled")
    list_filter = ("is_enabled", "host__mode", "protocol", "host")
    search_fields = ("model__slug", "host__slug", "upstream_id")
    ordering = ("model__position", "host__mode", "priority", "id")
    list_select_related = ("model", "host")
    autocomplete_fields = ("model", "host")

    def _enable(self, row: Route) -> None:
        editing.enable_route(route_id=row.pk)

    def _disable(self, row: Route) -> None:
        editing.disable_route(route_id=row.pk)
