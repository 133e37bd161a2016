"""Why: a secret that a task has read must not show up in logs, events, errors and records of the run.

It is covered as it is and in the forms that programs give it on its way into a log: escaped for JSON, a URL or a
shell, in hex, and in base64, also as a part of something longer (``user:password``). What a task itself makes of a
secret by taking it apart is beyond this.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from sloth_runner.errors import BadValue, SlothError, TooLarge
from sloth_runner.model import Pairs, Value
from sloth_runner.state.value import encode

SHORTEST = 4
"""Shorter secrets are not searched for: every other word would be blackened."""
TELLING = 8
"""A text that holds a secret of at least so many characters holds it hardly by chance."""
DOTS = "••••••"


class Mask:
    """Learns secrets and covers them in texts."""

    __slots__ = ("_forms", "_guard", "_known", "_tables", "_telling", "_whole")

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._forms: list[str] = []
        self._whole: set[str] = set()
        self._tables: frozenset[str] = frozenset()
        self._telling: tuple[str, ...] = ()
        self._guard = threading.Lock()

    def learn(self, value: Value) -> None:
        """Cover this value from now on; of a table, each text in it, and the table itself where it stands as JSON.
        Secrets are learned in threads that ask the store, too: lists are replaced, not changed."""
        own = _shown(value)
        if own and own[0] in self._known and own[0] in self._whole:
            return
        found = [(item, _shown(item)) for item in _within(value)]
        tables = {shown[0] for item, shown in found if shown and not isinstance(item, str | int | float)}
        parts = [part for _, shown in found for text in shown for part in (text, *text.splitlines())]
        new = [part for part in parts if len(part) >= SHORTEST and part not in self._known]
        looks = {form for text in own for form in forms(text)}
        with self._guard:
            every = dict.fromkeys([*self._forms, *(form for part in new for form in forms(part))])
            self._forms = sorted(every, key=len, reverse=True)
            self._known.update(new)
            self._tables |= tables
            self._telling += tuple(form for form in looks - self._whole if len(form) >= TELLING)
            self._whole |= looks

    def holds(self, value: object) -> bool:
        """Whether a value, or anything in it, is or contains a secret that was learned as a whole. One that is short
        enough to be a part of ordinary words counts only where it stands alone; parts of tables, and single lines,
        don't count: they may be anybody's."""
        if not self._whole:
            return False
        if isinstance(value, str):
            return value in self._whole or any(form in value for form in self._telling)
        if self._tables and isinstance(value, Mapping | Pairs | list | tuple) and _text(value) in self._whole:
            return True
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
        """JSON-like data with every text in it covered, names of fields too; tables that are a secret; numbers that
        are one, if they are long enough not to be a line or a size by chance."""
        if not self._forms:
            return data
        if isinstance(data, str):
            return self.cover(data)
        if self._tables and isinstance(data, Mapping | list | tuple) and _json(data) in self._tables:
            return DOTS
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


def _within(value: Value) -> Iterator[Value]:
    """A value, and all that is in it."""
    yield value
    if isinstance(value, list | dict | Pairs):
        items: Iterable[Value] = value if isinstance(value, list) else ()
        if isinstance(value, dict):
            items = value.values()
        elif isinstance(value, Pairs):
            items = [item for _, item in value.items]
        for item in items:
            yield from _within(item)


def _shown(value: Value) -> list[str]:
    """How a value is written: a text, or a number, as it is, a table as JSON; nothing of what is too short."""
    if isinstance(value, bool):
        return []
    if isinstance(value, str | int | float):
        texts = [str(value)]
    else:
        text = _text(value) or ""
        texts = [text, json.dumps(json.loads(text or "{}"), ensure_ascii=False)]
    return [text for text in texts if len(text) >= SHORTEST]


def _text(value: object) -> str | None:
    """The canonical JSON of a value; of what can't be stored there is none."""
    try:
        return encode(value, "a secret")  # type: ignore[arg-type] # whatever Lua gave
    except (BadValue, TooLarge):
        return None


def _json(data: object) -> str | None:
    """JSON-like data as ``_text`` would have written it."""
    try:
        return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError):  # names of more than one type, which no JSON has, or what is no data
        return None


def forms(secret: str) -> Iterator[str]:
    """The texts under which a secret of at least ``SHORTEST`` characters is searched for."""
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
