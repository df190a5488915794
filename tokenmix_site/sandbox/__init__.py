"""Stand-ins for providers and payment services, on loopback, so that no account is needed."""
