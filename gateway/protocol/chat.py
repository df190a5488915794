"""OpenAI's chat completions as clients speak them to us: the front door of the chat_* modules."""

from gateway.protocol.chat_conversation import to_conversation
from gateway.protocol.chat_passthrough import (
    ChatPassThrough,
    can_pass_through,
    read_answer,
    write_answer,
)
from gateway.protocol.chat_render import ChatRenderer, encode, error_frame
from gateway.protocol.chat_request import ChatRequest, parse_chat_request, splice
from gateway.protocol.chat_usage import read_usage, usage_fields
from gateway.protocol.invalid import InvalidRequest

__all__ = [
    "ChatPassThrough",
    "ChatRenderer",
    "ChatRequest",
    "InvalidRequest",
    "can_pass_through",
    "encode",
    "error_frame",
    "parse_chat_request",
    "read_answer",
    "read_usage",
    "splice",
    "to_conversation",
    "usage_fields",
    "write_answer",
]
