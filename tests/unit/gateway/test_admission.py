from dataclasses import replace
from datetime import UTC, datetime

import pytest

from catalog.pricing import Bucket, Usage, rate
from gateway.admission import Quote, amount_to_hold, has_visible_output, quote_for
from gateway.routing import Ask, Candidate
from tests.fakes.catalog import fake_model, fake_price, fake_route

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ASK = Ask(model="model-a", endpoint="chat.completions", category="chat")
QUOTE = Quote(
    input_cost=1_000_000 * 1_000_000,  # a million nano-USD
    output_rate=1_000_000_000,  # a thousand nano-USD a token
    most_output=10_000,
    usual_output=500,
    choices=1,
)


def quoted(ask=ASK, input_tokens=1_000, **model) -> Quote:
    made = fake_model(**model)
    candidate = Candidate(made, made.routes[0], made.prices[0])
    return quote_for(ask, candidate, input_tokens=input_tokens, at=NOW)


class TestAmountToHold:
    def test_is_the_maximum_for_the_rich(self):
        assert amount_to_hold(QUOTE, room=10**12, can_extend=False) == (11_000_000, None)

    def test_is_an_eighth_of_what_is_there_and_limits_the_output_to_it(self):
        amount, limit = amount_to_hold(QUOTE, room=40_000_000, can_extend=False)

        assert (amount, limit) == (5_000_000, 4_000)
        assert QUOTE.at(limit) <= amount

    def test_is_never_below_the_usual(self):
        assert amount_to_hold(QUOTE, room=0, can_extend=False) == (1_500_000, 500)

    def test_is_the_usual_where_it_can_be_extended(self):
        assert amount_to_hold(QUOTE, room=10**12, can_extend=True) == (1_500_000, None)

    def test_is_no_more_than_the_request_allows(self):
        small = replace(QUOTE, most_output=100)

        assert amount_to_hold(small, room=10**12, can_extend=True) == (1_100_000, None)
        assert amount_to_hold(small, room=0, can_extend=False) == (1_100_000, None)

    def test_limits_each_choice_to_its_part(self):
        three = replace(QUOTE, choices=3)

        amount, limit = amount_to_hold(three, room=40_000_000, can_extend=False)

        assert limit == 1_333
        assert three.at(limit) <= amount

    def test_of_what_is_free_is_not_nothing(self):
        free = replace(QUOTE, input_cost=0, output_rate=0)

        assert amount_to_hold(free, room=0, can_extend=False) == (1, None)


class TestQuote:
    def test_takes_the_least_limit(self):
        route = fake_route(max_output_tokens=700)

        assert quoted(routes=(route,)).most_output == 700
        assert quoted(replace(ASK, output_limit=50)).most_output == 50
        assert quoted(replace(ASK, output_limit=10**6)).most_output == 10_000

    def test_knows_a_bound_when_nobody_says(self):
        assert quoted(max_output_tokens=None, context_window=None).most_output > 0

    @pytest.mark.parametrize(("into", "out"), [(1, 1), (999_999, 7), (123_457, 1_000_003)])
    def test_of_exactly_what_is_used_is_the_charge(self, into, out):
        price = fake_price(rates={Bucket.INPUT: into, Bucket.OUTPUT: out})
        usage = Usage(tokens={Bucket.INPUT: 1_001, Bucket.OUTPUT: 77})

        quote = quoted(replace(ASK, output_limit=77), 1_001, prices=(price,))

        assert quote.maximum == rate(usage=usage, price=price, at=NOW).amount

    def test_is_dearer_in_a_dearer_service_tier(self):
        price = fake_price(service_tiers={"priority": (5, 2)})

        priority = quoted(replace(ASK, service_tier="priority"), prices=(price,))

        assert priority.maximum * 2 == quoted(prices=(price,)).maximum * 5


class TestHasVisibleOutput:
    def of(self, *, features=(), protocol="openai_chat"):
        model = fake_model(features=frozenset(features), routes=(fake_route(protocol=protocol),))
        return has_visible_output(Candidate(model, model.routes[0], model.prices[0]))

    def test_without_thinking(self):
        assert self.of()

    def test_not_where_thinking_is_counted_and_not_shown(self):
        assert not self.of(features={"reasoning"})

    def test_where_thinking_is_shown(self):
        assert self.of(features={"reasoning"}, protocol="anthropic_messages")
