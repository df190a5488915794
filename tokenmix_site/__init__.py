"""Composition root: imports everything, nothing imports it."""
