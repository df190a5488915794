"""Test money never reaches a real host, and real money waits for the checklist."""

import io

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.test import Client

from accounts.models import User
from catalog.editing import confirm_below_cost, store_credential
from catalog.models import Host
from catalog.queries import BELOW_COST, load_snapshot
from tokenmix_site.going_live import checklist, refusals

pytestmark = pytest.mark.django_db


@pytest.fixture
def catalog() -> None:
    call_command("load_catalog", stdout=io.StringIO())
    call_command("load_sandbox", stdout=io.StringIO())


def titles() -> set[str]:
    return {check.title for check in refusals(checklist())}


class TestSandbox:
    @pytest.mark.usefixtures("catalog")
    def test_has_no_real_host_even_with_its_credential(self) -> None:
        store_credential(host_id=Host.objects.get(slug="openai").pk, secret="sk-fake")

        modes = {r.host.mode for m in load_snapshot().models.values() for r in m.routes}

        assert modes == {"sandbox"}

    @pytest.mark.usefixtures("catalog")
    def test_checklist_refuses_with_reasons(self) -> None:
        out = io.StringIO()

        with pytest.raises(SystemExit) as stopped:
            call_command("go_live", stdout=out)

        assert stopped.value.code == 1
        assert "TOKENMIX_MODE is 'sandbox': set it to 'live' and restart." in out.getvalue()
        assert "No live host has a credential" in out.getvalue()


class TestLive:
    @pytest.fixture(autouse=True)
    def live(self, settings: LazySettings, catalog: None) -> None:
        settings.TOKENMIX_MODE = "live"
        settings.BASE_URL = "https://api.example.com"
        settings.STRIPE_SECRET_KEY = "sk_live_" + "0" * 24
        store_credential(host_id=Host.objects.get(slug="openai").pk, secret="sk-fake")

    def test_has_no_stand_in_host(self) -> None:
        hosts = {r.host.slug for m in load_snapshot().models.values() for r in m.routes}

        assert hosts == {"openai"}

    def test_keeps_models_under_cost_off_until_confirmed(self) -> None:
        assert load_snapshot().models["gpt-5.4"].not_callable_because == BELOW_COST

        confirm_below_cost(slugs=["gpt-5.4"], author="test", reason="we buy cheaper")

        assert load_snapshot().models["gpt-5.4"].not_callable_because == ""

    def test_checklist_is_satisfied_when_all_is_there(self) -> None:
        assert titles() == set()

    def test_checklist_refuses_a_test_key_of_stripe(self, settings: LazySettings) -> None:
        settings.STRIPE_SECRET_KEY = "sk_test_" + "0" * 24

        assert titles() == {"Stripe's key is a live one"}

    def test_checklist_refuses_the_demo_operator(self) -> None:
        User.objects.create_superuser("operator@example.com", "x")

        assert titles() == {"The demo operator is gone"}


class TestPage:
    @pytest.mark.usefixtures("catalog")
    def test_shows_staff_what_is_missing(self, client: Client) -> None:
        client.force_login(User.objects.create_superuser("root@example.com", "x"))

        page = client.get("/admin/going-live/")

        assert "TOKENMIX_MODE is" in page.content.decode()

    def test_is_closed_to_customers(self, client: Client) -> None:
        client.force_login(User.objects.create_user("buyer@example.com", "x"))

        assert client.get("/admin/going-live/").status_code == 403
