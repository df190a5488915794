"""The payment providers of this installation: those whose secrets are all there."""

from collections.abc import Sequence

from billing.payments.base import PaymentProvider
from billing.payments.stripe import StripePayments

ALL: Sequence[PaymentProvider] = (StripePayments(),)


class NoSuchProvider(LookupError):  # noqa: N818  (named for what is wrong)
    """No payment provider of this name is set up here."""


def ready_providers() -> list[PaymentProvider]:
    """Return the providers that a customer may choose, in the order of the page."""
    return [provider for provider in ALL if provider.is_ready()]


def get_provider(*, key: str) -> PaymentProvider:
    """Return the provider. Raises NoSuchProvider, also for one without its secrets."""
    for provider in ready_providers():
        if provider.key == key:
            return provider
    raise NoSuchProvider(f"There is no payment provider {key!r} here.")
