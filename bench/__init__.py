"""The load test: this gateway beside nginx, and beside its peers where they are installed."""
