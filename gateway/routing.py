"""Which routes to try, in which order: pure, over the snapshot, the request and who is failing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from catalog.pricing import Price
from catalog.routes import Model, Route, Snapshot, in_force, normalise
from gateway.breaker import Breaker, Health
from gateway.errors import (
    CONTEXT_LENGTH_EXCEEDED,
    MODEL_NOT_CALLABLE,
    MODEL_NOT_FOUND,
    NO_ROUTE,
    UNSUPPORTED_CONTENT,
    UNSUPPORTED_VALUE,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_UNAVAILABLE,
    ApiError,
)

COUNT_MARGIN = 1.25  # our count is an estimate: only what is clearly too long is refused here
PLAIN_SERVICE_TIERS = frozenset({"", "auto", "default", "standard"})


@dataclass(frozen=True, slots=True)
class Preferences:
    """OpenRouter's `provider`: hosts by slug or name, normalised."""

    order: tuple[str, ...] = ()
    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    allows_fallbacks: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """What planning and pricing must know of a request, whatever its protocol."""

    model: str
    endpoint: str  # "chat.completions"
    category: str  # of models that it may go to: "chat"
    is_stream: bool = False
    fallbacks: tuple[str, ...] = ()
    preferences: Preferences = Preferences()
    choices: int = 1
    output_limit: int | None = None  # the caller's own
    has_tools: bool = False
    media: frozenset[str] = frozenset()  # "image", "audio", "file", "video"
    service_tier: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route of a model that can serve the request, and what the customer pays there."""

    model: Model
    route: Route
    price: Price

    @property
    def output_limit(self) -> int | None:
        """The most output that route and model allow."""
        return least(self.route.max_output_tokens, self.model.max_output_tokens)


def preferences_of(value: Mapping[str, Any] | None) -> Preferences:
    """`provider` in its simple form; what we do not know in it is let be."""
    if not value:
        return Preferences()
    return Preferences(
        order=_names(value.get("order")),
        only=frozenset(_names(value.get("only"))),
        ignore=frozenset(_names(value.get("ignore"))),
        allows_fallbacks=value.get("allow_fallbacks") is not False,
    )


def find_model(snapshot: Snapshot, ask: Ask, at: datetime) -> tuple[Model, Price]:
    """The model that is asked for. Raises ApiError: unknown, or not to be called, and why."""
    model = snapshot.resolve(ask.model)
    if model is None:
        raise MODEL_NOT_FOUND.error(param="model", model=ask.model)
    reason = _why_not_callable(model, ask)
    price = in_force(model.prices, at)
    if price is None and not reason:
        reason = "it has no price yet."
    if reason or price is None:
        if model.replacement:
            reason = f"{reason} Use '{model.replacement}' instead."
        raise MODEL_NOT_CALLABLE.error(param="model", model=model.slug, reason=reason)
    return model, price


def plan(
    snapshot: Snapshot,
    ask: Ask,
    *,
    input_tokens: int,
    at: datetime,
    breaker: Breaker,
    now: float,
) -> tuple[Candidate, ...]:
    """Routes to try, best first; at least one. Raises ApiError that says why there is none."""
    candidates, refusal = _plan_model(snapshot, ask, ask.model, input_tokens, at)
    for name in ask.fallbacks:
        candidates += _plan_model(snapshot, ask, name, input_tokens, at)[0]
    if not candidates:
        assert refusal is not None
        raise refusal
    unique = {candidate.route.id: candidate for candidate in reversed(candidates)}
    in_order = tuple(c for c in candidates if unique.pop(c.route.id, None))
    return _healthy(ask, in_order, breaker, now)


def _plan_model(
    snapshot: Snapshot, ask: Ask, name: str, input_tokens: int, at: datetime
) -> tuple[list[Candidate], ApiError | None]:
    """A model's candidates, or why it has none."""
    try:
        model, price = find_model(snapshot, _renamed(ask, name), at)
        _check_abilities(model, price, ask)
        routes = _fitting(model, _allowed(model, ask.preferences), input_tokens)
    except ApiError as refusal:
        return [], refusal
    return [Candidate(model, route, price) for route in routes], None


def _renamed(ask: Ask, name: str) -> Ask:
    if name == ask.model:
        return ask
    return Ask(model=name, endpoint=ask.endpoint, category=ask.category)


def _why_not_callable(model: Model, ask: Ask) -> str:
    if model.not_callable_because:
        return _sentence(model.not_callable_because)
    if model.category != ask.category:
        return f"it is for {model.category}, and this endpoint is for {ask.category}."
    if not model.routes:
        return "no provider of it is connected."
    return ""


def _check_abilities(model: Model, price: Price, ask: Ask) -> None:
    missing = next(iter(sorted(ask.media - model.input_modalities - _also(model))), "")
    if missing:
        raise UNSUPPORTED_CONTENT.error(
            param="messages", model=model.slug, feature=f"{missing} input"
        )
    if ask.has_tools and model.features and "tools" not in model.features:
        raise UNSUPPORTED_CONTENT.error(param="tools", model=model.slug, feature="tools")
    tier = ask.service_tier
    if tier not in PLAIN_SERVICE_TIERS and tier not in price.service_tiers:
        raise UNSUPPORTED_VALUE.error(
            param="service_tier", model=model.slug, name="service tier", value=tier
        )


def _also(model: Model) -> frozenset[str]:
    """Kinds of media that a feature's name promises."""
    found = set()
    if "vision" in model.features:
        found.add("image")
    if "pdf_input" in model.features or "vision" in model.features:
        found.add("file")
    if "audio_input" in model.features:
        found.add("audio")
    return frozenset(found)


def _allowed(model: Model, preferences: Preferences) -> list[Route]:
    """The model's routes that the preferences allow, in order. Raises ApiError."""
    routes = sorted(model.routes, key=lambda route: (route.priority, route.id))
    if preferences == Preferences():
        return routes
    names = {route.id: _names_of(route) for route in routes}
    if preferences.only:
        routes = [route for route in routes if names[route.id] & preferences.only]
    routes = [route for route in routes if not names[route.id] & preferences.ignore]
    if preferences.order:
        ranks = {route.id: _rank(names[route.id], preferences.order) for route in routes}
        routes.sort(key=lambda route: ranks[route.id])
        if not preferences.allows_fallbacks:
            routes = [route for route in routes if ranks[route.id] < len(preferences.order)]
    elif not preferences.allows_fallbacks:
        routes = routes[:1]
    if not routes:
        raise NO_ROUTE.error(param="provider", model=model.slug)
    return routes


def _fitting(model: Model, routes: list[Route], input_tokens: int) -> list[Route]:
    """Routes whose context window takes the input. Raises ApiError."""
    fitting = []
    widest = 0
    for route in routes:
        window = least(route.context_window, model.context_window)
        if window is None or input_tokens <= window * COUNT_MARGIN:
            fitting.append(route)
        else:
            widest = max(widest, window)
    if not fitting:
        raise CONTEXT_LENGTH_EXCEEDED.error(
            param="messages", model=model.slug, window=widest, tokens=input_tokens
        )
    return fitting


def _healthy(
    ask: Ask, candidates: tuple[Candidate, ...], breaker: Breaker, now: float
) -> tuple[Candidate, ...]:
    """Candidates that are not failing right now. Raises ApiError when all are."""
    states = {c.route.id: breaker.health(c.route.id, now) for c in candidates}
    healthy = tuple(c for c in candidates if states[c.route.id].is_open_s <= 0)
    if healthy:
        return healthy
    raise all_out(ask.model, list(states.values()))


def all_out(model: str, states: list[Health]) -> ApiError:
    """The error when every route is to be left alone for a while."""
    wait_s = str(max(1, round(min(state.is_open_s for state in states))))
    are_limits = all(state.is_rate_limited for state in states)
    kind = UPSTREAM_RATE_LIMITED if are_limits else UPSTREAM_UNAVAILABLE
    return kind.error(headers={"retry-after": wait_s}, model=model)


def least(first: int | None, second: int | None) -> int | None:
    """The smaller of two limits, either of which may be unknown."""
    if first is None or second is None:
        return second if first is None else first
    return min(first, second)


def _names_of(route: Route) -> frozenset[str]:
    return frozenset(normalise(name) for name in (route.host.slug, route.host.name))


def _rank(names: frozenset[str], order: tuple[str, ...]) -> int:
    return next((i for i, name in enumerate(order) if name in names), len(order))


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(normalise(name) for name in value if isinstance(name, str))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
