"""A chat call in our own words: what inbound protocols are parsed to and adapters build from.

It loses nothing that two protocols share; what a target cannot express, its adapter names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    cache_control: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """An image, audio clip or document: either a URL or base64 `data` with its media type."""

    kind: Literal["image", "audio", "file"]
    url: str = ""
    data: str = ""
    media_type: str = ""  # e.g. "image/png"
    name: str = ""
    detail: str = ""
    cache_control: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thinking that must go back unchanged; `redacted` is opaque data instead of text."""

    text: str = ""
    signature: str = ""
    redacted: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON text as the model wrote it


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    parts: tuple["Text | Media", ...]
    is_error: bool = False
    cache_control: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str


Part = Text | Media | Reasoning | ToolCall | ToolResult | Refusal


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    parts: tuple[Part, ...]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None  # JSON Schema
    is_strict: bool | None = None
    cache_control: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """Structured output. `schema` None: any JSON object."""

    schema: Mapping[str, Any] | None = None
    name: str = ""
    description: str = ""
    is_strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """One chat call. None and empty mean "the caller did not say"."""

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = ""  # "", auto, none, required, or "tool:<name>"
    allows_parallel_tools: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1  # OpenAI's n
    seed: int | None = None
    output_format: OutputFormat | None = None
    reasoning_effort: str = ""  # none, minimal, low, medium, high, xhigh, max
    reasoning_budget_tokens: int | None = None
    user: str = ""
    is_stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields we do not know, kept
