"""Why: a sensitive value that a task has read must not show up in logs, events and records of the run."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.model import Pairs, Value

SHORTEST = 4
"""Shorter secrets are not searched for: every other word would be blackened."""
DOTS = "••••••"


class Mask:
    """Learns secrets and covers them in texts."""

    __slots__ = ("_secrets",)

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def learn(self, value: Value) -> None:
        """Cover this value from now on; of a table, each text in it."""
        if isinstance(value, str):
            for part in (value, *value.splitlines()):
                if len(part) >= SHORTEST and part not in self._secrets:
                    self._secrets.append(part)
            self._secrets.sort(key=len, reverse=True)
        elif isinstance(value, list):
            for item in value:
                self.learn(item)
        elif isinstance(value, Pairs):
            for _, item in value.items:
                self.learn(item)
        elif isinstance(value, dict):
            for item in value.values():
                self.learn(item)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.learn(str(value))

    def cover(self, text: str) -> str:
        """``text`` with every known secret replaced."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, DOTS)
        return text

    def cover_all(self, data: object) -> object:
        """JSON-like data with every text in it covered."""
        if not self._secrets:
            return data
        if isinstance(data, str):
            return self.cover(data)
        if isinstance(data, Mapping):
            return {key: self.cover_all(item) for key, item in data.items()}
        if isinstance(data, list | tuple):
            return [self.cover_all(item) for item in data]
        return data
