"""Usage records and attempts, partitioned by range of the call id (UUIDv7), month by month."""

import django.contrib.postgres.fields
import django.db.models.functions.datetime
from django.db import migrations, models

from gateway.partitions import ensure_partitions

CREATE = """
CREATE TABLE gateway_usagerecord (
    id uuid NOT NULL,
    epoch bigint NOT NULL,
    settlement_id uuid NOT NULL,
    fingerprint bigint NOT NULL,
    workspace_id bigint NOT NULL,
    wallet_id bigint NOT NULL,
    key_id bigint,
    mode text NOT NULL,
    model text NOT NULL,
    requested_model text NOT NULL,
    endpoint text NOT NULL,
    is_stream boolean NOT NULL,
    host text NOT NULL,
    route_id bigint,
    upstream_model text NOT NULL,
    protocol text NOT NULL,
    price_version_id bigint,
    cost_version_id bigint,
    service_tier text NOT NULL,
    admitted_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    first_byte_ms integer,
    total_ms integer NOT NULL,
    gateway_ms double precision,
    outcome text NOT NULL,
    status smallint NOT NULL,
    finish_reason text NOT NULL,
    request_id text NOT NULL,
    usage_outcome text NOT NULL,
    tokens jsonb NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    web_searches integer NOT NULL,
    charge_nano_usd bigint NOT NULL,
    paid_nano_usd bigint NOT NULL,
    cost_nano_usd bigint NOT NULL,
    components jsonb NOT NULL,
    unpriced text[] NOT NULL,
    CONSTRAINT gateway_usagerecord_pkey PRIMARY KEY (id),
    CONSTRAINT gateway_usage_paid_within_charge CHECK (
        charge_nano_usd >= 0 AND cost_nano_usd >= 0
        AND paid_nano_usd >= 0 AND paid_nano_usd <= charge_nano_usd
    )
) PARTITION BY RANGE (id);
CREATE INDEX gateway_usage_workspace ON gateway_usagerecord (workspace_id, id DESC);
CREATE TABLE gateway_usagerecord_default PARTITION OF gateway_usagerecord DEFAULT;

CREATE TABLE gateway_attempt (
    call_id uuid NOT NULL,
    n smallint NOT NULL,
    route_id bigint,
    host text NOT NULL,
    status smallint,
    reason text NOT NULL,
    started_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    cost_nano_usd bigint NOT NULL,
    CONSTRAINT gateway_attempt_pkey PRIMARY KEY (call_id, n)
) PARTITION BY RANGE (call_id);
CREATE TABLE gateway_attempt_default PARTITION OF gateway_attempt DEFAULT;
"""

DROP = "DROP TABLE gateway_attempt; DROP TABLE gateway_usagerecord;"


def make_partitions(apps, schema_editor):
    ensure_partitions(connection=schema_editor.connection)


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(CREATE, DROP)],
            state_operations=[
                migrations.CreateModel(
                    name='Attempt',
                    fields=[
                        ('pk', models.CompositePrimaryKey('call_id', 'n', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('call_id', models.UUIDField(editable=False, verbose_name='call')),
                        ('n', models.SmallIntegerField(verbose_name='number')),
                        ('route_id', models.BigIntegerField(null=True, verbose_name='route')),
                        ('host', models.TextField(verbose_name='host')),
                        ('status', models.SmallIntegerField(null=True, verbose_name='status')),
                        ('reason', models.TextField(verbose_name='reason')),
                        ('started_at', models.DateTimeField(verbose_name='started')),
                        ('duration_ms', models.IntegerField(verbose_name='duration, ms')),
                        ('cost_nano_usd', models.BigIntegerField(verbose_name='cost')),
                    ],
                    options={
                        'verbose_name': 'attempt',
                        'verbose_name_plural': 'attempts',
                    },
                ),
                migrations.CreateModel(
                    name='UsageRecord',
                    fields=[
                        ('id', models.UUIDField(editable=False, primary_key=True, serialize=False)),
                        ('epoch', models.BigIntegerField(verbose_name='epoch')),
                        ('settlement_id', models.UUIDField(verbose_name='settlement')),
                        ('fingerprint', models.BigIntegerField()),
                        ('workspace_id', models.BigIntegerField(verbose_name='workspace')),
                        ('wallet_id', models.BigIntegerField(verbose_name='wallet')),
                        ('key_id', models.BigIntegerField(null=True, verbose_name='key')),
                        ('mode', models.TextField(verbose_name='mode')),
                        ('model', models.TextField(verbose_name='model')),
                        ('requested_model', models.TextField(verbose_name='requested model')),
                        ('endpoint', models.TextField(verbose_name='endpoint')),
                        ('is_stream', models.BooleanField(verbose_name='streamed')),
                        ('host', models.TextField(verbose_name='host')),
                        ('route_id', models.BigIntegerField(null=True, verbose_name='route')),
                        ('upstream_model', models.TextField(verbose_name='upstream model')),
                        ('protocol', models.TextField(verbose_name='protocol')),
                        ('price_version_id', models.BigIntegerField(null=True, verbose_name='price version')),
                        ('cost_version_id', models.BigIntegerField(null=True, verbose_name='cost version')),
                        ('service_tier', models.TextField(verbose_name='service tier')),
                        ('admitted_at', models.DateTimeField(verbose_name='admitted')),
                        ('started_at', models.DateTimeField(verbose_name='started')),
                        ('settled_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), verbose_name='settled')),
                        ('first_byte_ms', models.IntegerField(null=True, verbose_name='first byte, ms')),
                        ('total_ms', models.IntegerField(verbose_name='total, ms')),
                        ('gateway_ms', models.FloatField(null=True, verbose_name="gateway's own, ms")),
                        ('outcome', models.TextField(verbose_name='outcome')),
                        ('status', models.SmallIntegerField(verbose_name='status')),
                        ('finish_reason', models.TextField(verbose_name='finish reason')),
                        ('request_id', models.TextField(verbose_name='request id')),
                        ('usage_outcome', models.TextField(verbose_name='usage')),
                        ('tokens', models.JSONField(verbose_name='tokens')),
                        ('input_tokens', models.BigIntegerField(verbose_name='input tokens')),
                        ('output_tokens', models.BigIntegerField(verbose_name='output tokens')),
                        ('web_searches', models.IntegerField(verbose_name='web searches')),
                        ('charge_nano_usd', models.BigIntegerField(verbose_name='charge')),
                        ('paid_nano_usd', models.BigIntegerField(verbose_name='paid')),
                        ('cost_nano_usd', models.BigIntegerField(verbose_name='cost')),
                        ('components', models.JSONField(verbose_name='components')),
                        ('unpriced', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None, verbose_name='unpriced buckets')),
                    ],
                    options={
                        'verbose_name': 'usage record',
                        'verbose_name_plural': 'usage records',
                        'indexes': [models.Index(fields=['workspace_id', '-id'], name='gateway_usage_workspace')],
                        'constraints': [models.CheckConstraint(condition=models.Q(('charge_nano_usd__gte', 0), ('cost_nano_usd__gte', 0), ('paid_nano_usd__gte', 0), ('paid_nano_usd__lte', models.F('charge_nano_usd'))), name='gateway_usage_paid_within_charge')],
                    },
                ),
            ],
        ),
        migrations.RunPython(make_partitions, migrations.RunPython.noop),
    ]
