"""Usage records and attempts: one row per call and per try, in monthly partitions by call id.

Written by the settler's SQL alone; the ORM only reads them. Amounts are nano-USD.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class UsageRecord(models.Model):
    """The line that a customer sees for one call. No foreign keys: it outlives catalog rows."""

    id = models.UUIDField(primary_key=True, editable=False)
    epoch = models.BigIntegerField(_("epoch"))  # of the process that settled it; 0: none was live
    settlement_id = models.UUIDField(_("settlement"))  # its transfers: settlement:<id>:<wallet>
    fingerprint = models.BigIntegerField()  # of what a repeated settle must find unchanged
    workspace_id = models.BigIntegerField(_("workspace"))
    wallet_id = models.BigIntegerField(_("wallet"))
    key_id = models.BigIntegerField(_("key"), null=True)
    mode = models.TextField(_("mode"))
    model = models.TextField(_("model"))
    requested_model = models.TextField(_("requested model"))
    endpoint = models.TextField(_("endpoint"))
    is_stream = models.BooleanField(_("streamed"))
    host = models.TextField(_("host"))
    route_id = models.BigIntegerField(_("route"), null=True)
    upstream_model = models.TextField(_("upstream model"))
    protocol = models.TextField(_("protocol"))
    price_version_id = models.BigIntegerField(_("price version"), null=True)
    cost_version_id = models.BigIntegerField(_("cost version"), null=True)
    service_tier = models.TextField(_("service tier"))
    admitted_at = models.DateTimeField(_("admitted"))
    started_at = models.DateTimeField(_("started"))
    settled_at = models.DateTimeField(_("settled"), db_default=Now())
    first_byte_ms = models.IntegerField(_("first byte, ms"), null=True)
    total_ms = models.IntegerField(_("total, ms"))
    gateway_ms = models.FloatField(_("gateway's own, ms"), null=True)
    outcome = models.TextField(_("outcome"))
    status = models.SmallIntegerField(_("status"))
    finish_reason = models.TextField(_("finish reason"))
    request_id = models.TextField(_("request id"))
    usage_outcome = models.TextField(_("usage"))  # exact, estimated, none
    tokens = models.JSONField(_("tokens"))  # bucket -> count, only those above zero
    input_tokens = models.BigIntegerField(_("input tokens"))
    output_tokens = models.BigIntegerField(_("output tokens"))
    web_searches = models.IntegerField(_("web searches"))
    charge_nano_usd = models.BigIntegerField(_("charge"))
    paid_nano_usd = models.BigIntegerField(_("paid"))  # less than the charge: the rest written off
    cost_nano_usd = models.BigIntegerField(_("cost"))
    components = models.JSONField(_("components"))  # [name, quantity, rate per mtok, amount] each
    unpriced = ArrayField(models.TextField(), verbose_name=_("unpriced buckets"))

    class Meta:
        verbose_name = _("usage record")
        verbose_name_plural = _("usage records")
        indexes = [
            models.Index(fields=["workspace_id", "-id"], name="gateway_usage_workspace"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(charge_nano_usd__gte=0)
                & models.Q(cost_nano_usd__gte=0)
                & models.Q(paid_nano_usd__gte=0)
                & models.Q(paid_nano_usd__lte=models.F("charge_nano_usd")),
                name="gateway_usage_paid_within_charge",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.model}"


class Attempt(models.Model):
    """One try of a call at one route; `cost_nano_usd` of a failed one is the operator's."""

    pk = models.CompositePrimaryKey("call_id", "n")
    call_id = models.UUIDField(_("call"), editable=False)
    n = models.SmallIntegerField(_("number"))
    route_id = models.BigIntegerField(_("route"), null=True)
    host = models.TextField(_("host"))
    status = models.SmallIntegerField(_("status"), null=True)
    reason = models.TextField(_("reason"))
    started_at = models.DateTimeField(_("started"))
    duration_ms = models.IntegerField(_("duration, ms"))
    cost_nano_usd = models.BigIntegerField(_("cost"))

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")

    def __str__(self) -> str:
        return f"{self.call_id} {self.n}"
