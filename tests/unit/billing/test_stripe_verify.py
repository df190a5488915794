"""Which notices of Stripe are believed."""

import json
import time

import pytest
import time_machine
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from billing.payments.base import Forged
from billing.payments.registry import NoSuchProvider, get_provider, ready_providers
from billing.payments.stripe import StripePayments
from tests.fakes import payments_data
from tokenmix_site.sandbox.stripe_hooks import sign

SECRET = "whsec_sandbox_0123456789abcdef"
EVENT = {
    "id": "evt_1",
    "type": "checkout.session.completed",
    "livemode": False,
    "data": {"object": {"id": "cs_test_1", "payment_intent": "pi_1", "metadata": {"topup": "x"}}},
}


def signed(body: bytes, *, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    return {"stripe-signature": sign(body, secret=secret, moment=int(time.time()) - age_s)}


def verify(body: bytes, headers: dict[str, str]):
    return StripePayments().verify(body, headers)


class TestVerify:
    def test_answers_the_shared_cases_as_the_policy_says(self, settings):
        settings.TOKENMIX_MODE = "live"
        settings.STRIPE_SECRET_KEY = "sk_live_" + "0" * 24
        cases = payments_data.load("stripe/webhook_signatures.json")["cases"]

        answers = {}
        for case in cases:
            bare = case.get("secret_without_whsec_prefix")
            settings.STRIPE_WEBHOOK_SECRETS = [f"whsec_{bare}" if bare else case["secret"]]
            header = case["header"]
            headers = {} if header is None else {"stripe-signature": header}
            with time_machine.travel(case["now"], tick=False):
                answers[case["name"]] = is_believed(case["body"].encode(), headers)

        assert len(answers) == len(cases)
        assert answers == {case["name"]: case["policy_accepts"] for case in cases}

    def test_believes_either_of_two_secrets(self, settings):
        settings.STRIPE_WEBHOOK_SECRETS = ["whsec_the_new_one", SECRET]
        body = json.dumps(EVENT).encode()

        assert verify(body, signed(body)).event_id == "evt_1"
        assert verify(body, signed(body, secret="whsec_the_new_one")).reference == "cs_test_1"

    @pytest.mark.parametrize("secrets", [[], [""], ["  "]])
    def test_believes_nothing_without_a_secret(self, settings, secrets):
        settings.STRIPE_WEBHOOK_SECRETS = secrets
        body = json.dumps(EVENT).encode()

        for attempt in ("", "  "):
            with pytest.raises(Forged):
                verify(body, signed(body, secret=attempt))

    @pytest.mark.parametrize("livemode", [True, None, "false", 0, 1])
    def test_refuses_the_other_mode(self, livemode):
        body = json.dumps({**EVENT, "livemode": livemode}).encode()

        with pytest.raises(Forged):
            verify(body, signed(body))

    @pytest.mark.parametrize("age_s", [301, -302])
    def test_refuses_old_and_future_notices(self, age_s):
        body = json.dumps(EVENT).encode()

        with pytest.raises(Forged):
            verify(body, signed(body, age_s=age_s))

    @pytest.mark.parametrize(
        "header",
        ["t=1,v1=é", "t=²,v1=a", "t=" + "9" * 5000 + ",v1=a", "v1=", "t=,v1=", ",,,", "\0"],
    )
    def test_refuses_odd_headers(self, header):
        with pytest.raises(Forged):
            verify(b"{}", {"stripe-signature": header})


class TestTrulySignedNonsense:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"-1",
            b'"text"',
            b"1e400",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b"9" * 10_000,
            b'{"id": 1, "type": "x", "livemode": false}',
            b'{"id": "evt_\\u0000", "type": "x", "livemode": false}',
            b'{"id": "\\ud800", "type": "x", "livemode": false}',
            b'{"id": "evt_1", "type": null, "livemode": false}',
            json.dumps({**EVENT, "id": "e" * 256}).encode(),
        ],
    )
    def test_is_refused(self, body):
        with pytest.raises(Forged):
            verify(body, signed(body))

    @pytest.mark.parametrize("thing", [None, [], 1, "x", {"id": 5, "metadata": []}, {"id": "\0"}])
    def test_names_nothing_when_its_object_is_odd(self, thing):
        body = json.dumps({**EVENT, "data": {"object": thing}}).encode()

        event = verify(body, signed(body))

        assert (event.reference, event.order, event.references) == ("", "", ())

    @hypothesis_settings(max_examples=50, deadline=None)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        )
    )
    def test_is_refused_or_read_but_never_an_accident(self, value):
        body = json.dumps({**EVENT, "data": value}).encode()

        assert verify(body, signed(body)).event_id == "evt_1"

    @hypothesis_settings(max_examples=50, deadline=None)
    @given(st.binary(max_size=300))
    def test_bytes_are_refused_or_read(self, body):
        is_believed(body, signed(body) if is_text(body) else {"stripe-signature": "t=1,v1=a"})


class TestReadiness:
    def test_a_provider_with_its_secrets_exists(self):
        assert [provider.key for provider in ready_providers()] == ["stripe"]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("STRIPE_SECRET_KEY", ""),
            ("STRIPE_SECRET_KEY", "  "),
            ("STRIPE_SECRET_KEY", "sk_live_" + "0" * 24),
            ("STRIPE_WEBHOOK_SECRETS", []),
            ("STRIPE_WEBHOOK_SECRETS", ["", " "]),
            ("TOKENMIX_MODE", "live"),
        ],
    )
    def test_one_without_them_or_of_the_other_mode_does_not(self, settings, name, value):
        setattr(settings, name, value)

        with pytest.raises(NoSuchProvider):
            get_provider(key="stripe")

    def test_the_sandbox_pays_at_the_stand_in_and_live_at_stripe(self, settings):
        settings.STRIPE_BASE_URL = ""
        settings.TOKENMIX_SANDBOX_URL = "http://127.0.0.1:8090"
        assert StripePayments().pay_origins() == ("http://127.0.0.1:8090",)

        settings.TOKENMIX_MODE = "live"
        assert StripePayments().pay_origins() == ("https://checkout.stripe.com",)


def is_believed(body: bytes, headers: dict[str, str]) -> bool:
    try:
        verify(body, headers)
    except Forged:
        return False
    return True


def is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
