"""Why: "did you mean" is asked in every layer, of fields, keys, agents, options; so is how a name is shown."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that ``word`` most likely meant, or None when nothing is close."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> list[str]:
    """The suggestion as the ``next`` of an error: one line, or none."""
    near = nearest(word, known)
    return [f"did you mean {near!r}?"] if near else []


def choice(word: str, known: Iterable[str], what: str) -> list[str]:
    """The same; where nothing is close, all there are, if they are few: ``what`` names them."""
    names = sorted(known)
    if near := did_you_mean(word, names):
        return near
    return [f"{what}: {', '.join(names)}"] if 0 < len(names) <= 12 else []


def with_bytes(quoted: str) -> str:
    """What ``repr`` made of text, with lone bytes (``'\\udcff'``) as they are shown everywhere else: ``'\\xff'``."""
    import re

    return re.sub(r"(?<!\\)((?:\\\\)*)\\udc([89a-f][0-9a-f])", r"\1\\x\2", quoted)
