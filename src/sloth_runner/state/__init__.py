"""State: what Sloth Runner remembers, on any store."""
