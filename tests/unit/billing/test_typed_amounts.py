"""What a person may type as an amount: a comma is grouping or it is refused."""

import pytest

from billing.forms import _without_grouping
from billing.money import InvalidAmount


class TestTypedAmount:
    @pytest.mark.parametrize(("text", "plain"), [("1,250.00", "1250.00"), ("12.50", "12.50")])
    def test_may_group_thousands(self, text: str, plain: str) -> None:
        assert _without_grouping(text) == plain

    @pytest.mark.parametrize("text", ["12,50", "10,00", "1,0", "1,00,0", ",500", "1,2500"])
    def test_with_any_other_comma_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidAmount, match="write it like"):
            _without_grouping(text)
