"""The ways to a machine."""
