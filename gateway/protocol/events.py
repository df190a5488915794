"""What an upstream says while it answers, in our own words: one vocabulary for all protocols.

A whole (non-streamed) answer is the same events, all at once. They are msgspec structs, which
cost a tenth of a frozen dataclass to make: there is one for every chunk of every stream.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from catalog.pricing import Usage


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Started(msgspec.Struct, frozen=True):
    """The upstream accepted the call; its own id and model name. Not yet content."""

    upstream_id: str = ""
    model: str = ""


class TextDelta(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True):
    """A piece of thinking, of its signature, or a whole redacted block."""

    text: str = ""
    signature: str = ""
    redacted: str = ""
    choice: int = 0


class ToolCallStarted(msgspec.Struct, frozen=True):
    index: int  # 0, 1, … among the tool calls of the choice
    id: str
    name: str
    choice: int = 0
    kind: str = "function"  # or "custom": its arguments are plain text


class ToolArgumentsDelta(msgspec.Struct, frozen=True):
    index: int
    text: str
    choice: int = 0


class Finished(msgspec.Struct, frozen=True):
    """One choice is whole."""

    reason: FinishReason
    choice: int = 0
    native_reason: str = ""


class UsageReported(msgspec.Struct, frozen=True):
    """The provider's own count so far; a later one replaces it.

    `mismatch`: how many tokens the provider's total is above our buckets' sum; the buckets stand.
    `is_believable` False: the counts make no sense, so `usage` is empty: count what passed.
    """

    usage: Usage
    mismatch: int = 0
    is_believable: bool = True


class Failed(msgspec.Struct, frozen=True):
    """An error inside an answer that began with status 200."""

    message: str
    type: str = "server_error"
    code: str = ""
    status: int = 502  # what it would have been as a status
    extra: Mapping[str, Any] | None = None


class Ended(msgspec.Struct, frozen=True):
    """The protocol's own end mark: nothing comes after it."""


Event = (
    Started | TextDelta | RefusalDelta | ReasoningDelta | ToolCallStarted | ToolArgumentsDelta
    | Finished | UsageReported | Failed | Ended
)  # fmt: skip
