"""Which routes are failing right now. In this process only; Redis will share it behind this class.

A route that fails five times running is left alone for 30 seconds, then one call may probe it.
"""

from dataclasses import dataclass

FAILURES_TO_OPEN = 5
OPEN_S = 30.0
PROBE_S = 120.0  # a probe that never reports is forgotten after this
MAX_PAUSE_S = 60.0  # of a Retry-After


@dataclass(slots=True)
class _State:
    failures: int = 0
    closed_until: float = 0.0  # no calls before
    probe_until: float = 0.0  # one call is trying the route
    is_rate_limited: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a route may be called, and if not, for how long and why."""

    is_open_s: float = 0.0
    is_rate_limited: bool = False


HEALTHY = Health()


class Breaker:
    """Times are of one monotonic clock, passed in."""

    def __init__(self) -> None:
        self._states: dict[int, _State] = {}

    def health(self, route_id: int, now: float) -> Health:
        """Reads only: planning asks this of many routes and calls few."""
        state = self._states.get(route_id)
        if state is None:
            return HEALTHY
        wait = max(state.closed_until, state.probe_until) - now
        return Health(wait, state.is_rate_limited) if wait > 0 else HEALTHY

    def admit(self, route_id: int, now: float) -> bool:
        """May this call be sent now? After an open time only one, until it reports."""
        state = self._states.get(route_id)
        if state is None or state.failures < FAILURES_TO_OPEN:
            return state is None or state.closed_until <= now
        if max(state.closed_until, state.probe_until) > now:
            return False
        state.probe_until = now + PROBE_S
        return True

    def succeeded(self, route_id: int) -> None:
        self._states.pop(route_id, None)

    def failed(self, route_id: int, now: float) -> None:
        state = self._states.setdefault(route_id, _State())
        state.failures += 1
        state.probe_until = 0.0
        state.is_rate_limited = False
        if state.failures >= FAILURES_TO_OPEN:
            state.closed_until = now + OPEN_S

    def rate_limited(self, route_id: int, now: float, retry_after_s: float | None) -> None:
        """The upstream said how long to stay away; without a time it is only remembered."""
        state = self._states.setdefault(route_id, _State())
        state.probe_until = 0.0
        state.is_rate_limited = True
        if retry_after_s:
            state.closed_until = max(state.closed_until, now + min(retry_after_s, MAX_PAUSE_S))

    def gave_no_answer(self, route_id: int) -> None:
        """A call was called off before it could tell: its probe does not count."""
        state = self._states.get(route_id)
        if state is not None:
            state.probe_until = 0.0

    def reset(self) -> None:
        self._states.clear()
