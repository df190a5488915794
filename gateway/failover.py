"""Try the routes of a plan until one answers; what may be retried, and what the client is told.

Until the first content reaches the client anything that is not the caller's own fault is tried
again elsewhere, each route once, within a number of attempts and a total time.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import msgspec

from gateway.adapters.base import CannotExpress, UpstreamError, UpstreamRequest
from gateway.breaker import Breaker
from gateway.call_records import AttemptRecord
from gateway.errors import (
    INVALID_REQUEST,
    UPSTREAM_FAILED,
    UPSTREAM_RATE_LIMITED,
    UPSTREAM_TIMED_OUT,
    ApiError,
    Kind,
)
from gateway.routing import Candidate, all_out
from gateway.upstream import (
    Failure,
    HangUp,
    Timeouts,
    UpstreamAnswer,
    UpstreamFailed,
    open_answer,
)

MAX_ATTEMPTS = 4
MAX_ERROR_BODY_BYTES = 64 * 1024
CREDENTIAL_STATUSES = frozenset({401, 402, 403, 404})  # ours are wrong: someone must mend them
RATE_LIMITED = 429
OK_STATUSES = range(200, 300)
CALLER_FAULT_STATUSES = frozenset({400, 413, 415, 422})
MAX_RETRY_AFTER_S = 60

logger = logging.getLogger(__name__)
T = TypeVar("T")


class AnswerFailed(Exception):  # noqa: N818  (named for what happened)
    """The answer began with status 200 and turned out to be an error, or none of its protocol."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(error.message)
        self.error = error


class AllFailed(Exception):  # noqa: N818  (named for what happened)
    """No route answered. `error` is what the client is told."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class CallerLeft(Exception):  # noqa: N818  (named for what happened)
    """The client left, and the upstream was hung up on before it had answered."""


class Opened(msgspec.Struct, Generic[T], frozen=True):
    """An upstream that answers, and the beginning of its answer as the caller's reader gave it."""

    candidate: Candidate
    answer: UpstreamAnswer
    begun: T


class Trying(msgspec.Struct, Generic[T], frozen=True):
    """How one call is tried: its protocol's parts, and what bounds it."""

    build: Callable[[Candidate], UpstreamRequest]
    begin: Callable[[UpstreamAnswer, Candidate], Awaitable[T]]
    read_error: Callable[[Candidate, int, Mapping[str, str], bytes], UpstreamError]
    is_wanted: Callable[[], bool]  # whether anybody still waits for the answer
    hang_up: HangUp
    timeouts: Timeouts
    mode: str
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class _Failed:
    """One attempt that did not answer."""

    error: UpstreamError
    reason: str  # short, for the attempt's row


async def open_first(
    candidates: tuple[Candidate, ...], trying: Trying[T], attempts: list[AttemptRecord]
) -> Opened[T]:
    """The first route that answers; every try is added to `attempts`.

    Raises AllFailed, or CallerLeft. The caller closes the opened answer.
    """
    ends_at = time.monotonic() + trying.timeouts.total_s
    failures: list[_Failed] = []
    for candidate in candidates:
        if not trying.is_wanted():
            raise CallerLeft
        now = time.monotonic()
        if len(failures) == MAX_ATTEMPTS or now >= ends_at:
            break
        if not trying.breaker.admit(candidate.route.id, now):
            continue
        result = await _attempt(candidate, trying, attempts)
        if isinstance(result, Opened):
            return result
        if trying.hang_up.is_pulled:  # by the client's leaving, or because the process stops
            raise CallerLeft
        if result.error.is_caller_fault:
            raise AllFailed(_caller_fault(result.error))
        failures.append(result)
    raise AllFailed(_said_of(candidates, failures, trying.breaker))


async def _attempt(
    candidate: Candidate, trying: Trying[T], attempts: list[AttemptRecord]
) -> Opened[T] | _Failed:
    """One try at one route, its outcome told to the breaker and written down."""
    started_at = datetime.now(UTC)
    started = time.monotonic()
    answer: UpstreamAnswer | None = None
    result: Opened[T] | _Failed
    try:
        request = trying.build(candidate)
        answer = await open_answer(
            request,
            candidate.route,
            mode=trying.mode,
            timeouts=trying.timeouts,
            hang_up=trying.hang_up,
        )
        result = await _answered(answer, candidate, trying)
    except CannotExpress as error:
        result = _Failed(UpstreamError(400, str(error), is_caller_fault=True), "cannot_express")
    except UpstreamFailed as error:
        result = _Failed(_as_error(error), error.failure.value)
    except AnswerFailed as error:
        result = _Failed(error.error, f"in_band_{error.error.status}")
    if not isinstance(result, Opened) and answer is not None:
        answer.close()
    _tell(trying, candidate, result)
    attempts.append(
        AttemptRecord(
            n=len(attempts) + 1,
            route_id=candidate.route.id,
            host=candidate.route.host.slug,
            status=answer.status if answer is not None else None,
            reason=result.reason if isinstance(result, _Failed) else "",
            started_at=started_at,
            duration_ms=int((time.monotonic() - started) * 1000),
        )
    )
    return result


async def _answered(
    answer: UpstreamAnswer, candidate: Candidate, trying: Trying[T]
) -> Opened[T] | _Failed:
    if answer.status in OK_STATUSES:
        return Opened(candidate, answer, await trying.begin(answer, candidate))
    body = await answer.body(MAX_ERROR_BODY_BYTES)
    error = trying.read_error(candidate, answer.status, answer.headers, body)
    return _Failed(error, f"http_{answer.status}")


def _as_error(failed: UpstreamFailed) -> UpstreamError:
    status = 504 if failed.failure is Failure.TIMEOUT else 502
    return UpstreamError(status, str(failed), code=failed.failure.value)


def _tell(trying: Trying[T], candidate: Candidate, result: Opened[T] | _Failed) -> None:
    """What this outcome says of the route's health."""
    breaker, route = trying.breaker, candidate.route
    if isinstance(result, Opened) or result.error.is_caller_fault:
        breaker.succeeded(route.id)
        return
    if trying.hang_up.is_pulled:
        breaker.gave_no_answer(route.id)
        return
    now = time.monotonic()
    error = result.error
    fields = {"route_id": route.id, "host": route.host.slug, "reason": result.reason}
    if error.status == RATE_LIMITED:
        breaker.rate_limited(route.id, now, error.retry_after_s)
    else:
        breaker.failed(route.id, now)
    if error.status in CREDENTIAL_STATUSES:
        logger.error("call.attempt.refused %s: our credential or route is wrong", fields)
    else:
        logger.warning("call.attempt.failed %s", fields)


def _caller_fault(error: UpstreamError) -> ApiError:
    """The upstream's own words about the request, in our envelope."""
    status = error.status if error.status in CALLER_FAULT_STATUSES else 400
    code = error.code or INVALID_REQUEST.code
    kind = Kind(status, INVALID_REQUEST.type, code, "{message}")
    message = error.message or "The provider refused the request without saying why."
    return kind.error(param=error.param or None, message=message)


def _said_of(
    candidates: tuple[Candidate, ...], failures: list[_Failed], breaker: Breaker
) -> ApiError:
    """What the client is told when no route answered."""
    model = candidates[0].model.slug
    if not failures:  # others took the last probes meanwhile
        now = time.monotonic()
        return all_out(model, [breaker.health(c.route.id, now) for c in candidates])
    if all(failed.error.status == RATE_LIMITED for failed in failures):
        waits = [failed.error.retry_after_s or 1 for failed in failures]
        wait_s = str(max(1, min(round(min(waits)), MAX_RETRY_AFTER_S)))
        return UPSTREAM_RATE_LIMITED.error(headers={"retry-after": wait_s}, model=model)
    last = failures[-1]
    if last.error.status == 504 and last.reason == Failure.TIMEOUT:  # noqa: PLR2004
        return UPSTREAM_TIMED_OUT.error(model=model)
    return UPSTREAM_FAILED.error(model=model, reason=last.reason)
