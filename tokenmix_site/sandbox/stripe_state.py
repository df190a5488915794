"""What the stand-in Stripe remembers, in memory: sessions, intents, events, repeated answers."""

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from tokenmix_site.sandbox.stripe_http import Answer
from tokenmix_site.sandbox.stripe_params import BadParameter, check_session, whole

API_VERSION = "2026-10-28.endive"
MOST_KEPT = 10_000
SHORTEST_S, LONGEST_S = 30 * 60, 24 * 3600
CLOCK_SLACK_S = 300


class NotFound(LookupError):  # noqa: N818  (named for what is wrong)
    """There is no such object."""


class NotOpen(Exception):  # noqa: N818
    """The session is paid or expired already."""


@dataclass(slots=True)
class Memory:
    """Everything that a restart forgets. The oldest go first."""

    sessions: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    intents: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    events: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)
    answers: OrderedDict[str, tuple[bytes, Answer]] = field(default_factory=OrderedDict)

    def keep(self, where: OrderedDict[str, Any], name: str, value: Any) -> None:
        """Remember the value under its name."""
        where[name] = value
        while len(where) > MOST_KEPT:
            where.popitem(last=False)


def new_id(prefix: str) -> str:
    """Draw an id that looks like Stripe's."""
    return f"{prefix}_{secrets.token_hex(12)}"


def create_session(memory: Memory, params: dict[str, Any], *, mount: str) -> dict[str, Any]:
    """Open a Checkout Session. Raises BadParameter."""
    amount, currency = check_session(params)
    now = int(time.time())
    expires_at = _expiry(params, now)
    session_id = new_id("cs_test")
    session = {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": _flag(params, "adaptive_pricing")},
        "allow_promotion_codes": params.get("allow_promotion_codes") == "true",
        "amount_subtotal": amount,
        "amount_total": amount,
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": now,
        "currency": currency,
        "customer": params.get("customer"),
        "customer_email": params.get("customer_email"),
        "expires_at": expires_at,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "mode": "payment",
        "payment_intent": None,
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "status": "open",
        "success_url": params["success_url"],
        "ui_mode": "hosted_page",
        "url": f"{mount}/pay/{session_id}",
    }
    memory.keep(memory.sessions, session_id, session)
    memory.keep(memory.intents, f"data:{session_id}", params.get("payment_intent_data", {}))
    return session


def get_session(memory: Memory, session_id: str) -> dict[str, Any]:
    """Return the session, expired if its time is over. Raises NotFound."""
    session = memory.sessions.get(session_id)
    if session is None:
        raise NotFound(f"No such checkout.session: {session_id}")
    if session["status"] == "open" and session["expires_at"] <= time.time():
        session["status"] = "expired"
    return session


def expanded(memory: Memory, session: dict[str, Any]) -> dict[str, Any]:
    """Return the session with its intent in place of the intent's id."""
    intent = memory.intents.get(session["payment_intent"] or "")
    return {**session, "payment_intent": intent} if intent else session


def expire(session: dict[str, Any]) -> None:
    """Close an open session. Raises NotOpen."""
    require_open(session)
    session["status"] = "expired"


def require_open(session: dict[str, Any]) -> None:
    """Raise NotOpen unless the session can still be paid."""
    if session["status"] != "open":
        raise NotOpen(f"This Session is {session['status']}: only an open one can be changed.")


def pay(memory: Memory, session: dict[str, Any], *, intent_status: str) -> dict[str, Any]:
    """Complete the session with an intent that is succeeded or (a slow method) processing."""
    require_open(session)
    is_paid = intent_status == "succeeded"
    intent = _new_intent(memory, session)
    intent["status"] = intent_status
    session.update(
        status="complete",
        payment_status="paid" if is_paid else "unpaid",
        payment_intent=intent["id"],
    )
    if is_paid:
        _receive_money(intent)
    return intent


def decline(memory: Memory, session: dict[str, Any]) -> dict[str, Any]:
    """Refuse a card. The session stays open, as at Stripe. Raises NotOpen."""
    require_open(session)
    intent = _new_intent(memory, session)
    intent["last_payment_error"] = {"code": "card_declined", "type": "card_error"}
    return intent


def settle_later(memory: Memory, session: dict[str, Any], *, is_paid: bool) -> dict[str, Any]:
    """End a slow payment. Raises NotFound when the session has none."""
    intent = memory.intents.get(session["payment_intent"] or "")
    if intent is None:
        raise NotFound("The session has no payment on its way.")
    intent["status"] = "succeeded" if is_paid else "requires_payment_method"
    if is_paid:
        session["payment_status"] = "paid"
        _receive_money(intent)
    return intent


def record_event(memory: Memory, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
    """Remember an event with the object as it is now."""
    event = {
        "id": new_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": int(time.time()),
        "data": {"object": dict(thing)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    memory.keep(memory.events, str(event["id"]), event)
    return event


def _new_intent(memory: Memory, session: dict[str, Any]) -> dict[str, Any]:
    data = memory.intents.get(f"data:{session['id']}", {})
    intent = {
        "id": new_id("pi"),
        "object": "payment_intent",
        "amount": session["amount_total"],
        "amount_received": 0,
        "created": int(time.time()),
        "currency": session["currency"],
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": data.get("metadata", {}),
        "payment_method_types": ["card"],
        "status": "requires_payment_method",
    }
    memory.keep(memory.intents, intent["id"], intent)
    return intent


def _receive_money(intent: dict[str, Any]) -> None:
    intent["amount_received"] = intent["amount"]
    intent["latest_charge"] = new_id("ch")


def _expiry(params: dict[str, Any], now: int) -> int:
    if "expires_at" not in params:
        return now + LONGEST_S
    expires_at = whole(params["expires_at"], "expires_at")
    if not SHORTEST_S - CLOCK_SLACK_S <= expires_at - now <= LONGEST_S + CLOCK_SLACK_S:
        raise BadParameter("expires_at must be 30 minutes to 24 hours away.", param="expires_at")
    return expires_at


def _flag(params: dict[str, Any], name: str) -> bool:
    value = params.get(name)
    return isinstance(value, dict) and value.get("enabled") == "true"
