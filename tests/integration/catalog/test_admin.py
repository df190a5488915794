"""The catalog in the admin: every page opens, prices only grow by versions, secrets stay unseen."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing.money import parse_usd
from catalog.credentials import decrypt
from catalog.models import Host, HostCredential, Model, PriceVersion, Route
from catalog.queries import catalog_number, load_snapshot

pytestmark = pytest.mark.usefixtures("catalog")

TABLES = ("provider", "host", "hostcredential", "model", "modelname", "route", "priceversion")


@pytest.fixture
def operator(client: Client) -> Client:
    user = User.objects.create_superuser("op@example.com", "correct horse battery")
    client.force_login(user)
    return client


@pytest.fixture
def gpt() -> Model:
    return Model.objects.get(slug="gpt-5.4")


def price_page(owner: str, row: Model | Route) -> str:
    return reverse("admin:catalog_change_price", args=[owner, row.pk])


def fields(version: PriceVersion, **amounts: str) -> dict[str, str]:
    """The form as a browser sends it, with some base figures written over."""
    sent = {"reason": "autumn", "valid_from_0": "", "valid_from_1": ""}
    for rate in version.rates.all():
        usd = f"{rate.amount_nano_usd // 10**9}.{rate.amount_nano_usd % 10**9:09d}"
        is_base = not rate.above_input_tokens and not rate.window
        sent[f"rate_{rate.pk}"] = amounts.get(rate.dimension, usd) if is_base else usd
    return sent


class TestPages:
    @pytest.mark.parametrize("table", TABLES)
    def test_open(self, operator: Client, table: str) -> None:
        page = reverse(f"admin:catalog_{table}_changelist")

        assert operator.get(page).status_code == 200
        assert operator.get(page + "?q=gpt").status_code == 200

    @pytest.mark.parametrize("row", [Host, HostCredential, Model, Route, PriceVersion])
    def test_of_a_row_open(self, operator: Client, row: type[Model]) -> None:
        found = row.objects.order_by("id").first()
        assert found is not None

        page = reverse(f"admin:catalog_{row._meta.model_name}_change", args=[found.pk])

        assert operator.get(page).status_code == 200


class TestPrice:
    def test_page_shows_every_figure(self, operator: Client, gpt: Model) -> None:
        page = operator.get(price_page("model", gpt)).content.decode()

        assert "input above 272,000 tokens" in page
        assert 'value="21.375"' in page

    def test_becomes_a_new_version(self, operator: Client, gpt: Model) -> None:
        before = gpt.prices.get()

        answer = operator.post(price_page("model", gpt), fields(before, input="3.5"))

        assert answer.status_code == 302
        version = gpt.prices.latest("id")
        assert (version.author, version.reason) == ("op@example.com", "autumn")
        base = version.rates.get(dimension="input", above_input_tokens=0)
        assert base.amount_nano_usd == parse_usd("3.5")

    def test_below_cost_is_refused_until_confirmed(self, operator: Client, gpt: Model) -> None:
        sent = fields(gpt.prices.get(), input="2.4")

        refused = operator.post(price_page("model", gpt), sent)
        assert "below the cheapest cost" in refused.content.decode()
        assert gpt.prices.count() == 1

        operator.post(price_page("model", gpt), {**sent, "confirm_below_cost": "on"})
        assert gpt.prices.count() == 2

    @pytest.mark.parametrize("amount", ["-1", "1e3", "abc", "0.0000000001", "99999999999"])
    def test_refuses_what_is_no_amount(self, operator: Client, gpt: Model, amount: str) -> None:
        answer = operator.post(price_page("model", gpt), fields(gpt.prices.get(), input=amount))

        assert answer.status_code == 200
        assert gpt.prices.count() == 1

    def test_that_is_the_same_is_refused(self, operator: Client, gpt: Model) -> None:
        answer = operator.post(price_page("model", gpt), fields(gpt.prices.get()))

        assert "No figure is different" in answer.content.decode()

    def test_first_cost_lets_a_route_be_enabled(self, operator: Client) -> None:
        route = Route.objects.filter(costs__isnull=True).first()
        assert route is not None

        sent = {"new_input": "1", "new_output": "2", "reason": "contract"}
        operator.post(price_page("route", route), sent)

        assert route.costs.get().rates.count() == 2

    def test_is_closed_to_customers(self, client: Client, gpt: Model) -> None:
        client.force_login(User.objects.create_user("customer@example.com", "correct horse"))

        assert client.get(price_page("model", gpt)).status_code == 302


class TestCredential:
    def test_is_set_and_never_shown(self, operator: Client) -> None:
        host = Host.objects.get(slug="openai")
        page = reverse("admin:catalog_host_change", args=[host.pk])

        sent = {"secret": "sk-fake-9999", "_form_submitted": "True"}
        operator.post(f"/admin/catalog/host/{host.pk}/credential/", sent)

        stored = bytes(HostCredential.objects.get(host=host).secret_encrypted)
        assert decrypt(stored) == "sk-fake-9999"
        assert "sk-fake-9999" not in operator.get(page).content.decode()


class TestModel:
    def test_is_allowed_below_cost_with_a_reason(self, operator: Client, gpt: Model) -> None:
        sent = {"reason": "bought at half", "_form_submitted": "True"}

        operator.post(f"/admin/catalog/model/{gpt.pk}/below-cost/", sent)

        gpt.refresh_from_db()
        assert gpt.below_cost_reason == "bought at half"
        assert gpt.below_cost_author == "op@example.com"

    def test_that_is_new_answers_to_its_slug(self, operator: Client, gpt: Model) -> None:
        sent = {
            "slug": "our-own", "name": "Our own", "provider": gpt.provider_id, "category": "chat",
            "status": "active", "availability": "direct", "usual_output_tokens": 500,
            "input_modalities": '["text"]', "output_modalities": '["text"]', "position": 999,
            "features": '["tools"]', "facts": "{}",
        }  # fmt: skip

        answer = operator.post(reverse("admin:catalog_model_add"), sent)

        assert answer.status_code == 302
        found = load_snapshot().resolve("Our.Own")
        assert found is not None
        assert found.not_callable_because == "It is switched off."

    def test_refuses_a_slug_that_means_another(self, operator: Client, gpt: Model) -> None:
        answer = operator.post(reverse("admin:catalog_model_add"), {"slug": "GPT_5.4"})

        assert "already means another model" in answer.content.decode()


class TestSwitches:
    def test_disable_many_at_once(self, operator: Client, gpt: Model) -> None:
        number = catalog_number()
        sent = {"action": "disable", "_selected_action": [gpt.pk]}

        operator.post(reverse("admin:catalog_model_changelist"), sent)

        gpt.refresh_from_db()
        assert not gpt.is_enabled
        assert catalog_number() > number
