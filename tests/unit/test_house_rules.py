"""The rules of the house that no tool checks, and that the checks see what they should."""

from pathlib import Path

import pytest

from tests import house_rules

BAD_MONEY = """
from django.db import models
PRICE = 0.1
TIMEOUT_S = 2.5
class Wallet(models.Model):
    balance = models.DecimalField()
def half(amount):
    return float(amount) / 2
"""


def _name(path: Path) -> str:
    return str(path.relative_to(house_rules.ROOT))


class TestMoney:
    @pytest.mark.parametrize("path", house_rules.money_sources(), ids=_name)
    def test_is_never_a_float(self, path: Path) -> None:
        assert list(house_rules.inexact(path.read_text())) == []

    def test_check_sees_what_is_inexact(self) -> None:
        found = sorted(house_rules.inexact(BAD_MONEY))

        assert found == [
            "line 3: the float 0.1",
            "line 6: DecimalField",
            "line 8: a division by /, which makes a float of integers",
            "line 8: float(…)",
        ]

    def test_check_lets_paths_and_durations_pass(self) -> None:
        good = 'SQL = folder / "sql"\nget(timeout=0.5)\nDELAY_S = 1.5\nsleep(self.delay_s / 4)\n'

        assert list(house_rules.inexact(good)) == []


class TestLength:
    @pytest.mark.parametrize("path", house_rules.sources(), ids=_name)
    def test_stays_below_the_walls(self, path: Path) -> None:
        assert list(house_rules.too_long(path.read_text())) == []

    def test_check_sees_a_long_function(self) -> None:
        text = "async def story():\n" + "    step()\n" * house_rules.FUNCTION_WALL

        assert list(house_rules.too_long(text)) == ["story has 71 lines, the wall is 70"]

    def test_check_sees_a_long_file(self) -> None:
        text = "STEP = 1\n" * (house_rules.FILE_WALL + 1)

        assert list(house_rules.too_long(text)) == ["the file has 501 lines, the wall is 500"]
