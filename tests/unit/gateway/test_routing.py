from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.breaker import FAILURES_TO_OPEN, Breaker
from gateway.errors import ApiError
from gateway.routing import Ask, Preferences, plan, preferences_of
from tests.fakes.catalog import fake_host, fake_model, fake_price, fake_route, fake_snapshot

NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIRST = fake_route(id=1, host=fake_host(slug="openai", name="OpenAI"), priority=0)
SECOND = fake_route(id=2, host=fake_host(id=2, slug="azure-east", name="Azure East"), priority=1)
THIRD = fake_route(id=3, host=fake_host(id=3, slug="together", name="Together"), priority=2)
MODEL = fake_model(routes=(THIRD, FIRST, SECOND), aliases=("latest",))
ASK = Ask(model="model-a", endpoint="chat.completions", category="chat")


def planned(model=MODEL, *others, ask=ASK, input_tokens=10, breaker=None, at=NOW):
    candidates = plan(
        fake_snapshot(model, *others),
        ask,
        input_tokens=input_tokens,
        at=at,
        breaker=breaker or Breaker(),
        now=0.0,
    )
    return [candidate.route.id for candidate in candidates]


def refusal(*args, **values) -> ApiError:
    with pytest.raises(ApiError) as caught:
        planned(*args, **values)
    return caught.value


class TestPlan:
    def test_goes_by_priority(self):
        assert planned() == [1, 2, 3]

    def test_finds_a_model_by_any_of_its_names(self):
        assert planned(ask=replace(ASK, model="Model_A")) == [1, 2, 3]
        assert planned(ask=replace(ASK, model="latest")) == [1, 2, 3]

    def test_leaves_failing_routes_out(self):
        breaker = Breaker()
        for _ in range(FAILURES_TO_OPEN):
            breaker.failed(1, 0.0)

        assert planned(breaker=breaker) == [2, 3]

    def test_adds_routes_of_fallback_models(self):
        other = fake_model(id=2, slug="model-b", routes=(fake_route(id=9),))
        ask = replace(ASK, fallbacks=("model-b", "no-such-model"))

        assert planned(MODEL, other, ask=ask) == [1, 2, 3, 9]

    def test_goes_on_to_a_fallback_when_the_model_is_unknown(self):
        ask = replace(ASK, model="gone", fallbacks=("model-a",))

        assert planned(ask=ask) == [1, 2, 3]

    def test_tries_no_route_twice(self):
        assert planned(ask=replace(ASK, fallbacks=("model-a",))) == [1, 2, 3]

    def test_leaves_out_routes_with_too_small_a_window(self):
        small = replace(FIRST, context_window=100)
        model = replace(MODEL, routes=(small, SECOND))

        assert planned(model, input_tokens=1_000) == [2]

    def test_leaves_a_close_count_to_the_upstream(self):
        model = fake_model(context_window=1_000)

        assert planned(model, input_tokens=1_100) == [1]


class TestPreferences:
    def test_puts_the_order_first(self):
        ask = replace(ASK, preferences=preferences_of({"order": ["Azure East", "together"]}))

        assert planned(ask=ask) == [2, 3, 1]

    def test_keeps_to_the_order_without_fallbacks(self):
        preferences = preferences_of({"order": ["together"], "allow_fallbacks": False})

        assert planned(ask=replace(ASK, preferences=preferences)) == [3]

    def test_tries_one_route_without_fallbacks(self):
        ask = replace(ASK, preferences=preferences_of({"allow_fallbacks": False}))

        assert planned(ask=ask) == [1]

    def test_keeps_to_only(self):
        ask = replace(ASK, preferences=preferences_of({"only": ["azure-east"]}))

        assert planned(ask=ask) == [2]

    def test_leaves_ignored_out(self):
        ask = replace(ASK, preferences=preferences_of({"ignore": ["openai", "together"]}))

        assert planned(ask=ask) == [2]

    def test_refuses_when_nothing_is_left(self):
        ask = replace(ASK, preferences=preferences_of({"only": ["nobody"]}))

        error = refusal(ask=ask)

        assert (error.status, error.code, error.param) == (404, "no_allowed_provider", "provider")

    @pytest.mark.parametrize("value", [None, {}, {"order": "x"}, {"only": [1]}, {"sort": "price"}])
    def test_lets_be_what_it_does_not_know(self, value):
        assert preferences_of(value) == Preferences()


class TestRefusals:
    def test_of_an_unknown_model(self):
        error = refusal(ask=replace(ASK, model="gpt-9"))

        assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
        assert "'gpt-9' does not exist" in error.message

    def test_of_a_model_that_cannot_be_called_names_reason_and_replacement(self):
        model = fake_model(not_callable_because="it was shut down", replacement="model-b")

        error = refusal(model)

        assert (error.status, error.code) == (404, "model_not_callable")
        assert "it was shut down. Use 'model-b' instead." in error.message

    def test_of_a_model_of_another_kind(self):
        error = refusal(fake_model(category="image"))

        assert "it is for image, and this endpoint is for chat" in error.message

    def test_of_a_model_without_a_price_yet(self):
        later = fake_price(valid_from=datetime(2027, 1, 1, tzinfo=UTC))

        assert "it has no price yet" in refusal(fake_model(prices=(later,))).message

    def test_of_a_model_without_routes(self):
        assert refusal(fake_model(routes=())).code == "model_not_callable"

    def test_of_input_above_every_window(self):
        error = refusal(input_tokens=200_000)

        assert (error.status, error.code) == (400, "context_length_exceeded")
        assert error.param == "messages"

    def test_of_images_for_a_model_that_cannot_see(self):
        error = refusal(ask=replace(ASK, media=frozenset({"image"})))

        assert (error.status, error.code) == (400, "unsupported_content")
        assert "image input" in error.message

    def test_not_of_images_for_a_model_that_can(self):
        model = replace(MODEL, features=frozenset({"vision"}))

        assert planned(model, ask=replace(ASK, media=frozenset({"image"}))) == [1, 2, 3]

    def test_of_tools_for_a_model_without(self):
        model = replace(MODEL, features=frozenset({"streaming"}))

        assert refusal(model, ask=replace(ASK, has_tools=True)).param == "tools"

    def test_of_a_service_tier_without_a_price(self):
        error = refusal(ask=replace(ASK, service_tier="priority"))

        assert (error.status, error.param) == (400, "service_tier")

    def test_when_all_routes_fail_says_how_long(self):
        breaker = Breaker()
        for route in (1, 2, 3):
            for _ in range(FAILURES_TO_OPEN):
                breaker.failed(route, 0.0)

        error = refusal(breaker=breaker)

        assert (error.status, error.code) == (503, "upstream_unavailable")
        assert ("retry-after", "30") in error.headers

    def test_when_all_routes_are_rate_limited_is_429(self):
        breaker = Breaker()
        for route in (1, 2, 3):
            breaker.rate_limited(route, 0.0, 7)

        error = refusal(breaker=breaker)

        assert (error.status, error.code) == (429, "rate_limit_exceeded")
        assert ("retry-after", "7") in error.headers
