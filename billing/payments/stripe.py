"""Stripe Checkout: the only file that imports `stripe`.

Written for API 2026-10-28.endive (stripe 16): its objects are not dicts and
`payment_method_types` is no parameter any more.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

import stripe
from django.conf import settings

from billing.payments.base import (
    Ack,
    Forged,
    Order,
    PaymentState,
    PaymentStatus,
    ProviderRefused,
    ProviderUnavailable,
    Redirect,
    UnknownPayment,
    VerifiedEvent,
)

TOLERANCE_S = 300
TIMEOUT_S = (5, 20)  # to connect, to answer
RETRIES = 2
STRIPE_URL = "https://api.stripe.com"
PAY_PAGE_URL = "https://checkout.stripe.com"
LIVE_KEYS = ("sk_live_", "rk_live_")
# Complete is not paid: slow methods complete the session long before their money comes.
STATUSES = {
    ("open", "unpaid"): PaymentStatus.OPEN,
    ("complete", "paid"): PaymentStatus.PAID,
    ("complete", "unpaid"): PaymentStatus.PROCESSING,
    ("expired", "unpaid"): PaymentStatus.EXPIRED,
}
DEAD_INTENTS = frozenset({"requires_payment_method", "canceled"})
EVENTS = ("checkout.session.", "payment_intent.")
NAME = re.compile(r"[\x21-\x7e]{1,255}")


class StripePayments:
    """Cards, and whatever else the operator switches on in Stripe's dashboard."""

    key = "stripe"
    label = "Card (Stripe)"

    def is_ready(self) -> bool:
        """Whether a key of this mode and a webhook secret are there."""
        is_live_key = settings.STRIPE_SECRET_KEY.startswith(LIVE_KEYS)
        fits = is_live_key == _is_live_mode()
        return bool(settings.STRIPE_SECRET_KEY.strip()) and fits and bool(_webhook_secrets())

    def pay_origins(self) -> tuple[str, ...]:
        """Stripe's checkout page, or the stand-in's."""
        address = _base_address()
        return (PAY_PAGE_URL,) if address == STRIPE_URL else (_origin(address),)

    def create(self, order: Order) -> Redirect:
        """Open a Checkout Session. The same order gives the same session for 24 hours."""
        with _translated():
            session = _client().v1.checkout.sessions.create(
                params=_session_params(order),  # type: ignore[arg-type]  # a plain dict, tested
                options={"idempotency_key": order.idempotency_key},
            )
        values = session.to_dict()
        return Redirect(url=values["url"], reference=values["id"])

    def fetch(self, reference: str) -> PaymentState:
        """Read a session together with its payment intent."""
        with _translated():
            session = _client().v1.checkout.sessions.retrieve(
                reference, params={"expand": ["payment_intent"]}
            )
        return state_of(session.to_dict())

    def cancel(self, reference: str) -> None:
        """Expire an open session; Stripe refuses that for one that is paid or expired."""
        try:
            with _translated():
                _client().v1.checkout.sessions.expire(reference)
        except ProviderRefused:
            return  # not open any more: what it became is read by `fetch`

    def verify(self, raw: bytes, headers: Mapping[str, str]) -> VerifiedEvent:
        """Check signature, age and mode with each of the configured secrets."""
        header = headers.get("stripe-signature", "")
        if not any(_is_signed(raw, header, secret) for secret in _webhook_secrets()):
            raise Forged("The Stripe-Signature does not fit the body, or is too old.")
        event = _parse(raw)
        if event.get("livemode") is not _is_live_mode():
            raise Forged("The event is of the other mode (test or live).")
        return _event_of(event)

    def read(self, raw: bytes) -> VerifiedEvent:
        """Read a stored event."""
        return _event_of(_parse(raw))

    def ack(self) -> Ack:
        """Any 2xx will do for Stripe."""
        return Ack()


def state_of(session: Mapping[str, Any]) -> PaymentState:
    """Read a Checkout Session as the API returns it, its intent expanded or not."""
    intent = session.get("payment_intent")
    expanded = intent if isinstance(intent, Mapping) else {}
    names = (expanded.get("id", intent), expanded.get("latest_charge"))
    amount = session.get("amount_total")
    return PaymentState(
        provider=StripePayments.key,
        status=_status_of(session, str(expanded.get("status", ""))),
        reference=str(session.get("id", "")),
        order=str(session.get("client_reference_id") or ""),
        amount_minor=amount if type(amount) is int else None,
        currency=str(session.get("currency") or "").lower(),
        is_live=session.get("livemode") is True,
        references=tuple(name for name in names if _is_name(name)),
    )


def _status_of(session: Mapping[str, Any], intent_status: str) -> PaymentStatus:
    where = (str(session.get("status")), str(session.get("payment_status")))
    status = STATUSES.get(where, PaymentStatus.STRANGE)
    if status is PaymentStatus.PROCESSING and intent_status in DEAD_INTENTS:
        return PaymentStatus.FAILED
    return status


def _session_params(order: Order) -> dict[str, Any]:
    public_id = str(order.public_id)
    price = {
        "currency": order.currency,
        "unit_amount": order.amount_minor,
        "product_data": {"name": order.description},
    }
    return {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": price}],
        "client_reference_id": public_id,
        "metadata": {"topup": public_id},
        # Refund, charge and dispute events show the intent, not the session.
        "payment_intent_data": {"metadata": {"topup": public_id}},
        # Either would let the amount paid differ from the order.
        "adaptive_pricing": {"enabled": False},
        "allow_promotion_codes": False,
        "expires_at": order.expires_at_s,
        "success_url": order.success_url,
        "cancel_url": order.cancel_url,
    }


def _event_of(event: Mapping[str, Any]) -> VerifiedEvent:
    event_id, kind = event.get("id"), event.get("type")
    if not (_is_name(event_id) and _is_name(kind)):
        raise Forged("The event has no id or type.")
    data = event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    thing = thing if isinstance(thing, dict) else {}
    metadata = thing.get("metadata")
    order = metadata.get("topup") if isinstance(metadata, dict) else None
    name = thing.get("id")
    names = (name, thing.get("payment_intent"), thing.get("latest_charge"))
    is_session = kind.startswith(EVENTS[0])
    return VerifiedEvent(
        event_id=event_id,
        kind=kind,
        is_about_payment=kind.startswith(EVENTS),
        reference=name if is_session and _is_name(name) else "",
        order=order if _is_name(order) else "",
        references=tuple(name for name in names if _is_name(name)),
    )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Forged("The body is not JSON.") from error
    if not isinstance(event, dict):
        raise Forged("The body is not a JSON object.")
    return event


def _is_signed(raw: bytes, header: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(raw, header, secret, TOLERANCE_S)
        moment, _ = stripe.WebhookSignature._get_timestamp_and_signatures(header, "v1")  # noqa: SLF001  (the library has no public reader of it)
    except (stripe.SignatureVerificationError, ValueError, TypeError):
        return False
    # The library accepts any moment in the future.
    return bool(moment <= time.time() + TOLERANCE_S)


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_live_mode() -> bool:
    return bool(settings.TOKENMIX_MODE == "live")


def _webhook_secrets() -> list[str]:
    return [secret for secret in settings.STRIPE_WEBHOOK_SECRETS if secret.strip()]


def _base_address() -> str:
    if settings.STRIPE_BASE_URL:
        return str(settings.STRIPE_BASE_URL).rstrip("/")
    return STRIPE_URL if _is_live_mode() else f"{settings.TOKENMIX_SANDBOX_URL}/stripe"


def _origin(address: str) -> str:
    return "/".join(address.split("/", 3)[:3])


def _client() -> stripe.StripeClient:
    return stripe.StripeClient(
        settings.STRIPE_SECRET_KEY,
        base_addresses={"api": _base_address()},
        http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
        max_network_retries=RETRIES,
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the library's errors into those of `base`."""
    try:
        yield
    except stripe.InvalidRequestError as error:
        if error.http_status == 404:  # noqa: PLR2004
            raise UnknownPayment(str(error)) from error
        raise ProviderRefused(str(error)) from error
    except (stripe.AuthenticationError, stripe.PermissionError, stripe.IdempotencyError) as error:
        raise ProviderRefused(str(error)) from error
    except stripe.StripeError as error:  # connection, time-out, rate limit, their 5xx
        raise ProviderUnavailable(str(error)) from error
