"""POST /v1/chat/completions: parse, let the pipeline carry the call, answer in OpenAI's words."""

import time
from collections.abc import Mapping

from catalog.pricing import Charge, Usage
from gateway import pipeline
from gateway.adapters.base import UpstreamError, UpstreamRequest
from gateway.adapters.registry import ADAPTERS
from gateway.call import Gateway
from gateway.errors import ApiError
from gateway.exchange import Exchange
from gateway.protocol import chat
from gateway.protocol.conversation import Conversation
from gateway.protocol.frames import WholeAnswer
from gateway.relay import FrameSource, Translated
from gateway.routing import Ask, Candidate, preferences_of

ENDPOINT = "chat.completions"
SAME_PROTOCOL = "openai_chat"
HEADERS: Mapping[str, str] = {}
_MEDIA = {
    b'"image_url"': "image",
    b'"input_audio"': "audio",
    b'"file"': "file",
    b'"video_url"': "video",
}


async def create(exchange: Exchange, gateway: Gateway) -> None:
    await pipeline.serve(exchange, gateway, ChatCall.parse)


class ChatCall:
    """One chat completion, asked for in OpenAI's protocol, whatever its upstream speaks."""

    def __init__(self, request: chat.ChatRequest, call_id: str) -> None:
        self.ask = _ask(request)
        self._request = request
        self._messages = bytes(request.messages)
        self._call_id = call_id
        self._created = int(time.time())
        self._conversation: Conversation | None = None

    @classmethod
    def parse(cls, body: bytes, exchange: Exchange) -> "ChatCall":
        """Raises InvalidRequest."""
        return cls(chat.parse_chat_request(body), exchange.call_id.hex)

    def counted_parts(self) -> list[tuple[str, bytes]]:
        request = self._request
        return [
            ("messages", self._messages),
            ("tools", bytes(request.tools)),
            ("functions", bytes(request.functions)),
            ("response_format", bytes(request.response_format)),
        ]

    def build(self, candidate: Candidate, output_limit: int | None) -> UpstreamRequest:
        """Raises CannotExpress or InvalidRequest."""
        route = candidate.route
        if not _passes(candidate):
            if self._conversation is None:
                self._conversation = chat.to_conversation(self._request)
            return ADAPTERS[route.protocol].build(self._conversation, route, output_limit)
        body = chat.splice(
            self._request.body,
            model=route.upstream_id,
            max_output_tokens=output_limit,
            quirks=route.quirks,
            include_usage=True,
        )
        return UpstreamRequest(body, HEADERS)

    def source(self, candidate: Candidate) -> FrameSource:
        route = candidate.route
        if _passes(candidate):
            return chat.ChatPassThrough(
                candidate.model.slug, self._request.wants_usage, route.quirks
            )
        return Translated(ADAPTERS[route.protocol].read_stream(route), self._renderer(candidate))

    def read_whole(self, candidate: Candidate, body: bytes) -> WholeAnswer:
        """Raises ValueError when it is no answer of the route's protocol."""
        route = candidate.route
        if _passes(candidate):
            return chat.read_answer(body, route.quirks)
        return WholeAnswer(ADAPTERS[route.protocol].read_body(body, route))

    def whole(
        self,
        candidate: Candidate,
        answer: WholeAnswer,
        usage: Usage,
        charge: Charge | None,
    ) -> bytes:
        if _passes(candidate):
            return chat.write_answer(answer, model=candidate.model.slug, cost=charge, usage=usage)
        renderer = self._renderer(candidate)
        return chat.encode(renderer.body(answer.events, usage=usage, charge=charge))

    def read_error(
        self, candidate: Candidate, status: int, headers: Mapping[str, str], body: bytes
    ) -> UpstreamError:
        return ADAPTERS[candidate.route.protocol].read_error(status, headers, body)

    def error_frame(self, error: ApiError) -> bytes:
        return chat.error_frame(error.message, error.type, error.code, error.param)

    def _renderer(self, candidate: Candidate) -> chat.ChatRenderer:
        return chat.ChatRenderer(
            call_id=self._call_id,
            model=candidate.model.slug,
            created=self._created,
            include_usage=self._request.wants_usage,
        )


def _passes(candidate: Candidate) -> bool:
    """Whether bytes go through as they are."""
    route = candidate.route
    return route.protocol == SAME_PROTOCOL and chat.can_pass_through(route.quirks)


def _ask(request: chat.ChatRequest) -> Ask:
    messages = bytes(request.messages)
    return Ask(
        model=request.model,
        endpoint=ENDPOINT,
        category="chat",
        is_stream=request.is_stream,
        fallbacks=tuple(request.models or ()),
        preferences=preferences_of(request.provider),
        choices=request.choices,
        output_limit=request.output_limit,
        has_tools=request.has_tools,
        media=frozenset(kind for mark, kind in _MEDIA.items() if mark in messages),
        service_tier=request.service_tier or "",
    )
