"""What a payment provider must do: one interface, plain values in and out, no database.

A provider never credits anybody. It opens a pay page, says what is true at its side, and tells
a genuine notice from a forged one; `billing.topups` decides what follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class Forged(Exception):  # noqa: N818  (named for what is wrong)
    """The notice is not a genuine, fresh and readable one of this provider and this mode."""


class ProviderUnavailable(Exception):  # noqa: N818
    """The provider did not answer, or not now: the same question may be asked again later."""


class ProviderRefused(Exception):  # noqa: N818
    """The provider said no: asking again changes nothing until somebody changes something."""


class UnknownPayment(Exception):  # noqa: N818
    """The provider has no payment under this reference."""


class PaymentStatus(StrEnum):
    """Where a payment stands at the provider."""

    OPEN = "open"  # the customer may still pay
    PROCESSING = "processing"  # paid with a slow method: the money is on its way
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    STRANGE = "strange"  # complete in a way that no top-up asks for, such as without money


@dataclass(frozen=True, slots=True)
class Order:
    """What the provider is asked to collect. The same order always opens the same payment."""

    public_id: UUID
    amount_minor: int  # in the currency's smallest unit: cents
    currency: str  # ISO 4217, lower case
    description: str
    idempotency_key: str
    expires_at_s: int  # Unix time
    success_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where the customer pays, and the provider's name for the payment."""

    url: str
    reference: str


@dataclass(frozen=True, slots=True)
class PaymentState:
    """The truth about one payment, as read back from the provider."""

    provider: str
    status: PaymentStatus
    reference: str
    order: str  # the public id that we gave at the creation; "" when it names none
    amount_minor: int | None
    currency: str
    is_live: bool
    references: tuple[str, ...]  # every other name that the provider uses for it


@dataclass(frozen=True, slots=True)
class VerifiedEvent:
    """A genuine notice: a hint about which payment to look at, never the truth itself."""

    event_id: str
    kind: str
    is_about_payment: bool  # False: of no interest to a top-up
    reference: str  # the name under which `fetch` finds the payment; "" when the notice has none
    order: str  # our public id, as the notice names it; "" when it does not
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The answer by which the provider knows that its notice has arrived."""

    body: bytes = b"ok"
    content_type: str = "text/plain"


class PaymentProvider(Protocol):
    """One way to pay."""

    @property
    def key(self) -> str:
        """Name in addresses, rows and accounts: "stripe"."""
        ...

    @property
    def label(self) -> str:
        """What a customer reads on the button."""
        ...

    def is_ready(self) -> bool:
        """Whether all its secrets are there and fit the mode. If not, it does not exist."""
        ...

    def pay_origins(self) -> tuple[str, ...]:
        """Origins of its pay page, for the Content-Security-Policy of the form that leads there."""
        ...

    def create(self, order: Order) -> Redirect:
        """Open the payment. Raises ProviderUnavailable (outcome unknown) or ProviderRefused."""
        ...

    def fetch(self, reference: str) -> PaymentState:
        """Read the truth. Raises UnknownPayment, ProviderUnavailable or ProviderRefused."""
        ...

    def cancel(self, reference: str) -> None:
        """Close the pay page if nobody has paid. Raises as `fetch`; closed already is fine."""
        ...

    def verify(self, raw: bytes, headers: Mapping[str, str]) -> VerifiedEvent:
        """Check and read a notice. Raises Forged. Header names are lower case."""
        ...

    def read(self, raw: bytes) -> VerifiedEvent:
        """Read a notice that was verified before. Raises Forged when it is no such thing."""
        ...

    def ack(self) -> Ack:
        """Answer to a notice that was stored."""
        ...
