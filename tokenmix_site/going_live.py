"""The checklist before real money: what must be in place, and what is missing.

Nothing here switches anything: an installation is live when TOKENMIX_MODE says so. In live mode
stand-in hosts and payments do not exist, and models under cost stay off until confirmed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.contrib.auth import get_user_model

from billing.money import format_usd
from billing.payments.registry import ready_providers
from catalog.margins import below_cost
from catalog.queries import load_snapshot

SHOWN_ROWS = 20


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist. A note does not stop anybody from going live."""

    title: str
    is_met: bool
    details: tuple[str, ...] = ()
    is_note: bool = False


def checklist() -> list[Check]:
    """Every check, met or not, in the order in which an operator does them."""
    return [_mode(), _address(), _secrets(), _operators(), *_payments(), *_catalog()]


def refusals(checks: list[Check]) -> list[Check]:
    """What still stands in the way."""
    return [check for check in checks if not check.is_met and not check.is_note]


def _mode() -> Check:
    is_live = settings.TOKENMIX_MODE == "live"
    details = () if is_live else ("TOKENMIX_MODE is 'sandbox': set it to 'live' and restart.",)
    return Check("The installation is in live mode", is_live, details)


def _address() -> Check:
    is_https = settings.BASE_URL.startswith("https://")
    details = () if is_https else (f"TOKENMIX_BASE_URL is {settings.BASE_URL!r}: use https://.",)
    return Check("Customers reach the site by HTTPS", is_https, details)


def _secrets() -> Check:
    missing = [] if settings.CREDENTIAL_KEYS else ["CREDENTIAL_KEYS is empty: set a Fernet key."]
    if len(settings.SECRET_KEY) < 50:  # noqa: PLR2004  (Django's own measure)
        missing.append("SECRET_KEY is shorter than 50 characters: make a longer one.")
    return Check("Secrets are set", not missing, tuple(missing))


def _operators() -> Check:
    demo = get_user_model().objects.filter(email="operator@example.com", is_active=True).exists()
    details = ("operator@example.com is the demo operator: switch it off.",) if demo else ()
    return Check("The demo operator is gone", not demo, details)


def _payments() -> Iterator[Check]:
    providers = [provider.label for provider in ready_providers()]
    details = tuple(providers) or (
        "None is set up: customers can only be credited by hand (fine for an in-house gateway).",
    )
    yield Check("A payment provider is set up", bool(providers), details, is_note=True)
    key = settings.STRIPE_SECRET_KEY
    if key and "_test_" in key:
        text = "STRIPE_SECRET_KEY is a test key: its events are refused in live mode."
        yield Check("Stripe's key is a live one", is_met=False, details=(text,))
    if key and not settings.STRIPE_WEBHOOK_SECRETS:
        text = "STRIPE_WEBHOOK_SECRETS is empty: Stripe's events cannot be verified."
        yield Check("Stripe's webhook secret is set", is_met=False, details=(text,))


def _catalog() -> Iterator[Check]:
    """What the gateway would sell right now: only models with a host, a credential and prices."""
    snapshot = load_snapshot()
    served = [model for model in snapshot.models.values() if model.routes]
    live = [m for m in served if any(r.host.mode == "live" for r in m.routes)]
    details = () if live else ("No live host has a credential: add one in the admin, under Hosts.",)
    yield Check("At least one live host has a credential", bool(live), details)
    under = list(below_cost(models=live, at=datetime.now(UTC)))
    off = {rate.model for rate in under if snapshot.models[rate.model].not_callable_because}
    rows = tuple(
        f"{rate.model}: {rate.bucket.value} sold at {format_usd(rate.list_nano_usd_per_mtok)},"
        f" costs {format_usd(rate.cost_nano_usd_per_mtok)} at {rate.host}, per 1M tokens"
        for rate in under
        if rate.model in off
    )
    if len(rows) > SHOWN_ROWS:
        rows = (*rows[:SHOWN_ROWS], f"… and {len(rows) - SHOWN_ROWS} more.")
    yield Check(
        "No model is off for being under cost (confirm with --confirm-below-cost)",
        not off,
        rows,
        is_note=True,
    )
