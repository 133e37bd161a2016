"""Why: whether an importer can be made to crash, to hang or to swallow memory is tried in a process that has little.

    python -m tests.state.fuzzer SEED COUNT

Feeds COUNT bundles, whole, damaged, and damaged with digests made right again, to the importer as the command does.
The address space is bounded for all of it, and the processor time for each. Says ``done`` and how many were refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from sloth_runner.errors import SlothError
from sloth_runner.state import age, bundle_files, bundle_import, json_objects
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import SHARED, store_key
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.store import Change, Store
from tests.state.bundle_kit import Blocks, everything, export_bytes, import_bytes
from tests.state.kit import ids, key_source, make_state

MEMORY: Final = 512 << 20
"""Bytes of address space; what Python and SQLite take of it before the first bundle counts, too."""
SECONDS: Final = 1.0
"""Of processor time, for one bundle."""
SECRET: Final = bytes(range(32))
WORDS: Final = (
    b"null", b"true", b"-0", b"1e999", b"NaN", b'"\\ud800"', b'{"$bytes":"', b'{"$float":"inf"}', b"\xff\xfe",
    b"\x00", b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b'"' + b"\\u0000" * 3000 + b'"', b'["k","', b'["m","seal",',
    b"\n", b"{", b'{"end":1', b"\x1f", b"sha256:", b'"v":', b'"f":1,', b'"n":', b'"p":"', b'"a":', b'"at":', b"\r\n",
)  # fmt: skip


class Hang(Exception):
    """A bundle took longer than it may."""


def corpus() -> list[bytes]:
    """Bundles with everything in them."""
    state = make_state()
    for number in range(6):
        state.set(f"k{number}", {"deep": [[number], "x", 1.5]} if number % 2 else "v" * number)
        state.set(f"k{number % 3}", number, ttl=99.0 if number % 2 else None, sensitive=number == 2)
    state.set('é"\\', "y" * 70_000)
    state.delete("k1")
    state.shared.set("cluster:x", 2**62)
    rows = [("r", "file:/x", b'{"sum":"1"}'), ("o", "00", bytes(range(256))), ("f", "l", b'{"token": 3}')]
    state.writer.store.commit([Change(store_key("local", kind, name), value) for kind, name, value in rows])
    both = ("local", SHARED)
    return [
        export_bytes(state, both, with_history=True),
        export_bytes(state, both),
        export_bytes(make_state()),
    ]


def mutated(dice: random.Random, bundle: bytes) -> bytes:
    """A bundle with some damage."""
    data = bytearray(bundle)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.choice((0, 1, 1, 4, 40, 400)))
        other = dice.randrange(len(data) + 1)
        new = dice.choice(
            (
                b"", dice.choice(WORDS), dice.randbytes(3), bytes(data[other : other + dice.choice((8, 80, 800))]),
                str(dice.randrange(-5, 1 << dice.choice((4, 40, 70)))).encode(),
            )
        )  # fmt: skip
        data[at:end] = new
    lines = bytes(data).splitlines(keepends=True)
    if lines and dice.random() < 0.3:
        where, there = dice.randrange(len(lines)), dice.randrange(len(lines))
        lines[where], lines[there] = lines[there], lines[where]
        if dice.random() < 0.3:
            lines[where:where] = lines[there : there + 1] * dice.choice((1, 2, 2000))
    return b"".join(lines)


def made_right(data: bytes) -> bytes:
    """The same with right digests and counts, so that what lies behind them is reached."""
    out: list[bytes] = []
    digest = hashlib.sha256()
    counts: dict[str, int] = {}
    section = 0
    for line in data.splitlines(keepends=True):
        if line.startswith(b'{"end"'):
            section += 1
            row = {"end": section, "counts": counts, "digest": f"sha256:{digest.hexdigest()}"}
            line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
            counts = {}
        elif line.startswith(b"["):
            counts["k"] = counts.get("k", 0) + 1
        digest.update(line)
        out.append(line)
    return b"".join(out)


def bombs() -> Iterator[bytes]:
    """Small things that would be large."""
    head, rest = corpus()[0].split(b"\n", 1)
    end = b'{"end":1}\n' + rest[rest.index(b"{", rest.index(b'{"end"') + 5) :]
    for value in (
        b"[" * 1_000_000, b"[" + b"{}," * 340_000 + b"{}]", b'{"a":' * 200_000, b"9" * 1_000_000,
        b'{"$bytes":"' + b"A" * (16 << 20) + b'"}', b'"' + b"\\u0041" * 170_000 + b'"',
        b"[" + b"1e9," * 250_000 + b"1]",
    ):  # fmt: skip
        for kind in (b"r", b"b", b"k"):
            yield made_right(head + b'\n["' + kind + b'","x",' + value + b"]\n" + end)
    yield head + b'\n["r","x","' + b"x" * (40 << 20)
    yield head.replace(b'"sections":2', b'"sections":' + b"9" * 4000) + b"\n"
    yield b"{" * (20 << 20)
    yield b"\n" * (4 << 20)


def feed(data: bytes, store: Store, dice: random.Random) -> bool:
    """Import; whether it was refused, and then nothing was changed."""
    before = everything(store)
    size = dice.choice((1, 7, 64 << 10, 1 << 20)) if len(data) < 200_000 else 1 << 20
    try:
        import_bytes(store, data, size=size, force=True, replace=dice.random() < 0.3)
    except SlothError:
        assert everything(store) == before, "it was refused and has changed something"
        return True
    return False


def feed_sealed(data: bytes, dice: random.Random) -> bool:
    """A sealed bundle whose seal is damaged."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    parts: list[bytes] = []
    public = X25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw()
    sealer = age.Sealer(parts.append, age.Keys(keys=(public,)))
    sealer.write(data)
    sealer.finish()
    raw = bytearray(b"".join(parts))
    head = raw.index(b"\n---") + 60
    at = dice.randrange(head if dice.random() < 0.7 else len(raw))
    raw[at : at + dice.choice((0, 1, 30))] = dice.choice((b"", dice.randbytes(1), dice.choice(WORDS)))
    try:
        file = bundle_files.File(io.BytesIO(bytes(raw)), lambda passphrase: age.Keys(keys=(SECRET,)))
        bundle_import.survey(file)
    except SlothError:
        return True
    return False


def feed_object(data: bytes) -> bool:
    """A damaged JSON object."""
    try:
        values = json_objects.items(Blocks(data).blocks())
        choice = bundle_import.Choice(make_state().by, 1.9e9, ids())
        bundle_import.merge_values(MemoryStore(), "local", values, choice, dry_run=False)
    except SlothError:
        return True
    return False


def within(work: Callable[[], bool], data: bytes) -> bool:
    """Do it in the time that it may take; shows what it was about if anything but an error of ours is raised."""

    def late(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return work()
    except BaseException:
        sys.stderr.write(f"{len(data):,} bytes: {data[:3000]!r}\n")
        raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(seed: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    dice = random.Random(seed)
    bundles = corpus()
    text = b'{"a": 1, "b": {"c": [1.5, true, "\\u00e9"]}, "d": "long"}'
    refused = 0
    todo = iter(bombs())
    for number in range(count):
        data = next(todo, None) or mutated(dice, dice.choice(bundles))
        if number % 3:
            data = made_right(data) if len(data) < 1 << 20 else data
        store: Store = MemoryStore() if dice.random() < 0.5 else Sealed(MemoryStore(), key_source())
        if dice.random() < 0.5:
            make_state(store).set("k1", "mine")
        refused += within(partial(feed, data, store, dice), data)
        if number % 10 == 0:
            refused += within(partial(feed_sealed, bundles[0], dice), b"sealed")
            object_ = mutated(dice, text)
            refused += within(partial(feed_object, object_), object_)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"done: {count} bundles, {refused} refused, peak {peak} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
