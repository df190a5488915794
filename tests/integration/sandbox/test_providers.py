"""The stand-in providers, called by the providers' own SDKs over loopback."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
import uvicorn
from django.core.exceptions import ImproperlyConfigured

from gateway.metering import count_input_tokens, count_text
from tokenmix_site.sandbox import app, faults

UP_WITHIN_S = 20.0
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "size": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["big", "old"]}},
    },
    "required": ["city", "size", "tags"],
    "additionalProperties": False,
}
TOOL: Any = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
DOT = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app.create_application(), log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + UP_WITHIN_S
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(UP_WITHIN_S)
    listener.close()


@pytest.fixture
def gpt(url: str) -> Iterator[openai.OpenAI]:
    httpx.delete(f"{url}/_faults")
    httpx.delete(f"{url}/_requests")
    with openai.OpenAI(base_url=f"{url}/openai/v1", api_key="sandbox", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    httpx.delete(f"{url}/_faults")
    base_url = f"{url}/anthropic"
    with anthropic.Anthropic(base_url=base_url, api_key="sandbox", max_retries=0) as client:
        yield client


def said(text: str) -> Any:
    return [{"role": "user", "content": text}]


def recorded(url: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{url}/_requests").json()["requests"]
    assert isinstance(found, list)
    return found


class TestOpenAI:
    def test_answers_whole_with_true_counts(self, gpt: openai.OpenAI) -> None:
        messages = said("Hello there [[out=40 cached=3]]")

        answer = gpt.chat.completions.create(model="gpt-5.4", messages=messages)

        text = answer.choices[0].message.content or ""
        usage = answer.usage
        assert usage is not None
        assert usage.completion_tokens == count_text(text) == 40
        assert usage.prompt_tokens == count_input_tokens({"messages": messages})
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens == 3
        assert answer.choices[0].finish_reason == "stop"

    def test_streams_the_same_words(self, gpt: openai.OpenAI) -> None:
        stream = gpt.chat.completions.create(
            model="gpt-5.4",
            messages=said("Hi [[out=20 reason=5]]"),
            stream=True,
            stream_options={"include_usage": True},
        )

        chunks = list(stream)

        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert count_text(text) == 15
        usage = chunks[-1].usage
        assert usage is not None
        assert (chunks[-1].choices, usage.completion_tokens) == ([], 20)
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens == 5

    def test_sends_no_usage_unasked(self, gpt: openai.OpenAI) -> None:
        stream = gpt.chat.completions.create(model="m", messages=said("Hi"), stream=True)

        assert all(chunk.usage is None and chunk.choices for chunk in stream)

    def test_stops_at_the_limit(self, gpt: openai.OpenAI) -> None:
        answer = gpt.chat.completions.create(
            model="m", messages=said("Hi [[out=50]]"), max_completion_tokens=7, n=2
        )

        assert [choice.finish_reason for choice in answer.choices] == ["length", "length"]
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 14

    def test_calls_tools_with_arguments_that_fit(self, gpt: openai.OpenAI) -> None:
        fields: Any = {"model": "m", "messages": said("Hi [[tool=2]]"), "tools": [TOOL]}

        whole = gpt.chat.completions.create(**fields).choices[0]
        with gpt.chat.completions.stream(**fields) as stream:
            streamed = stream.get_final_completion().choices[0]

        for choice in (whole, streamed):
            calls = choice.message.tool_calls or []
            assert choice.finish_reason == "tool_calls"
            assert [json.loads(call.function.arguments)["tags"] for call in calls] == [["big"]] * 2

    def test_fits_a_schema(self, gpt: openai.OpenAI) -> None:
        answer = gpt.chat.completions.create(
            model="m",
            messages=said("Hi"),
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            },
        )

        value = json.loads(answer.choices[0].message.content or "")
        assert value == {"city": "example", "size": 1, "tags": ["big"]}

    def test_takes_images(self, gpt: openai.OpenAI) -> None:
        parts: Any = [
            {"type": "text", "text": "See [[out=3]]"},
            {"type": "image_url", "image_url": {"url": DOT}},
        ]

        answer = gpt.chat.completions.create(
            model="m", messages=[{"role": "user", "content": parts}]
        )

        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3

    @pytest.mark.parametrize(
        ("directive", "error"),
        [
            ("status=400", openai.BadRequestError),
            ("status=403", openai.PermissionDeniedError),
            ("status=429 retry_after=1", openai.RateLimitError),
            ("status=500", openai.InternalServerError),
            ("status=503", openai.InternalServerError),
        ],
    )
    def test_fails_as_told(
        self, gpt: openai.OpenAI, directive: str, error: type[openai.APIStatusError]
    ) -> None:
        with pytest.raises(error) as caught:
            gpt.chat.completions.create(model="m", messages=said(f"Hi [[{directive}]]"))

        assert caught.value.message
        assert caught.value.request_id

    def test_limits_a_fault_to_its_host(self, url: str) -> None:
        messages = said("Hi [[status=500 on=openai]]")
        twin = openai.OpenAI(base_url=f"{url}/openai-b/v1", api_key="sandbox", max_retries=0)

        with twin:
            assert twin.chat.completions.create(model="m", messages=messages).choices

    def test_breaks_in_the_middle_as_told(self, gpt: openai.OpenAI, url: str) -> None:
        cut = gpt.chat.completions.create(model="m", messages=said("Hi [[cut=3]]"), stream=True)
        error = gpt.chat.completions.create(model="m", messages=said("Hi [[error=3]]"), stream=True)

        with pytest.raises((openai.APIConnectionError, httpx.TransportError)):
            list(cut)
        with pytest.raises(openai.APIError, match="had an error"):
            list(error)
        assert [(r["ended"], r["chunks"]) for r in recorded(url)] == [("cut", 3), ("error", 3)]

    def test_refuses_a_wrong_key_and_what_openai_refuses(self, gpt: openai.OpenAI) -> None:
        with pytest.raises(openai.AuthenticationError):
            gpt.with_options(api_key="wrong").chat.completions.create(
                model="m", messages=said("Hi")
            )
        with pytest.raises(openai.BadRequestError, match="provider"):
            gpt.chat.completions.create(model="m", messages=said("Hi"), extra_body={"provider": {}})

    def test_uses_up_queued_faults(self, gpt: openai.OpenAI, url: str) -> None:
        order = {"host": "openai", "status": 500, "times": 2}
        assert httpx.post(f"{url}/_faults", json=order).json() == {"waiting": {"openai": 2}}

        statuses = []
        for _ in range(3):
            try:
                gpt.chat.completions.create(model="m", messages=said("Hi"))
                statuses.append(200)
            except openai.InternalServerError as error:
                statuses.append(error.status_code)

        assert statuses == [500, 500, 200]
        assert httpx.get(f"{url}/_requests").json()["totals"] == {"openai": 3}

    def test_refuses_a_fault_that_makes_no_sense(self, url: str) -> None:
        for order in ({}, {"host": "openai", "status": "x"}, {"host": "openai", "times": 0}, []):
            assert httpx.post(f"{url}/_faults", json=order).status_code == 400

    async def test_notes_a_client_that_leaves(self, gpt: openai.OpenAI, url: str) -> None:
        body = {"model": "m", "stream": True, "messages": said("Hi [[out=500 pace=0.05]]")}
        headers = {"authorization": "Bearer sandbox"}

        async with (
            httpx.AsyncClient() as client,
            client.stream(
                "POST", f"{url}/openai/v1/chat/completions", json=body, headers=headers
            ) as answer,
        ):
            async for _ in answer.aiter_bytes():
                break
        for _ in range(100):
            if recorded(url)[-1]["ended"] != "open":
                break
            await asyncio.sleep(0.05)

        assert recorded(url)[-1]["ended"] == "client_left"


class TestAnthropic:
    def test_answers_whole_with_true_counts(self, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=100,
            messages=said("Hello [[out=30 reason=10 cached=4 cache_write=2]]"),
        )

        assert [block.type for block in answer.content] == ["thinking", "text"]
        usage = answer.usage
        assert (usage.output_tokens, usage.cache_read_input_tokens) == (30, 4)
        assert usage.cache_creation_input_tokens == 2
        assert answer.stop_reason == "end_turn"

    def test_streams_the_same_answer(self, claude: anthropic.Anthropic) -> None:
        with claude.messages.stream(
            model="m", max_tokens=100, messages=said("Hello [[out=30 reason=10]]")
        ) as stream:
            message = stream.get_final_message()

        thinking, text = message.content
        assert thinking.type == "thinking"
        assert thinking.signature
        assert text.type == "text"
        assert count_text(text.text) == 20
        assert message.usage.output_tokens == 30

    def test_calls_tools(self, claude: anthropic.Anthropic) -> None:
        with claude.messages.stream(
            model="m",
            max_tokens=100,
            messages=said("Hello"),
            tools=[{"name": "look_up", "input_schema": SCHEMA}],
            tool_choice={"type": "any"},
        ) as stream:
            message = stream.get_final_message()

        block = message.content[0]
        assert block.type == "tool_use"
        assert block.input == {"city": "example", "size": 1, "tags": ["big"]}
        assert message.stop_reason == "tool_use"

    def test_stops_at_the_limit(self, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.create(model="m", max_tokens=5, messages=said("Hello [[out=30]]"))

        assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 5)

    def test_fails_as_told(self, claude: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.RateLimitError):
            claude.messages.create(model="m", max_tokens=5, messages=said("[[status=429]]"))
        with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
            list(
                claude.messages.create(
                    model="m", max_tokens=50, messages=said("[[error=4]]"), stream=True
                )
            )

    def test_refuses_a_wrong_key_and_a_missing_limit(self, url: str) -> None:
        address = f"{url}/anthropic/v1/messages"

        wrong_key = httpx.post(address, json={}, headers={"x-api-key": "wrong"})
        no_limit = httpx.post(
            address, json={"model": "m", "messages": said("Hi")}, headers={"x-api-key": "sandbox"}
        )

        assert (wrong_key.status_code, no_limit.status_code) == (401, 400)
        assert "max_tokens" in no_limit.json()["error"]["message"]


class TestSandbox:
    def test_says_that_it_is_up(self, url: str) -> None:
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok", "mode": "sandbox"}

    def test_answers_in_the_providers_words_where_there_is_nothing(self, url: str) -> None:
        headers = {"authorization": "Bearer sandbox"}

        found = httpx.post(f"{url}/openai/v1/nothing", headers=headers)

        assert found.status_code == 404
        assert "Invalid URL" in found.json()["error"]["message"]

    def test_does_not_run_beside_live_money(self, settings: Any) -> None:
        settings.TOKENMIX_MODE = "live"

        with pytest.raises(ImproperlyConfigured):
            app.create_application()

    def test_keeps_few_requests(self) -> None:
        service = app.create_application().providers

        assert service.requests.maxlen == 1000


class TestPlan:
    def test_reads_directives_and_leaves_the_rest_alone(self) -> None:
        plan = faults.plan_of(
            ["[[status=429 retry_after=1]] and [[nonsense]] [[out=x]] [[pace=0.1]]"]
        )

        assert (plan.status, plan.retry_after, plan.out, plan.pace) == (429, 1.0, None, 0.1)

    def test_keeps_the_answer_where_the_fault_is_anothers(self) -> None:
        plan = faults.plan_of(["[[status=500 out=9 on=openai]]"]).for_host("openai-b")

        assert (plan.status, plan.out) == (None, 9)
