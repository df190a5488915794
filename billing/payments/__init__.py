"""Payment providers: one file each behind the interface of `base`."""
