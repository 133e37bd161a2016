"""Sloth Runner: stateful, idempotent task automation. A store remembers what tasks written in Lua did."""

__version__ = "0.1.0"
