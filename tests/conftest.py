"""Fixtures that every test may use."""

from tests.ledger_flush import flush_past_the_ledger_triggers

__all__ = ["flush_past_the_ledger_triggers"]
