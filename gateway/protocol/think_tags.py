"""Takes <think>…</think> out of a text that begins with it, for hosts that print thinking there."""

from collections.abc import Iterable
from enum import Enum, auto

from gateway.protocol.events import Event, Finished, ReasoningDelta, TextDelta

_OPEN = "<think>"
_CLOSE = "</think>"


class _State(Enum):
    BEGIN = auto()
    THINKING = auto()
    AFTER = auto()  # white space between thinking and the answer
    ANSWER = auto()


class ThinkTags:
    """Events in, events out; the tags may be cut anywhere. One object per answer."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def read(self, events: Iterable[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta):
                choice = self._choices.setdefault(event.choice, _Choice(event.choice))
                out.extend(choice.read(event.text))
                continue
            if isinstance(event, Finished):
                out.extend(self._choices.get(event.choice, _Choice(event.choice)).close())
            out.append(event)
        return out


class _Choice:
    def __init__(self, index: int) -> None:
        self._index = index
        self._state = _State.BEGIN
        self._rest = ""

    def read(self, text: str) -> list[Event]:
        self._rest += text
        events: list[Event] = []
        if self._state is _State.BEGIN:
            self._begin()
        if self._state is _State.THINKING:
            events.extend(self._think())
        if self._state is _State.AFTER:
            self._rest = self._rest.lstrip()
            if self._rest:
                self._state = _State.ANSWER
        if self._state is _State.ANSWER and self._rest:
            events.append(TextDelta(self._rest, self._index))
            self._rest = ""
        return events

    def close(self) -> list[Event]:
        """What was held back in case it became a tag."""
        rest, self._rest = self._rest, ""
        if not rest or self._state is _State.AFTER:
            return []
        if self._state is _State.THINKING:
            return [ReasoningDelta(rest, choice=self._index)]
        return [TextDelta(rest, self._index)]

    def _begin(self) -> None:
        text = self._rest.lstrip()
        if text.startswith(_OPEN):
            self._rest = text[len(_OPEN) :]
            self._state = _State.THINKING
        elif not _OPEN.startswith(text):
            self._state = _State.ANSWER

    def _think(self) -> list[Event]:
        thinking, tag, after = self._rest.partition(_CLOSE)
        if tag:
            self._state, self._rest = _State.AFTER, after
        else:
            kept = _tag_begun_at_end(thinking)
            thinking, self._rest = (
                thinking[: len(thinking) - kept],
                thinking[len(thinking) - kept :],
            )
        return [ReasoningDelta(thinking, choice=self._index)] if thinking else []


def _tag_begun_at_end(text: str) -> int:
    """How many last characters may be the beginning of the closing tag."""
    for length in range(min(len(_CLOSE) - 1, len(text)), 0, -1):
        if _CLOSE.startswith(text[-length:]):
            return length
    return 0
