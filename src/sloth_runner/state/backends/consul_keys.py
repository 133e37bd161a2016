"""Why: a store key becomes a Consul key that sorts the same, reads well in Consul's own tools, and fits into a URL.

Consul orders keys by their UTF-8 bytes, as we do by code point, and refuses unprintable characters in a URL, U+001F
among them. So U+001F is written ``!``, and space, ``!`` and ``"``, which then must sort between ``!`` and ``#``, as
``"0``, ``"1`` and ``"2``. Every character maps to its own text: the image of a prefix is the prefix of an image.
"""

from __future__ import annotations

import re

from sloth_runner.plain import Final

SEPARATOR: Final = "!"
"""What U+001F is written as."""
_TO: Final = str.maketrans({"\x1f": "!", " ": '"0', "!": '"1', '"': '"2'})
_BACK: Final = {"!": "\x1f", '"0': " ", '"1': "!", '"2': '"'}
_WRITTEN: Final = re.compile(r'!|"[012]')
_UNFIT: Final = re.compile(r"//|/\.\.?(?:/|$)|[^\x20-\x7e]")
"""What a Consul agent's URL paths can't hold: empty and dotted segments are redirected away; of characters beyond
ASCII, which are printable depends on the release's Unicode tables."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~/!$'()*+,;=:@-]*")
"""What means itself in the path of a URL."""


def written(key: str) -> str:
    """The Consul key (without the store's own prefix) of a store key, or the start of one of a start."""
    return key.translate(_TO)


def read(text: str) -> str:
    """The store key that is written ``text``."""
    if '"' in text:
        return _WRITTEN.sub(lambda found: _BACK[found[0]], text)
    return text.replace("!", "\x1f")


def fits(path: str) -> bool:
    """Whether a Consul key can be asked for by URL."""
    return _UNFIT.search(path) is None


def fitting(path: str) -> str:
    """The longest start of ``path`` that can be asked for by URL."""
    while (found := _UNFIT.search(path)) is not None:
        path = path[: found.start() + (path[found.start()] == "/")]
    return path


def quoted(path: str) -> str:
    """A fitting Consul key as it stands in a URL."""
    if _PLAIN.fullmatch(path):
        return path
    from urllib.parse import quote

    return quote(path, safe="/!$'()*+,;=:@~")
