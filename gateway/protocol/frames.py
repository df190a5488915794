"""Bytes for the client in its own protocol, and what they mean to the call."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from catalog.pricing import Charge, Usage
from gateway.protocol.events import Event


class Frame(msgspec.Struct, frozen=True):
    """Bytes for the client in its own protocol, and what they mean.

    `is_final` marks the first frame that tells the client its answer is whole (the last choice's
    finish_reason, message_delta with stop_reason …) and every frame after it: held until settled.
    `data` may be empty: something for us alone, or an error that the pipeline words itself.
    """

    data: bytes
    events: tuple[Event, ...]
    is_content: bool = False
    is_final: bool = False
    is_usage: bool = False  # carries the usage block: gets `cost`, or is dropped if not asked for


class WholeAnswer(msgspec.Struct, frozen=True):
    """An answer that came in one piece, read once: what it says, and its JSON if that goes on."""

    events: list[Event]
    value: dict[str, Any] | None = None


class PassThrough(Protocol):
    """Client and upstream speak the same protocol: bytes pass, usage is read from the side."""

    def feed(self, data: bytes) -> list[Frame]: ...

    def close(self) -> list[Frame]: ...

    def final(self, held: Sequence[Frame], *, usage: Usage | None, charge: Charge | None) -> bytes:
        """The held frames as bytes once the call is settled: with usage and its cost."""
        ...
