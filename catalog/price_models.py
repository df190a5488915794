"""Tables of prices: versions that are never edited, and the rates of each.

A version is the list price of a model or the cost of a route, from one instant on. A rate is one
figure of it: a dimension, the long-context tier and time window it holds in, an amount for a unit.
Amounts are nano-USD; where the maker sells in another currency its own figure stands beside it.
"""

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Author(models.TextChoices):
    """Where a row comes from."""

    SEED = "SEED", _("Catalog data")
    ADMIN = "ADMIN", _("Operator")
    ANNOUNCED = "ANNOUNCED", _("Announced change")


class PriceVersion(models.Model):
    """What a model sells for, or a route costs, from `valid_from` until the next version."""

    model = models.ForeignKey(
        "catalog.Model",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="prices",
        verbose_name=_("list price of"),
    )
    route = models.ForeignKey(
        "catalog.Route",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="costs",
        verbose_name=_("cost of"),
    )
    valid_from = models.DateTimeField(_("valid from"))
    origin = models.CharField(_("origin"), max_length=10, choices=Author)
    author = models.CharField(_("author"), max_length=254, blank=True)
    reason = models.TextField(_("reason"), blank=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    fingerprint = models.CharField(max_length=64, editable=False)
    currency = models.CharField(
        _("currency"), max_length=3, default="USD", help_text=_("Of the native figures.")
    )
    native_per_usd = models.DecimalField(
        _("native per USD"), max_digits=12, decimal_places=6, default=1
    )
    basis = models.CharField(_("basis"), max_length=8, blank=True)
    discount = models.DecimalField(
        _("discount"), max_digits=7, decimal_places=6, null=True, blank=True
    )
    seed_fields = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    windows = models.JSONField(
        _("windows"), default=list, blank=True, help_text=_("Time windows that rates name.")
    )
    as_of = models.DateField(_("price read on"), null=True, blank=True)
    source = models.TextField(_("source"), blank=True)
    below_cost_by = models.CharField(_("sold below cost, says"), max_length=254, blank=True)
    below_cost_reason = models.TextField(_("why below cost"), blank=True)
    withdrawn_at = models.DateTimeField(_("withdrawn"), null=True, blank=True)
    withdrawn_by = models.CharField(_("withdrawn by"), max_length=254, blank=True)

    class Meta:
        verbose_name = _("price version")
        verbose_name_plural = _("price versions")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(model__isnull=False, route__isnull=True)
                | models.Q(model__isnull=True, route__isnull=False),
                name="catalog_price_of_one_thing",
            ),
            models.CheckConstraint(
                condition=models.Q(native_per_usd__gt=0), name="catalog_price_exchange_positive"
            ),
        ]
        indexes = [
            models.Index(fields=["model", "valid_from"], name="catalog_price_model"),
            models.Index(fields=["route", "valid_from"], name="catalog_price_route"),
        ]
        triggers = [
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(
                name="never_edited",
                exclude=["below_cost_by", "below_cost_reason", "withdrawn_at", "withdrawn_by"],
            ),
        ]

    def __str__(self) -> str:
        return f"price {self.pk} from {self.valid_from:%Y-%m-%d %H:%M}"


class RateKind(models.TextChoices):
    """What kind of figure a rate is; tokens and searches can be charged today."""

    TOKENS = "TOKENS", _("Tokens")
    SEARCH = "SEARCH", _("Web search")
    SERVICE_TIER = "SERVICE_TIER", _("Service tier")
    SURCHARGE = "SURCHARGE", _("Surcharge")
    IMAGE = "IMAGE", _("Image")
    IMAGE_ESTIMATE = "IMAGE_ESTIMATE", _("Image, estimated")
    MEGAPIXEL = "MEGAPIXEL", _("Megapixel")
    VIDEO = "VIDEO", _("Video")
    VIDEO_TOKENS = "VIDEO_TOKENS", _("Video tokens")
    MINUTE = "MINUTE", _("Minute")
    CHARACTERS = "CHARACTERS", _("Characters")
    REQUEST = "REQUEST", _("Request")
    EXTRA = "EXTRA", _("Other unit")


class PriceRate(models.Model):
    """One figure of a price version: an amount for a unit, or a factor on every token rate."""

    version = models.ForeignKey(
        PriceVersion, on_delete=models.PROTECT, related_name="rates", verbose_name=_("version")
    )
    position = models.PositiveSmallIntegerField(default=0)
    kind = models.CharField(_("kind"), max_length=16, choices=RateKind)
    dimension = models.CharField(
        _("dimension"), max_length=64, help_text=_("Token bucket, service tier, resolution, key.")
    )
    above_input_tokens = models.PositiveIntegerField(_("above input tokens"), null=True, blank=True)
    window = models.CharField(_("window"), max_length=32, blank=True)
    unit = models.CharField(_("unit"), max_length=32)
    amount_nano_usd = models.BigIntegerField(_("amount in nano-USD"), null=True, blank=True)
    native_nano = models.BigIntegerField(
        _("maker's figure in nano of its currency"), null=True, blank=True
    )
    factor = models.DecimalField(_("factor"), max_digits=9, decimal_places=6, null=True, blank=True)
    attributes = models.JSONField(_("details"), default=dict, blank=True)

    class Meta:
        verbose_name = _("rate")
        verbose_name_plural = _("rates")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(amount_nano_usd__gte=0, factor__isnull=True)
                | models.Q(amount_nano_usd__isnull=True, factor__gt=0),
                name="catalog_rate_amount_or_factor",
            ),
            models.UniqueConstraint(
                fields=["version", "position"], name="catalog_rate_position_unique"
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.dimension}"
