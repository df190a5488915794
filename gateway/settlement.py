"""Usage -> charge, exactly once, however the call ended; durable before the answer is whole."""

from gateway.call_records import AttemptRecord, CallOutcome, CallRecord, Settled

__all__ = [
    "AttemptRecord",
    "CallOutcome",
    "CallRecord",
    "Settled",
    "SettlementFailed",
    "Settler",
]


class SettlementFailed(Exception):  # noqa: N818  (named for what could not be done)
    """The charge is not known to be durable: the answer must not go out whole."""


class Settler:
    """One thread per process that commits every waiting call in one transaction."""

    async def settle(self, record: CallRecord) -> Settled:
        """Return once the record is committed; ends its hold. Call once per call, on the loop.

        Raises SettlementFailed when the database stays away: then withhold the final frame.
        A caller that goes away (is cancelled) does not undo it: the record is settled all the same.
        """
        raise NotImplementedError
