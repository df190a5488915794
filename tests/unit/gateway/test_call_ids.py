"""Ids of calls."""

import time
from datetime import UTC, datetime, timedelta

from gateway.call_ids import CallIds, lowest_id, new_call_id, time_of

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 1_000_000_000


class TestNewCallId:
    def test_is_a_version_7_of_the_standard_variant(self):
        call_id = new_call_id()

        assert (call_id.version, call_id.variant) == (7, "specified in RFC 4122")

    def test_rises_within_a_process(self):
        ids = [new_call_id() for _ in range(10_000)]

        assert ids == sorted(set(ids))

    def test_rises_when_the_clock_goes_back(self):
        ids = CallIds()

        later = ids.make(NOON_NS)
        made = [ids.make(NOON_NS - 5_000_000_000) for _ in range(100)]

        assert [later, *made] == sorted({later, *made})
        assert all(call_id.version == 7 for call_id in made)

    def test_says_when_it_was_made(self):
        call_id = new_call_id()

        assert abs(time_of(call_id).timestamp() - time.time()) < 1


class TestLowestId:
    def test_is_between_the_ids_before_and_those_from_the_moment_on(self):
        ids = CallIds()

        before, at = ids.make(NOON_NS - 1_000_000), ids.make(NOON_NS)

        assert before < lowest_id(NOON) <= at
        assert time_of(at) == NOON

    def test_keeps_the_time(self):
        moment = NOON + timedelta(milliseconds=123)

        assert time_of(lowest_id(moment)) == moment
