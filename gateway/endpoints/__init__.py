"""What clients may call under /v1: one file per client protocol."""
