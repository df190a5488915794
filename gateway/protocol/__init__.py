"""What clients speak to us, and the internal form between any inbound and outbound protocol."""
