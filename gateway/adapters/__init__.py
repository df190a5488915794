"""One file per wire protocol that providers speak; pure, no I/O."""
