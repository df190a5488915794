"""What a developer's machine needs and production does not: own stores, one-command start."""
