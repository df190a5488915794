"""What an operator may change, and what is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.db import Error, transaction

from accounts.changes import ChangeKind
from accounts.models import Change
from billing.money import NanoUsd, parse_usd
from catalog.credentials import CannotDecrypt, NoCredentialKeys, decrypt
from catalog.editing import (
    BelowCost,
    NoSuchRate,
    NotPriced,
    PriceChange,
    enable_model,
    enable_route,
    set_cost,
    set_list_price,
    store_credential,
)
from catalog.models import Host, HostCredential, Model, PriceRate, PriceVersion, Route
from catalog.queries import catalog_number

pytestmark = pytest.mark.usefixtures("catalog")


def change(**values: object) -> PriceChange:
    return PriceChange(**{"author": "op@example.com", "reason": "autumn", **values})  # type: ignore[arg-type]


@pytest.fixture
def gpt() -> Model:
    return Model.objects.get(slug="gpt-5.4")


class TestListPrice:
    def test_is_a_new_version_with_author_and_reason(self, gpt: Model) -> None:
        version = set_list_price(model_id=gpt.pk, change=change(rates={"input": parse_usd("3")}))

        assert (version.origin, version.author, version.reason) == (
            "ADMIN", "op@example.com", "autumn",
        )  # fmt: skip
        assert (
            version.rates.get(dimension="input", above_input_tokens=0).amount_nano_usd == 3 * 10**9
        )

    def test_keeps_every_other_figure(self, gpt: Model) -> None:
        before = PriceVersion.objects.get(model=gpt)

        version = set_list_price(model_id=gpt.pk, change=change(rates={"input": parse_usd("3")}))

        assert version.rates.count() == before.rates.count()
        assert version.service_tiers == before.service_tiers
        assert before.rates.get(dimension="input", above_input_tokens=0).amount_nano_usd == (
            parse_usd("2.375")
        )

    def test_begins_when_every_process_has_loaded_it(
        self, gpt: Model, settings: LazySettings
    ) -> None:
        settings.TOKENMIX_LEASE_S = 10
        before = datetime.now(UTC)

        version = set_list_price(model_id=gpt.pk, change=change(rates={"input": parse_usd("3")}))

        assert before + timedelta(seconds=12) <= version.valid_from
        assert version.valid_from <= datetime.now(UTC) + timedelta(seconds=12)

    def test_never_begins_in_the_past(self, gpt: Model) -> None:
        past = datetime(2026, 1, 1, tzinfo=UTC)

        version = set_list_price(
            model_id=gpt.pk, change=change(rates={"input": parse_usd("3")}, valid_from=past)
        )

        assert version.valid_from > datetime.now(UTC)

    def test_changes_a_tier_by_the_id_of_its_rate(self, gpt: Model) -> None:
        tier = PriceRate.objects.get(
            version__model=gpt, dimension="output", above_input_tokens=272_000
        )

        version = set_list_price(model_id=gpt.pk, change=change(by_rate={tier.pk: parse_usd("40")}))

        assert version.rates.get(
            dimension="output", above_input_tokens=272_000
        ).amount_nano_usd == parse_usd("40")

    def test_starts_from_the_version_of_its_day(self) -> None:
        argon = Model.objects.get(slug="gemini-4-argon")
        later = datetime(2026, 12, 24, tzinfo=UTC)

        now = set_list_price(model_id=argon.pk, change=change(rates={"input": parse_usd("9")}))
        then = set_list_price(
            model_id=argon.pk, change=change(rates={"input": parse_usd("9")}, valid_from=later)
        )

        assert now.rates.get(dimension="output").amount_nano_usd == parse_usd("9.5")
        assert then.rates.get(dimension="output").amount_nano_usd == parse_usd("19")

    def test_below_cost_is_refused(self, gpt: Model) -> None:
        with pytest.raises(
            BelowCost, match=r"input at \$2\.40 is below the cheapest cost of \$2\.50"
        ):
            set_list_price(model_id=gpt.pk, change=change(rates={"input": parse_usd("2.4")}))

        assert PriceVersion.objects.filter(model=gpt).count() == 1

    def test_below_cost_is_made_when_confirmed(self, gpt: Model) -> None:
        set_list_price(
            model_id=gpt.pk,
            change=change(rates={"input": parse_usd("2.4")}, reason="we buy at 50 %"),
            confirm_below_cost=True,
        )

        gpt.refresh_from_db()
        assert (gpt.below_cost_reason, gpt.below_cost_author) == (
            "we buy at 50 %",
            "op@example.com",
        )

    def test_compares_with_off_peak_cost(self) -> None:
        flash = Model.objects.get(slug="deepseek-v4-flash")

        set_list_price(model_id=flash.pk, change=change(rates={"input": parse_usd("0.15")}))

        with pytest.raises(BelowCost):
            set_list_price(model_id=flash.pk, change=change(rates={"input": parse_usd("0.149")}))

    @pytest.mark.parametrize("reason", ["", "  "])
    def test_needs_a_reason(self, gpt: Model, reason: str) -> None:
        with pytest.raises(ValueError, match="reason"):
            set_list_price(
                model_id=gpt.pk, change=change(rates={"input": NanoUsd(1)}, reason=reason)
            )

    def test_refuses_a_rate_of_another_version(self, gpt: Model) -> None:
        with pytest.raises(NoSuchRate):
            set_list_price(model_id=gpt.pk, change=change(by_rate={1: NanoUsd(1)}))

    def test_is_told_to_gateway_processes(self, gpt: Model) -> None:
        number, told = catalog_number(), Change.objects.filter(kind=ChangeKind.CATALOG).count()

        set_list_price(model_id=gpt.pk, change=change(rates={"input": parse_usd("3")}))

        assert catalog_number() == number + 1
        assert Change.objects.filter(kind=ChangeKind.CATALOG).count() == told + 1


class TestCost:
    def test_can_be_lower_than_before(self) -> None:
        route = Route.objects.get(model__slug="gpt-5.4", host__slug="openai")

        version = set_cost(route_id=route.pk, change=change(rates={"input": parse_usd("1")}))

        assert version.route_id == route.pk
        assert version.rates.get(dimension="input", above_input_tokens=0).amount_nano_usd == 10**9


class TestStoredPrice:
    @pytest.mark.parametrize("table", [PriceVersion, PriceRate])
    def test_is_never_edited_or_deleted(self, table: type[PriceVersion | PriceRate]) -> None:
        field = "reason" if table is PriceVersion else "unit"
        with pytest.raises(Error, match="Cannot update or delete"), transaction.atomic():
            table.objects.filter(pk=table.objects.first().pk).update(**{field: "x"})  # type: ignore[union-attr]
        with pytest.raises(Error), transaction.atomic():
            table.objects.all()._raw_delete("default")


class TestSwitches:
    def test_a_route_without_a_cost_stays_off(self) -> None:
        route = Route.objects.filter(costs__isnull=True).first()
        assert route is not None

        with pytest.raises(NotPriced, match="no cost yet"):
            enable_route(route_id=route.pk)

    def test_a_model_without_a_list_price_stays_off(self) -> None:
        provider = Model.objects.first().provider  # type: ignore[union-attr]
        model = Model.objects.create(
            slug="new", name="New", provider=provider, category="chat", status="active",
            availability="direct", is_enabled=False,
        )  # fmt: skip

        with pytest.raises(NotPriced, match="no list price yet"):
            enable_model(model_id=model.pk)


class TestCredential:
    def test_is_stored_encrypted(self) -> None:
        host = Host.objects.get(slug="openai")

        store_credential(host_id=host.pk, secret="sk-fake-1234")

        stored = bytes(HostCredential.objects.get(host=host).secret_encrypted)
        assert b"sk-fake" not in stored
        assert decrypt(stored) == "sk-fake-1234"

    def test_outlives_a_change_of_keys(self, settings: LazySettings) -> None:
        host = Host.objects.get(slug="openai")
        store_credential(host_id=host.pk, secret="sk-fake-1234")
        stored = bytes(HostCredential.objects.get(host=host).secret_encrypted)

        settings.CREDENTIAL_KEYS = [
            "bmV3LWtleS1vZi0zMi1ieXRlcy1mb3ItdGVzdHMtMDE=", *settings.CREDENTIAL_KEYS,
        ]  # fmt: skip
        assert decrypt(stored) == "sk-fake-1234"

        settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS[:1]
        with pytest.raises(CannotDecrypt):
            decrypt(stored)

    def test_needs_the_setting(self, settings: LazySettings) -> None:
        settings.CREDENTIAL_KEYS = []

        with pytest.raises(NoCredentialKeys, match="CREDENTIAL_KEYS"):
            store_credential(host_id=Host.objects.get(slug="openai").pk, secret="sk-fake")
