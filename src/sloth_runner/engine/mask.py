"""Why: a secret that a task has read must not show up in logs, events, errors and records of the run.

It is covered as it is and in the forms that programs give it on its way into a log: escaped for JSON, a URL or a
shell, in hex, and in base64, also as a part of something longer (``user:password``). What a task itself makes of a
secret by taking it apart is beyond this.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sloth_runner.errors import SlothError
from sloth_runner.model import Pairs, Value

SHORTEST = 4
"""Shorter secrets are not searched for: every other word would be blackened."""
TELLING = 8
"""A text that holds a secret of at least so many characters holds it hardly by chance."""
DOTS = "••••••"


class Mask:
    """Learns secrets and covers them in texts."""

    __slots__ = ("_forms", "_guard", "_known", "_telling", "_whole")

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._forms: list[str] = []
        self._whole: set[str] = set()
        self._telling: tuple[str, ...] = ()
        self._guard = threading.Lock()

    def learn(self, value: Value, *, whole: bool = True) -> None:
        """Cover this value from now on; of a table, each text in it. ``whole``: it is no part of another."""
        if isinstance(value, str):
            self._learn(value, whole)
        elif isinstance(value, list):
            for item in value:
                self.learn(item, whole=False)
        elif isinstance(value, Pairs):
            for _, item in value.items:
                self.learn(item, whole=False)
        elif isinstance(value, dict):
            for item in value.values():
                self.learn(item, whole=False)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._learn(str(value), whole)

    def holds(self, value: object) -> bool:
        """Whether a value, or anything in it, is or contains a secret that was learned as a whole. One that is short
        enough to be a part of ordinary words counts only where it stands alone; parts of tables, and single lines,
        don't count: they may be anybody's."""
        if not self._whole:
            return False
        if isinstance(value, str):
            return value in self._whole or any(form in value for form in self._telling)
        if isinstance(value, Mapping):
            return any(self.holds(key) or self.holds(item) for key, item in value.items())
        if isinstance(value, Pairs):
            return any(self.holds(key) or self.holds(item) for key, item in value.items)
        if isinstance(value, list | tuple):
            return any(map(self.holds, value))
        return isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._whole

    def cover(self, text: str) -> str:
        """``text`` with every known secret replaced."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, DOTS)
        return text

    def cover_all(self, data: object) -> object:
        """JSON-like data with every text in it covered, names of fields too; numbers that are a secret, if they are
        long enough not to be a line or a size by chance."""
        if not self._forms:
            return data
        if isinstance(data, str):
            return self.cover(data)
        if isinstance(data, Mapping):
            return {
                self.cover(key) if isinstance(key, str) else key: self.cover_all(item)
                for key, item in data.items()
            }
        if isinstance(data, list | tuple):
            return [self.cover_all(item) for item in data]
        if isinstance(data, int | float) and str(data) in self._known and len(str(data)) >= TELLING:
            return DOTS
        return data

    def cover_error(self, error: BaseException) -> None:
        """Cover an error, and all that it came from, in place: tracebacks show those too."""
        seen: set[int] = set()
        queue: list[BaseException | None] = [error]
        while queue and self._forms:
            one = queue.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            one.args = tuple(self.cover(arg) if isinstance(arg, str) else arg for arg in one.args)
            if isinstance(one, SlothError):
                for name, value in vars(one).items():
                    if isinstance(value, str | list):
                        setattr(one, name, self.cover_all(value))
            queue += [one.__cause__, one.__context__]

    @contextmanager
    def shielding(self) -> Iterator[None]:
        """Whatever is raised inside shows no secret that is known by then."""
        try:
            yield
        except BaseException as error:
            self.cover_error(error)
            raise

    def _learn(self, secret: str, whole: bool) -> None:
        """Secrets are learned in threads that ask the store, too: lists are replaced, not changed."""
        if whole and len(secret) >= SHORTEST and secret not in self._whole:
            looks = set(forms(secret))
            with self._guard:
                self._whole |= looks
                self._telling += tuple(form for form in looks if len(form) >= TELLING)
        parts = (secret, *secret.splitlines())
        new = [part for part in parts if len(part) >= SHORTEST and part not in self._known]
        if not new:
            return
        with self._guard:
            every = dict.fromkeys([*self._forms, *(form for part in new for form in forms(part))])
            self._forms = sorted(every, key=len, reverse=True)
            self._known.update(new)


def forms(secret: str) -> Iterator[str]:
    """The texts under which a secret of at least ``SHORTEST`` characters is searched for."""
    import json
    from urllib.parse import quote, quote_plus

    raw = secret.encode("utf-8", "surrogateescape")
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield secret.replace("'", "'\"'\"'")
    yield secret.replace("'", "'\\''")
    for safe in ("/", ""):
        yield quote(raw, safe=safe)
    yield quote_plus(raw)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _base64(raw)


def _base64(raw: bytes) -> Iterator[str]:
    """The part of base64 that is the same whatever stands before and behind, at each of three alignments."""
    from base64 import b64encode

    for before in range(3):
        text = b64encode(bytes(before) + raw).decode()
        core = text[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        if len(core) >= SHORTEST:
            yield core
            yield core.replace("+", "-").replace("/", "_")
