"""Why: tests of bundles export to bytes and import from bytes, in the same steps as the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sloth_runner.model import By
from sloth_runner.moments import iso
from sloth_runner.state import bundle_import
from sloth_runner.state.bundle_export import export
from sloth_runner.state.bundle_gather import Census, Order
from sloth_runner.state.bundle_import import Choice, Outcome
from sloth_runner.state.layout import LEASE, META, place
from sloth_runner.state.state import State
from sloth_runner.state.store import Store
from tests.state.kit import ids

IMPORTER = By("bob", "host2", 9)


class Blocks:
    """A bundle in memory, read in blocks of ``size`` bytes."""

    def __init__(self, data: bytes, size: int = 1 << 20) -> None:
        self.data = data
        self.size = size

    def blocks(self) -> Iterator[bytes]:
        for start in range(0, len(self.data), self.size):
            yield self.data[start : start + self.size]


def nothing(*args: object) -> None:
    """Hears and says nothing."""


def agree(namespace: str, census: Census) -> None:
    """Consents."""


def export_bytes(
    state: State, namespaces: Iterable[str] = ("local",), *, with_history: bool = False, prefix: str = ""
) -> bytes:
    """A bundle."""
    parts: list[bytes] = []
    now = iso(state.writer.clock())
    order = Order(list(namespaces), now, "ann", "host1", "sloth-runner test", with_history, prefix)
    with TemporaryDirectory() as folder:
        export(
            state.writer.store,
            order,
            parts.append,
            folder=Path(folder),
            new_id=state.writer.new_id,
            progress=nothing,
            consent=agree,
        )
    return b"".join(parts)


def import_bytes(
    store: Store, data: bytes, *, size: int = 1 << 20, now: float = 1.9e9, **more: Any
) -> list[Outcome]:
    """Import as the command does: verified, planned, checked, applied."""
    source = Blocks(data, size)
    choice = Choice(IMPORTER, now, ids(), **more)
    sections = bundle_import.survey(source)
    outcomes = bundle_import.plan(store, source, sections, choice, exact=False)
    bundle_import.check(outcomes, choice)
    return bundle_import.apply(store, source, sections, choice, progress=nothing)


def contents(store: Store, namespace: str = "local") -> dict[str, bytes]:
    """All that a namespace holds but what is bound to its place."""
    found = {entry.key: entry.value for entry in store.scan(f"{namespace}\x1f")}
    return {key: value for key, value in found.items() if place(key).kind not in (LEASE, META)}


def everything(store: Store) -> list[tuple[str, bytes, int]]:
    """Every entry with its Rev."""
    return [(entry.key, entry.value, entry.rev) for entry in store.scan()]


def section(namespace: str, lines: list[bytes], **more: Any) -> bytes:
    """A bundle of these record lines, whose header, counts and digest are right (unless ``more`` says otherwise)."""
    header = {
        "format": "sloth-runner/bundle", "version": 1, "section": 1, "sections": 1, "namespace": namespace,
        "lineage": "0" * 32, "head": "0" * 64, "created": "2026-01-01T00:00:00.000Z",
        "by": {"user": "u", "host": "h"}, "program": "p", "with_history": False, "prefix": "",
        "counts": {"keys": len(lines)}, **more,
    }  # fmt: skip
    data = _json(header) + b"".join(lines)
    counts = {"k": sum(line.count(b"\n") for line in lines)}
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return data + _json({"end": 1, "counts": counts, "digest": digest})


def _json(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
