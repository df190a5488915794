"""Thinking in chat completions, so that it survives a round trip through a client.

Its text is in `reasoning_content`; what must come back unchanged (signatures, redacted blocks) is
in `reasoning_details`, in OpenRouter's form.
"""

from collections.abc import Mapping
from typing import Any

from gateway.protocol.conversation import Reasoning
from gateway.protocol.events import ReasoningDelta

_FORMAT = "anthropic-claude-v1"
_TEXT = "reasoning.text"
_ENCRYPTED = "reasoning.encrypted"


class ReasoningWriter:
    """Numbers the blocks of thinking of one choice; a signature or redacted data ends a block."""

    def __init__(self) -> None:
        self._blocks: list[dict[str, Any]] = []
        self._is_open = False

    def delta(self, event: ReasoningDelta) -> dict[str, Any]:
        """The fields of a chunk's delta."""
        if event.redacted:
            self._is_open = False
            block = {"type": _ENCRYPTED, "data": event.redacted, "index": len(self._blocks)}
            self._blocks.append(block)
            return {"reasoning_details": [{**block, "format": _FORMAT}]}
        if not self._is_open:
            self._blocks.append({"type": _TEXT, "text": "", "index": len(self._blocks)})
            self._is_open = True
        return self._extend(event)

    def message(self) -> dict[str, Any]:
        """The fields of a whole message."""
        if not self._blocks:
            return {}
        text = "".join(block.get("text", "") for block in self._blocks)
        fields: dict[str, Any] = {"reasoning_content": text} if text else {}
        if any("signature" in block or "data" in block for block in self._blocks):
            fields["reasoning_details"] = [{**block, "format": _FORMAT} for block in self._blocks]
        return fields

    def _extend(self, event: ReasoningDelta) -> dict[str, Any]:
        block = self._blocks[-1]
        fields: dict[str, Any] = {}
        detail: dict[str, Any] = {"type": _TEXT, "index": block["index"], "format": _FORMAT}
        if event.text:
            block["text"] += event.text
            detail["text"] = fields["reasoning_content"] = event.text
        if event.signature:
            block["signature"] = block.get("signature", "") + event.signature
            detail["signature"] = event.signature
            self._is_open = False
        fields["reasoning_details"] = [detail]
        return fields


def read_reasoning(message: Mapping[str, Any]) -> list[Reasoning]:
    """The thinking that an assistant's message brings back, block by block."""
    blocks: dict[object, dict[str, str]] = {}
    details = message.get("reasoning_details")
    for position, detail in enumerate(details if isinstance(details, list) else ()):
        if isinstance(detail, dict):
            key = detail.get("index", f"#{position}")
            block = blocks.setdefault(key, {"text": "", "signature": "", "data": ""})
            for name in block:
                block[name] += _string(detail.get(name))
    if blocks:
        return [Reasoning(b["text"], b["signature"], b["data"]) for b in blocks.values()]
    text = _string(message.get("reasoning_content")) or _string(message.get("reasoning"))
    return [Reasoning(text)] if text else []


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""
