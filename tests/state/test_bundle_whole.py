"""A bundle whose digest is right, and whose records don't hold together, changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable

import pytest

from sloth_runner.errors import Corrupt
from sloth_runner.state.backends.memory import MemoryStore
from tests.state.bundle_kit import everything, export_bytes, import_bytes
from tests.state.kit import make_state

Lines = list[bytes]
LONG = b"x" * 70_000


def bundle(*, with_history: bool) -> tuple[bytes, Lines]:
    """The header and the records of a bundle: a key with a long value among three, and a plain one."""
    state = make_state()
    for value in (1, LONG.decode(), 3):
        state.set("a", value)
    state.set("b", LONG.decode())
    header, *lines, _ = export_bytes(state, with_history=with_history).splitlines(keepends=True)
    return header, lines


def ended(header: bytes, lines: Lines) -> bytes:
    """These records with a last line that is right."""
    counts = Counter(str(json.loads(line)[0]) for line in lines)
    data = header + b"".join(lines)
    row = {
        "end": 1,
        "counts": dict(sorted(counts.items())),
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
    }
    return data + json.dumps(row, separators=(",", ":")).encode() + b"\n"


def without(start: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [line for line in lines if not line.startswith(start)]


def changed(start: bytes, old: bytes, new: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [line.replace(old, new, 1) if line.startswith(start) else line for line in lines]


def bringing(before: bytes, line: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [one for had in lines for one in ((line, had) if had.startswith(before) else (had,))]


HASH = hashlib.sha256(b'"' + LONG + b'"').hexdigest().encode()
NO_TEXT = hashlib.sha256(b"null").hexdigest().encode()
CASES: dict[str, tuple[bool, Callable[[Lines], Lines], str | None]] = {
    "as it is": (True, lambda lines: lines, None),
    "as it is, without history": (False, lambda lines: lines, None),
    "a revision is missing": (True, without(b'["h","a",2,'), "missing|follow"),
    "the first revision is missing": (True, without(b'["h","a",1,'), "revisions 1 to 1 are missing"),
    "a revision is another": (True, changed(b'["h","a",1,', b'"v":1', b'"v":9'), "does not follow"),
    "the head is another": (True, changed(b'["k","a",', b'"v":3', b'"v":9'), "not what its head says"),
    "the last revision is missing": (True, without(b'["h","a",3,'), "not what its head says"),
    "a revision stands in another's place": (
        True,
        changed(b'["h","a",3,', b'"a",3', b'"a",4'),
        "says that it is 3",
    ),
    "a long value of the past is missing": (True, without(b'["b","a",2,'), "is missing"),
    "a long value of the past is another": (True, changed(b'["b","a",2,', b"x", b"y"), "is missing"),
    "a long value is missing": (False, without(b'["b","b",1,'), "is missing"),
    "a long value is another": (False, changed(b'["b","b",1,', b"x", b"y"), "is missing"),
    "a long value that nobody names": (True, bringing(b'["h","a",3,', b'["b","a",3,"y"]\n'), "does not name"),
    "a long value that is none": (
        False,
        lambda lines: changed(b'["k","b",', HASH, NO_TEXT)(
            changed(b'["b","b",', b'"' + LONG + b'"', b"null")(lines)
        ),
        "can't be taken",
    ),
}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_what_does_not_hold_together_is_refused(case: str, there: bool) -> None:
    with_history, tamper, words = CASES[case]
    store = MemoryStore()
    if there:
        make_state(store).set("a", "here")
    before = everything(store)
    header, lines = bundle(with_history=with_history)
    data = ended(header, tamper(lines))
    if words is None:
        import_bytes(store, data, force=True)
        assert make_state(store).get("b") == LONG.decode()
        return
    assert tamper(lines) != lines
    with pytest.raises(Corrupt, match=words):
        import_bytes(store, data, force=True)
    assert everything(store) == before
