"""Whose money it is: wallets, ledger, grants, top-ups. Knows amounts, never tokens or models."""
