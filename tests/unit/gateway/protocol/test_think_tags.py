import pytest

from gateway.protocol.events import Event, Finished, FinishReason, ReasoningDelta, TextDelta
from gateway.protocol.think_tags import ThinkTags


def read(*texts: str) -> tuple[str, str]:
    """Thinking and text."""
    tags = ThinkTags()
    events: list[Event] = [TextDelta(text) for text in texts]
    out = tags.read(events) + tags.read([Finished(FinishReason.STOP)])
    thinking = "".join(event.text for event in out if isinstance(event, ReasoningDelta))
    return thinking, "".join(event.text for event in out if isinstance(event, TextDelta))


class TestThinkTags:
    @pytest.mark.parametrize(
        ("text", "thinking", "answer"),
        [
            ("<think>\nhm</think>\n\nHi", "\nhm", "Hi"),
            ("  <think>a < b</think>Hi <think>", "a < b", "Hi <think>"),
            ("Hi", "", "Hi"),
            ("<th", "", "<th"),
            ("<think>cut off", "cut off", ""),
            ("<think>cut </thi", "cut </thi", ""),
            ("a <think>b</think>", "", "a <think>b</think>"),
        ],
    )
    def test_reads_the_same_however_it_is_cut(self, text: str, thinking: str, answer: str) -> None:
        assert read(text) == (thinking, answer)
        assert read(*text) == (thinking, answer)
