
import django.db.models.deletion
import pgtrigger.compiler
import pgtrigger.migrations
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('billing', '0002_money_functions'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TopUp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ('mode', models.CharField(max_length=8)),
                ('provider', models.CharField(max_length=32)),
                ('credit_nano_usd', models.BigIntegerField()),
                ('pay_amount_minor', models.BigIntegerField(help_text="In the currency's smallest unit.")),
                ('pay_currency', models.CharField(help_text='ISO 4217, lower case.', max_length=3)),
                ('state', models.CharField(choices=[('CREATED', 'created'), ('PENDING', 'waiting for payment'), ('PROCESSING', 'payment in progress'), ('CREDITED', 'credited'), ('EXPIRED', 'expired'), ('FAILED', 'failed'), ('REVIEW', 'under review')], default='CREATED', max_length=12)),
                ('review_reason', models.CharField(blank=True, max_length=500)),
                ('idempotency_key', models.CharField(help_text='One per form that was shown, so that a double click pays once.', max_length=64)),
                ('reference', models.CharField(blank=True, help_text="The provider's name for it.", max_length=255)),
                ('pay_url', models.TextField(blank=True)),
                ('expires_at', models.DateTimeField()),
                ('next_check_at', models.DateTimeField(help_text='When the poller asks the provider again.')),
                ('asked_at', models.DateTimeField(help_text='When a page last asked for a check.', null=True)),
                ('credited_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('wallet', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='billing.wallet')),
                ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='accounts.workspace')),
            ],
            options={
                'verbose_name': 'top-up',
            },
        ),
        migrations.CreateModel(
            name='ProviderReference',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=32)),
                ('reference', models.CharField(max_length=255)),
                ('seen_at', models.DateTimeField(auto_now_add=True)),
                ('topup', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='references', to='billing.topup')),
            ],
        ),
        migrations.CreateModel(
            name='TopUpEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('before', models.CharField(blank=True, choices=[('CREATED', 'created'), ('PENDING', 'waiting for payment'), ('PROCESSING', 'payment in progress'), ('CREDITED', 'credited'), ('EXPIRED', 'expired'), ('FAILED', 'failed'), ('REVIEW', 'under review')], max_length=12)),
                ('after', models.CharField(choices=[('CREATED', 'created'), ('PENDING', 'waiting for payment'), ('PROCESSING', 'payment in progress'), ('CREDITED', 'credited'), ('EXPIRED', 'expired'), ('FAILED', 'failed'), ('REVIEW', 'under review')], max_length=12)),
                ('source', models.CharField(help_text='What brought it: a notice, the poller, …', max_length=64)),
                ('note', models.CharField(blank=True, max_length=500)),
                ('at', models.DateTimeField(auto_now_add=True)),
                ('topup', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='history', to='billing.topup')),
            ],
        ),
        migrations.CreateModel(
            name='WebhookEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=32)),
                ('event_id', models.CharField(max_length=255)),
                ('kind', models.CharField(max_length=255)),
                ('body', models.BinaryField()),
                ('headers', models.JSONField(default=dict)),
                ('status', models.CharField(choices=[('NEW', 'to be handled'), ('DONE', 'handled'), ('IGNORED', 'of no interest'), ('FAILED', 'given up')], default='NEW', max_length=8)),
                ('attempts', models.PositiveIntegerField(default=0)),
                ('next_try_at', models.DateTimeField()),
                ('error', models.CharField(blank=True, max_length=1000)),
                ('received_at', models.DateTimeField(auto_now_add=True)),
                ('handled_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('status', 'NEW')), fields=['next_try_at'], name='webhook_event_to_handle'), models.Index(models.OrderBy(models.F('received_at'), descending=True), name='webhook_event_by_time')],
                'constraints': [models.UniqueConstraint(fields=('provider', 'event_id'), name='webhook_event_once'), models.CheckConstraint(condition=models.Q(('status__in', ['NEW', 'DONE', 'IGNORED', 'FAILED'])), name='webhook_event_status_known')],
            },
        ),
        migrations.AddIndex(
            model_name='topup',
            index=models.Index(condition=models.Q(('state__in', ('CREATED', 'PENDING', 'PROCESSING'))), fields=['next_check_at'], name='topup_to_check'),
        ),
        migrations.AddIndex(
            model_name='topup',
            index=models.Index(fields=['workspace', '-id'], name='topup_by_workspace'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.UniqueConstraint(fields=('workspace', 'idempotency_key'), name='topup_once_per_form'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.UniqueConstraint(condition=models.Q(('reference', ''), _negated=True), fields=('provider', 'reference'), name='topup_provider_reference'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(('credit_nano_usd__gt', 0), ('pay_amount_minor__gt', 0)), name='topup_amounts_positive'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(('state__in', ['CREATED', 'PENDING', 'PROCESSING', 'CREDITED', 'EXPIRED', 'FAILED', 'REVIEW'])), name='topup_state_known'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('credited_at__isnull', False), ('state', 'CREDITED')), models.Q(models.Q(('state', 'CREDITED'), _negated=True), ('credited_at__isnull', True)), _connector='OR'), name='topup_credited_has_moment'),
        ),
        migrations.AddConstraint(
            model_name='topup',
            constraint=models.CheckConstraint(condition=models.Q(('pay_currency__regex', '^[a-z]{3}$')), name='topup_currency_code'),
        ),
        migrations.AddConstraint(
            model_name='providerreference',
            constraint=models.UniqueConstraint(fields=('provider', 'reference'), name='provider_reference_once'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='topupevent',
            trigger=pgtrigger.compiler.Trigger(name='topup_history_append_only', sql=pgtrigger.compiler.UpsertTriggerSql(func="RAISE EXCEPTION 'pgtrigger: Cannot update or delete rows from % table', TG_TABLE_NAME;", hash='fa9a2d2b556f002e9014f9f5d761ead473914638', operation='UPDATE OR DELETE', pgid='pgtrigger_topup_history_append_only_35510', table='billing_topupevent', when='BEFORE')),
        ),
    ]
