"""Several gateway processes on one wallet: nobody spends more than was paid in, nothing is lost."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.core.management import call_command
from django.db import connection

from accounts.api_keys import create_key
from accounts.models import User
from accounts.workspaces import create_workspace_for, workspace_of
from billing import ledger
from billing.ledger import HouseAccount
from billing.money import NanoUsd
from billing.queries import WalletView, wallet_of
from billing.verification import verify_ledger
from tests.fakes.product import Product, Running, product

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.timeout(300)]

MODEL = "gpt-5.4"
INPUT_RATE = 2_375_000_000  # nano-USD per million tokens, docs: the list price of gpt-5.4
OUTPUT_RATE = 4_250_000_000
OUTPUT_TOKENS = 400
SHORT_LEASES = {
    "TOKENMIX_LEASE_S": "4",
    "TOKENMIX_BEAT_S": "0.5",
    "TOKENMIX_SWEEP_DELAY_S": "3",
    "TOKENMIX_IDLE_GRANT_S": "3",
}


@dataclass(frozen=True)
class Customer:
    workspace_id: int
    secret: str

    @property
    def wallet(self) -> WalletView:
        return wallet_of(workspace_id=self.workspace_id)

    def fund(self, amount: int) -> None:
        ledger.credit(
            wallet_id=self.wallet.id,
            amount=NanoUsd(amount),
            reference=f"test:{time.monotonic_ns()}",
            source=HouseAccount.CLEARING,
            kind="TOP_UP",
        )


@pytest.fixture
def shop(tmp_path: Path, settings: object) -> Iterator[Product]:
    """The sandbox and a catalog that points to it; gateways are started by the test."""
    with product(tmp_path, **SHORT_LEASES) as running:
        settings.TOKENMIX_SANDBOX_URL = running.sandbox_url  # type: ignore[attr-defined]
        call_command("ensure_partitions", verbosity=0)
        call_command("load_catalog", verbosity=0)
        call_command("load_sandbox", verbosity=0)
        running.start_sandbox()
        yield running


@pytest.fixture
def customer() -> Customer:
    user = User.objects.create_user(email="buyer@example.com", password="correct horse battery")
    create_workspace_for(user=user)
    workspace = workspace_of(user_id=user.id)
    key = create_key(workspace_id=workspace.id, user_id=user.id, name="test")
    return Customer(workspace.id, key.secret)


def body(
    *, output_tokens: int, limit: int, stream: bool = False, pace: str = ""
) -> dict[str, object]:
    """A call whose answer has exactly `output_tokens` and that may have up to `limit`."""
    text = f"Tell me about the sea. [[out={output_tokens}]]{pace}"
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_completion_tokens": limit,
        "stream": stream,
    }


def call_once(gateway: Running, secret: str, payload: dict[str, object]) -> httpx.Response:
    return httpx.post(
        f"{gateway.base_url}/chat/completions",
        json=payload,
        headers={"Authorization": f"Bearer {secret}"},
        timeout=60,
    )


async def call_all(
    gateways: list[Running], secret: str, payload: dict[str, object], times: int
) -> Counter[int]:
    """Send all calls at once, spread over the gateways; how often each status came."""
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {secret}"}
    urls = [f"{gateway.base_url}/chat/completions" for gateway in gateways]
    async with httpx.AsyncClient(timeout=60, limits=limits, headers=headers) as client:
        answers = await asyncio.gather(
            *(client.post(urls[n % len(urls)], json=payload) for n in range(times))
        )
    return Counter(answer.status_code for answer in answers)


def cost_of(answer: httpx.Response) -> int:
    """Nano-USD by hand: tokens x list price, rounded up once."""
    usage = answer.json()["usage"]
    exact = usage["prompt_tokens"] * INPUT_RATE + usage["completion_tokens"] * OUTPUT_RATE
    return -(-exact // 1_000_000)


def wait_until_no_grant_is_open(within_s: float) -> None:
    deadline = time.monotonic() + within_s
    found = -1
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM billing_grant WHERE closed_at IS NULL")
            (found,) = cursor.fetchone()
        if found == 0:
            return
        time.sleep(0.5)
    message = f"{found} grants are still open after {within_s} s"
    raise AssertionError(message)


class TestTwoHundredCallsOnAWalletForFifty:
    @pytest.fixture
    def gateways(self, shop: Product) -> list[Running]:
        return shop.start_gateways(4)

    def measure_cost(self, gateway: Running, customer: Customer, payload: dict[str, object]) -> int:
        """What one such call costs, charged to a wallet that then stands at zero."""
        customer.fund(1_000_000_000)
        before = customer.wallet.balance
        answer = call_once(gateway, customer.secret, payload)
        assert answer.status_code == 200, answer.text
        cost = cost_of(answer)
        assert before - customer.wallet.balance == cost
        return cost

    def drain(self, customer: Customer, leave: int) -> None:
        """Bring the wallet to exactly `leave` by a manual adjustment."""
        wait_until_no_grant_is_open(30)
        ledger.adjust(
            wallet_id=customer.wallet.id,
            amount=leave - customer.wallet.balance,
            reference=f"test:{time.monotonic_ns()}",
            actor="test",
            reason="bring the wallet to the figure of the test",
        )
        assert customer.wallet.balance == leave

    def test_serves_exactly_fifty_when_the_hold_is_the_cost(
        self, gateways: list[Running], customer: Customer
    ) -> None:
        payload = body(output_tokens=OUTPUT_TOKENS, limit=OUTPUT_TOKENS)
        cost = self.measure_cost(gateways[0], customer, payload)
        self.drain(customer, 50 * cost)

        statuses = asyncio.run(call_all(gateways, customer.secret, payload, 200))

        assert statuses == {200: 50, 402: 150}
        assert customer.wallet.balance == 0
        wait_until_no_grant_is_open(90)
        assert customer.wallet.granted == 0
        assert verify_ledger() == []

    def test_serves_at_least_forty_five_when_the_hold_is_a_tenth_more(
        self, gateways: list[Running], customer: Customer
    ) -> None:
        probe = body(output_tokens=OUTPUT_TOKENS, limit=OUTPUT_TOKENS)
        cost = self.measure_cost(gateways[0], customer, probe)
        limit = OUTPUT_TOKENS + cost * 1_000_000 // 10 // OUTPUT_RATE
        payload = body(output_tokens=OUTPUT_TOKENS, limit=limit)
        self.drain(customer, 50 * cost)

        statuses = asyncio.run(call_all(gateways, customer.secret, payload, 200))

        served = statuses[200]
        assert served >= 45
        assert statuses == {200: served, 402: 200 - served}
        assert customer.wallet.balance == (50 - served) * cost
        wait_until_no_grant_is_open(90)
        assert verify_ledger() == []


class TestKilledInTheMiddle:
    def test_no_whole_answer_is_unpaid_and_none_is_paid_twice(
        self, shop: Product, customer: Customer
    ) -> None:
        gateway = shop.start_gateway()
        deposit = 5_000_000_000
        customer.fund(deposit)

        whole = asyncio.run(self.stream_and_kill(gateway, customer.secret))
        assert 0 < len(whole) < 50
        shop.start_gateway(gateway.port)
        wait_until_no_grant_is_open(60)

        charged = self.charges()
        assert len(charged) == len(set(charged))
        for request_id in whole:
            assert charged[request_id] > 0
        assert customer.wallet.balance == deposit - sum(charged.values())
        assert customer.wallet.granted == 0
        assert verify_ledger() == []

    async def stream_and_kill(self, gateway: Running, secret: str) -> list[str]:
        """Fifty streams of different lengths; the process is killed when ten have ended.

        Returns the request ids of the answers that were received whole.
        """
        whole: list[str] = []

        async def one(client: httpx.AsyncClient, number: int) -> None:
            payload = body(
                output_tokens=20 + number * 6, limit=400, stream=True, pace=" [[pace=0.01]]"
            )
            url = f"{gateway.base_url}/chat/completions"
            try:
                async with client.stream("POST", url, json=payload) as answer:
                    text = "".join([piece async for piece in answer.aiter_text()])
            except httpx.TransportError:
                return
            if '"finish_reason":"stop"' in text.replace(" ", ""):
                whole.append(answer.headers["x-request-id"])
            if len(whole) == 10:
                gateway.process.kill()

        headers = {"Authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(timeout=60, headers=headers) as client:
            await asyncio.gather(*(one(client, number) for number in range(50)))
        gateway.process.wait(10)
        return whole

    def charges(self) -> dict[str, int]:
        """What each call was charged, by its request id."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, paid_nano_usd FROM gateway_usagerecord")
            return {f"req_{call_id.hex}": paid for call_id, paid in cursor.fetchall()}
