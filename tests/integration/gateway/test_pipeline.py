"""A call through the whole gateway, with money in memory and a scripted upstream on loopback."""

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from catalog.pricing import Bucket, Outcome
from gateway import asgi, pipeline, relay
from gateway.breaker import FAILURES_TO_OPEN, Breaker
from gateway.call import Gateway
from gateway.call_records import CallOutcome
from gateway.open_calls import OpenCalls
from gateway.process import NotReady
from gateway.purse import MoneyUnavailable, WalletFrozen
from gateway.upstream import Timeouts, client, close_client
from tests.fakes.asgi import Client, eventually
from tests.fakes.catalog import fake_host, fake_model, fake_route, fake_snapshot
from tests.fakes.process import FakeProcess, fake_secret
from tests.fakes.upstream import (
    FakeUpstream,
    Reply,
    chunk,
    completion,
    json_reply,
    stream,
    streamed,
    words,
)

QUICK = Timeouts(connect_s=1, first_byte_s=0.4, idle_s=0.4, total_s=3)
RICH = 10_000_000_000
AUTH = {"authorization": f"Bearer {fake_secret()}"}
IN, OUT = 1_000, 2_000  # nano-USD a token of fake_price
MESSAGES = [{"role": "user", "content": "hello world"}]
COUNTED = 9  # tokens of MESSAGES by our count


class World:
    """Upstreams, a process and the application, for one test."""

    def __init__(self, stack: AsyncExitStack, monkeypatch) -> None:
        self.stack = stack
        self.monkeypatch = monkeypatch
        self.routes = []
        self.gateway = Gateway(OpenCalls(10), Breaker(), QUICK, "sandbox")
        monkeypatch.setattr(asgi, "current_gateway", lambda: self.gateway)

    async def upstream(self, *replies: Reply, **host) -> FakeUpstream:
        fake = await self.stack.enter_async_context(FakeUpstream(*replies).serving())
        n = len(self.routes) + 1
        made = fake_host(
            id=n, slug=f"host-{n}", base_url=fake.url, allows_private_addresses=True, **host
        )
        self.routes.append(fake_route(id=n, host=made, priority=n))
        return fake

    def process(self, *, money: int = RICH, **model) -> FakeProcess:
        made = fake_model(routes=tuple(self.routes), **model)
        process = FakeProcess(fake_snapshot(made), money=money)

        async def current():
            return process

        self.monkeypatch.setattr(pipeline, "current_process", current)
        self.running = process
        return process

    def client(self, *, headers=AUTH, leave_after=None, **body) -> Client:
        body = {"model": "model-a", "messages": MESSAGES, **body}
        return Client(
            asgi.application,
            body=json.dumps(body).encode(),
            headers=headers,
            leave_after=leave_after,
        )

    async def call(self, **body):
        return await self.client(**body).run()

    @property
    def record(self):
        records = self.running.settler.records
        assert len(records) == 1
        return records[0]

    async def recorded(self):
        assert await eventually(lambda: self.running.settler.records)
        return self.record

    def assert_money_adds_up(self, start: int = RICH) -> None:
        charged = sum(record.amount for record in self.running.settler.records)
        assert self.running.money.money == start - charged
        assert not any(hold.is_open for hold in self.running.money.holds)


@pytest.fixture
async def world(monkeypatch):
    async with AsyncExitStack() as stack:
        made = World(stack, monkeypatch)
        yield made
        assert await eventually(lambda: made.gateway.calls.count == 0)
        assert client().open_count == 0
        await close_client()
        await asyncio.sleep(0.01)


class TestWholeAnswer:
    async def test_is_charged_and_says_so(self, world):
        await world.upstream(json_reply(completion("Hi", usage=(7, 3))))
        world.process()

        answer = await world.call()

        assert answer.status == 200
        assert answer.json["choices"][0]["message"]["content"] == "Hi"
        assert answer.json["model"] == "model-a"
        assert answer.json["usage"]["cost"] == pytest.approx((7 * IN + 3 * OUT) / 1e9, abs=0)
        assert world.record.amount == 7 * IN + 3 * OUT
        assert world.record.outcome is CallOutcome.COMPLETE
        assert world.record.finish_reason == "stop"
        assert [attempt.reason for attempt in world.record.attempts] == [""]
        world.assert_money_adds_up()

    async def test_has_the_headers_of_a_call(self, world):
        await world.upstream(json_reply(completion()))
        world.process()

        headers = (await world.call()).headers

        assert headers["x-request-id"] == world.record.request_id
        assert headers["x-request-id"] == f"req_{world.record.call_id.hex}"
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-processing-ms"].isdigit()
        assert headers["x-tm-model"] == "model-a"
        assert headers["x-tm-provider"] == "host-1"
        assert headers["x-tm-mode"] == "sandbox"
        assert headers["content-type"] == "application/json"

    async def test_keeps_unknown_fields_both_ways(self, world):
        upstream = await world.upstream(json_reply({**completion(), "new_field": [1]}))
        world.process()

        answer = await world.call(brand_new={"a": 1}, provider={"sort": "price"})

        assert upstream.requests[0]["brand_new"] == {"a": 1}
        assert upstream.requests[0]["model"] == "model-upstream"
        assert "provider" not in upstream.requests[0]
        assert answer.json["new_field"] == [1]

    async def test_without_usage_is_counted_and_marked(self, world):
        await world.upstream(json_reply(completion("hello world", usage=None)))
        world.process()

        answer = await world.call()

        assert world.record.usage.outcome is Outcome.ESTIMATED
        assert world.record.usage.tokens == {Bucket.INPUT: COUNTED, Bucket.OUTPUT: 2}
        assert answer.json["usage"]["completion_tokens"] == 2

    @pytest.mark.parametrize(
        "usage",
        [
            {"prompt_tokens": -5, "completion_tokens": 3, "total_tokens": -2},
            {"prompt_tokens": 10**9, "completion_tokens": 3, "total_tokens": 10**9 + 3},
            {"prompt_tokens": "7", "completion_tokens": 3.5},
            {"prompt_tokens": 5, "completion_tokens": 10**9},
        ],
    )
    async def test_with_hostile_usage_is_counted_and_marked(self, world, usage):
        await world.upstream(json_reply(completion("hello world", usage=usage)))
        world.process()

        assert (await world.call()).status == 200

        assert world.record.usage.outcome is Outcome.ESTIMATED
        assert world.record.amount == COUNTED * IN + 2 * OUT

    async def test_is_withheld_when_it_cannot_be_settled(self, world):
        await world.upstream(json_reply(completion("Secret")))
        world.process().settler.is_down = True

        answer = await world.call()

        assert (answer.status, answer.json["error"]["code"]) == (503, "not_settled")
        assert b"Secret" not in answer.body

    async def test_of_a_search_without_a_rate_charges_its_tokens(self, world):
        usage = {
            "prompt_tokens": 7,
            "completion_tokens": 3,
            "server_tool_use": {"web_search_requests": 2},
        }
        await world.upstream(json_reply(completion(usage=usage)))
        world.process()

        assert (await world.call()).status == 200

        assert world.record.amount == 7 * IN + 3 * OUT


class TestStream:
    async def test_passes_and_is_charged(self, world):
        await world.upstream(stream(("Hello", " there"), usage=(7, 3)))
        world.process()

        answer = await world.call(stream=True)

        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.text == "Hello there"
        assert answer.events[-1] == "[DONE]"
        assert all(e["choices"] for e in answer.events[:-1])
        assert world.record.amount == 7 * IN + 3 * OUT
        assert world.record.is_stream
        assert world.record.first_byte_ms is not None
        world.assert_money_adds_up()

    async def test_ends_with_usage_and_cost_when_asked(self, world):
        upstream = await world.upstream(stream(usage=(7, 3)))
        world.process()

        answer = await world.call(stream=True, stream_options={"include_usage": True})

        last = answer.events[-2]
        assert last["choices"] == []
        assert last["usage"]["prompt_tokens"] == 7
        assert last["usage"]["cost"] == pytest.approx((7 * IN + 3 * OUT) / 1e9, abs=0)
        assert upstream.requests[0]["stream_options"] == {"include_usage": True}

    async def test_asks_the_upstream_for_usage_unasked(self, world):
        upstream = await world.upstream(stream())
        world.process()

        await world.call(stream=True)

        assert upstream.requests[0]["stream_options"] == {"include_usage": True}

    async def test_comes_piece_by_piece(self, world):
        await world.upstream(stream([f" w{i}" for i in range(10)], pace_s=0.02))
        world.process()

        answer = await world.call(stream=True)

        assert answer.times[-1] - answer.times[0] > 0.15
        assert len(answer.pieces) > 8

    async def test_holds_the_end_until_it_is_settled(self, world):
        await world.upstream(stream())
        process = world.process()
        client = world.client(stream=True)
        seen = []
        settle = process.settler.settle

        async def slowly(record):
            seen.append(client.answer.body)
            await asyncio.sleep(0.05)
            seen.append(client.answer.body)
            return await settle(record)

        process.settler.settle = slowly
        answer = await client.run()

        assert b"there" in seen[0]
        assert b'"finish_reason":"stop"' not in seen[1]
        assert b"[DONE]" not in seen[1]
        assert answer.events[-1] == "[DONE]"

    async def test_is_not_ended_when_it_cannot_be_settled(self, world):
        await world.upstream(stream())
        world.process().settler.is_down = True

        answer = await world.call(stream=True)

        assert answer.events[-1]["error"]["code"] == "not_settled"
        assert b"[DONE]" not in answer.body
        assert b'"finish_reason":"stop"' not in answer.body

    async def test_without_usage_is_counted_and_marked(self, world):
        await world.upstream(stream(("hello", " world"), usage=None))
        world.process()

        await world.call(stream=True)

        assert world.record.usage.outcome is Outcome.ESTIMATED
        assert world.record.amount == COUNTED * IN + 2 * OUT


class TestFailingOver:
    @pytest.mark.parametrize(
        "first",
        [
            json_reply({"error": {"message": "no"}}, status=status)
            for status in (401, 402, 403, 404, 408, 429, 500, 502, 503, 529)
        ]
        + [
            Reply(then="cut", delay_s=0.01, status=200),
            Reply(delay_s=2),
            Reply(then="stall"),
            json_reply({"error": {"message": "in a 200", "code": 500}}),
            Reply(pieces=(b"<html>",)),
        ],
    )
    @pytest.mark.parametrize("is_stream", [True, False])
    async def test_goes_on_to_the_next_route_and_charges_once(self, world, first, is_stream):
        await world.upstream(first)
        await world.upstream(stream() if is_stream else json_reply(completion("Hello there")))
        world.process()

        answer = await world.call(stream=is_stream)

        assert answer.status == 200
        assert b"there" in answer.body
        assert answer.headers["x-tm-provider"] == "host-2"
        assert [attempt.host for attempt in world.record.attempts] == ["host-1", "host-2"]
        assert world.record.attempts[0].reason
        assert world.record.amount == 7 * IN + 3 * OUT
        world.assert_money_adds_up()

    async def test_goes_on_when_a_stream_ends_before_content(self, world):
        await world.upstream(streamed(chunk({"role": "assistant", "content": ""})))
        await world.upstream(stream())
        world.process()

        answer = await world.call(stream=True)

        assert answer.text == "Hello there"
        assert answer.headers["x-tm-provider"] == "host-2"

    async def test_goes_on_when_nobody_listens(self, world):
        dead = fake_host(slug="dead", base_url="http://127.0.0.1:1", allows_private_addresses=True)
        world.routes.append(fake_route(id=77, host=dead))
        await world.upstream(json_reply(completion()))
        world.process()

        assert (await world.call()).status == 200

        assert [attempt.reason for attempt in world.record.attempts] == ["connect", ""]

    async def test_never_sends_to_a_host_of_the_other_mode(self, world):
        live = await world.upstream(json_reply(completion()), mode="live")
        world.process()

        answer = await world.call()

        assert answer.status == 500
        assert live.requests == []
        assert world.running.settler.records == []
        world.assert_money_adds_up()

    async def test_does_not_try_a_callers_fault_elsewhere(self, world):
        error = {"message": "Bad tool.", "type": "invalid_request_error", "param": "tools"}
        await world.upstream(json_reply({"error": error}, status=400))
        second = await world.upstream(json_reply(completion()))
        world.process()

        answer = await world.call()

        assert answer.status == 400
        assert answer.json["error"]["message"] == "Bad tool."
        assert answer.json["error"]["param"] == "tools"
        assert second.requests == []
        assert world.record.outcome is CallOutcome.FAILED
        assert world.record.amount == 0

    async def test_all_500_is_502_and_free(self, world):
        await world.upstream(json_reply({"error": {"message": "x"}}, status=500))
        world.process()

        answer = await world.call()

        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_error")
        assert world.record.amount == 0
        world.assert_money_adds_up()

    async def test_all_429_is_429_and_says_whose(self, world):
        await world.upstream(
            json_reply({"error": {"message": "slow"}}, status=429, headers={"retry-after": "7"})
        )
        world.process()

        answer = await world.call()

        assert (answer.status, answer.json["error"]["code"]) == (429, "rate_limit_exceeded")
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["x-tm-rate-limited-by"] == "upstream"

    async def test_all_late_is_504(self, world):
        await world.upstream(Reply(delay_s=2))
        world.process()

        answer = await world.call()

        assert (answer.status, answer.json["error"]["code"]) == (504, "upstream_timeout")

    async def test_failure_of_a_stream_before_content_is_a_status(self, world):
        await world.upstream(json_reply({"error": {"message": "x"}}, status=500))
        world.process()

        answer = await world.call(stream=True)

        assert answer.status == 502
        assert answer.headers["content-type"] == "application/json"

    async def test_opens_the_breaker(self, world):
        first = await world.upstream(json_reply({"error": {"message": "x"}}, status=500))
        await world.upstream(json_reply(completion()))
        world.process()

        for _ in range(FAILURES_TO_OPEN + 2):
            assert (await world.call()).status == 200

        assert len(first.requests) == FAILURES_TO_OPEN


class TestBrokenStream:
    @pytest.mark.parametrize("then", ["cut", "stall", "end"])
    async def test_after_content_ends_with_one_error_and_charges_what_passed(self, world, then):
        await world.upstream(streamed(*words(("hello", " world")), then=then))
        world.process()

        answer = await world.call(stream=True)

        assert answer.status == 200
        assert answer.text == "hello world"
        assert answer.events[-1]["error"]["code"] == "upstream_error"
        assert "choices" not in answer.events[-1]
        assert b"[DONE]" not in answer.body
        assert world.record.outcome is CallOutcome.UPSTREAM_BROKE
        assert world.record.usage.outcome is Outcome.ESTIMATED
        assert world.record.amount == COUNTED * IN + 2 * OUT
        world.assert_money_adds_up()

    async def test_in_band_error_after_content(self, world):
        error = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
        await world.upstream(streamed(*words(("hello", " world")), error))
        world.process()

        answer = await world.call(stream=True)

        assert "overloaded" in answer.events[-1]["error"]["message"]
        assert b"[DONE]" not in answer.body
        assert world.record.outcome is CallOutcome.UPSTREAM_BROKE

    async def test_done_without_a_finish_reason_is_broken(self, world):
        await world.upstream(streamed(*words(("hello",)), b"data: [DONE]\n\n"))
        world.process()

        answer = await world.call(stream=True)

        assert "error" in answer.events[-1]
        assert world.record.outcome is CallOutcome.UPSTREAM_BROKE

    async def test_without_done_but_finished_is_whole(self, world):
        await world.upstream(streamed(*words(("hello",)), chunk({}, "stop")))
        world.process()

        answer = await world.call(stream=True)

        assert answer.events[-1] == "[DONE]"
        assert world.record.outcome is CallOutcome.COMPLETE


class TestClientLeaving:
    def slow(self) -> Reply:
        return stream([f" w{i}" for i in range(20)], usage=(7, 20), pace_s=0.02)

    async def test_drains_an_upstream_that_bills_anyway(self, world):
        upstream = await world.upstream(self.slow(), bills_after_hangup=True)
        world.process()

        answer = await world.client(stream=True, leave_after=2).run()
        record = await world.recorded()

        assert len(answer.pieces) < 10
        assert upstream.sent_pieces > 20
        assert record.outcome is CallOutcome.CLIENT_LEFT_DRAINED
        assert record.amount == 7 * IN + 20 * OUT
        assert record.status == 499
        world.assert_money_adds_up()

    async def test_cuts_an_upstream_that_stops_billing(self, world):
        upstream = await world.upstream(self.slow(), bills_after_hangup=False)
        world.process()

        await world.client(stream=True, leave_after=3).run()
        record = await world.recorded()

        assert await eventually(lambda: upstream.open == 0)
        assert upstream.sent_pieces < 20
        assert record.outcome is CallOutcome.CLIENT_LEFT_CUT
        assert record.usage.outcome is Outcome.ESTIMATED
        assert 0 < record.usage.tokens[Bucket.OUTPUT] < 20
        assert record.usage.tokens[Bucket.INPUT] == COUNTED
        world.assert_money_adds_up()

    async def test_cuts_a_drain_that_lasts_too_long(self, world, monkeypatch):
        monkeypatch.setattr(relay, "DRAIN_S", 0.1)
        await world.upstream(self.slow(), bills_after_hangup=True)
        world.process()

        await world.client(stream=True, leave_after=2).run()
        record = await world.recorded()

        assert record.outcome is CallOutcome.CLIENT_LEFT_CUT
        assert record.usage.tokens[Bucket.OUTPUT] <= 6

    async def test_before_the_upstream_answers_costs_nothing_when_cut(self, world):
        upstream = await world.upstream(Reply(delay_s=5), bills_after_hangup=False)
        world.process()
        client = world.client(stream=True)
        running = asyncio.ensure_future(client.run())
        assert await eventually(lambda: upstream.requests)

        client.leave()
        await running
        record = await world.recorded()

        assert await eventually(lambda: upstream.open == 0)
        assert record.outcome is CallOutcome.CLIENT_LEFT_CUT
        assert record.amount == 0
        world.assert_money_adds_up()

    async def test_of_a_whole_answer_still_pays_for_it(self, world):
        await world.upstream(json_reply(completion(), delay_s=0.2))
        world.process()
        client = world.client()
        running = asyncio.ensure_future(client.run())
        await asyncio.sleep(0.05)

        client.leave()
        await running
        record = await world.recorded()

        assert record.outcome is CallOutcome.CLIENT_LEFT_DRAINED
        assert record.amount == 7 * IN + 3 * OUT

    async def test_during_a_drain_that_fails_starts_no_other(self, world):
        failing = json_reply({"error": {"message": "x"}}, status=500, delay_s=0.2)
        await world.upstream(failing, bills_after_hangup=True)
        second = await world.upstream(json_reply(completion()))
        world.process()
        client = world.client()
        running = asyncio.ensure_future(client.run())
        await asyncio.sleep(0.05)

        client.leave()
        await running
        record = await world.recorded()

        assert second.requests == []
        assert record.amount == 0

    async def test_before_the_hold_asks_no_upstream(self, world):
        upstream = await world.upstream(json_reply(completion()))
        process = world.process()
        hold = process.money.hold

        async def slowly(**values):
            await asyncio.sleep(0.1)
            return await hold(**values)

        process.money.hold = slowly
        client = world.client()
        running = asyncio.ensure_future(client.run())
        await asyncio.sleep(0.02)
        client.leave()
        await running
        record = await world.recorded()

        assert upstream.requests == []
        assert record.amount == 0
        world.assert_money_adds_up()

    async def test_is_assumed_of_one_that_takes_nothing(self, world, monkeypatch):
        monkeypatch.setattr("gateway.exchange.KEEP_ALIVE_S", 0.05)
        monkeypatch.setattr("gateway.exchange.SEND_WITHIN_S", 0.1)
        monkeypatch.setattr("gateway.exchange.LEAST_TICK_S", 0.05)
        await world.upstream(self.slow())
        world.process()
        client = world.client(stream=True)
        take = client.send

        async def send(message):
            await take(message)
            if len(client.answer.pieces) == 3:
                await asyncio.sleep(60)

        client.send = send
        await client.run()
        record = await world.recorded()

        assert not client.answer.is_complete
        assert record.outcome is CallOutcome.CLIENT_LEFT_DRAINED
        assert record.amount == 7 * IN + 20 * OUT
        world.assert_money_adds_up()

    async def test_does_not_start_another_attempt(self, world):
        await world.upstream(Reply(delay_s=5), bills_after_hangup=False)
        second = await world.upstream(json_reply(completion()))
        world.process()
        client = world.client()
        running = asyncio.ensure_future(client.run())
        await asyncio.sleep(0.05)

        client.leave()
        await running
        await world.recorded()

        assert second.requests == []

    async def test_many_leave_nothing_open(self, world):
        upstream = await world.upstream(self.slow(), bills_after_hangup=False)
        world.process()
        world.gateway = replace(world.gateway, calls=OpenCalls(200))

        clients = [world.client(stream=True, leave_after=1 + i % 5) for i in range(100)]
        await asyncio.gather(*(client.run() for client in clients))

        assert await eventually(lambda: world.gateway.calls.count == 0)
        assert await eventually(lambda: upstream.open == 0)
        assert len(world.running.settler.records) == 100
        world.assert_money_adds_up()


class TestHold:
    async def test_limits_output_to_what_the_wallet_pays(self, world):
        upstream = await world.upstream(json_reply(completion()))
        money = COUNTED * IN + 8 * 600 * OUT
        world.process(money=money, usual_output_tokens=100)

        answer = await world.call()

        limit = upstream.requests[0]["max_tokens"]
        assert (money // 8 - COUNTED * IN) // OUT == limit
        assert answer.headers["x-tm-max-output-tokens"] == str(limit)
        assert world.running.money.holds[0].amount == money // 8

    async def test_does_not_touch_a_limit_that_is_paid(self, world):
        upstream = await world.upstream(json_reply(completion()))
        world.process()

        answer = await world.call(max_tokens=50)

        assert upstream.requests[0]["max_tokens"] == 50
        assert "x-tm-max-output-tokens" not in answer.headers
        assert world.running.money.holds[0].amount == COUNTED * IN + 50 * OUT

    async def test_counts_every_choice(self, world):
        await world.upstream(json_reply(completion()))
        world.process()

        await world.call(max_tokens=50, n=3)

        assert world.running.money.holds[0].amount == COUNTED * IN + 150 * OUT

    async def test_of_a_stream_is_the_usual_and_grows_as_it_passes(self, world):
        texts = [f" word{i}" for i in range(200)]
        await world.upstream(stream(texts, usage=(9, 400), pace_s=0.001))
        process = world.process(usual_output_tokens=50)

        answer = await world.call(stream=True)

        assert answer.events[-1] == "[DONE]"
        assert process.money.extensions
        assert "x-tm-max-output-tokens" not in answer.headers
        assert world.record.amount == 9 * IN + 400 * OUT
        world.assert_money_adds_up()

    async def test_stream_ends_when_the_wallet_is_empty(self, world):
        texts = [" hello"] * 300
        money = COUNTED * IN + 60 * OUT
        await world.upstream(stream(texts, pace_s=0.001))
        world.process(money=money, usual_output_tokens=50)

        answer = await world.call(stream=True)

        assert answer.events[-1]["error"]["code"] == "insufficient_quota"
        assert b"[DONE]" not in answer.body
        assert world.record.outcome is CallOutcome.OUT_OF_CREDIT
        passed = world.record.usage.tokens[Bucket.OUTPUT]
        assert 40 <= passed <= 70
        assert answer.text == " hello" * passed

    async def test_of_hidden_reasoning_is_limited(self, world):
        upstream = await world.upstream(stream())
        features = frozenset({"streaming", "reasoning"})
        world.process(money=40_000_000, usual_output_tokens=100, features=features)

        await world.call(stream=True)

        assert upstream.requests[0]["max_tokens"] > 100


class TestRefusals:
    def check(self, answer, status, code):
        assert answer.status == status
        assert answer.json["error"]["code"] == code
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}
        assert answer.headers["x-request-id"].startswith("req_")

    @pytest.fixture
    async def upstream(self, world):
        upstream = await world.upstream(json_reply(completion()))
        world.process()
        yield upstream
        assert upstream.requests == []
        assert (
            world.running.money.money
            + sum(hold.amount for hold in world.running.money.holds if hold.is_open)
            == RICH
            or world.running.money.money < RICH
        )

    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ({}, "invalid_api_key"),
            ({"authorization": "Bearer nonsense"}, "invalid_api_key"),
            ({"authorization": "Basic abc"}, "invalid_api_key"),
            ({"authorization": f"Bearer {fake_secret('x')}"}, "invalid_api_key"),
            ({"x-api-key": f"{fake_secret()}x"}, "invalid_api_key"),
            ({"authorization": f"Bearer {fake_secret('r')}"}, "revoked_api_key"),
        ],
    )
    async def test_of_keys(self, world, upstream, headers, code):
        self.check(await world.call(headers=headers), 401, code)

    async def test_key_is_taken_from_either_header(self, world):
        await world.upstream(json_reply(completion()))
        world.process()

        answer = await world.call(headers={"x-api-key": fake_secret()})

        assert answer.status == 200

    async def test_of_an_unknown_model(self, world, upstream):
        self.check(await world.call(model="gpt-9"), 404, "model_not_found")

    async def test_of_an_empty_wallet(self, world, upstream):
        world.running.money.money = 5

        answer = await world.call(max_tokens=50)

        self.check(answer, 402, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"

    async def test_of_a_frozen_wallet(self, world, upstream):
        world.running.is_frozen = True
        self.check(await world.call(), 403, "wallet_frozen")

    async def test_of_a_wallet_frozen_just_now(self, world, upstream):
        world.running.money.error = WalletFrozen()
        self.check(await world.call(), 403, "wallet_frozen")

    async def test_when_money_cannot_be_reached(self, world, upstream):
        world.running.money.error = MoneyUnavailable(3)

        answer = await world.call()

        self.check(answer, 503, "not_ready")
        assert answer.headers["retry-after"] == "3"

    async def test_near_the_end_of_the_lease(self, world, upstream):
        world.running.is_admitting = False
        self.check(await world.call(), 503, "not_ready")

    async def test_while_the_process_cannot_start(self, world, upstream, monkeypatch):
        async def fail():
            raise NotReady

        monkeypatch.setattr(pipeline, "current_process", fail)
        self.check(await world.call(), 503, "not_ready")

    async def test_above_the_calls_in_flight(self, world, upstream):
        world.gateway = replace(world.gateway, calls=OpenCalls(0))

        answer = await world.call()

        self.check(answer, 503, "server_is_overloaded")
        assert answer.headers["retry-after"] == "1"

    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b'"x"', b'{"model":"model-a"}', b"\xff", b"[" * 100_000]
    )
    async def test_of_malformed_bodies(self, world, upstream, body):
        answer = await Client(asgi.application, body=body, headers=AUTH).run()

        assert answer.status == 400
        assert answer.json["error"]["type"] == "invalid_request_error"

    async def test_of_a_body_that_says_it_is_too_large(self, world, upstream):
        headers = {**AUTH, "content-length": str(30 * 1024 * 1024)}
        parts = [b"x" * 1_000_000] * 30

        answer = await Client(asgi.application, body=parts, headers=headers).run()

        self.check(answer, 413, "request_too_large")
        assert answer.headers["connection"] == "close"

    async def test_of_a_body_that_turns_out_too_large(self, world, upstream):
        parts = [b"x" * 1_000_000] * 30

        answer = await Client(asgi.application, body=parts, headers=AUTH).run()

        self.check(answer, 413, "request_too_large")

    async def test_of_an_unknown_url(self, world, upstream):
        client = Client(asgi.application, path="/v1/nothing", headers=AUTH)
        self.check(await client.run(), 404, "unknown_url")

    async def test_of_another_method(self, world, upstream):
        client = Client(asgi.application, method="GET", headers=AUTH)

        answer = await client.run()

        self.check(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "POST"

    async def test_of_images_for_a_blind_model(self, world, upstream):
        parts = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
        answer = await world.call(messages=[{"role": "user", "content": parts}])
        self.check(answer, 400, "unsupported_content")

    async def test_trailing_slash_is_no_redirect(self, world):
        await world.upstream(json_reply(completion()))
        world.process()
        client = world.client()
        client.scope["path"] += "/"

        assert (await client.run()).status == 200


class TestKeepAlive:
    async def test_starts_the_stream_and_fails_in_band_afterwards(self, world, monkeypatch):
        monkeypatch.setattr("gateway.exchange.KEEP_ALIVE_S", 0.05)
        await world.upstream(Reply(delay_s=2))
        world.process()

        answer = await world.call(stream=True)

        assert answer.status == 200
        assert answer.body.startswith(b": keep-alive\n\n")
        assert answer.events[-1]["error"]["code"] == "upstream_timeout"
        assert b"[DONE]" not in answer.body

    async def test_keeps_silent_while_pieces_come(self, world):
        await world.upstream(stream())
        world.process()

        answer = await world.call(stream=True)

        assert b": keep-alive" not in answer.body


class TestDraining:
    async def test_lets_open_calls_end(self, world):
        await world.upstream(stream([f" w{i}" for i in range(10)], pace_s=0.02))
        world.process()
        running = asyncio.ensure_future(world.call(stream=True))
        await asyncio.sleep(0.05)

        await world.gateway.calls.drain(5)
        answer = await running

        assert answer.events[-1] == "[DONE]"
        assert (await world.call()).status == 503

    async def test_tells_a_waiting_client_before_content(self, world):
        upstream = await world.upstream(Reply(delay_s=5))
        world.gateway = replace(world.gateway, timeouts=Timeouts())
        world.process()
        running = asyncio.ensure_future(world.call())
        assert await eventually(lambda: upstream.requests)

        await world.gateway.calls.drain(0.05)
        answer = await running

        assert (answer.status, answer.json["error"]["code"]) == (503, "not_ready")
        assert world.record.amount == 0

    async def test_cuts_and_settles_what_lasts_too_long(self, world):
        upstream = await world.upstream(streamed(*words((" hello", " world")), then="stall"))
        world.gateway = replace(world.gateway, timeouts=Timeouts())
        world.process()
        running = asyncio.ensure_future(world.call(stream=True))
        assert await eventually(lambda: upstream.sent_pieces == 3)

        await world.gateway.calls.drain(0.05)
        answer = await running

        assert "error" in answer.events[-1]
        assert world.record.amount == COUNTED * IN + 2 * OUT
        assert await eventually(lambda: upstream.open == 0)
