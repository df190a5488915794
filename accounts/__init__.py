"""Who is calling: users, workspaces, API keys."""
