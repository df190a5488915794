"""Anthropic's Messages API."""

from collections.abc import Mapping

from catalog.routes import Route
from gateway.adapters.base import AnswerReader, UpstreamError, UpstreamRequest
from gateway.protocol.conversation import Conversation
from gateway.protocol.events import Event


class AnthropicMessages:
    protocol = "anthropic_messages"

    def build(
        self, call: Conversation, route: Route, max_output_tokens: int | None
    ) -> UpstreamRequest:
        raise NotImplementedError

    def read_stream(self, route: Route) -> AnswerReader:
        raise NotImplementedError

    def read_body(self, body: bytes, route: Route) -> list[Event]:
        raise NotImplementedError

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        raise NotImplementedError
