"""What an adapter must do: turn a call into an upstream request and upstream bytes into events.

Adapters are pure: values in, values out, no I/O, no clock, no settings. One object per call reads
its answer, so streams keep their state there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from catalog.routes import Route
from gateway.protocol.conversation import Conversation
from gateway.protocol.events import Event
from gateway.protocol.frames import Frame, PassThrough


class CannotExpress(Exception):  # noqa: N818  (named for what could not be done)
    """The target protocol has no way to say something the call cannot do without."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request without its address and credential, which `upstream` adds from the route."""

    body: bytes
    headers: Mapping[str, str]
    dropped: tuple[str, ...] = ()  # parameters that the target cannot express


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """A refusal by the upstream, before any content.

    `is_caller_fault`: the request itself is wrong and would be wrong anywhere (a 400 about its
    content): it goes to the client and is not tried elsewhere.
    """

    status: int
    message: str
    type: str = ""
    code: str = ""
    param: str = ""
    is_caller_fault: bool = False
    retry_after_s: float | None = None


class AnswerReader(Protocol):
    """Reads one answer. `feed` takes bytes as they come, cut anywhere."""

    def feed(self, data: bytes) -> list[Event]: ...

    def close(self) -> list[Event]:
        """The upstream closed the connection: what was still buffered."""
        ...


class Adapter(Protocol):
    """One wire protocol. Stateless; `quirks` come with the route."""

    protocol: str

    def build(
        self, call: Conversation, route: Route, max_output_tokens: int | None
    ) -> UpstreamRequest:
        """The request for this call; `max_output_tokens` overrides what the caller said."""
        ...

    def read_stream(self, route: Route) -> AnswerReader: ...

    def read_body(self, body: bytes, route: Route) -> list[Event]:
        """Events of a whole answer. Raises ValueError when the body is not of this protocol."""
        ...

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError: ...


__all__ = [
    "Adapter",
    "AnswerReader",
    "CannotExpress",
    "Frame",
    "PassThrough",
    "UpstreamError",
    "UpstreamRequest",
]
