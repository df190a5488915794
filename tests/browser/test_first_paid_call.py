"""A newcomer signs up, pays, makes a key, and gets answers charged to the nano-dollar."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from openai import OpenAI, Stream
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from playwright.sync_api import Page, expect

from tests.fakes.local_run import LocalRun

ROOT = Path(__file__).resolve().parents[2]
EMAIL = "newcomer@example.com"
PASSWORD = "a long sentence nobody guesses"
NANO_PER_USD = 1_000_000_000
# List prices, nano-USD per million tokens (input, output), copied from the price list by hand.
LIST_PRICES = {
    "gpt-5.4": (2_375_000_000, 4_250_000_000),
    "deepseek-v4-flash": (135_800_000, 271_600_000),
    "claude-sonnet-4-6": (2_850_000_000, 14_250_000_000),
}
PROMPT = "Say something about the sea in two sentences."
CODE = re.compile(r"^\s*([A-Z0-9]{4}-[A-Z0-9]{4})\s*$", re.MULTILINE)
MAIL_WITHIN_S = 20

pytestmark = pytest.mark.timeout(300)


def verification_code(product: LocalRun) -> str:
    deadline = time.monotonic() + MAIL_WITHIN_S
    while time.monotonic() < deadline:
        for mail in reversed(product.mails(to=EMAIL)):
            if found := CODE.search(str(mail.get_payload())):
                return found[1]
        time.sleep(0.2)
    pytest.fail(f"no mail with a code within {MAIL_WITHIN_S} s")


def sign_up(page: Page, product: LocalRun) -> None:
    page.goto("/")
    page.get_by_role("link", name="Sign up").first.click()
    page.get_by_label("Email", exact=False).first.fill(EMAIL)
    page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    page.locator("input[name=code]").fill(verification_code(product))
    page.locator("form:has(input[name=code]) button[type=submit]").first.click()
    page.wait_for_url("**/dashboard/")


def top_up_ten_dollars(page: Page) -> None:
    page.goto("/wallet/")
    page.get_by_text("$10", exact=True).click()
    page.get_by_role("button", name="Continue to payment").click()
    page.get_by_role("button", name="Pay 10.00 USD", exact=True).click()
    page.wait_for_url("**/wallet/top-up/**")
    expect(page.locator("main")).to_contain_text("$10.00", timeout=20_000)
    deadline = time.monotonic() + 30
    while balance(page) != 10 * NANO_PER_USD:
        assert time.monotonic() < deadline, "the payment was not credited within 30 s"
        page.wait_for_timeout(500)


def make_key(page: Page) -> tuple[str, str]:
    """The secret and the base URL as the page shows them."""
    page.goto("/keys/")
    page.locator("a[href$='/keys/new/']").first.click()
    page.get_by_label("Name", exact=False).fill("first key")
    page.get_by_role("button", name="Make the key").click()
    return page.locator("#api-key").input_value(), page.locator("#base-url").input_value()


def balance(page: Page) -> int:
    """Nano-USD that the wallet's page shows."""
    page.goto("/wallet/")
    text = page.locator("#balance").inner_text()
    whole, _, fraction = text.replace(",", "").lstrip("$").partition(".")
    return int(whole) * NANO_PER_USD + int(fraction.ljust(9, "0"))


def cost_by_hand(model: str, usage: CompletionUsage) -> int:
    """Tokens x list price, rounded up once; nothing is cached in these calls."""
    input_rate, output_rate = LIST_PRICES[model]
    exact = usage.prompt_tokens * input_rate + usage.completion_tokens * output_rate
    return -(-exact // 1_000_000)


def call(client: OpenAI, model: str) -> CompletionUsage:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": PROMPT}], max_completion_tokens=200
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    return answer.usage


def call_streaming(client: OpenAI, model: str) -> CompletionUsage:
    stream: Stream[ChatCompletionChunk] = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": PROMPT}],
        max_completion_tokens=200,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text
    assert chunks[-1].usage is not None
    return chunks[-1].usage


class TestFirstPaidCall:
    def test_from_the_landing_page_to_an_exact_bill(self, page: Page, product: LocalRun) -> None:
        sign_up(page, product)
        top_up_ten_dollars(page)
        secret, base_url = make_key(page)
        assert base_url == product.base_url

        costs = []
        with OpenAI(api_key=secret, base_url=base_url, max_retries=0) as client:
            for model in LIST_PRICES:
                costs.append(cost_by_hand(model, call(client, model)))
                costs.append(cost_by_hand(model, call_streaming(client, model)))

        assert all(costs)
        assert balance(page) == 10 * NANO_PER_USD - sum(costs)
        page.goto("/usage/")
        cells = page.locator("#calls td[data-nano-usd]")
        shown = [int(str(cell.get_attribute("data-nano-usd"))) for cell in cells.all()]
        assert shown == list(reversed(costs))
        self.read_the_bill(page, costs[-1])
        self.follow_the_readme(secret, base_url)

    def read_the_bill(self, page: Page, cost: int) -> None:
        """The newest call's lines add up to what was charged."""
        page.locator("#calls tbody a").first.click()
        lines = page.locator("#components tbody [data-nano-usd]")
        amounts = [int(str(line.get_attribute("data-nano-usd"))) for line in lines.all()]
        assert sum(amounts) == cost
        charge = page.locator("#charge")
        assert charge.get_attribute("data-nano-usd") == str(cost)

    def follow_the_readme(self, secret: str, base_url: str) -> None:
        """Its Python and cURL examples answer, once address and key are put in."""
        readme = (ROOT / "README.md").read_text()
        for language, command in (("python", [sys.executable, "-c"]), ("sh", ["sh", "-c"])):
            example = re.findall(rf"```{language}\n(.*?)```", readme, re.DOTALL)[-1]
            example = example.replace("http://127.0.0.1:8000/v1", base_url)
            example = example.replace("sk-tm-…", secret)

            ran = subprocess.run([*command, example], capture_output=True, timeout=60, check=False)

            assert ran.returncode == 0, ran.stderr.decode()
            assert ran.stdout.strip()
