"""The API: one call, from request to settled charge."""
