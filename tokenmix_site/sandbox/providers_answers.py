"""What a stand-in model says: words, thinking, tool calls and JSON that fits a schema.

The same request always gets the same answer, and its tokens are counted truly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.metering import count_input_tokens, count_text
from tokenmix_site.sandbox.faults import Plan

_USUAL_TOKENS = 24
_MAX_DEPTH = 12
_REFERENCE_DEPTH = 4  # schemas that refer to themselves end soon
# Each word is one token with the blank before it, so that counts can be exact.
_SENTENCE = """the answer is that a good plan has one clear goal and a simple way to see if it works
so we can start small and learn from what people say then build the next part with care"""
_WORDS = tuple(_SENTENCE.split())


@dataclass(frozen=True, slots=True)
class ToolUse:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer and its count. `output_tokens` includes `reasoning_tokens`."""

    pieces: tuple[str, ...]
    thinking: tuple[str, ...]
    tools: tuple[ToolUse, ...]
    is_cut_short: bool
    is_refused: bool
    input_tokens: int
    cached_tokens: int
    written_tokens: int
    output_tokens: int
    reasoning_tokens: int

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request wants, read from either protocol."""

    body: Mapping[str, Any]
    prompt: str  # the last user message's text
    limit: int | None
    schema: Mapping[str, Any] | None  # {} for any JSON object
    tools: tuple[tuple[str, Mapping[str, Any]], ...]  # name and parameters
    forced_tool: str = ""  # a name, or "*" for any


def compose(asked: Asked, plan: Plan) -> Answer:
    """Make the answer, no longer than the limit allows."""
    input_tokens = count_input_tokens(asked.body)
    tools = _tool_uses(asked, plan)
    pieces = [] if tools else _pieces(asked, plan)
    output = sum(count_text(tool.name + tool.arguments) for tool in tools)
    if pieces:
        output += len(pieces) if _is_wordy(asked) else count_text("".join(pieces))
    wanted = output + plan.reason
    total = wanted if asked.limit is None else min(wanted, asked.limit)
    reasoning = min(plan.reason, total)
    if total < wanted:
        pieces, tools = pieces[: max(0, total - reasoning)], ()
    cached = min(plan.cached, input_tokens)
    return Answer(
        pieces=tuple(pieces),
        thinking=() if plan.hidden else tuple(_words(reasoning)),
        tools=tools,
        is_cut_short=total < wanted,
        is_refused=plan.refuse,
        input_tokens=input_tokens,
        cached_tokens=cached,
        written_tokens=min(plan.cache_write, input_tokens - cached),
        output_tokens=total,
        reasoning_tokens=reasoning,
    )


def example_of(schema: Mapping[str, Any]) -> Any:
    """The simplest value that fits a JSON Schema."""
    return _example(schema, schema, 0)


def _is_wordy(asked: Asked) -> bool:
    return asked.schema is None


def _pieces(asked: Asked, plan: Plan) -> list[str]:
    if asked.schema is not None:
        return _cut_in_pieces(orjson.dumps(example_of(asked.schema)).decode())
    if plan.out is not None:
        return list(_words(max(0, plan.out - plan.reason)))
    return list(_words(_USUAL_TOKENS))


def _words(count: int) -> Iterator[str]:
    for n in range(count):
        word = _WORDS[n % len(_WORDS)]
        yield word.capitalize() if n == 0 else f" {word}"


def _cut_in_pieces(text: str, size: int = 6) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _tool_uses(asked: Asked, plan: Plan) -> tuple[ToolUse, ...]:
    if not asked.tools:
        return ()
    count = plan.tool or (1 if asked.forced_tool else 0)
    named = [tool for tool in asked.tools if tool[0] == asked.forced_tool]
    offered = named or list(asked.tools)
    return tuple(
        ToolUse(name, orjson.dumps(example_of(schema)).decode())
        for name, schema in (offered[n % len(offered)] for n in range(count))
    )


def _example(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
        return None
    given = [schema[word] for word in ("const", "default") if word in schema]
    given += list(schema.get("enum") or ())[:1]
    if given:
        return given[0]
    inner = [schema[word][0] for word in ("anyOf", "oneOf", "allOf") if schema.get(word)]
    if "$ref" in schema:
        inner.append(_resolve(str(schema["$ref"]), root))
    if inner:
        return _example(inner[0], root, depth + (_REFERENCE_DEPTH if "$ref" in schema else 1))
    return _example_of_type(schema, root, depth)


def _example_of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        fields = dict(schema.get("properties") or {})
        return {name: _example(inner, root, depth + 1) for name, inner in fields.items()}
    if kind == "array":
        count = max(1, int(schema.get("minItems", 1)))
        return [_example(schema.get("items", {}), root, depth + 1)] * count
    simple = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1)}
    simple |= {"boolean": True, "null": None}
    return simple.get(kind, "example".ljust(int(schema.get("minLength", 0)), "e"))


def _resolve(pointer: str, root: Mapping[str, Any]) -> Any:
    value: Any = root
    for step in pointer.removeprefix("#").strip("/").split("/"):
        if step and isinstance(value, Mapping):
            value = value.get(step.replace("~1", "/").replace("~0", "~"))
    return value


def texts_of(content: Any) -> list[str]:
    """Texts of a message's content, in either protocol's form."""
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [
        part["text"]
        for part in content
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]


def last_prompt(body: Mapping[str, Any]) -> str:
    """The text of the last user message that has one."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            texts = texts_of(message.get("content"))
            if texts:
                return "\n".join(texts)
    return ""
