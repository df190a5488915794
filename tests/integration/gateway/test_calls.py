"""Whole calls: the official OpenAI SDK, the gateway under uvicorn, the sandbox, PostgreSQL."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from django.core.management import call_command
from django.db import connection
from django.test import Client as Browser
from django.test import override_settings

from accounts.api_keys import create_key, revoke_key
from accounts.models import User
from accounts.workspaces import create_workspace_for
from billing import ledger
from billing.ledger import AccountKind, HouseAccount
from billing.queries import wallet_of
from billing.verification import verify_ledger
from catalog.loading import load_catalog, load_sandbox
from gateway import asgi
from gateway.queries import CallView, call_of, calls_of
from tests.fakes.process import fake_secret
from tokenmix_site.sandbox.app import create_application

# The mark makes the test database exist; open_shop fills and empties it once for all tests here.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

TEN_DOLLARS = 10_000_000_000
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
# List prices of the catalog, nano-USD a million tokens: input, cached input, output.
LIST = {
    "gpt-5.4": (2_375_000_000, 237_500_000, 4_250_000_000),
    "deepseek-v4-flash": (135_800_000, 5_700_000, 271_600_000),
    "claude-sonnet-4-6": (2_850_000_000, 285_000_000, 14_250_000_000),
}
MODELS = sorted(LIST)


class Server:
    """An ASGI application under uvicorn in a thread of its own."""

    def __init__(self, application: Any) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            application, loop="uvloop", http="httptools", log_level="warning", lifespan="on"
        )
        self._server = uvicorn.Server(config)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self._socket])

        with asyncio.Runner(loop_factory=uvicorn.Config("", loop="uvloop").get_loop_factory()) as r:
            r.run(main())

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started:
            assert self._thread.is_alive(), "The server did not start."
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def run(self, function: Any) -> Any:
        """Call a function on the server's event loop."""

        async def call() -> Any:
            return function()

        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)


async def gateway_application(scope: Any, receive: Any, send: Any) -> None:
    """The gateway alone, with its lifespan."""
    if scope["type"] != "lifespan":
        await asgi.application(scope, receive, send)
        return
    await receive()
    await asgi.startup()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await asgi.shutdown()
    await send({"type": "lifespan.shutdown.complete"})


@dataclass
class Customer:
    user: User
    workspace_id: int
    secret: str
    key_id: int
    base_url: str
    http: openai.DefaultHttpxClient

    def sdk(self, **values: Any) -> openai.OpenAI:
        values = {"api_key": self.secret, "base_url": self.base_url, "max_retries": 0, **values}
        return openai.OpenAI(http_client=self.http, **values)

    @property
    def balance(self) -> int:
        return wallet_of(workspace_id=self.workspace_id).balance

    @property
    def calls(self) -> list[CallView]:
        return calls_of(workspace_id=self.workspace_id, limit=100)


@dataclass
class Shop:
    gateway: Server
    sandbox: Server
    http: openai.DefaultHttpxClient
    customers: int = 0

    @property
    def base_url(self) -> str:
        return f"{self.gateway.url}/v1"

    def customer(self, *, cash: int = TEN_DOLLARS) -> Customer:
        self.customers += 1
        user = User.objects.create_user(f"customer-{self.customers}@example.com", "x")
        workspace = create_workspace_for(user=user)
        key = create_key(workspace_id=workspace.id, user_id=user.pk, name="Test")
        if cash:
            ledger.credit(
                wallet_id=wallet_of(workspace_id=workspace.id).id,
                amount=cash,
                reference=f"test:customer:{self.customers}",
                source=HouseAccount.CLEARING,
                kind="TOP_UP",
                into=AccountKind.CASH,
            )
        return Customer(user, workspace.id, key.secret, key.id, self.base_url, self.http)

    def fault(self, **order: Any) -> None:
        assert httpx.post(f"{self.sandbox.url}/_faults", json=order).status_code < 300

    def heal(self) -> None:
        """Forget which routes were failing."""

        def reset() -> None:
            asgi.current_gateway().breaker.reset()

        self.gateway.run(reset)


@contextmanager
def running() -> Iterator[Shop]:
    sandbox = Server(create_application())
    sandbox.start()
    with override_settings(
        TOKENMIX_SANDBOX_URL=sandbox.url, TOKENMIX_FIRST_BYTE_S=1.0, TOKENMIX_IDLE_S=1.0
    ):
        load_catalog()
        load_sandbox()
        gateway = Server(gateway_application)
        gateway.start()
        try:
            with openai.DefaultHttpxClient() as http:
                yield Shop(gateway, sandbox, http)
        finally:
            gateway.stop()
            sandbox.stop()


@pytest.fixture
def _django_db_helper() -> None:
    """In place of pytest-django's, which would empty the tables after each test."""


@pytest.fixture(scope="module")
def open_shop(
    flush_past_the_ledger_triggers: None, django_db_setup: None, django_db_blocker: Any
) -> Iterator[Shop]:
    """One catalog and one gateway for all tests here, with real commits; emptied at the end."""
    with django_db_blocker.unblock():
        try:
            with running() as shop:
                yield shop
            assert not verify_ledger()
        finally:
            call_command("flush", interactive=False, verbosity=0)
            connection.close()


@pytest.fixture
def shop(open_shop: Shop) -> Shop:
    open_shop.heal()
    return open_shop


@pytest.fixture
def customer(shop: Shop) -> Customer:
    return shop.customer()


def ask(text: str = "Say hello", model: str = "gpt-5.4", **values: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **values}


def charge(model: str, usage: Any) -> int:
    """The charge by hand: tokens x list price, rounded up once."""
    into, cached_rate, out = LIST[model]
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    exact = (
        (usage.prompt_tokens - cached) * into + cached * cached_rate + usage.completion_tokens * out
    )
    return -(-exact // 1_000_000)


def nano(cost: float) -> int:
    return round(cost * 1_000_000_000)


def settled(customer: Customer, count: int = 1) -> list[CallView]:
    """The customer's calls, once there are as many."""
    deadline = time.monotonic() + 5
    while len(customer.calls) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    calls = customer.calls
    assert len(calls) == count
    return calls


class TestCharge:
    @pytest.mark.parametrize("model", MODELS)
    def test_of_a_json_answer_is_exact(self, customer, model):
        answer = customer.sdk().chat.completions.create(**ask("Hi [[out=37]]", model))

        assert answer.model == model
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens == 37
        expected = charge(model, answer.usage)
        assert nano(answer.usage.cost) == expected
        assert customer.balance == TEN_DOLLARS - expected
        [call] = customer.calls
        assert call.charge == call.paid == expected
        assert sum(component.amount for component in call.components) == expected

    @pytest.mark.parametrize("model", MODELS)
    def test_of_a_stream_is_exact(self, customer, model):
        stream = customer.sdk().chat.completions.create(
            **ask("Hi [[out=53]]", model), stream=True, stream_options={"include_usage": True}
        )

        chunks = list(stream)

        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text
        assert {chunk.model for chunk in chunks} == {model}
        assert len({chunk.id for chunk in chunks}) == 1
        usage = chunks[-1].usage
        assert chunks[-1].choices == []
        expected = charge(model, usage)
        assert nano(usage.cost) == expected
        assert customer.balance == TEN_DOLLARS - expected

    @pytest.mark.parametrize("model", MODELS)
    def test_of_cached_and_reasoned_tokens_is_exact(self, customer, model):
        text = "Say it again, please. " * 20 + "[[out=20 cached=40 reason=11]]"

        answer = customer.sdk().chat.completions.create(**ask(text, model))

        assert answer.usage.prompt_tokens_details.cached_tokens == 40
        assert customer.balance == TEN_DOLLARS - charge(model, answer.usage)

    def test_of_many_calls_adds_up(self, customer):
        total = 0
        for number in range(6):
            request = ask(f"[[out={10 + number}]]", MODELS[number % 3])
            answer = customer.sdk().chat.completions.create(**request)
            total += charge(answer.model, answer.usage)

        assert customer.balance == TEN_DOLLARS - total


class TestFeatures:
    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize("is_stream", [False, True])
    def test_tools(self, customer, model, is_stream):
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        tool = {"type": "function", "function": {"name": "weather", "parameters": schema}}
        request = ask("Weather? [[tool]]", model, tools=[tool])

        if is_stream:
            with customer.sdk().chat.completions.stream(**request) as stream:
                answer = stream.get_final_completion()
        else:
            answer = customer.sdk().chat.completions.create(**request)

        [call] = answer.choices[0].message.tool_calls
        assert call.function.name == "weather"
        assert "city" in json.loads(call.function.arguments)
        assert answer.choices[0].finish_reason == "tool_calls"
        assert settled(customer)[0].finish_reason == "tool_calls"

    @pytest.mark.parametrize("model", MODELS)
    def test_structured_output(self, customer, model):
        schema = {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "additionalProperties": False,
        }
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}

        answer = customer.sdk().chat.completions.create(**ask("Who?", model, response_format=form))

        assert set(json.loads(answer.choices[0].message.content)) == {"name", "age"}

    @pytest.mark.parametrize("model", ["gpt-5.4", "claude-sonnet-4-6"])
    def test_image(self, customer, model):
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ]
        request = {"model": model, "messages": [{"role": "user", "content": parts}]}

        answer = customer.sdk().chat.completions.create(**request)

        assert answer.choices[0].message.content
        assert customer.balance == TEN_DOLLARS - charge(model, answer.usage)

    def test_image_for_a_model_that_cannot_see(self, customer):
        parts = [{"type": "image_url", "image_url": {"url": PIXEL}}]
        request = {"model": "deepseek-v4-flash", "messages": [{"role": "user", "content": parts}]}

        with pytest.raises(openai.BadRequestError) as caught:
            customer.sdk().chat.completions.create(**request)

        assert caught.value.code == "unsupported_content"

    @pytest.mark.parametrize("name", ["openai/gpt-5.4", "GPT_5.4", "gpt-5.4-2026-03-05"])
    def test_any_name_of_a_model(self, customer, name):
        assert customer.sdk().chat.completions.create(**ask(model=name)).model == "gpt-5.4"

    def test_openrouters_fields_are_ours_alone(self, customer):
        extra = {"provider": {"order": ["sandbox-openai-b"]}, "models": ["deepseek-v4-flash"]}

        raw = customer.sdk().chat.completions.with_raw_response.create(**ask(), extra_body=extra)

        assert raw.headers["x-tm-provider"] == "sandbox-openai-b"

    def test_async_client(self, customer):
        async def call() -> Any:
            async with openai.AsyncOpenAI(
                api_key=customer.secret, base_url=customer.base_url
            ) as sdk:
                stream = await sdk.chat.completions.create(**ask(), stream=True)
                return [chunk async for chunk in stream]

        assert asyncio.run(call())


class TestModels:
    def test_are_listed(self, customer):
        found = {model.id for model in customer.sdk().models.list()}

        assert set(MODELS) <= found

    @pytest.mark.parametrize("name", ["gpt-5.4", "openai/gpt-5.4"])
    def test_are_found_by_name(self, customer, name):
        assert customer.sdk().models.retrieve(name).id == "gpt-5.4"

    def test_are_found_by_a_name_with_a_bare_slash(self, customer):
        headers = {"authorization": f"Bearer {customer.secret}"}

        answer = httpx.get(f"{customer.base_url}/models/openai/gpt-5.4", headers=headers)

        assert answer.json()["id"] == "gpt-5.4"

    def test_unknown(self, customer):
        with pytest.raises(openai.NotFoundError) as caught:
            customer.sdk().models.retrieve("gpt-9")

        assert caught.value.code == "model_not_found"

    def test_need_a_key(self, customer):
        with pytest.raises(openai.AuthenticationError):
            customer.sdk(api_key="nonsense").models.list()


class TestFailingOver:
    @pytest.mark.parametrize("is_stream", [False, True])
    def test_goes_to_the_twin_and_charges_once(self, shop, customer, is_stream):
        request = ask("Hi [[out=21]] [[status=500 on=openai]]")

        raw = customer.sdk().chat.completions.with_raw_response.create(**request, stream=is_stream)
        parsed = raw.parse()
        if is_stream:
            list(parsed)

        assert raw.headers["x-tm-provider"] == "sandbox-openai-b"
        [call] = settled(customer)
        assert customer.balance == TEN_DOLLARS - call.charge
        assert call.output_tokens == 21
        found = call_of(workspace_id=customer.workspace_id, call_id=call.id)
        assert [(a.host, a.status) for a in found.attempts] == [
            ("sandbox-openai", 500),
            ("sandbox-openai-b", 200),
        ]

    def test_goes_on_when_the_first_is_late(self, customer):
        request = ask("Hi [[delay=3 on=openai]]")

        raw = customer.sdk().chat.completions.with_raw_response.create(**request)

        assert raw.headers["x-tm-provider"] == "sandbox-openai-b"


class TestUpstreamErrors:
    def failing(self, customer, text, error, **values):
        with pytest.raises(error) as caught:
            customer.sdk().chat.completions.create(**ask(text, **values))
        assert caught.value.request_id.startswith("req_")
        return caught.value

    def test_500_is_502_and_free(self, customer):
        error = self.failing(customer, "[[status=500]]", openai.InternalServerError)

        assert (error.status_code, error.code) == (502, "upstream_error")
        assert customer.balance == TEN_DOLLARS
        [call] = settled(customer)
        assert (call.outcome, call.charge, call.status) == ("failed", 0, 502)

    def test_429_is_429_and_free(self, customer):
        error = self.failing(customer, "[[status=429 retry_after=1]]", openai.RateLimitError)

        assert error.code == "rate_limit_exceeded"
        assert error.response.headers["retry-after"] == "1"
        assert error.response.headers["x-tm-rate-limited-by"] == "upstream"
        assert customer.balance == TEN_DOLLARS

    def test_time_out_is_504_and_free(self, customer):
        error = self.failing(customer, "[[delay=3]]", openai.InternalServerError)

        assert (error.status_code, error.code) == (504, "upstream_timeout")
        assert customer.balance == TEN_DOLLARS

    def test_400_is_the_callers(self, customer):
        error = self.failing(customer, "[[status=400]]", openai.BadRequestError)

        assert "The request is wrong" in error.message
        assert customer.balance == TEN_DOLLARS

    @pytest.mark.parametrize("model", MODELS)
    def test_cut_before_content_is_an_error_and_free(self, customer, model):
        text = "[[cut=0]]"

        error = self.failing(customer, text, openai.InternalServerError, model=model, stream=True)

        assert error.status_code == 502
        assert customer.balance == TEN_DOLLARS

    @pytest.mark.parametrize("model", MODELS)
    @pytest.mark.parametrize("fault", ["cut=6", "error=6"])
    def test_break_after_content_charges_what_passed(self, customer, model, fault):
        stream = customer.sdk().chat.completions.create(**ask(f"[[{fault}]]", model), stream=True)
        pieces = (chunk.choices[0].delta.content or "" for chunk in stream)
        texts = []

        with pytest.raises(openai.APIError) as caught:
            texts.extend(pieces)

        assert caught.value.code == "upstream_error"
        [call] = settled(customer)
        assert (call.outcome, call.usage_outcome) == ("upstream_broke", "estimated")
        assert 0 < call.output_tokens <= 6
        assert call.charge > 0
        assert customer.balance == TEN_DOLLARS - call.charge

    @pytest.mark.parametrize("model", MODELS)
    def test_without_usage_is_counted(self, customer, model):
        answer = customer.sdk().chat.completions.create(**ask("[[usage=none out=30]]", model))

        assert answer.usage.completion_tokens == pytest.approx(30, abs=1)
        [call] = settled(customer)
        assert call.usage_outcome == "estimated"


class TestRefusals:
    def refused(self, sdk, error, **values):
        with pytest.raises(error) as caught:
            sdk.chat.completions.create(**ask(**values))
        assert caught.value.request_id.startswith("req_")
        return caught.value

    def test_no_key(self, customer):
        body = ask()

        answer = httpx.post(f"{customer.base_url}/chat/completions", json=body)

        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["x-request-id"].startswith("req_")

    @pytest.mark.parametrize("secret", ["sk-tm-nonsense", fake_secret("u")])
    def test_wrong_key(self, customer, secret):
        error = self.refused(customer.sdk(api_key=secret), openai.AuthenticationError)

        assert error.code == "invalid_api_key"

    def test_revoked_key(self, customer):
        customer.sdk().chat.completions.create(**ask())
        revoke_key(workspace_id=customer.workspace_id, key_id=customer.key_id)
        deadline = time.monotonic() + 2
        error = None
        while error is None:
            assert time.monotonic() < deadline, "The key still works."
            try:
                customer.sdk().chat.completions.create(**ask())
                time.sleep(0.05)
            except openai.AuthenticationError as caught:
                error = caught

        assert error.code == "revoked_api_key"

    def test_unknown_model(self, customer):
        error = self.refused(customer.sdk(), openai.NotFoundError, model="gpt-9")

        assert (error.code, error.param) == ("model_not_found", "model")

    def test_model_of_another_kind(self, customer):
        error = self.refused(customer.sdk(), openai.NotFoundError, model="gpt-image-2")

        assert error.code == "model_not_callable"

    def test_empty_wallet_is_asked_for_once(self, shop):
        poor = shop.customer(cash=0)

        error = self.refused(poor.sdk(max_retries=2), openai.APIStatusError)

        assert (error.status_code, error.code) == (402, "insufficient_quota")
        assert error.request.headers["x-stainless-retry-count"] == "0"

    @pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b'{"model": 5}'])
    def test_malformed_body(self, customer, body):
        headers = {"authorization": f"Bearer {customer.secret}"}

        answer = httpx.post(f"{customer.base_url}/chat/completions", content=body, headers=headers)

        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.headers["x-request-id"].startswith("req_")

    def test_30_mb_body(self, customer):
        error = self.refused(customer.sdk(), openai.APIStatusError, text="x" * 30_000_000)

        assert (error.status_code, error.code) == (413, "request_too_large")

    def test_30_mb_body_in_chunks(self, customer):
        headers = {"authorization": f"Bearer {customer.secret}"}
        pieces = (b"x" * 1_000_000 for _ in range(30))

        answer = httpx.post(
            f"{customer.base_url}/chat/completions", content=pieces, headers=headers
        )

        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"

    def test_unknown_url(self, customer):
        answer = httpx.post(f"{customer.base_url}/nothing")

        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")

    def test_another_method(self, customer):
        answer = httpx.get(f"{customer.base_url}/chat/completions")

        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    def test_charge_nothing(self, customer):
        self.refused(customer.sdk(), openai.NotFoundError, model="gpt-9")

        assert customer.balance == TEN_DOLLARS
        assert customer.calls == []


class TestClientLeaving:
    @pytest.mark.parametrize("model", MODELS)
    def test_is_charged_for_what_the_provider_made(self, customer, model):
        request = ask("[[out=40 pace=0.01]]", model)
        stream = customer.sdk().chat.completions.create(**request, stream=True)
        for _ in zip(range(4), stream, strict=False):
            pass

        stream.close()

        [call] = settled(customer)
        assert call.outcome == "client_left_drained"
        assert call.output_tokens == 40
        assert customer.balance == TEN_DOLLARS - call.charge


class TestUsagePages:
    @pytest.fixture(autouse=True)
    def any_host(self):
        with override_settings(ALLOWED_HOSTS=["*"]):
            yield

    def browser(self, customer: Customer) -> Browser:
        browser = Browser()
        browser.force_login(customer.user, backend="django.contrib.auth.backends.ModelBackend")
        return browser

    def test_show_each_call_with_its_cost(self, customer):
        customer.sdk().chat.completions.create(**ask())
        [call] = settled(customer)

        page = self.browser(customer).get("/usage/")

        text = page.content.decode()
        assert page.status_code == 200
        assert f'data-call="{call.id}"' in text
        assert f'data-nano-usd="{call.charge}"' in text

    def test_show_what_a_cost_is_made_of(self, customer):
        customer.sdk().chat.completions.create(**ask("[[out=12]] [[status=500 on=openai]]"))
        [call] = settled(customer)

        text = self.browser(customer).get(f"/usage/{call.id}/").content.decode()

        for component in call.components:
            assert f'data-nano-usd="{component.amount}"' in text
        assert "4.25" in text
        assert "http_500" in text
        assert call.request_id in text

    def test_hide_other_workspaces_calls(self, shop, customer):
        customer.sdk().chat.completions.create(**ask())
        [call] = settled(customer)

        stranger = self.browser(shop.customer())

        assert stranger.get(f"/usage/{call.id}/").status_code == 404
        assert str(call.id) not in stranger.get("/usage/").content.decode()

    def test_need_a_login(self, customer):
        assert Browser().get("/usage/").status_code == 302

    def test_go_page_by_page(self, customer, monkeypatch):
        monkeypatch.setattr("gateway.views.ROWS", 2)
        for _ in range(5):
            customer.sdk().chat.completions.create(**ask())
        calls = settled(customer, 5)
        browser = self.browser(customer)
        seen = []
        url = "/usage/"
        while url:
            page = browser.get(url)
            seen += [row["call"].id for row in page.context["rows"]]
            url = f"/usage/?before={page.context['next']}" if page.context["next"] else ""

        assert seen == [call.id for call in calls]

    def test_know_no_bad_page(self, customer):
        assert self.browser(customer).get("/usage/?before=x").status_code == 404
