"""Why: a scan may bring more than memory should hold at once, so its JSON array is taken apart as it comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sloth_runner.plain import Any, Final

_BETWEEN: Final = "[], \t\r\n"


def rows(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON array that arrives in pieces. Raises ValueError for anything else.

    An array that arrives in one piece, as most do, is parsed at once.
    """
    first = next(pieces, b"[]")
    second = next(pieces, None)
    if second is None:
        yield from json.loads(first)
        return
    from codecs import getincrementaldecoder

    decode = getincrementaldecoder("utf-8")().decode
    parse = json.JSONDecoder().raw_decode
    text, place = decode(first) + decode(second), 0
    while True:
        while place < len(text) and text[place] in _BETWEEN:
            place += 1
        try:
            row, place = parse(text, place)
        except ValueError:
            piece = next(pieces, None)
            if piece is None:
                break
            text, place = text[place:] + decode(piece), 0
            continue
        yield row
    if text[place:] or not text.endswith("]"):
        raise ValueError("the array has no end")
