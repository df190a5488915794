"""Monthly partitions of usage."""

from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import connection

from gateway.call_ids import CallIds
from gateway.partitions import ensure_partitions, rows_in_default

pytestmark = pytest.mark.django_db

FAR = datetime(2031, 11, 25, 12, tzinfo=UTC)


def partition_of(call_id):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO gateway_attempt VALUES (%s, 1, NULL, '', NULL, '', now(), 0, 0)"
            " RETURNING tableoid::regclass::text",
            [call_id],
        )
        return cursor.fetchone()[0]


def id_at(moment):
    return CallIds().make(int(moment.timestamp() * 1000) * 1_000_000)


class TestEnsurePartitions:
    def test_makes_this_month_and_three_ahead_once(self):
        first, second = ensure_partitions(now=FAR), ensure_partitions(now=FAR)

        assert first == [
            f"gateway_{table}_{month}"
            for month in ("2031_11", "2031_12", "2032_01", "2032_02")
            for table in ("usagerecord", "attempt")
        ]
        assert second == []

    def test_takes_calls_up_to_the_last_moment_of_the_month(self):
        ensure_partitions(now=FAR)

        last = id_at(datetime(2031, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
        first = id_at(datetime(2032, 1, 1, tzinfo=UTC))

        assert partition_of(last) == "gateway_attempt_2031_12"
        assert partition_of(first) == "gateway_attempt_2032_01"

    def test_the_command_says_when_there_is_nothing_to_make(self, capsys):
        call_command("ensure_partitions")

        call_command("ensure_partitions")

        assert capsys.readouterr().out.endswith("Nothing to make: the partitions are there.\n")


class TestRowsInDefault:
    def test_counts_what_found_no_partition(self):
        partition_of(id_at(FAR))

        assert rows_in_default() == {"gateway_usagerecord": 0, "gateway_attempt": 1}
