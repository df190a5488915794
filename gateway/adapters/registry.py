"""Which adapter speaks which wire protocol: the value of a route's `protocol`."""

from collections.abc import Mapping

from gateway.adapters.anthropic_messages import AnthropicMessages
from gateway.adapters.base import Adapter
from gateway.adapters.openai_chat import OpenAIChat

ADAPTERS: Mapping[str, Adapter] = {
    adapter.protocol: adapter for adapter in (OpenAIChat(), AnthropicMessages())
}
