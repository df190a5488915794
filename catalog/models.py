"""Tables of the catalog: providers, hosts, models and the routes between them.

`seeded` keeps what the loader wrote last, field by field: a value that differs from it was edited
by a person and is left alone. Prices are in price_models.py.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from catalog.price_models import Author, PriceRate, PriceVersion

__all__ = [
    "Author",
    "CatalogNumber",
    "Category",
    "Holiday",
    "Host",
    "HostCredential",
    "Mode",
    "Model",
    "ModelName",
    "PriceRate",
    "PriceVersion",
    "Provider",
    "Route",
]


class Mode(models.TextChoices):
    SANDBOX = "SANDBOX", _("Sandbox")
    LIVE = "LIVE", _("Live")


class Category(models.TextChoices):
    CHAT = "CHAT", _("Chat")
    IMAGE = "IMAGE", _("Image")
    VIDEO = "VIDEO", _("Video")
    AUDIO = "AUDIO", _("Audio")
    EMBEDDING = "EMBEDDING", _("Embedding")


class Provider(models.Model):
    """Who makes models."""

    slug = models.SlugField(_("slug"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    author_prefixes = ArrayField(
        models.CharField(max_length=64),
        verbose_name=_("author prefixes"),
        default=list,
        blank=True,
        help_text=_("What may stand before the slash of a model's name."),
    )
    direct_host = models.CharField(_("own host"), max_length=50, blank=True)
    regional_hosts = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    alternate_hosts = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    note = models.TextField(_("note"), blank=True)
    seeded = models.JSONField(default=dict, editable=False)

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")

    def __str__(self) -> str:
        return self.name


class Host(models.Model):
    """Where calls are sent: an address, how to authenticate there, and the protocols it speaks."""

    class Kind(models.TextChoices):
        DIRECT = "DIRECT", _("The maker")
        REGIONAL = "REGIONAL", _("The maker, another region")
        CLOUD = "CLOUD", _("Cloud")
        INFERENCE = "INFERENCE", _("Inference host")
        AGGREGATOR = "AGGREGATOR", _("Aggregator")
        SANDBOX = "SANDBOX", _("Stand-in")

    slug = models.SlugField(_("slug"), unique=True)
    name = models.CharField(_("name"), max_length=100)
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    mode = models.CharField(_("mode"), max_length=8, choices=Mode, default=Mode.LIVE)
    base_url = models.CharField(
        _("base URL"),
        max_length=255,
        help_text=_("A {name} in it is filled from the credential's settings."),
    )
    base_url_templates = ArrayField(
        models.CharField(max_length=255),
        verbose_name=_("other base URLs"),
        default=list,
        blank=True,
    )
    backup_url = models.CharField(_("backup URL"), max_length=255, blank=True)
    auth_header = models.CharField(_("header of the credential"), max_length=64)
    auth_scheme = models.CharField(
        _("scheme"), max_length=32, blank=True, help_text=_("Such as Bearer. Empty: the bare key.")
    )
    auth_note = models.CharField(_("about authentication"), max_length=255, blank=True)
    auth_variable = models.CharField(_("usual variable name"), max_length=64, blank=True)
    extra_headers = models.JSONField(_("extra headers"), default=dict, blank=True)
    apis = models.JSONField(
        _("protocols"), default=dict, blank=True, help_text=_("Protocol: method and path.")
    )
    quirks = models.JSONField(
        _("quirks"), default=dict, blank=True, help_text=_("Flags that adapters read.")
    )
    currency = models.CharField(_("currency"), max_length=3, default="USD")
    region = models.CharField(_("region"), max_length=64, blank=True)
    regions = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    is_enabled = models.BooleanField(_("enabled"), default=True)
    bills_after_hangup = models.BooleanField(
        _("bills after a hang-up"),
        default=True,
        help_text=_("Off: it stops billing when we hang up, so calls left by clients are cut."),
    )
    allows_private_addresses = models.BooleanField(_("may be a private address"), default=False)
    confirmed = models.CharField(_("confirmed by"), max_length=32, blank=True)
    source = models.CharField(_("source"), max_length=255, blank=True)
    notes = models.TextField(_("notes"), blank=True)
    seeded = models.JSONField(default=dict, editable=False)

    class Meta:
        verbose_name = _("host")
        verbose_name_plural = _("hosts")
        constraints = [
            models.CheckConstraint(
                condition=models.Q(mode__in=Mode.values), name="catalog_host_mode_known"
            ),
            models.CheckConstraint(
                condition=models.Q(mode=Mode.SANDBOX, kind="SANDBOX")
                | (models.Q(mode=Mode.LIVE) & ~models.Q(kind="SANDBOX")),
                name="catalog_host_stand_in_is_sandbox",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class HostCredential(models.Model):
    """A host's secret, encrypted with CREDENTIAL_KEYS and never shown again."""

    host = models.ForeignKey(
        Host, on_delete=models.PROTECT, related_name="credentials", verbose_name=_("host")
    )
    label = models.CharField(_("label"), max_length=64, blank=True)
    secret = models.TextField(editable=False)
    ending = models.CharField(_("ends in"), max_length=4, editable=False)
    settings = models.JSONField(
        _("settings"),
        default=dict,
        blank=True,
        help_text=_("Values of the {names} in the host's URL and paths, such as region."),
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    created_by = models.CharField(_("made by"), max_length=254, blank=True, editable=False)
    created_at = models.DateTimeField(_("made"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("credential")
        verbose_name_plural = _("credentials")
        constraints = [
            models.UniqueConstraint(
                fields=["host"],
                condition=models.Q(is_enabled=True),
                name="catalog_credential_one_enabled",
            )
        ]

    def __str__(self) -> str:
        return f"{self.host_id} …{self.ending}"


class Model(models.Model):
    """What is sold: a customer asks for it by its slug or any of its names."""

    class Status(models.TextChoices):
        ACTIVE = "ACTIVE", _("Active")
        DEPRECATED = "DEPRECATED", _("Deprecated")
        RETIRED = "RETIRED", _("Retired by its maker")

    class Availability(models.TextChoices):
        DIRECT = "DIRECT", _("From its maker")
        ALTERNATES_ONLY = "ALTERNATES_ONLY", _("From other hosts only")
        NONE = "NONE", _("Nowhere")

    slug = models.CharField(_("slug"), max_length=100, unique=True)
    provider = models.ForeignKey(
        Provider, on_delete=models.PROTECT, related_name="models", verbose_name=_("provider")
    )
    position = models.PositiveIntegerField(_("position"), default=0)
    name = models.CharField(_("name"), max_length=100)
    category = models.CharField(_("category"), max_length=16, choices=Category)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.ACTIVE)
    availability = models.CharField(
        _("availability"), max_length=16, choices=Availability, default=Availability.DIRECT
    )
    is_enabled = models.BooleanField(_("enabled"), default=False)
    released = models.CharField(_("released"), max_length=10, blank=True)
    is_release_approximate = models.BooleanField(_("release is approximate"), default=False)
    shutdown_date = models.DateField(_("shutdown"), null=True, blank=True)
    shutdown_source = models.CharField(_("who says so"), max_length=255, blank=True)
    is_shutdown_upper_bound = models.BooleanField(_("ended on or before"), default=False)
    replacement = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, blank=True, verbose_name=_("replacement")
    )
    context_window = models.PositiveIntegerField(_("context window"), null=True, blank=True)
    max_input_tokens = models.PositiveIntegerField(_("most input"), null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(_("most output"), null=True, blank=True)
    usual_output_tokens = models.PositiveIntegerField(
        _("usual output"),
        null=True,
        blank=True,
        help_text=_("A high percentile; empty: a default that depends on the limits."),
    )
    dimensions = models.PositiveIntegerField(_("embedding size"), null=True, blank=True)
    input_modalities = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    output_modalities = ArrayField(models.CharField(max_length=16), default=list, blank=True)
    features = ArrayField(models.CharField(max_length=32), default=list, blank=True)
    price_status = models.CharField(_("price status"), max_length=16, blank=True)
    sources = ArrayField(models.TextField(), default=list, blank=True)
    note = models.TextField(_("note"), blank=True)
    seeded = models.JSONField(default=dict, editable=False)

    class Meta:
        verbose_name = _("model")
        verbose_name_plural = _("models")

    def __str__(self) -> str:
        return self.slug


class ModelName(models.Model):
    """One name under the resolver's rule, and every spelling of it that was given."""

    name = models.CharField(
        _("name"), max_length=100, unique=True, help_text=_("Lower case, with - for . and _.")
    )
    spellings = ArrayField(
        models.CharField(max_length=100), verbose_name=_("spellings"), default=list
    )
    model = models.ForeignKey(
        Model, on_delete=models.PROTECT, related_name="names", verbose_name=_("model")
    )
    author = models.CharField(_("from"), max_length=8, choices=Author, default=Author.ADMIN)

    class Meta:
        verbose_name = _("name")
        verbose_name_plural = _("names")

    def __str__(self) -> str:
        return self.name


class Route(models.Model):
    """One way to serve a model: a host, the protocol to speak and the name it knows."""

    model = models.ForeignKey(
        Model, on_delete=models.PROTECT, related_name="routes", verbose_name=_("model")
    )
    host = models.ForeignKey(
        Host, on_delete=models.PROTECT, related_name="routes", verbose_name=_("host")
    )
    protocol = models.CharField(_("protocol"), max_length=32)
    upstream_id = models.CharField(_("name upstream"), max_length=128)
    quirks = models.JSONField(
        _("quirks"), default=dict, blank=True, help_text=_("Added to those of the host.")
    )
    context_window = models.PositiveIntegerField(
        _("context window"), null=True, blank=True, help_text=_("Where smaller than the model's.")
    )
    max_output_tokens = models.PositiveIntegerField(_("most output"), null=True, blank=True)
    weight = models.PositiveIntegerField(_("weight"), default=100)
    priority = models.PositiveIntegerField(
        _("priority"), default=0, help_text=_("Smaller is tried first.")
    )
    is_enabled = models.BooleanField(_("enabled"), default=False)
    shutdown_date = models.DateField(_("shutdown"), null=True, blank=True)
    price_status = models.CharField(_("price status"), max_length=16, blank=True)
    source = models.TextField(_("source"), blank=True)
    seeded = models.JSONField(default=dict, editable=False)

    class Meta:
        verbose_name = _("route")
        verbose_name_plural = _("routes")
        constraints = [
            models.UniqueConstraint(
                fields=["model", "host", "protocol", "upstream_id"], name="catalog_route_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.model_id} at {self.host_id} as {self.upstream_id}"


class Holiday(models.Model):
    """A day that price windows treat like a weekend, in the calendar's own time zone."""

    calendar = models.CharField(_("calendar"), max_length=32)
    day = models.DateField(_("day"))
    is_enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        verbose_name = _("holiday")
        verbose_name_plural = _("holidays")
        constraints = [
            models.UniqueConstraint(fields=["calendar", "day"], name="catalog_holiday_unique")
        ]

    def __str__(self) -> str:
        return f"{self.calendar} {self.day}"


class CatalogNumber(models.Model):
    """The number of the newest state of the catalog: one row, raised with every edit."""

    number = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("catalog number")
        verbose_name_plural = _("catalog numbers")
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="catalog_number_one_row")
        ]

    def __str__(self) -> str:
        return str(self.number)
