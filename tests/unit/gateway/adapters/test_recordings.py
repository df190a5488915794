"""Real traffic of providers, replayed through adapters, renderer and pass-through.

What comes out is read back as a client reads it and held against the facts of the recordings.
"""

import importlib.util
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from catalog.routes import Host, Route
from gateway.adapters.registry import ADAPTERS
from gateway.protocol.chat import ChatPassThrough, ChatRenderer, encode, read_answer, write_answer
from gateway.protocol.events import Failed, UsageReported

ROOT = Path(__file__).parents[4]
WIRE = Path(os.environ.get("TOKENMIX_SHARED", ROOT.parent / "shared")) / "wire"
PROTOCOLS = {"openai-chat": "openai_chat", "anthropic-messages": "anthropic_messages"}
QUIRKS = {"api.x.ai": {"reasoning_outside_completion": True}}
# 1-byte cuts cost most: every n-th stream gets them.
BYTE_CUT_EVERY = 4
LEAST_RIGHT = 0.99

pytestmark = pytest.mark.skipif(
    not (WIRE / "expected.json").exists(), reason=f"No recordings at {WIRE}: set TOKENMIX_SHARED."
)


@cache
def compare() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wire_compare", WIRE / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def exchanges() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Expected facts and recordings of the two protocols, those with an answer."""
    facts = json.loads((WIRE / "expected.json").read_text("utf8"))
    return [
        (fact, json.loads((WIRE / name).read_text("utf8")))
        for name, fact in sorted(facts.items())
        if fact["protocol"] in PROTOCOLS
    ]


def route_for(recording: dict[str, Any]) -> Route:
    host = Host(1, "h", "h", "sandbox", "http://h", "authorization", "Bearer", {}, "")
    quirks = QUIRKS.get(str(recording.get("host")), {})
    return Route(1, host, PROTOCOLS[recording["protocol"]], "/", "up", quirks, (), None, None)


def cuts_of(recording: dict[str, Any], position: int) -> Iterator[tuple[str, list[bytes]]]:
    data = recording["response"]["sse"].encode("utf8")
    yield "whole", [data]
    if position % BYTE_CUT_EVERY == 0:
        yield "bytes", [data[i : i + 1] for i in range(len(data))]
    sizes = recording["response"].get("network_chunk_sizes") or _odd_sizes(len(data))
    yield "network", list(_pieces(data, sizes))


def _odd_sizes(total: int) -> list[int]:
    """Sizes that cut inside lines and characters."""
    sizes, left, size = [], total, 1
    while left > 0:
        sizes.append(min(size, left))
        left -= size
        size = size * 7 % 1009
    return sizes


def _pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size


def translated_stream(recording: dict[str, Any], pieces: list[bytes]) -> dict[str, Any]:
    """Adapter's events, rendered for a chat client."""
    reader = ADAPTERS[PROTOCOLS[recording["protocol"]]].read_stream(route_for(recording))
    renderer = ChatRenderer(call_id="1", model="ours", created=1, include_usage=True)
    events = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
    frames = renderer.stream(events)
    return read_frames(frames, renderer)


def passed_stream(recording: dict[str, Any], pieces: list[bytes]) -> dict[str, Any]:
    quirks = route_for(recording).quirks
    passing = ChatPassThrough("ours", include_usage=True, quirks=quirks)
    frames = [frame for piece in pieces for frame in passing.feed(piece)] + passing.close()
    return read_frames(frames, passing)


def read_frames(frames: list[Any], writer: Any) -> dict[str, Any]:
    """What a client has at the end, when the call settles with the usage that was reported."""
    failed = next((e for f in frames for e in f.events if isinstance(e, Failed)), None)
    usage = [e.usage for f in frames for e in f.events if isinstance(e, UsageReported)]
    passed = [frame for frame in frames if not frame.is_final]
    held = [frame for frame in frames if frame.is_final]
    assert frames == passed + held, "a frame that is not final came after a final one"
    data = b"".join(frame.data for frame in passed)
    data += writer.final(held, usage=usage[-1] if usage else None, charge=None)
    result = read_sse(data)
    if failed is not None:
        result["error"] = {"message": failed.message, "type": failed.type, "code": failed.code}
    return result


def read_sse(data: bytes) -> dict[str, Any]:
    message: dict[str, Any] = {"text": "", "refusal": "", "tools": {}, "finish": None, "usage": {}}
    for line in data.decode("utf8").split("\n\n"):
        if not line or line == "data: [DONE]":
            continue
        chunk = json.loads(line.removeprefix("data: "))
        assert chunk["model"] == "ours"
        assert chunk["object"] == "chat.completion.chunk"
        message["usage"] = chunk.get("usage") or message["usage"]
        for choice in chunk["choices"]:
            if choice["index"] == 0:
                _add_delta(message, choice)
    return _result(message)


def _add_delta(message: dict[str, Any], choice: dict[str, Any]) -> None:
    delta = choice.get("delta") or {}
    message["text"] += delta.get("content") or ""
    message["refusal"] += delta.get("refusal") or ""
    for call in delta.get("tool_calls") or ():
        tool = message["tools"].setdefault(call["index"], {"name": "", "arguments": ""})
        body = call.get("function") or call.get("custom") or {}
        tool["name"] += body.get("name") or ""
        tool["arguments"] += body.get("arguments") or body.get("input") or ""
    message["finish"] = choice.get("finish_reason") or message["finish"]


def shown_answer(answer: dict[str, Any]) -> dict[str, Any]:
    assert answer["model"] == "ours"
    choices = answer["choices"]
    said = choices[0]["message"] if choices else {}
    tools = {}
    for n, call in enumerate(said.get("tool_calls") or ()):
        body = call.get("function") or call.get("custom")
        tools[n] = {
            "name": body["name"],
            "arguments": body.get("arguments") or body.get("input") or "",
        }
    return _result(
        {
            "text": said.get("content") or "",
            "refusal": said.get("refusal") or "",
            "tools": tools,
            "finish": choices[0]["finish_reason"] if choices else None,
            "usage": answer.get("usage") or {},
        }
    )


def _result(message: dict[str, Any]) -> dict[str, Any]:
    usage = message["usage"]
    inputs = usage.get("prompt_tokens_details") or {}
    outputs = usage.get("completion_tokens_details") or {}
    return {
        "status": 200,
        "text": message["text"],
        "refusal": message["refusal"],
        "tool_calls": [
            {"name": tool["name"], "arguments": _parsed(tool["arguments"])}
            for _, tool in sorted(message["tools"].items())
        ],
        "finish_reason": message["finish"],
        "usage": {
            "prompt_tokens": usage.get("prompt_tokens"),
            "completion_tokens": usage.get("completion_tokens"),
            "cached_tokens": inputs.get("cached_tokens"),
            "cache_write_tokens": inputs.get("cache_write_tokens"),
            "reasoning_tokens": outputs.get("reasoning_tokens"),
        },
        "error": None,
        "charged": 0,
    }


def _parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def whole_results(recording: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    response = recording["response"]
    body = (
        json.dumps(response["body"]).encode() if "body" in response else response["text"].encode()
    )
    route = route_for(recording)
    adapter = ADAPTERS[route.protocol]
    if response["status"] >= 400:
        error = adapter.read_error(response["status"], response["headers"], body)
        yield "error", {"status": error.status, "error": {"message": error.message}}
        return
    renderer = ChatRenderer(call_id="1", model="ours", created=1, include_usage=True)
    events = adapter.read_body(body, route)
    failed = next((event for event in events if isinstance(event, Failed)), None)
    if failed is not None:
        yield "translated", {"status": 502, "error": {"message": failed.message}}
        return
    yield "translated", shown_answer(json.loads(encode(renderer.body(events))))
    if route.protocol == "openai_chat":
        rewritten = write_answer(read_answer(body, route.quirks), model="ours", cost=None)
        yield "passed", shown_answer(json.loads(rewritten))


def stream_results(
    recording: dict[str, Any], position: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    ways: dict[str, Callable[[dict[str, Any], list[bytes]], dict[str, Any]]]
    ways = {"translated": translated_stream}
    if recording["protocol"] == "openai-chat":
        ways["passed"] = passed_stream
    for cut, pieces in cuts_of(recording, position):
        for way, run in ways.items():
            yield f"{way}, {cut}", run(recording, pieces)


def failures(fact: dict[str, Any], recording: dict[str, Any], position: int) -> list[str]:
    results = (
        stream_results(recording, position)
        if "sse" in recording["response"]
        else whole_results(recording)
    )
    return [
        f"{fact['id']} [{way}] {name}: wanted {wanted!r:.150}, got {seen!r:.150}"
        for way, result in results
        for name, passed, wanted, seen in compare().checks(fact, result)
        if not passed
    ]


class TestRecordings:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_say_to_a_chat_client_what_the_provider_said(self, protocol: str) -> None:
        right: dict[str, int] = defaultdict(int)
        total: dict[str, int] = defaultdict(int)
        wrong: list[str] = []

        for position, (fact, recording) in enumerate(exchanges()):
            if fact["protocol"] == protocol:
                found = failures(fact, recording, position)
                total[fact["provider"]] += 1
                right[fact["provider"]] += not found
                wrong.extend(found)

        counts = [f"{name}: {right[name]} of {count}" for name, count in total.items()]
        report = "\n".join([*counts, *wrong])
        assert sum(right.values()) >= LEAST_RIGHT * sum(total.values()), report
