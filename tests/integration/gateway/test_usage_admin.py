"""The operator's pages of calls."""

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from tests.factories.billing import make_wallet
from tests.factories.gateway import make_record
from tests.integration.gateway.test_queries import write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(client):
    client.force_login(get_user_model().objects.create_superuser("op@example.com", "x"))
    return client


class TestUsageRecordAdmin:
    def test_lists_calls_and_shows_one_with_its_attempts(self, operator):
        record = make_record(make_wallet(cash=1_000), charge=300)
        write(record)

        listed = operator.get(reverse("admin:gateway_usagerecord_changelist"))
        shown = operator.get(reverse("admin:gateway_usagerecord_change", args=[record.call_id]))

        assert listed.status_code == shown.status_code == 200
        assert "gpt-5.4" in listed.content.decode()
        assert "1. sandbox-openai: 200 answered, 12 ms" in shown.content.decode()

    def test_changes_nothing(self, operator):
        record = make_record(make_wallet(cash=1_000), charge=300)
        write(record)

        changed = operator.post(
            reverse("admin:gateway_usagerecord_change", args=[record.call_id]), {"model": "x"}
        )

        assert changed.status_code == 403
