"""Tables of the catalog: who makes models, who serves them, under which names, at which prices.

Money is whole nano-USD. Prices are never edited: a change is a new version (`editing.py`).
`seeded` holds a digest of each field as the data files last said it: a value that differs was
edited by an operator and stays (`seeding.py`).
"""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Category(models.TextChoices):
    CHAT = "chat", "Chat"
    IMAGE = "image", "Image"
    VIDEO = "video", "Video"
    AUDIO = "audio", "Audio"
    EMBEDDING = "embedding", "Embedding"


class Status(models.TextChoices):
    ACTIVE = "active", "Active"
    DEPRECATED = "deprecated", "Deprecated"
    RETIRED = "retired", "Retired"


class Provider(models.Model):
    """Who makes models."""

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    author_prefixes = models.JSONField(
        default=list, help_text="Prefixes such as openai/ that may stand before a name."
    )
    note = models.TextField(blank=True, default="")
    seeded = models.JSONField(default=dict, editable=False)

    def __str__(self) -> str:
        return self.name


class Host(models.Model):
    """Where calls are sent: the maker itself, a cloud or a reseller. Each belongs to one mode."""

    class Mode(models.TextChoices):
        SANDBOX = "sandbox", "Sandbox"
        LIVE = "live", "Live"

    slug = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=80)
    mode = models.CharField(max_length=8, choices=Mode)
    kind = models.CharField(
        max_length=20, help_text="direct, regional, cloud, inference, aggregator or sandbox."
    )
    base_url = models.CharField(
        max_length=300,
        help_text="Without a slash at the end; {name} is filled in from the settings below.",
    )
    base_url_templates = models.JSONField(default=list, blank=True)
    url_values = models.JSONField(
        default=dict, blank=True, help_text="What {region}, {resource} … in the address stand for."
    )
    auth_header = models.CharField(max_length=40, default="Authorization")
    auth_scheme = models.CharField(max_length=80, blank=True, default="Bearer")
    auth_env = models.CharField(max_length=80, blank=True, default="")
    extra_headers = models.JSONField(default=dict, blank=True)
    apis = models.JSONField(default=dict, help_text="Wire protocol -> method and path.")
    currency = models.CharField(max_length=3, default="USD")
    regions = models.JSONField(default=list, blank=True)
    region = models.CharField(max_length=40, blank=True, default="")
    is_enabled = models.BooleanField(default=True)
    bills_after_hangup = models.BooleanField(
        default=True,
        help_text="Off: it stops billing when we hang up, so calls are cut when the client leaves.",
    )
    allows_private_addresses = models.BooleanField(default=False)
    notes = models.JSONField(default=list, blank=True)
    source = models.TextField(blank=True, default="")
    seeded = models.JSONField(default=dict, editable=False)

    def __str__(self) -> str:
        return self.name


class HostCredential(models.Model):
    """The operator's key for a host, encrypted; written once, never shown again."""

    host = models.OneToOneField(Host, on_delete=models.PROTECT, related_name="credential")
    secret_encrypted = models.BinaryField()
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"key of {self.host_id}"


class Model(models.Model):
    """What a customer asks for by name."""

    slug = models.CharField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="models")
    category = models.CharField(max_length=12, choices=Category)
    status = models.CharField(max_length=12, choices=Status)
    availability = models.CharField(max_length=20)
    is_enabled = models.BooleanField(default=True)
    released = models.CharField(max_length=10, blank=True, default="")
    shutdown_date = models.DateField(null=True, blank=True)
    replacement = models.CharField(max_length=80, blank=True, default="")
    context_window = models.IntegerField(null=True, blank=True)
    max_input_tokens = models.IntegerField(null=True, blank=True)
    max_output_tokens = models.IntegerField(null=True, blank=True)
    usual_output_tokens = models.IntegerField(
        default=2000, help_text="What holds count on when a call sets no limit."
    )
    dimensions = models.IntegerField(null=True, blank=True)
    input_modalities = models.JSONField(default=list)
    output_modalities = models.JSONField(default=list)
    features = models.JSONField(default=list)
    price_status = models.CharField(max_length=20, blank=True, default="")
    below_cost_reason = models.CharField(
        max_length=500,
        blank=True,
        default="",
        help_text="Why it may be sold under the cheapest cost; empty: it may not, in live mode.",
    )
    below_cost_author = models.CharField(max_length=254, blank=True, default="")
    facts = models.JSONField(
        default=dict, blank=True, help_text="Sources, notes and other facts of the record."
    )
    position = models.IntegerField(default=0)
    seeded = models.JSONField(default=dict, editable=False)

    class Meta:
        indexes = [models.Index("provider", "category", name="catalog_model_by_provider")]

    def __str__(self) -> str:
        return self.slug


class ModelName(models.Model):
    """A spelling that means a model; `key` is its normalised form, which means one model only."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="names")
    name = models.CharField(max_length=160, unique=True)
    key = models.CharField(max_length=160, db_index=True)

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """One way to serve a model: a host, its wire protocol, and the name that it knows."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="routes")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="routes")
    protocol = models.CharField(max_length=40)
    path = models.CharField(max_length=200, blank=True, default="")
    upstream_id = models.CharField(max_length=160)
    is_direct = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)
    quirks = models.JSONField(default=dict, blank=True)
    context_window = models.IntegerField(null=True, blank=True)
    max_output_tokens = models.IntegerField(null=True, blank=True)
    weight = models.IntegerField(default=100)
    priority = models.IntegerField(default=0, help_text="Smaller is tried first.")
    shutdown_date = models.DateField(null=True, blank=True)
    as_of = models.DateField(null=True, blank=True)
    source = models.TextField(blank=True, default="")
    seeded = models.JSONField(default=dict, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint("model", "host", "upstream_id", name="catalog_route_once"),
        ]

    def __str__(self) -> str:
        return f"{self.upstream_id} at {self.host_id}"


class PriceVersion(models.Model):
    """A price from a moment on: the list price of a model, or what a route costs us."""

    class Origin(models.TextChoices):
        SEED = "SEED", "Catalog data"
        HISTORY = "HISTORY", "Earlier price"
        ANNOUNCED = "ANNOUNCED", "Announced change"
        ADMIN = "ADMIN", "Operator"

    model = models.ForeignKey(
        Model, null=True, blank=True, on_delete=models.PROTECT, related_name="prices"
    )
    route = models.ForeignKey(
        Route, null=True, blank=True, on_delete=models.PROTECT, related_name="costs"
    )
    valid_from = models.DateTimeField()
    origin = models.CharField(max_length=12, choices=Origin)
    author = models.CharField(max_length=254, blank=True, default="")
    reason = models.CharField(max_length=500, blank=True, default="")
    service_tiers = models.JSONField(
        default=dict, blank=True, help_text="Name -> factor, as decimal text."
    )
    surcharges = models.JSONField(default=list, blank=True)
    windows = models.JSONField(
        default=list,
        blank=True,
        help_text="Time windows in UTC that rates with a window name belong to.",
    )
    native = models.JSONField(
        null=True, blank=True, help_text="The maker's own figures in another currency."
    )
    facts = models.JSONField(
        default=dict, blank=True, help_text="Basis, discount and seed fields of a list price."
    )
    fingerprint = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(model__isnull=True) ^ Q(route__isnull=True),
                name="catalog_price_of_model_or_route",
            ),
        ]
        indexes = [
            models.Index("model", F("valid_from").desc(), name="catalog_price_of_model"),
            models.Index("route", F("valid_from").desc(), name="catalog_price_of_route"),
        ]
        triggers = [
            pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.origin} price {self.pk}"


class PriceRate(models.Model):
    """One figure of a price version: a dimension, the unit it is for, and where it holds."""

    version = models.ForeignKey(PriceVersion, on_delete=models.PROTECT, related_name="rates")
    dimension = models.CharField(
        max_length=40, help_text="A token bucket, or image, video, minute …"
    )
    unit = models.CharField(
        max_length=20,
        help_text="mtok, image, megapixel, second, clip, minute, mchar, request, 1k_searches …",
    )
    above_input_tokens = models.IntegerField(
        default=0, help_text="Holds when the input is longer than this."
    )
    window = models.CharField(
        max_length=20, blank=True, default="", help_text="Name of a time window."
    )
    details = models.JSONField(
        default=dict, blank=True, help_text="Size, quality, resolution and the like."
    )
    amount_nano_usd = models.BigIntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(amount_nano_usd__gte=0), name="catalog_rate_not_negative"
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="never_changed", operation=pgtrigger.Update | pgtrigger.Delete)
        ]

    def __str__(self) -> str:
        return f"{self.dimension} {self.amount_nano_usd}/{self.unit}"


class CatalogNumber(models.Model):
    """The number of the catalog's newest state: one row, raised with every change."""

    number = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="catalog_number_one_row")]

    def __str__(self) -> str:
        return str(self.number)
