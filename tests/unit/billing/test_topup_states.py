"""The state machine of a top-up: which truth leads where."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from uuid import UUID

import pytest

from billing.payment_models import TopUpState
from billing.payments.base import PaymentState, PaymentStatus
from billing.topup_states import EDGES, Expected, Move, NotThisPayment, check_interval, judge

ORDER = UUID("00000000-0000-4000-8000-000000000017")
EXPECTED = Expected(
    state=TopUpState.PENDING,
    provider="stripe",
    public_id=ORDER,
    is_live=False,
    reference="cs_test_one",
    amount_minor=1000,
    currency="usd",
)
PAID = PaymentState(
    provider="stripe",
    status=PaymentStatus.PAID,
    reference="cs_test_one",
    order=str(ORDER),
    amount_minor=1000,
    currency="usd",
    is_live=False,
    references=(),
)


def outcome(state: TopUpState, status: PaymentStatus) -> TopUpState:
    move = judge(expected=replace(EXPECTED, state=state), payment=replace(PAID, status=status))
    return move.to if move else state


class TestJudge:
    @pytest.mark.parametrize(
        "state",
        [
            TopUpState.CREATED,
            TopUpState.PENDING,
            TopUpState.PROCESSING,
            TopUpState.EXPIRED,
            TopUpState.FAILED,
        ],
    )
    def test_money_is_credited_from_every_state_however_late(self, state):
        assert outcome(state, PaymentStatus.PAID) is TopUpState.CREDITED

    @pytest.mark.parametrize("status", PaymentStatus)
    def test_nothing_moves_a_credited_top_up(self, status):
        assert outcome(TopUpState.CREDITED, status) is TopUpState.CREDITED

    @pytest.mark.parametrize("status", PaymentStatus)
    def test_only_a_person_moves_a_top_up_under_review(self, status):
        assert outcome(TopUpState.REVIEW, status) is TopUpState.REVIEW

    def test_complete_without_money_is_reviewed(self):
        assert outcome(TopUpState.PENDING, PaymentStatus.STRANGE) is TopUpState.REVIEW

    def test_a_slow_payment_waits(self):
        assert outcome(TopUpState.PENDING, PaymentStatus.PROCESSING) is TopUpState.PROCESSING

    def test_an_open_payment_changes_nothing(self):
        assert outcome(TopUpState.PENDING, PaymentStatus.OPEN) is TopUpState.PENDING

    def test_every_move_is_an_edge(self):
        for state, status in product(TopUpState, PaymentStatus):
            after = outcome(state, status)

            assert after is state or after in EDGES[state]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("amount_minor", 999),
            ("amount_minor", 1001),
            ("amount_minor", None),
            ("currency", "cny"),
        ],
    )
    def test_another_amount_or_currency_is_reviewed(self, field, value):
        move = judge(expected=EXPECTED, payment=replace(PAID, **{field: value}))

        assert move is not None
        assert move.to is TopUpState.REVIEW
        assert "Asked for 1000 usd" in move.note

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("provider", "alipay"),
            ("order", "00000000-0000-4000-8000-000000000018"),
            ("order", ""),
            ("is_live", True),
            ("reference", "cs_test_two"),
        ],
    )
    @pytest.mark.parametrize("status", PaymentStatus)
    def test_a_payment_of_something_else_touches_nothing(self, field, value, status):
        payment = replace(PAID, status=status, **{field: value})

        with pytest.raises(NotThisPayment):
            judge(expected=EXPECTED, payment=payment)

    def test_a_name_we_never_heard_is_taken_when_the_order_is_ours(self):
        expected = replace(EXPECTED, state=TopUpState.CREATED, reference="")

        assert judge(expected=expected, payment=PAID) == Move(TopUpState.CREDITED)


class TestCheckInterval:
    def test_grows_with_age(self):
        ages = [timedelta(), timedelta(hours=7), timedelta(days=2)]

        intervals = [check_interval(age=age) for age in ages]

        assert intervals == sorted(intervals)
        assert intervals[0] <= timedelta(seconds=60)
