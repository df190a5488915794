"""A stream's usual chunk, learned from one that was parsed: the next ones are only compared.

Most chunks of a stream differ in one string (and in OpenAI's padding, `obfuscation`). One that
equals a parsed chunk in every other byte needs no parse, and its text is known from its place.
"""

import re
from dataclasses import dataclass

import orjson

from gateway.protocol.events import Event, ReasoningDelta, TextDelta

_BACKSLASH = 0x5C
_PADDING = b'"obfuscation":"'
_PADDING_END = re.compile(rb'[A-Za-z0-9]*"\}')
_STRING = re.compile(rb'[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*')


@dataclass(frozen=True, slots=True)
class ChunkShape:
    """Bytes before and after the text, as they come and as they go."""

    before: bytes
    after: bytes
    is_padded: bool  # after `after` comes padding
    before_out: bytes
    kind: type[TextDelta] | type[ReasoningDelta]
    choice: int

    @classmethod
    def learn(
        cls, data: bytes, out: bytes, upstream_model: str, model: str, event: Event
    ) -> "ChunkShape | None":
        """The shape of a chunk whose only event is this.

        None where our copy differs in more than the model's name, or the text's place is not plain.
        """
        if not isinstance(event, TextDelta | ReasoningDelta) or not event.text:
            return None
        renamed = data.replace(_name(upstream_model), _name(model), 1)
        if out != b"data: " + renamed + b"\n\n":
            return None
        text = orjson.dumps(event.text)
        if data.count(text) != 1 or data.count(_name(upstream_model)) != 1:
            return None
        before, _, after = data.partition(text)
        if _name(upstream_model) not in before:
            return None
        before += b'"'
        after = b'"' + after
        head, padding, _ = after.partition(_PADDING)
        return cls(
            before=before,
            after=head + padding,
            is_padded=bool(padding),
            before_out=b"data: " + before.replace(_name(upstream_model), _name(model), 1),
            kind=type(event),
            choice=event.choice,
        )

    def match(self, data: bytes) -> tuple[bytes, Event] | None:
        """The frame with our model name and its event, if the chunk is of this shape."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(b'"', start)
        if end > start and data[end - 1] == _BACKSLASH:  # the quote may be escaped
            end = _end_of_string(data, start)
        if end <= start or not self._has_end(data, end):
            return None
        text = _text(data[start:end])
        if text is None:
            return None
        return self.before_out + data[start:] + b"\n\n", self.kind(text, choice=self.choice)

    def _has_end(self, data: bytes, start: int) -> bool:
        if not data.startswith(self.after, start):
            return False
        rest = start + len(self.after)
        if self.is_padded:
            return _PADDING_END.fullmatch(data, rest) is not None
        return rest == len(data)


def _end_of_string(data: bytes, start: int) -> int:
    string = _STRING.match(data, start)
    return -1 if string is None else string.end()


def _text(raw: bytes) -> str | None:
    """The text of a JSON string's inside, or None where it is malformed."""
    try:
        if b"\\" not in raw:
            return raw.decode()
        return str(orjson.loads(b'"' + raw + b'"'))
    except ValueError:
        return None


def _name(model: str) -> bytes:
    return b'"model":' + orjson.dumps(model)
