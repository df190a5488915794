"""OpenAI's usage block: read into disjoint buckets, and written from them.

On the wire `prompt_tokens` counts all input and `completion_tokens` all output; cached, written and
reasoning tokens are parts of them. Providers differ in small ways, told apart by the total they
give and by quirks of the route. Where nothing fits, our disjoint reading stands and the difference
to the provider's total goes along as `mismatch`.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec

from billing.money import usd_literal
from catalog.pricing import Bucket, Charge, Outcome, Usage

_NO_QUIRKS: Mapping[str, object] = {}
_EXPLICIT_CACHE = "ephemeral"  # DashScope's word: prompt_tokens_details.cache_type


class Reading(msgspec.Struct, frozen=True):
    """A usage, and by how many tokens the provider's own total is above our sum.

    `is_believable` False: a count is negative or no number, so count what passed instead.
    """

    usage: Usage
    mismatch: int = 0
    is_believable: bool = True


def read_usage(block: Mapping[str, Any], quirks: Mapping[str, object] = _NO_QUIRKS) -> Reading:
    """Disjoint buckets of a usage block of any OpenAI-compatible provider.

    Quirks: `reasoning_outside_completion` (xAI's chat counts it beside completion_tokens) and
    `reasoning_in_total_only` (Gemini's OpenAI face: total less prompt is what was generated).
    """
    if not _is_believable(block):
        return Reading(usage=Usage(outcome=Outcome.NONE), is_believable=False)
    inputs = _details(block, "prompt_tokens_details", "input_tokens_details")
    outputs = _details(block, "completion_tokens_details", "output_tokens_details")
    prompt = _count(block, "prompt_tokens", "input_tokens")
    completion = _count(block, "completion_tokens", "output_tokens")
    total = block.get("total_tokens")
    total = total if _is_count(total) else None
    audio = _count(inputs, "audio_tokens")
    reasoning = _count(outputs, "reasoning_tokens") or _count(block, "reasoning_tokens")
    if total is not None and audio and prompt + audio + completion == total:
        prompt += audio  # Mistral counts audio beside prompt_tokens
    if _is_reasoning_outside(reasoning, total, prompt + completion, quirks):
        completion += reasoning
    if total is not None and quirks.get("reasoning_in_total_only"):
        hidden = max(0, total - prompt - completion)
        reasoning, completion = reasoning + hidden, completion + hidden
    tokens = _input_buckets(block, inputs, prompt) | _output_buckets(outputs, completion, reasoning)
    mismatch = 0 if total is None else total - prompt - completion
    usage = Usage(tokens={b: n for b, n in tokens.items() if n}, web_searches=_searches(block))
    return Reading(usage=usage, mismatch=mismatch)


def usage_fields(
    usage: Usage, charge: Charge | None = None, block: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """OpenAI's usage block of a usage; unknown fields of the provider's own `block` stay.

    With a charge it has `cost`, an exact JSON number of USD, and `cost_details` by component.
    """
    tokens = usage.tokens
    fields = dict(block or {})
    fields["prompt_tokens"] = usage.input_tokens
    fields["completion_tokens"] = usage.output_tokens
    fields["total_tokens"] = usage.input_tokens + usage.output_tokens
    fields["prompt_tokens_details"] = {
        **_details(fields, "prompt_tokens_details"),
        "cached_tokens": cached_tokens(usage),
        "audio_tokens": _sum(tokens, Bucket.INPUT_AUDIO, Bucket.CACHED_INPUT_AUDIO),
    }
    written = _sum(tokens, Bucket.CACHE_WRITE_5M, Bucket.CACHE_WRITE_1H, Bucket.CACHE_WRITE_12H)
    if written:
        fields["prompt_tokens_details"]["cache_write_tokens"] = written
    outputs = _details(fields, "completion_tokens_details")
    fields["completion_tokens_details"] = {
        **outputs,
        # Some hosts count more reasoning than output: shown as theirs, charged as output.
        "reasoning_tokens": max(
            tokens.get(Bucket.OUTPUT_REASONING, 0), _count(outputs, "reasoning_tokens")
        ),
        "audio_tokens": tokens.get(Bucket.OUTPUT_AUDIO, 0),
    }
    if usage.web_searches:
        fields["server_tool_use"] = {"web_search_requests": usage.web_searches}
    if charge is not None:
        fields["cost"] = _usd(charge.amount)
        fields["cost_details"] = _cost_details(charge)
    return fields


def cached_tokens(usage: Usage) -> int:
    return _sum(
        usage.tokens,
        Bucket.CACHED_INPUT,
        Bucket.CACHED_INPUT_EXPLICIT,
        Bucket.CACHED_INPUT_AUDIO,
        Bucket.CACHED_INPUT_IMAGE,
    )


def _is_believable(block: Mapping[str, Any]) -> bool:
    counts = (block.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    return all(count is None or (_is_count(count) and count >= 0) for count in counts)


def _is_reasoning_outside(
    reasoning: int, total: int | None, without: int, quirks: Mapping[str, object]
) -> bool:
    """The provider's total decides; without one, or where it fits neither, the quirk does."""
    if not reasoning:
        return False
    if total == without:
        return False
    if total == without + reasoning:
        return True
    return bool(quirks.get("reasoning_outside_completion"))


def _input_buckets(
    block: Mapping[str, Any], inputs: Mapping[str, Any], prompt: int
) -> dict[Bucket, int]:
    cached = min(_cached(block, inputs), prompt)
    written = _written(inputs)
    audio = min(_count(inputs, "audio_tokens"), prompt - cached)
    image = min(_count(inputs, "image_tokens"), prompt - cached - audio)
    rest = prompt - cached - audio - image
    buckets: dict[Bucket, int] = {}
    for bucket, count in written.items():
        buckets[bucket] = min(count, rest)
        rest -= buckets[bucket]
    is_explicit = inputs.get("cache_type") == _EXPLICIT_CACHE
    cache = Bucket.CACHED_INPUT_EXPLICIT if is_explicit else Bucket.CACHED_INPUT
    return buckets | {
        Bucket.INPUT: rest,
        cache: cached,
        Bucket.INPUT_AUDIO: audio,
        Bucket.INPUT_IMAGE: image,
    }


def _output_buckets(
    outputs: Mapping[str, Any], completion: int, reasoning: int
) -> dict[Bucket, int]:
    reasoning = min(reasoning, completion)
    audio = min(_count(outputs, "audio_tokens"), completion - reasoning)
    image = min(_count(outputs, "image_tokens"), completion - reasoning - audio)
    return {
        Bucket.OUTPUT: completion - reasoning - audio - image,
        Bucket.OUTPUT_REASONING: reasoning,
        Bucket.OUTPUT_AUDIO: audio,
        Bucket.OUTPUT_IMAGE: image,
    }


def _cached(block: Mapping[str, Any], inputs: Mapping[str, Any]) -> int:
    """OpenAI's place first, then DeepSeek's, Moonshot's and Mistral's."""
    return (
        _count(inputs, "cached_tokens")
        or _count(block, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens")
    )  # fmt: skip


def _written(inputs: Mapping[str, Any]) -> dict[Bucket, int]:
    """Cache writes by retention: OpenAI's total, DashScope's and OpenAI's splits."""
    split = _details(inputs, "cache_creation", "cache_write_tokens_details")
    hours_12 = _count(split, "ephemeral_12h_input_tokens", "ttl_12h_tokens")
    hours_1 = _count(split, "ephemeral_1h_input_tokens")
    total = _count(inputs, "cache_write_tokens", "cache_creation_input_tokens")
    short = _count(split, "ephemeral_5m_input_tokens")
    return {
        Bucket.CACHE_WRITE_5M: max(short, total - hours_12 - hours_1),
        Bucket.CACHE_WRITE_1H: hours_1,
        Bucket.CACHE_WRITE_12H: hours_12,
    }


def _searches(block: Mapping[str, Any]) -> int:
    return _count(_details(block, "server_tool_use"), "web_search_requests") or _count(
        block, "num_search_queries"
    )


def _cost_details(charge: Charge) -> dict[str, msgspec.Raw]:
    amounts: dict[str, int] = {}
    for component in charge.components:
        amounts[component.name] = amounts.get(component.name, 0) + component.amount
    return {name: _usd(amount) for name, amount in amounts.items()}


def _usd(amount: int) -> msgspec.Raw:
    return msgspec.Raw(usd_literal(amount).encode())


def _sum(tokens: Mapping[Bucket, int], *buckets: Bucket) -> int:
    return sum(tokens.get(bucket, 0) for bucket in buckets)


def _details(block: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        value = block.get(name)
        if isinstance(value, dict):
            return value
    return {}


def _count(block: Mapping[str, Any], *names: str) -> int:
    """The first of these that is a count and not zero; providers' nulls and nonsense are 0."""
    for name in names:
        value = block.get(name)
        if value and _is_count(value) and value > 0:
            return int(value)
    return 0


def _is_count(value: object) -> TypeGuard[int]:
    """Values are those of JSON, so the exact type says it all; `bool` is none of these."""
    return type(value) is int or (type(value) is float and value == value // 1)
