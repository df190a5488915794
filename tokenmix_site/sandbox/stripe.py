"""The stand-in Stripe: Checkout with a hosted pay page and truly signed notices, in memory.

Only for sandbox mode: importing it in a live installation stops the start.
"""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from tokenmix_site.sandbox import stripe_pages, stripe_state
from tokenmix_site.sandbox.stripe_hooks import Fault, Hooks
from tokenmix_site.sandbox.stripe_http import (
    Answer,
    BodyTooLarge,
    Receive,
    Request,
    Scope,
    Send,
    json_answer,
    read_request,
    redirect,
    send_answer,
)
from tokenmix_site.sandbox.stripe_params import BadParameter, decode_form


class Stripe:
    """The service: its memory, its notices, and the table of what it answers."""

    def __init__(self) -> None:
        self.memory = stripe_state.Memory()
        self.hooks = Hooks()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            request = await read_request(scope, receive)
            answer = self.answer(request)
        except BodyTooLarge:
            answer = _error(413, "The request is too large.")
        await send_answer(answer, send)

    def answer(self, request: Request) -> Answer:
        """Find the handler and turn what it raises into Stripe's errors."""
        for method, pattern, handler in ROUTES:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                return self._run(handler, request, match.groupdict().get("name", ""))
        return _error(404, f"Unrecognized request URL ({request.method}: {request.path}).")

    def _run(self, handler: "Handler", request: Request, name: str) -> Answer:
        if request.path.startswith("/v1/") and not _is_authorized(request):
            return _error(401, "Invalid API Key provided.")
        try:
            return handler(self, request, name)
        except BadParameter as error:
            return _error(400, str(error), param=error.param, code=error.code)
        except stripe_state.NotOpen as error:
            return _error(400, str(error))
        except stripe_state.NotFound as error:
            return _error(404, str(error), param="id", code="resource_missing")

    def notify(self, *kinds_and_things: tuple[str, dict[str, Any]]) -> None:
        """Record the events and send them."""
        self.hooks.send(
            [stripe_state.record_event(self.memory, kind, it) for kind, it in kinds_and_things]
        )

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.hooks.close()
        await send({"type": "lifespan.shutdown.complete"})


def create_session(service: Stripe, request: Request, name: str) -> Answer:
    """POST /v1/checkout/sessions, the same answer again for the same Idempotency-Key."""
    key = request.headers.get("idempotency-key", "")
    digest = hashlib.sha256(request.body).digest()
    known = service.memory.answers.get(key) if key else None
    if known and known[0] != digest:
        message = "Keys for idempotent requests can only be used with the same parameters."
        return _error(400, message, kind="idempotency_error")
    if known:
        return Answer(200, known[1].body, headers={"idempotent-replayed": "true"})
    params = decode_form(request.body.decode("utf-8", "replace"))
    session = stripe_state.create_session(service.memory, params, mount=request.mount)
    answer = json_answer(session)
    if key:
        service.memory.keep(service.memory.answers, key, (digest, answer))
    return answer


def read_session(service: Stripe, request: Request, name: str) -> Answer:
    """GET /v1/checkout/sessions/{id}, with expand[]=payment_intent if asked."""
    session = stripe_state.get_session(service.memory, name)
    wanted = decode_form(request.query).get("expand", {})
    if isinstance(wanted, dict) and "payment_intent" in wanted.values():
        session = stripe_state.expanded(service.memory, session)
    return json_answer(session)


def expire_session(service: Stripe, request: Request, name: str) -> Answer:
    """POST /v1/checkout/sessions/{id}/expire."""
    session = stripe_state.get_session(service.memory, name)
    stripe_state.expire(session)
    service.notify(("checkout.session.expired", session))
    return json_answer(session)


def read_intent(service: Stripe, request: Request, name: str) -> Answer:
    """GET /v1/payment_intents/{id}."""
    intent = service.memory.intents.get(name)
    if intent is None or name.startswith("data:"):
        raise stripe_state.NotFound(f"No such payment_intent: '{name}'")
    return json_answer(intent)


def list_events(service: Stripe, request: Request, name: str) -> Answer:
    """GET /v1/events, newest first, at most a hundred."""
    newest = list(reversed(service.memory.events.values()))[:100]
    return json_answer({"object": "list", "data": newest, "has_more": False, "url": "/v1/events"})


def show_pay_page(service: Stripe, request: Request, name: str) -> Answer:
    """GET /pay/{id}."""
    try:
        session = stripe_state.get_session(service.memory, name)
    except stripe_state.NotFound:
        return stripe_pages.not_found_page()
    return stripe_pages.pay_page(session, action=f"{request.mount}/pay/{name}")


def press_button(service: Stripe, request: Request, name: str) -> Answer:
    """POST /pay/{id}: what the customer's click does."""
    session = stripe_state.get_session(service.memory, name)
    action = decode_form(request.body.decode("utf-8", "replace")).get("action")
    if action == "cancel":
        return redirect(str(session["cancel_url"] or session["success_url"]))
    if session["status"] != "open":
        return show_pay_page(service, request, name)
    if action == "decline":
        intent = stripe_state.decline(service.memory, session)
        service.notify(("payment_intent.payment_failed", intent))
        page = f"{request.mount}/pay/{name}"
        return stripe_pages.pay_page(session, action=page, error=stripe_pages.DECLINED)
    _pay(service, session, is_slow=action == "pay_later")
    return redirect(str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", name))


def control(service: Stripe, request: Request, name: str) -> Answer:
    """POST /_control: {"webhooks": fault, "delay_s": 2}, or what to do with one "session".

    With a session: {"settle": "paid" | "failed"} ends a slow payment, {"press": "pay"} pays
    without a browser, {"set": {...}} changes its fields, so that tests see a lying amount.
    """
    order = json.loads(request.body)
    if "webhooks" in order:
        service.hooks.fault = Fault(order["webhooks"])
        service.hooks.delay_s = float(order.get("delay_s", service.hooks.delay_s))
    if "session" in order:
        session = stripe_state.get_session(service.memory, order["session"])
        session.update(order.get("set", {}))
        if order.get("press") in {"pay", "pay_later"}:
            _pay(service, session, is_slow=order["press"] == "pay_later")
        if order.get("settle") in {"paid", "failed"}:
            _settle(service, session, is_paid=order["settle"] == "paid")
    return json_answer({"webhooks": service.hooks.fault})


def _pay(service: Stripe, session: dict[str, Any], *, is_slow: bool) -> None:
    status = "processing" if is_slow else "succeeded"
    intent = stripe_state.pay(service.memory, session, intent_status=status)
    kind = "payment_intent.processing" if is_slow else "payment_intent.succeeded"
    service.notify((kind, intent), ("checkout.session.completed", session))


def _settle(service: Stripe, session: dict[str, Any], *, is_paid: bool) -> None:
    intent = stripe_state.settle_later(service.memory, session, is_paid=is_paid)
    word, kind = ("succeeded", "succeeded") if is_paid else ("failed", "payment_failed")
    service.notify(
        (f"payment_intent.{kind}", intent), (f"checkout.session.async_payment_{word}", session)
    )


def _is_authorized(request: Request) -> bool:
    return request.headers.get("authorization", "") == f"Bearer {settings.STRIPE_SECRET_KEY}"


def _error(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str = "",
    code: str = "",
) -> Answer:
    error = {"type": kind, "message": message}
    if param:
        error["param"] = param
    if code:
        error["code"] = code
    return json_answer({"error": error}, status=status)


Handler = Callable[[Stripe, Request, str], Answer]
NAME = r"(?P<name>[A-Za-z0-9_]{1,200})"
ROUTES: tuple[tuple[str, re.Pattern[str], Handler], ...] = (
    ("POST", re.compile("/v1/checkout/sessions"), create_session),
    ("GET", re.compile(f"/v1/checkout/sessions/{NAME}"), read_session),
    ("POST", re.compile(f"/v1/checkout/sessions/{NAME}/expire"), expire_session),
    ("GET", re.compile(f"/v1/payment_intents/{NAME}"), read_intent),
    ("GET", re.compile("/v1/events"), list_events),
    ("GET", re.compile(f"/pay/{NAME}"), show_pay_page),
    ("POST", re.compile(f"/pay/{NAME}"), press_button),
    ("POST", re.compile("/_control"), control),
)


def create_application() -> Stripe:
    """Make the service. Raises ImproperlyConfigured in live mode."""
    if settings.TOKENMIX_MODE != "sandbox":
        raise ImproperlyConfigured(
            "The stand-in Stripe runs in sandbox mode only: TOKENMIX_MODE is "
            f"{settings.TOKENMIX_MODE!r}."
        )
    return Stripe()


application = create_application()
