"""Tokens counted by us: for the hold before a call, and for what passed when nobody else says.

One tokenizer (o200k) for all models: near enough to hold money by and to charge a cut answer, and
always marked as an estimate. Bytes / 3 where the tokenizer is absent.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from catalog.pricing import Bucket, Outcome, Usage
from gateway.protocol.events import (
    Event,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStarted,
)

OFF_LOOP_ABOVE_BYTES = 100_000
PIECE_CHARS = 32_768  # counted at a time: the tokenizer keeps the interpreter to itself meanwhile
BYTES_PER_TOKEN = 3
TOKENS_PER_MESSAGE = 4
TOKENS_PER_REQUEST = 3
IMAGE_TOKENS = 1_600
LOW_DETAIL_IMAGE_TOKENS = 85
LEAST_FILE_TOKENS = 3_000
CHARS_PER_AUDIO_TOKEN = 500  # of base64
CHARS_PER_FILE_TOKEN = 20
VIDEO_TOKENS = 10_000
MAX_DEPTH = 64
OUTPUT_SLACK = 1_024  # tokens above a limit that a provider may report for its own end marks

_UNTOLD_KEYS = frozenset(
    {
        "type", "role", "id", "tool_call_id", "tool_use_id", "cache_control", "signature",
        "prompt_cache_breakpoint", "detail", "strict", "is_error",
    }
)  # fmt: skip
_MEDIA: Mapping[str, str] = {
    "image_url": "image", "input_image": "image", "image": "image", "input_audio": "audio",
    "audio": "audio", "file": "file", "input_file": "file", "document": "file", "video": "video",
    "video_url": "video",
}  # fmt: skip


def _tokenizer() -> Callable[[str], int]:
    try:
        import quicktok  # noqa: PLC0415  (absent on some platforms)

        encoding = quicktok.get_encoding("o200k_base")
    except (ImportError, OSError, ValueError):
        return lambda text: -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
    return lambda text: int(encoding.count(text))


_count: Callable[[str], int] | None = None


def count_text(text: str) -> int:
    """Tokens of a text, counted in pieces."""
    global _count  # noqa: PLW0603  (the tokenizer's tables, loaded at the first use)
    if _count is None:
        _count = _tokenizer()
    if len(text) <= PIECE_CHARS:
        return _count(text)
    return sum(_count(text[i : i + PIECE_CHARS]) for i in range(0, len(text), PIECE_CHARS))


def count_input_tokens(request: Mapping[str, Any]) -> int:
    """Input tokens of a parsed request body, in OpenAI's chat or Anthropic's shape."""
    tally = _Tally()
    messages = request.get("messages")
    if isinstance(messages, list):
        tally.media += TOKENS_PER_MESSAGE * len(messages)
    for name in ("system", "messages", "tools", "functions", "response_format"):
        tally.add(request.get(name), 0)
    return TOKENS_PER_REQUEST + tally.media + count_text("\n".join(tally.texts))


def count_json(parts: Iterable[tuple[str, bytes]]) -> int:
    """Input tokens of a request whose fields are still JSON bytes."""
    return count_input_tokens({name: orjson.loads(raw) for name, raw in parts if raw})


async def count_request(parts: list[tuple[str, bytes]]) -> int:
    """The same, off the event loop when it would hold it up."""
    if sum(len(raw) for _, raw in parts) <= OFF_LOOP_ABOVE_BYTES:
        return count_json(parts)
    return await asyncio.to_thread(count_json, parts)


class _Tally:
    """Walks a request: its texts, and an estimate for each piece of media."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.media = 0

    def add(self, value: object, depth: int) -> None:
        if isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, list):
            for item in value:
                self.add(item, depth + 1)
        elif isinstance(value, dict) and depth < MAX_DEPTH:
            self._add_fields(value, depth)

    def _add_fields(self, value: dict[str, Any], depth: int) -> None:
        kind = _MEDIA.get(value["type"]) if isinstance(value.get("type"), str) else None
        if kind is not None and self._is_media(value):
            self.media += _media_tokens(kind, value)
            return
        is_schema = "properties" in value or "parameters" in value or "input_schema" in value
        for name, item in value.items():
            if is_schema:
                self.texts.append(name)
            elif name in _UNTOLD_KEYS:
                continue
            self.add(item, depth + 1)

    def _is_media(self, value: dict[str, Any]) -> bool:
        return "source" in value or value["type"] in value


def _media_tokens(kind: str, part: dict[str, Any]) -> int:
    inner = part.get(part["type"], part.get("source"))
    inner = inner if isinstance(inner, dict) else {}
    if kind == "image":
        is_low = inner.get("detail") == "low" or part.get("detail") == "low"
        return LOW_DETAIL_IMAGE_TOKENS if is_low else IMAGE_TOKENS
    if kind == "video":
        return VIDEO_TOKENS
    data = inner.get("data") or inner.get("file_data") or ""
    size = len(data) if isinstance(data, str) else 0
    if kind == "audio":
        return 1 + size // CHARS_PER_AUDIO_TOKEN
    return max(LEAST_FILE_TOKENS, size // CHARS_PER_FILE_TOKEN)


_SHOWN = (TextDelta, RefusalDelta, ToolArgumentsDelta)  # a tuple: a union is made anew each time


class OutputMeter:
    """Counts what a client receives. `at_most` is cheap enough to ask at every read."""

    __slots__ = ("_chars", "_counted", "_reasoning", "_reasoning_counted", "_texts")

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._chars = 0
        self._counted = 0
        self._reasoning_counted = 0

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, _SHOWN):
                self._texts.append(event.text)
                self._chars += len(event.text)
            elif isinstance(event, ReasoningDelta):
                self._reasoning.append(event.text)
                self._chars += len(event.text)
            elif isinstance(event, ToolCallStarted):
                self._texts.append(event.name)
                self._chars += len(event.name)
        if len(self._texts) + len(self._reasoning) > PIECE_CHARS:
            self._settle_down()

    def _settle_down(self) -> None:
        """Count what has gathered, and let go of it."""
        self._counted += count_text("".join(self._texts))
        self._reasoning_counted += count_text("".join(self._reasoning))
        self._texts.clear()
        self._reasoning.clear()

    @property
    def at_most(self) -> int:
        """More tokens than this have hardly passed: one for two characters."""
        return self._chars // 2

    @property
    def is_empty(self) -> bool:
        return self._chars == 0

    def tokens(self) -> dict[Bucket, int]:
        """What passed, by bucket."""
        self._settle_down()
        counted = {Bucket.OUTPUT: self._counted, Bucket.OUTPUT_REASONING: self._reasoning_counted}
        return {bucket: n for bucket, n in counted.items() if n}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one call can have used at most. None: not known."""

    input_tokens: int | None
    output_tokens: int | None


def delivered_usage(input_tokens: int, output: Mapping[Bucket, int]) -> Usage:
    """Input and delivered output, counted by us."""
    tokens = {Bucket.INPUT: input_tokens, **output}
    return Usage(tokens={b: n for b, n in tokens.items() if n}, outcome=Outcome.ESTIMATED)


def usage_of(
    reported: Usage | None, *, input_tokens: int, meter: OutputMeter, bounds: Bounds
) -> Usage:
    """The provider's usage, or our count when there is none or no model could have used so much."""
    if reported is not None and is_believable(reported, bounds):
        return reported
    return delivered_usage(input_tokens, meter.tokens())


def is_believable(usage: Usage, bounds: Bounds) -> bool:
    counts = [*usage.tokens.values(), usage.web_searches]
    if any(type(n) is not int or n < 0 for n in counts):
        return False
    if bounds.input_tokens is not None and usage.input_tokens > bounds.input_tokens:
        return False
    return bounds.output_tokens is None or usage.output_tokens <= bounds.output_tokens
