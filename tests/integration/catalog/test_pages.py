"""The public pages: all models, one model, and what nobody may see there."""

import pytest
from django.conf import LazySettings
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from billing.money import parse_usd
from catalog.editing import PriceChange, set_cost, store_credential
from catalog.models import Host, Route

pytestmark = pytest.mark.usefixtures("catalog")


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


class TestList:
    def test_shows_every_model_and_its_prices(self, client: Client) -> None:
        page = text(client, "/models/")

        assert "171 models" in page
        assert page.count("<tr>") == 172
        assert "$2.375" in page

    def test_needs_few_queries(
        self, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_max_num_queries(6):
            client.get("/models/")

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("q=gpt-5.4-MINI", 1), ("q=Claude.Opus_4.7", 1), ("provider=bfl", 8),
            ("category=embedding", 6), ("provider=openai&category=image", 3), ("q=nothing-like", 0),
            ("q=%00", 171), ("provider=x", 0),
        ],
    )  # fmt: skip
    def test_filters(self, client: Client, query: str, count: int) -> None:
        assert len(client.get(f"/models/?{query}").context["rows"]) == count

    def test_escapes_what_was_searched(self, client: Client) -> None:
        page = text(client, "/models/?q=<script>")

        assert "<script>" not in page.partition("<body")[2].partition("models-search")[2][:400]

    def test_sends_the_table_alone_to_htmx(self, client: Client) -> None:
        answer = client.get("/models/?q=gpt-5.4", HTTP_HX_REQUEST="true")

        assert b"<html" not in answer.content


class TestLive:
    def test_shows_what_is_kept_off_below_cost(
        self, client: Client, settings: LazySettings
    ) -> None:
        settings.TOKENMIX_MODE = "live"
        store_credential(host_id=Host.objects.get(slug="openai").pk, secret="sk-fake")

        page = text(client, "/models/gpt-5.4/")

        assert "Its list price is below cost" in page


class TestModel:
    def test_shows_tiers_in_words(self, client: Client) -> None:
        page = text(client, "/models/gpt-5.4/")

        assert "input above 272,000 tokens, for the whole request" in page
        assert "$21.375" in page
        assert "Service tier priority" in page
        assert "model=&quot;gpt-5.4&quot;" in page

    def test_shows_windows_in_words(self, client: Client) -> None:
        page = text(client, "/models/deepseek-v4.1-flash/")

        assert "Monday to Friday 00:00-01:00, 04:00-06:00, 10:00-00:00 UTC" in page

    def test_shows_an_announced_change(self, client: Client) -> None:
        page = text(client, "/models/gemini-4-argon/")

        assert "Announced: new prices from 2026-12-01 00:00 UTC" in page
        assert "$19.00" in page

    def test_shows_units_that_cannot_be_charged_yet(self, client: Client) -> None:
        page = text(client, "/models/hailuo-2.3/")

        assert "clip of 6 seconds" in page
        assert "Not callable" in page

    def test_shows_the_makers_earlier_prices(self, client: Client) -> None:
        assert "What its maker has charged" in text(client, "/models/gpt-5.6-sol/")

    def test_never_shows_what_the_operator_pays(self, client: Client) -> None:
        route = Route.objects.get(model__slug="gpt-5.6-sol", is_direct=True)
        secret_price = PriceChange("op", "deal", rates={"input": parse_usd("1.234567")})
        set_cost(route_id=route.pk, change=secret_price)

        assert "1.234567" not in text(client, "/models/gpt-5.6-sol/")

    def test_leads_from_an_alias_to_the_slug(self, client: Client) -> None:
        answer = client.get("/models/anthropic/claude-opus-4.7/")

        assert (answer.status_code, answer.headers["Location"]) == (302, "/models/claude-opus-4-7/")

    def test_names_the_replacement_of_a_retired_model(self, client: Client) -> None:
        assert "Use gpt-5.4-mini." in text(client, "/models/o4-mini/")

    @pytest.mark.parametrize("name", ["gpt-9", "%00", "a/b/c"])
    def test_does_not_know_others(self, client: Client, name: str) -> None:
        assert client.get(f"/models/{name}/").status_code == 404

    def test_is_there_for_every_model(self, client: Client) -> None:
        for row in client.get("/models/").context["rows"]:
            assert client.get(f"/models/{row.slug}/").status_code == 200, row.slug
