"""Tells gateway processes what changed: one row per change, polled by each of them.

The row is written in the transaction of the change itself, so it is seen exactly when the change
is. SQL functions insert into accounts_change directly.
"""

from enum import StrEnum

from accounts.models import Change


class ChangeKind(StrEnum):
    """What `subject_id` names: an API key, nothing (0), or a wallet."""

    KEY = "KEY"
    CATALOG = "CATALOG"
    FREEZE = "FREEZE"
    RECALL = "RECALL"


def record_change(*, kind: ChangeKind, subject_id: int) -> None:
    """Record a change inside the caller's transaction."""
    Change.objects.create(kind=kind.value, subject_id=subject_id)
