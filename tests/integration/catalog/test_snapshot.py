"""The snapshot: one mode's hosts, what can be called, and why the rest cannot."""

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from catalog import cards
from catalog.editing import confirm_below_cost, disable_model, disable_route, store_credential
from catalog.models import Host, HostCredential, Model, Route
from catalog.pricing import Bucket, Usage, rate
from catalog.queries import BELOW_COST, catalog_number, load_snapshot
from catalog.routes import in_force

pytestmark = pytest.mark.usefixtures("catalog")

MONDAY_PEAK = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def why(slug: str) -> str:
    return load_snapshot().models[slug].not_callable_because


class TestSandbox:
    def test_has_only_stand_in_hosts(self) -> None:
        store_credential(host_id=Host.objects.get(slug="openai").pk, secret="sk-fake")

        hosts = {r.host.slug for m in load_snapshot().models.values() for r in m.routes}

        assert hosts == {"sandbox-openai", "sandbox-openai-b", "sandbox-anthropic"}

    def test_has_every_model(self) -> None:
        assert len(load_snapshot().models) == 171

    def test_calls_openai_models_on_two_hosts_in_order(self) -> None:
        routes = load_snapshot().models["gpt-5.4"].routes

        assert [(r.host.slug, r.protocol, r.path) for r in routes] == [
            ("sandbox-openai", "openai_chat", "/chat/completions"),
            ("sandbox-openai-b", "openai_chat", "/chat/completions"),
        ]
        assert routes[0].host.secret == "sandbox"
        assert routes[0].host.allows_private_addresses

    def test_calls_claude_by_its_own_protocol(self) -> None:
        (route,) = load_snapshot().models["claude-sonnet-4-6"].routes

        assert (route.host.slug, route.protocol, route.path) == (
            "sandbox-anthropic", "anthropic_messages", "/v1/messages",
        )  # fmt: skip
        assert route.host.auth_header == "x-api-key"

    @pytest.mark.parametrize("slug", ["gpt-5.4", "deepseek-v4-flash", "claude-sonnet-4-6"])
    def test_can_call_what_the_first_paid_calls_name(self, slug: str) -> None:
        assert why(slug) == ""

    def test_rates_windows_of_the_makers_cost(self) -> None:
        route = load_snapshot().models["deepseek-v4-flash"].routes[0]
        usage = Usage(tokens={Bucket.INPUT: 1000})

        def cost(at: datetime) -> int:
            price = in_force(route.costs, at)
            assert price is not None
            return rate(usage=usage, price=price, at=at).amount

        assert (cost(MONDAY_PEAK), cost(SUNDAY)) == (300_000, 150_000)

    def test_prices_by_the_version_of_the_day(self) -> None:
        prices = load_snapshot().models["gemini-4-argon"].prices
        day = datetime(2026, 12, 1, tzinfo=UTC)

        before = in_force(prices, day - timedelta(seconds=1))
        after = in_force(prices, day)

        assert before is not None
        assert after is not None
        assert after.rates[Bucket.OUTPUT] == 2 * before.rates[Bucket.OUTPUT]


class TestNotCallable:
    @pytest.mark.parametrize(
        ("slug", "words"),
        [
            ("flux-2-pro", "cannot be charged yet: megapixel"),
            ("hailuo-2.3", "cannot be charged yet: clip"),
            ("text-embedding-3-small", "embedding"),
            ("o4-mini", "Use gpt-5.4-mini."),
        ],
    )
    def test_says_why(self, slug: str, words: str) -> None:
        assert words in why(slug)

    def test_when_switched_off(self) -> None:
        disable_model(model_id=Model.objects.get(slug="gpt-5.4").pk)

        assert why("gpt-5.4") == "It is switched off."

    def test_when_no_route_is_left(self) -> None:
        for route in Route.objects.filter(model__slug="gpt-5.4"):
            disable_route(route_id=route.pk)

        assert why("gpt-5.4") == "No host that serves it is set up here."

    def test_when_the_only_hosts_have_ended_it(self) -> None:
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        Route.objects.filter(model__slug="gpt-5.4").update(shutdown_date=yesterday)

        assert why("gpt-5.4") == "No host that serves it is set up here."

    def test_when_the_credential_cannot_be_read(self) -> None:
        HostCredential.objects.filter(host__slug="sandbox-anthropic").update(
            secret_encrypted=b"made with a lost key"
        )

        snapshot = load_snapshot()

        assert snapshot.models["claude-sonnet-4-6"].not_callable_because != ""
        assert snapshot.models["gpt-5.4"].not_callable_because == ""


class TestLive:
    @pytest.fixture(autouse=True)
    def live(self, settings: LazySettings, catalog: None) -> None:
        settings.TOKENMIX_MODE = "live"

    def test_has_no_stand_in_host(self) -> None:
        for slug in ("openai", "anthropic"):
            store_credential(host_id=Host.objects.get(slug=slug).pk, secret="sk-fake")

        hosts = {r.host.slug for m in load_snapshot().models.values() for r in m.routes}

        assert hosts == {"openai", "anthropic"}

    def test_has_no_route_without_a_credential(self) -> None:
        assert not any(model.routes for model in load_snapshot().models.values())

    def test_leaves_out_a_host_whose_address_is_not_filled_in(self) -> None:
        host = Host.objects.get(slug="azure-foundry")
        store_credential(host_id=host.pk, secret="fake")

        assert load_snapshot().models["gpt-5.4"].routes == ()

        Host.objects.filter(pk=host.pk).update(url_values={"resource": "ours"})

        (route,) = load_snapshot().models["gpt-5.4"].routes
        assert route.host.base_url == "https://ours.services.ai.azure.com"

    def test_keeps_off_what_is_under_cost_until_confirmed(self) -> None:
        store_credential(host_id=Host.objects.get(slug="openai").pk, secret="sk-fake")

        assert why("gpt-5.4") == BELOW_COST

        confirm_below_cost(slugs=["gpt-5.4"], author="op", reason="we buy cheaper")

        assert why("gpt-5.4") == ""

    def test_tells_adapters_how_a_host_differs(self) -> None:
        store_credential(host_id=Host.objects.get(slug="xai").pk, secret="xai-fake")

        route = load_snapshot().models["grok-4.3"].routes[0]

        assert route.quirks == {"reasoning_outside_completion": True}


class TestNumber:
    def test_rises_with_every_change(self) -> None:
        before = catalog_number()

        disable_model(model_id=Model.objects.get(slug="gpt-5.4").pk)

        assert catalog_number() == before + 1
        assert load_snapshot().number == before + 1

    def test_is_read_in_a_handful_of_queries(self) -> None:
        with CaptureQueriesContext(connection) as queries:
            load_snapshot()

        assert len(queries) <= 12


class TestCards:
    def test_show_the_price_per_token_exactly(self) -> None:
        model = load_snapshot().models["gpt-5.4"]

        card = cards.model_card(model, MONDAY_PEAK)

        assert card["object"] == "model"
        assert card["owned_by"] == "openai"
        assert card["context_length"] == 1_050_000
        assert card["pricing"]["prompt"] == "0.000002375"
        assert card["pricing"]["completion"] == "0.00000425"
        assert card["pricing"]["overrides"][0] == {
            "min_prompt_tokens": 272_000, "prompt": "0.00000475",
            "input_cache_read": "0.000000475", "completion": "0.000021375",
        }  # fmt: skip
        assert "openai/gpt-5.4" in card["aliases"]

    def test_are_made_for_every_model(self) -> None:
        made = [cards.model_card(model, MONDAY_PEAK) for model in load_snapshot().models.values()]

        assert len({card["id"] for card in made}) == 171
