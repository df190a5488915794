"""What a stand-in provider is told to do: directives in a prompt, and faults queued over HTTP.

A directive stands in the last user message: `[[status=429 retry_after=1]]`, `[[cut=3]]`. See
docs/sandbox.md for the list.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

MAX_QUEUED = 1000
_DIRECTIVE = re.compile(r"\[\[([a-z_]+[^\[\]]{0,200})\]\]")
_PAIR = re.compile(r"([a-z_]+)(?:=([^\s\]]+))?")
_MAX_TOKENS = 200_000
_MAX_S = 600.0
_FAULTS = ("status", "retry_after", "delay", "stall", "cut", "error")


class BadFault(ValueError):  # noqa: N818  (named for what is wrong)
    """A fault that is asked for over HTTP and makes no sense."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one request is answered."""

    on: str = ""  # the only host that has the faults; empty: all
    # Faults.
    status: int | None = None
    retry_after: float | None = None
    delay: float = 0.0  # seconds before the headers
    stall: float = 0.0  # seconds after the headers with nothing
    cut: int | None = None  # the connection breaks after so many chunks
    error: int | None = None  # an error inside the stream after so many chunks
    # The answer.
    out: int | None = None  # output tokens, exactly
    pace: float | None = None  # seconds between chunks
    usage: str = ""  # "none": no usage at all
    reason: int = 0  # tokens of thinking
    hidden: bool = False  # thinking is counted and not shown
    tool: int = 0  # calls of the first tools
    cached: int = 0  # input tokens read from a cache
    cache_write: int = 0  # input tokens written to one
    refuse: bool = False

    def for_host(self, host: str) -> "Plan":
        """Without its faults where they are another host's."""
        if self.on in ("", host):
            return self
        blank = Plan()
        return replace(self, **{name: getattr(blank, name) for name in _FAULTS})


def plan_of(texts: Iterable[str]) -> Plan:
    """The plan that a prompt's directives make; what is not understood is plain text."""
    found: dict[str, Any] = {}
    for text in texts:
        for directive in _DIRECTIVE.finditer(text):
            for name, value in _PAIR.findall(directive.group(1)):
                known = _read(name, value)
                if known is not None:
                    found[name] = known
    return Plan(**found)


class Faults:
    """Faults queued for hosts; each is used up by as many requests as it says."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Plan]] = {}

    def add(self, order: Mapping[str, Any]) -> int:
        """Queue a fault for a host; how many are now waiting. Raises BadFault."""
        host, times = order.get("host"), order.get("times", 1)
        if not isinstance(host, str) or not host:
            raise BadFault("Say which host in 'host'.")
        queue = self._queues.setdefault(host, deque())
        if not isinstance(times, int) or not 1 <= times <= MAX_QUEUED - len(queue):
            raise BadFault(f"'times' must be 1 to {MAX_QUEUED - len(queue)}.")
        settings: dict[str, Any] = {}
        for name, value in order.items():
            if name not in ("host", "times"):
                settings[name] = _read(name, str(value))
                if settings[name] is None:
                    raise BadFault(f"There is no fault '{name}={value}'.")
        queue.extend([Plan(**settings)] * times)
        return len(queue)

    def next(self, host: str, plan: Plan) -> Plan:
        """The plan for a request: a queued fault is laid over the prompt's own."""
        queue = self._queues.get(host)
        plan = plan.for_host(host)
        if not queue:
            return plan
        queued, blank = queue.popleft(), Plan()
        changes = {
            field.name: getattr(queued, field.name)
            for field in fields(Plan)
            if getattr(queued, field.name) != getattr(blank, field.name)
        }
        return replace(plan, **changes)

    def waiting(self) -> dict[str, int]:
        return {host: len(queue) for host, queue in self._queues.items() if queue}

    def clear(self) -> None:
        self._queues.clear()


_FLAGS = ("hidden", "refuse")
_WORDS = ("on", "usage")
_SECONDS = ("delay", "stall", "pace", "retry_after")
_NUMBERS = ("status", "cut", "error", "out", "reason", "tool", "cached", "cache_write")


def _read(name: str, value: str) -> Any:
    """The value of a setting, or None where name or value are unknown."""
    if name in _FLAGS:
        return True
    if name in _WORDS:
        return value or None
    if name == "tool" and not value:
        return 1
    try:
        number = float(value) if name in _SECONDS else int(value)
    except ValueError:
        return None
    most = _MAX_S if name in _SECONDS else _MAX_TOKENS
    return number if name in _SECONDS + _NUMBERS and 0 <= number <= most else None
