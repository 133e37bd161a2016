"""Sloth Runner: stateful, idempotent task automation. Tasks are written in Lua; a store remembers what they did."""

__version__ = "0.1.0"
