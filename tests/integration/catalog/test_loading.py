"""The data files become tables: whole, once, and never over an operator's edits."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing.money import parse_usd
from catalog import records
from catalog.editing import PriceChange, disable_route, set_list_price
from catalog.loading import load_catalog, load_sandbox
from catalog.models import Host, Model, ModelName, PriceRate, PriceVersion, Provider, Route
from catalog.queries import load_snapshot

pytestmark = pytest.mark.usefixtures("catalog")

ARGON_DAY = datetime(2026, 12, 1, tzinfo=UTC)
SEED_PRICES = {
    "claude-opus-4-7": ("5", "25"),
    "gpt-5.4": ("2.375", "4.25"),
    "deepseek-v4-pro": ("0.6878", "3.3756"),
    "deepseek-v3.2": ("0.2484", "0.7012"),
    "deepseek-v4-flash": ("0.1358", "0.2716"),
}


def list_rates(slug: str, **filters: Any) -> list[int]:
    version = PriceVersion.objects.get(model__slug=slug, origin="SEED")
    found = version.rates.filter(**filters).order_by("amount_nano_usd")
    return list(found.values_list("amount_nano_usd", flat=True))


@pytest.fixture
def files() -> Iterator[dict[str, Any]]:
    """The parsed models file, which a test may change as a new release of the data would."""
    rows = records.models_file()["models"]
    by_id = {row["id"]: row for row in rows}
    kept = {key: {**row, "list": {**row["list"]}} for key, row in by_id.items()}
    yield by_id
    for key, row in by_id.items():
        row.clear()
        row.update(kept[key])


class TestCounts:
    def test_are_those_of_the_data(self) -> None:
        assert Model.objects.count() == 171
        assert Provider.objects.count() == 14
        assert Host.objects.filter(mode="live").count() == 34
        assert Counter(Model.objects.values_list("category", flat=True)) == {
            "chat": 124, "image": 23, "video": 12, "audio": 6, "embedding": 6,
        }  # fmt: skip

    def test_all_names_resolve(self) -> None:
        snapshot = load_snapshot()
        rows = records.models_file()["models"]
        wanted = {name: row["id"] for row in rows for name in (row["id"], *row["aliases"])}

        found = {name: model.slug for name in wanted if (model := snapshot.resolve(name))}

        assert len(wanted) == 798
        assert found == wanted
        assert ModelName.objects.count() == 798

    def test_every_figure_of_the_files_is_a_rate(self) -> None:
        wanted = sum(_figures(row["list"]) for row in records.models_file()["models"])
        stored = PriceRate.objects.filter(version__model__isnull=False, version__origin="SEED")

        assert stored.exclude(dimension="image_estimate").count() == wanted


def _figures(price: Any) -> int:
    """How many amounts a list price of the file has, video tokens counted with their second."""
    tables = [price.get("tokens"), price.get("megapixel")]
    tables += [part["tokens"] for key in ("tiers", "schedule") for part in price.get(key) or []]
    lists = sum(len(price.get(key) or []) for key in ("image", "video", "extra_units"))
    units = ("minute", "million_chars", "request", "web_search_per_1k_calls")
    return lists + sum(len(t or ()) for t in tables) + sum(unit in price for unit in units)


class TestPrices:
    @pytest.mark.parametrize("slug", SEED_PRICES)
    def test_of_the_seed_are_exact(self, slug: str) -> None:
        base = {"above_input_tokens": 0, "window": ""}

        assert list_rates(slug, dimension="input", **base) == [parse_usd(SEED_PRICES[slug][0])]
        assert list_rates(slug, dimension="output", **base) == [parse_usd(SEED_PRICES[slug][1])]

    @pytest.mark.parametrize(
        ("slug", "dimension", "floor"),
        [
            ("minimax-image-01", "image", "0.0034"),
            ("seedance-1.0-pro", "video", "0.019825"),
            ("voxtral-mini-transcribe", "request", "0.0027"),
            ("text-embedding-3-small", "input", "0.019"),
        ],
    )
    def test_of_the_seed_are_the_floors(self, slug: str, dimension: str, floor: str) -> None:
        category = Model.objects.get(slug=slug).category
        others = PriceRate.objects.filter(
            version__model__category=category, dimension=dimension, version__origin="SEED"
        ).order_by("amount_nano_usd")

        assert list_rates(slug, dimension=dimension)[0] == parse_usd(floor)
        assert others[0].amount_nano_usd == parse_usd(floor)

    def test_have_tiers_and_windows(self) -> None:
        assert list_rates("gpt-5.4", above_input_tokens=272_000, dimension="input") == [
            parse_usd("4.75")
        ]
        assert list_rates("deepseek-v4.1-flash", window="off_peak", dimension="output") == [
            parse_usd("0.57")
        ]

    def test_of_the_seed_are_flat_at_all_hours(self) -> None:
        assert list_rates("deepseek-v4-flash", window="off_peak") == []

    def test_carry_factors_to_the_list(self) -> None:
        version = PriceVersion.objects.get(model__slug="gpt-5.4", origin="SEED")

        assert version.service_tiers == {"batch": "0.5", "flex": "0.5", "priority": "2"}
        assert version.surcharges[0]["key"] == "region_eu_or_us"

    def test_of_chinese_hosts_are_the_makers_own_by_the_rate(self) -> None:
        route = Route.objects.get(model__slug="doubao-seed-2.0-pro", host__slug="ark-cn")
        version = route.costs.get()
        rate = version.rates.get(dimension="input", above_input_tokens=0)

        assert version.native is not None
        assert version.native["tokens"]["input"] == "3.2"
        assert rate.amount_nano_usd == round(Decimal("3.2") / 7 * 10**9)

    def test_include_the_makers_history(self) -> None:
        route = Route.objects.get(model__slug="gpt-5.6-sol", host__slug="openai")
        starts = route.costs.filter(origin="HISTORY").values_list("valid_from", flat=True)

        assert datetime(2026, 8, 21, tzinfo=UTC) in starts
        assert len(starts) == 2


class TestAnnounced:
    def test_changes_are_there_for_four_models(self) -> None:
        found = PriceVersion.objects.filter(origin="ANNOUNCED", model__isnull=False)

        assert {(v.model.slug, v.valid_from.date().isoformat()) for v in found if v.model} == {
            ("gemini-4-argon", "2026-12-01"),
            ("gemini-3.7-flash", "2027-01-01"),
            ("gemini-3.8-flash", "2027-01-01"),
            ("gemini-3.8-flash-tts", "2027-01-01"),
        }

    def test_list_changes_with_the_cost_by_the_list_rule(self) -> None:
        version = PriceVersion.objects.get(model__slug="gemini-4-argon", origin="ANNOUNCED")
        rates = {r.dimension: r.amount_nano_usd for r in version.rates.filter(unit="mtok")}

        assert version.valid_from == ARGON_DAY
        assert rates == {
            "input": parse_usd("3.8"), "cached_input": parse_usd("0.19"),
            "output": parse_usd("19"),
        }  # fmt: skip

    def test_rates_that_it_does_not_name_stay(self) -> None:
        before = list_rates("gemini-3.8-flash-tts", dimension="cached_input")
        version = PriceVersion.objects.get(model__slug="gemini-3.8-flash-tts", origin="ANNOUNCED")

        assert version.rates.get(dimension="cached_input").amount_nano_usd == before[0]


class TestSecondRun:
    def test_changes_nothing_and_says_so(self) -> None:
        assert str(load_catalog()) == "nothing to change"
        assert str(load_sandbox()) == "nothing to change"

    def test_keeps_what_an_operator_edited_and_takes_the_rest(self, files: dict[str, Any]) -> None:
        Model.objects.filter(slug="gpt-5.4").update(name="GPT-5.4 (best)")
        files["gpt-5.4"].update(name="GPT 5.4 renamed", context_window=2_000_000)

        summary = str(load_catalog())

        model = Model.objects.get(slug="gpt-5.4")
        assert (model.name, model.context_window) == ("GPT-5.4 (best)", 2_000_000)
        assert "models: 0 new, 1 changed" in summary
        assert summary.endswith("left as edited here: 1 models")

    def test_leaves_switches_alone(self) -> None:
        route = Route.objects.filter(model__slug="gpt-5.4").first()
        assert route is not None
        disable_route(route_id=route.pk)

        load_catalog()

        assert not Route.objects.get(pk=route.pk).is_enabled

    def test_adds_a_version_for_a_new_price(self, files: dict[str, Any]) -> None:
        row = files["claude-opus-5"]
        row["list"]["tokens"] = {**row["list"]["tokens"], "output": "20"}

        summary = str(load_catalog())

        first, second = PriceVersion.objects.filter(model__slug="claude-opus-5").order_by("id")
        assert "price versions: 1 new" in summary
        assert second.valid_from > datetime.now(UTC) > first.valid_from
        assert second.rates.get(dimension="output").amount_nano_usd == parse_usd("20")

    def test_never_replaces_a_price_that_an_operator_set(self, files: dict[str, Any]) -> None:
        model = Model.objects.get(slug="claude-opus-5")
        change = PriceChange(author="op", reason="promotion", rates={"output": parse_usd("99")})
        set_list_price(model_id=model.pk, change=change)
        row = files["claude-opus-5"]
        row["list"]["tokens"] = {**row["list"]["tokens"], "output": "20"}

        summary = str(load_catalog())

        assert model.prices.count() == 2
        assert summary == "nothing to change; left as edited here: 1 prices"
