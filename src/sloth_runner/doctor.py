"""Why: before something breaks, or when it has, one look at everything that state rests on says what to do about it.

Each check gives findings: ``ok``, ``note`` (worth knowing) or ``problem`` (something to be done). Nothing is changed,
but for what opening a store always does: a database file that others could read is closed to them.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from sloth_runner import processes
from sloth_runner.errors import SlothError
from sloth_runner.moments import iso
from sloth_runner.plain import TYPE_CHECKING, NamedTuple
from sloth_runner.state import locks, tags
from sloth_runner.state.layout import HEAD, META, STORE, place, prefix_of, store_key
from sloth_runner.state.record import decode_record
from sloth_runner.state.store import Change, walk

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.state.store import Store

AHEAD = 60.0
"""Seconds that another machine's clock may be ahead before it is worth a word."""
TIMES = 7
"""How often a read and a commit are timed."""
NAMED = 10
"""Keys or files that a finding names."""
OK, NOTE, PROBLEM = "ok", "note", "problem"


class Finding(NamedTuple):
    """What a check found: in a namespace, or (None) in the whole; ``next``: what to do."""

    check: str
    namespace: str | None
    status: str
    message: str
    next: tuple[str, ...] = ()


def examine(app: App, flags: Callable[[str], str]) -> Iterator[Finding]:
    """All findings. ``flags`` gives what a command line adds to mean a namespace."""
    store = app.store()
    yield _versions(store)
    if not store.traits.embedded:
        yield from _server(app)
    yield from _files(store, app.clock())
    yield _encryption(store)
    for namespace in app.namespaces():
        try:
            yield from _namespace(app, store, namespace, flags(namespace))
        except SlothError as error:
            yield Finding("integrity", namespace, PROBLEM, error.message, tuple(error.next))
    try:
        yield from _runs(app, store)
    except SlothError as error:
        yield Finding("runs", None, PROBLEM, error.message, tuple(error.next))


def _versions(store: Store) -> Finding:
    import platform

    from sloth_runner import __version__

    words = f"sloth-runner {__version__}, Python {platform.python_version()}"
    if getattr(store, "folder", None) is not None:
        from sloth_runner.state.backends.sqlite_file import driver_version, library_version

        words += f", SQLite {library_version()} (apsw {driver_version()})"
    return Finding("versions", None, OK, words)


def _server(app: App) -> Iterator[Finding]:
    """What the store's server was tried for, how long it takes, and what it takes."""
    store = app.stores.untried()
    try:
        for proof in store.traits.probe() if store.traits.probe else ():
            status = OK if proof.good else PROBLEM if proof.vital else NOTE
            yield Finding("server", None, status, f"{proof.name}: {proof.message}")
        read, commit = _latency(store, app.new_id())
        yield Finding(
            "server", None, OK, f"latency: a read {read * 1000:.1f} ms, a commit {commit * 1000:.1f} ms"
        )
        traits = store.traits
        text = f"up to {traits.max_changes:,} changes at once, and {traits.max_value:,} bytes of one value"
        if traits.shortest_lease:
            text += f"; a lock's lease lasts {traits.shortest_lease:g} s or more"
        yield Finding("server", None, OK, text)
    except SlothError as error:
        yield Finding("server", None, PROBLEM, error.message, tuple(error.next))
    finally:
        store.close()


def _latency(store: Store, name: str) -> tuple[float, float]:
    """Seconds that a read and a commit take, each the median of some; on a record that is removed again."""
    from statistics import median
    from time import perf_counter

    key = store_key(STORE, META, f"probe-{name}")
    marks = [perf_counter()]
    for _ in range(TIMES):
        store.get(key)
        marks.append(perf_counter())
    for number in range(TIMES):
        store.commit([Change(key, b"%d" % number)])
        marks.append(perf_counter())
    store.commit([Change(key, None)])
    took = [after - before for before, after in pairwise(marks)]
    return median(took[:TIMES]), median(took[TIMES:])


def _encryption(store: Store) -> Finding:
    """A store that seals what it holds says how in ``encryption``, and in ``unfinished`` what has to go on."""
    how: str | None = getattr(store, "encryption", None)
    if how is None:
        return Finding("encryption", None, NOTE, "not encrypted: who can read the store can read the values")
    unfinished: str | None = getattr(store, "unfinished", None)
    if unfinished is not None:
        status = NOTE if getattr(store, "whole", False) else PROBLEM
        return Finding("encryption", None, status, how, (f"finish it: sloth-runner {unfinished}",))
    return Finding("encryption", None, OK, how)


def _files(store: Store, now: float) -> Iterator[Finding]:
    folder: Path | None = getattr(store, "folder", None)
    if folder is None:
        return
    if not folder.exists():
        yield Finding("permissions", None, NOTE, f"there is no state yet: {folder} does not exist")
        return
    wrong = [finding for path in _paths(folder) if (finding := _permissions(path)) is not None]
    yield from wrong
    if not wrong:
        yield Finding("permissions", None, OK, f"{folder} and its files are yours alone")
    late = [path.name for path in sorted(folder.glob("*.db")) if path.lstat().st_mtime > now + AHEAD]
    if late:
        yield Finding(
            "clock",
            None,
            PROBLEM,
            f"files were written in the future: {_some(late)}; it is {iso(now)} by this machine's clock",
            ("set the clock right (it may have been set back): revisions are found by their time",),
        )
    else:
        yield Finding("clock", None, OK, f"no file is from the future; it is {iso(now)}")


def _paths(folder: Path) -> list[Path]:
    inside = [path for path in folder.rglob("*") if path.name.endswith((".db", ".db-wal", ".db-shm"))]
    return [folder, *sorted(inside)]


def _permissions(path: Path) -> Finding | None:
    try:
        info = path.lstat()
    except FileNotFoundError:
        return None  # a log that was closed just now
    mode = stat.S_IMODE(info.st_mode)
    if path.suffix != "" and not stat.S_ISREG(info.st_mode) and path.name.endswith(".db"):
        return Finding(
            "permissions",
            None,
            PROBLEM,
            f"{path} is no regular file",
            ("put the database itself in its place",),
        )
    if info.st_uid != os.geteuid():
        text = f"{path} belongs to another user (uid {info.st_uid})"
        return Finding(
            "permissions", None, PROBLEM, text, (f"chown {os.geteuid()} {shlex.quote(str(path))}",)
        )
    if mode & 0o077:
        right = "700" if stat.S_ISDIR(info.st_mode) else "600"
        return Finding(
            "permissions",
            None,
            PROBLEM,
            f"{path} is open to other users (mode {mode:o})",
            (f"chmod {right} {shlex.quote(str(path))}",),
        )
    return None


def _namespace(app: App, store: Store, namespace: str, flags: str) -> Iterator[Finding]:
    from sloth_runner.state.verify import verify

    integrity: Callable[[str], list[str]] | None = getattr(store, "integrity", None)
    faults = [] if integrity is None else integrity(namespace)
    report = verify(store, namespace)
    if faults:
        yield Finding(
            "integrity",
            namespace,
            PROBLEM,
            f"the database is damaged: {_some(faults)}",
            ("keep a copy of the file, then restore it from a backup", "check the disk"),
        )
    if report.findings:
        count = len(report.findings) + report.more
        yield Finding(
            "integrity",
            namespace,
            PROBLEM,
            f"{_count(count, 'record')} {'is' if count == 1 else 'are'} not what was written; the first: "
            f"{report.findings[0].message}",
            (f"see all: sloth-runner state verify{flags}",),
        )
    if not faults and not report.findings:
        text = f"{_count(report.keys, 'key')}, {_count(report.revisions, 'revision')}: all as written"
        yield Finding("integrity", namespace, OK, f"{text}; head {report.head}")
    yield _lineage(store, namespace)
    yield from _heads(store, namespace, app.clock())
    yield from _tags(store, namespace, flags)
    yield from _locks(app, store, namespace, flags)


def _lineage(store: Store, namespace: str) -> Finding:
    from sloth_runner.state.lineage import lineage_of

    try:
        return Finding("lineage", namespace, OK, lineage_of(store, namespace) or "none yet")
    except SlothError as error:
        return Finding("lineage", namespace, PROBLEM, error.message, tuple(error.next))


def _heads(store: Store, namespace: str, now: float) -> Iterator[Finding]:
    """Records from the future, and how far back the history goes."""
    late: list[str] = []
    count = compacted = 0
    horizon: float | None = None
    for entry in walk(store, prefix_of(namespace, HEAD)):
        record = decode_record(entry.value)
        if record.time > now + AHEAD:
            count += 1
            late += [place(entry.key).name] if count <= NAMED else []
        if record.first > 1:
            compacted += 1
            horizon = record.first_time if horizon is None else max(horizon, record.first_time)
    if count:
        yield Finding(
            "clock",
            namespace,
            PROBLEM,
            f"{_count(count, 'key')} changed in the future: {_some(late, count)}",
            ("set the clocks of the machines that write here right; history and --at go by these times",),
        )
    text = "all revisions are kept"
    if horizon is not None:
        text = f"complete since {iso(horizon)}; of {_count(compacted, 'key')}, revisions before that are compacted"
    yield Finding("history", namespace, OK, text)


def _tags(store: Store, namespace: str, flags: str) -> Iterator[Finding]:
    for tag in tags.every(store, namespace):
        if tag.status == tags.DONE:
            yield Finding("tags", namespace, OK, f"{tag.name}: {_count(tag.keys, 'key')}, {tag.digest}")
            continue
        waits = "; until then no revision is pruned" if tag.status == tags.MAKING else ""
        again = f"sloth-runner state tag {tag.name}{flags} makes it anew"
        yield Finding(
            "tags",
            namespace,
            PROBLEM,
            f"the tag {tag.name} was begun at {iso(tag.time)} and is not finished{waits}",
            (
                f"if no process is at it: {again}",
                f"or delete it: sloth-runner state tag {tag.name} --delete{flags}",
            ),
        )


def _locks(app: App, store: Store, namespace: str, flags: str) -> Iterator[Finding]:
    boot, _ = processes.identity()
    held = stale = 0
    for info in locks.held(store, namespace):
        held += 1
        by = info.owner.by
        if locks.is_stale(info, app.settings.host, boot, processes.start_time(by.pid)):
            stale += 1
            yield Finding(
                "locks",
                namespace,
                PROBLEM,
                f"{info.name!r} is held by {info.owner.holder!r}, whose process {by.pid} is gone; it ends by itself "
                f"at {iso(info.expires)}",
                (f"if nothing that it started still runs: sloth-runner lock break {info.name}{flags}",),
            )
    if not stale:
        yield Finding("locks", namespace, OK, f"{held:,} held, none by a dead process")


def _runs(app: App, store: Store) -> Iterator[Finding]:
    from sloth_runner.engine import records
    from sloth_runner.execution.made_of import had_values

    left = 0
    stacks = {row["id"] for row in records.list_stacks(store)}
    for row in records.list_runs(store):
        if row["status"] != "running":
            continue
        if processes.is_gone(row["process"], app.settings.host):
            left += 1
            steps = [f"see how far it came: sloth-runner runs show {row['run']}"]
            if row["stack_id"] in stacks:
                again = shlex.join(
                    ["sloth-runner", "run", "-f", row["file"], row["stack"], "--resume", row["run"]]
                )
                values = " --values … --set …" if had_values(row["run"], row.get("made_of", {})) else ""
                steps.append(f"go on from there: {again}{values}")
            yield Finding(
                "runs",
                None,
                NOTE,
                f"the run {row['run']} of {row['stack']} never ended: its process {row['process'][2]} is gone",
                tuple(steps),
            )
    if not left:
        yield Finding("runs", None, OK, "none was left by a dead process")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word if number == 1 else word + 's'}"


def _some(names: list[str], count: int | None = None) -> str:
    total = len(names) if count is None else count
    more = f" and {total - NAMED:,} more" if total > NAMED else ""
    return ", ".join(names[:NAMED]) + more
