"""Routes for adapter tests."""

from typing import Any

from catalog.routes import Host, Route

HOST = Host(1, "h", "h", "sandbox", "http://h", "authorization", "Bearer", {}, "")


def route(protocol: str, *, max_output_tokens: int | None = None, **quirks: Any) -> Route:
    return Route(1, HOST, protocol, "/", "upstream-model", quirks, (), None, max_output_tokens)
