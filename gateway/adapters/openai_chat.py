"""OpenAI's chat completions, as OpenAI and every compatible host speak it.

Quirks of a route (data, all optional):
  max_tokens_field              "max_tokens" or "max_completion_tokens": the one it knows
  no_stream_options             it refuses stream_options (and sends usage unasked, or not at all)
  drop_params                   names of request fields that it refuses
  reasoning_outside_completion  completion_tokens leaves reasoning out (xAI)
  reasoning_in_total_only       only the total counts reasoning (Gemini's OpenAI face)
  usage_in_choice               streamed usage sits in the choice (Moonshot; read anywhere)
  think_tags                    thinking comes as <think>…</think> inside the text
  reasoning_history             the field that takes an earlier turn's thinking back
"""

from collections.abc import Mapping

from catalog.routes import Route
from gateway.adapters.base import UpstreamError, UpstreamRequest
from gateway.protocol.chat_passthrough import events_of_body
from gateway.protocol.conversation import Conversation
from gateway.protocol.events import Event


class OpenAIChat:
    protocol = "openai_chat"

    def build(
        self, call: Conversation, route: Route, max_output_tokens: int | None
    ) -> UpstreamRequest:
        raise NotImplementedError

    def read_stream(self, route: Route) -> "ChatStreamReader":
        raise NotImplementedError

    def read_body(self, body: bytes, route: Route) -> list[Event]:
        return events_of_body(body, route.quirks)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        raise NotImplementedError
