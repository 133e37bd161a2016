"""A migration copies everything, leaves one living state whatever happens, and goes on where it was killed."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sloth_runner.engine.fitting import encode
from sloth_runner.engine.fitting_store import Fitting
from sloth_runner.errors import (
    Conflict,
    Indeterminate,
    LockHeld,
    LockLost,
    Moved,
    SlothError,
    StoreDown,
    TooLarge,
    UsageError,
)
from sloth_runner.state import locks, migrate, moved, tags
from sloth_runner.state.backends import Options, open_store
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.backends.sqlite import SQLiteStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import ARRIVING, FENCE, LEASE, SHARED, STORE, place, store_key
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_records import Intent
from sloth_runner.state.lineage import ensure_lineage
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.marks import is_own
from sloth_runner.state.migrate import Order, Side
from sloth_runner.state.migrate_copy import total
from sloth_runner.state.moved import Retiring
from sloth_runner.state.sealed import Sealed
from sloth_runner.state.state import State
from sloth_runner.state.store import ABSENT, Change, Check, Store
from sloth_runner.state.verify import verify
from sloth_runner.state.writer import Writer
from tests.services import postgres
from tests.state.kit import BY, Clock, ids, key_source

AN_INTENT = Intent({"mode": "0644"}, {}, None, True, (), 1.0, "r1")
OWNER = Owner("migrate", "migrate/1", BY, "boot", 1)
Dump = dict[str, bytes]


def order(**more: Any) -> Order:
    numbers = itertools.count(1)
    made = Order(
        by=BY,
        owner=OWNER,
        new_id=lambda: f"{next(numbers):032x}",
        clock=Clock(),
        alive=lambda info: True,
        progress=lambda count: None,
    )
    return made._replace(**more)


class Places:
    """Stores of several kinds, opened as sides of a migration."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._memories: dict[str, MemoryStore] = {}
        self._schemas: dict[str, str] = {}

    def raw(self, name: str) -> Store:
        """A handle on ``KIND NUMBER``."""
        kind = name.split()[0]
        if kind == "others":  # a store that knows nothing of migrations
            return Retiring(self._memories.setdefault(name, MemoryStore()))
        if kind == "small":
            memory = self._memories.setdefault(name, MemoryStore())
            memory.traits = memory.traits._replace(max_changes=7, max_value=80_000)
            return Retiring(memory)
        if kind == "postgres":
            if name not in self._schemas:
                self._schemas[name] = self._stack.enter_context(postgres.schema())
            store: Store = open_store(self._schemas[name], Options(self._folder, 10.0))
        else:
            store = SQLiteStore(self._folder / name, patience=5.0)
        self._stack.callback(store.close)
        return store

    def side(self, name: str) -> Side:
        """The same as a side; ``sealed KIND NUMBER`` under a key."""
        raw = self.raw(name.removeprefix("sealed "))
        store = Sealed(raw, key_source()) if name.startswith("sealed ") else raw
        if isinstance(store, Sealed):
            store.ready()
        return Side(store, raw, f"test://{name.replace(' ', '/')}")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    with ExitStack() as stack:
        yield Places(tmp_path, stack)


def state_of(store: Store, namespace: str = "local", clock: Clock | None = None) -> State:
    writer = Writer(store, clock or Clock(), ids(), Retention(keep=2, days=0.0))
    return State(writer, namespace, BY)


def fill(store: Store, keys: int = 30) -> None:
    """All kinds of records, in several namespaces."""
    clock = Clock()
    for namespace in ("local", "web1", "web.1", SHARED):
        state = state_of(store, namespace, clock)
        for number in range(keys):
            state.set(f"k{number}", {"number": number})
            if number % 3 == 0:
                state.set(f"k{number}", f"again {number}", sensitive=number % 2 == 0)
        state.set("long", "x" * 66_000)
        state.set("pruned", 1)
        for number in range(6):
            clock.now += 86_400
            state.set("pruned", number)
        state.delete("k1")
        for _ in range(3):
            held = locks.acquire(store, namespace, "deployment", OWNER, 30.0, clock.now)
            assert isinstance(held, Held)
            locks.release(store, held, clock.now)
    tags.make(store, "local", "v1", BY, clock.now)
    ensure_lineage(store, "local", iter(["f" * 32]).__next__)
    ledger = Ledger(store, "web1", lambda: ())
    ledger.begin({"file:/etc/x": AN_INTENT}, {"d" * 64: b"content"})
    rows = [(store_key(SHARED, kind, "20270101-000000-abcdef"), b'{"began": 1}') for kind in ("n", "t", "s")]
    store.commit([Change(key, value) for key, value in rows])


def dump(store: Store) -> Dump:
    """Everything but leases and what belongs to the place."""
    found = {entry.key: entry.value for entry in store.scan()}
    return {key: value for key, value in found.items() if not is_own(key) and place(key).kind != LEASE}


def is_alive(side: Side) -> bool:
    """Whether the state there takes writes."""
    try:
        side.store.commit(
            [Change(store_key("local", "k", "probe"), b"{}"), Check(store_key("local", "k", "?"), ABSENT)]
        )
    except Moved:
        return False
    side.store.commit([Change(store_key("local", "k", "probe"), None)])
    return True


PAIRS = (
    ("sqlite a", "postgres b"),
    ("postgres a", "sqlite b"),
    ("sqlite a", "sqlite b"),
    ("sealed sqlite a", "sealed postgres b"),
    ("sealed postgres a", "sealed sqlite b"),
    ("others a", "postgres b"),
    ("sqlite a", "small b"),
    ("sealed small a", "sealed others b"),
)


@pytest.mark.parametrize(("from_", "to"), PAIRS)
def test_everything_is_there_and_in_one_place_only(places: Places, from_: str, to: str) -> None:
    source, target = places.side(from_), places.side(to)
    fill(source.store)
    before = dump(source.store)
    held_elsewhere = places.side(from_)
    heard: list[int] = []
    planned = migrate.survey(source, target, heard.append)
    assert sum(heard) == sum(one.records for one in planned) == len(before)
    sums = migrate.migrate(source, target, order(progress=heard.append))
    assert dump(target.store) == before
    assert [(one.namespace, one.kinds, one.bytes, one.digest) for one in sums] == [
        (one.namespace, one.kinds, one.bytes, one.digest) for one in planned
    ]
    assert {place(key).kind for key in before} >= set("khbfjogntsm")
    assert not is_alive(source) and not is_alive(held_elsewhere) and is_alive(places.side(to))
    assert dump(source.store) == before, "and can still be read"
    assert migrate.look(source, target).done and migrate.migrate(source, target, order()) == []
    assert moved.coming(target.raw) is None
    came = moved.came(target.raw)
    assert came is not None and came.source == source.name
    for name in ("local", "web1", SHARED):
        assert verify(target.store, name).ok


def test_there_and_back_again_nothing_is_lost(places: Places) -> None:
    """SQLite, PostgreSQL, and back into the very same files, which had been left with an earlier state."""
    files, server = "sealed sqlite a", "sealed postgres b"
    fill(places.side(files).store)
    migrate.migrate(places.side(files), places.side(server), order())
    state = state_of(places.side(server).store)
    state.set("k2", "later")
    state.set("new", "later")
    state.delete("k3")
    held = locks.acquire(places.side(server).store, "local", "deployment", OWNER, 30.0, 1.0)
    assert isinstance(held, Held) and held.token == 4
    locks.release(places.side(server).store, held, 2.0)
    state_of(places.side(server).store, "web9").set("a", 1)
    there = dump(places.side(server).store)
    situation = migrate.look(places.side(server), places.side(files))
    assert situation.holds == migrate.EARLIER
    migrate.migrate(places.side(server), places.side(files), order(new_id=lambda: "e" * 32))
    assert dump(places.side(files).store) == there
    assert is_alive(places.side(files)) and not is_alive(places.side(server))
    again = migrate.look(places.side(files), places.side(server))
    assert again.holds == migrate.EARLIER
    migrate.migrate(places.side(files), places.side(server), order(new_id=lambda: "d" * 32))
    assert dump(places.side(server).store) == there
    assert is_alive(places.side(server)) and not is_alive(places.side(files))


def test_a_fence_is_never_lowered(places: Places) -> None:
    """Somebody restored the server from a backup before the state went back."""
    files, server = places.side("sqlite a"), places.side("postgres b")
    fill(files.store)
    fence = store_key("local", FENCE, "deployment")
    migrate.migrate(files, server, order())
    entry = server.store.get(fence)
    assert entry is not None
    server.store.commit([Change(fence, entry.value.replace(b'"token": 3', b'"token": 2'), entry.rev)])
    migrate.migrate(server, files, order(new_id=lambda: "e" * 32))
    entry = files.store.get(fence)
    assert entry is not None and locks.fence_token(entry.value) == 3


@pytest.mark.parametrize(
    ("from_", "to"),
    [("sqlite a", "small b"), ("sealed small a", "sealed small b"), ("postgres a", "small b")],
)
def test_it_goes_on_however_often_it_is_killed(places: Places, from_: str, to: str) -> None:
    """Each process ends after a few commits to both stores; another goes on, and in the end all is there once."""
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    fill(places.side(from_).store, 8)
    before = dump(places.side(from_).store)
    killed = 0
    while True:
        life = Life(rng.randrange(1, 12), made=rng.random() < 0.5)
        source, target = (life.side(places.side(one)) for one in (from_, to))
        try:
            migrate.migrate(source, target, order(alive=lambda info: False))
            break
        except Killed:
            killed += 1
            here, there = places.side(from_), places.side(to)
            assert dump(here.store) == before
            gone = moved.left(here.raw)
            assert is_alive_raw(here) is (gone is None)
            if gone is not None and gone.done:
                assert dump(there.store) == before
            else:
                assert moved.coming(there.raw) is not None or not dump(there.store)
    assert killed > 1
    assert dump(places.side(to).store) == before
    assert is_alive(places.side(to)) and not is_alive(places.side(from_))


def is_alive_raw(side: Side) -> bool:
    try:
        side.raw.commit([Change(store_key("local", "k", "probe"), b"{}")])
    except Moved:
        return False
    side.raw.commit([Change(store_key("local", "k", "probe"), None)])
    return True


@pytest.mark.parametrize("other", ["source", "target"])
def test_what_was_begun_goes_on_though_a_store_is_named_otherwise(places: Places, other: str) -> None:
    """From another machine, say, where the server has another name: the notes tell that it is the same."""
    source, target = places.side("others a"), places.side("others b")
    fill(source.store, 4)
    before = dump(source.store)
    kill(source, target, 6)
    if other == "source":
        source = source._replace(name="test://otherwise")
    else:
        target = target._replace(name="test://otherwise")
    migrate.migrate(source, target, order(alive=lambda info: False))
    assert dump(target.store) == before and is_alive(target) and not is_alive(source)


def kill(source: Side, target: Side, moment: int) -> None:
    """Begin a migration and be killed: at its first commits while it closes the source, then while it copies."""
    life = Life(moment, made=True)
    by_another = order(new_id=lambda: source.name, alive=lambda info: False)
    with pytest.raises(Killed):
        migrate.migrate(life.side(source), life.side(target), by_another)
    assert not is_alive(source)


def test_what_was_begun_is_begun_with_no_other_store(places: Places) -> None:
    a, b, c, d = (places.side(f"others {name}") for name in "abcd")
    for side in (a, c):
        fill(side.store, 2)
    kill(a, b, 2)
    assert moved.coming(b.raw) is None, "and so another gets there before it"
    kill(c, b, 8)
    with pytest.raises(Moved, match="the state of test://others/c is being copied here"):
        migrate.look(a, b)
    for other in (a, c):
        with pytest.raises(Moved, match="is being moved to test://others/b"):
            migrate.look(other, d)
    tried = moved.Note("d" * 32, a.name, d.name, "ann", "host1", 1.0)  # it failed, and a was opened again
    d.raw.commit([Change(ARRIVING, moved.encode(tried))])
    with pytest.raises(Moved, match="is being moved to test://others/b"):
        migrate.look(a, d)


def test_killed_between_its_last_two_notes_it_is_finished(places: Places) -> None:
    """The state has moved already, and nobody can open it where it is."""
    source, target = places.side("others a"), places.side("others b")
    fill(source.store, 2)
    retire = source.raw.traits.retire
    assert retire is not None

    def killed(new: bytes, old: bytes) -> None:
        retire(new, old)
        if moved.decode(new).done:
            raise Killed

    raw = Wrapped(source.raw, retire=killed)
    with pytest.raises(Killed):
        migrate.migrate(source._replace(raw=raw), target, order())
    assert moved.coming(target.raw) is not None
    assert migrate.migrate(source, target, order(alive=lambda info: False)) == []
    assert moved.coming(target.raw) is None and moved.came(target.raw) is not None


def test_what_was_copied_before_an_error_can_be_deleted(places: Places) -> None:
    source, target = places.side("others a"), places.side("others b")
    fill(source.store, 2)
    broken = Failing(target.store, StoreDown("the server is away"), 2)
    with pytest.raises(StoreDown):
        migrate.migrate(source, target._replace(store=broken), order())
    assert is_alive(source) and dump(target.raw)
    assert migrate.abort(source, target, order()) > 0
    assert not dump(target.raw) and moved.coming(target.raw) is None and is_alive(source)


def test_only_its_own_state_comes_back_to_where_one_is_gone_from(places: Places) -> None:
    a, b, c, d, e = (places.side(f"others {name}") for name in "abcde")
    for side in (a, c, e):
        fill(side.store, 2)
    migrate.migrate(a, b, order(new_id=lambda: "a" * 32))
    migrate.migrate(c, d, order(new_id=lambda: "c" * 32))
    for other in (d, e):
        with pytest.raises(Moved, match="was moved to test://others/b"):
            migrate.look(other, a)
    assert migrate.look(b, a).holds == migrate.EARLIER
    migrate.migrate(b, a, order(new_id=lambda: "b" * 32))
    assert is_alive(a) and not is_alive(b)


def test_what_a_kill_left_open_of_the_source_is_closed_before_it_is_copied(places: Places) -> None:
    """A folder is closed file by file."""
    source, target = places.side("sqlite a"), places.side("others b")
    fill(source.store, 2)
    kill(source, target, 6)
    assert isinstance(source.raw, SQLiteStore)
    for event in ("insert", "update", "delete"):
        source.raw._files["web1"].execute(f"DROP TRIGGER moved_{event}")
    heard: list[int] = []

    def meanwhile(count: int) -> None:
        heard.append(count)
        with pytest.raises(Moved):
            source.raw.commit([Change(store_key("web1", "k", "late"), b"{}")])

    migrate.migrate(source, target, order(alive=lambda info: False, progress=meanwhile))
    assert heard and is_alive(target)


class Killed(BaseException):
    """The process has ended: nothing of it runs any more."""


class Life:
    """A process that ends at commit number ``left``, which is ``made`` or not."""

    def __init__(self, left: int, *, made: bool) -> None:
        self._left = left
        self._made = made

    def side(self, side: Side) -> Side:
        """A side as this process has it."""
        raw = Mortal(side.raw, self)
        return Side(raw if side.store is side.raw else Sealed(raw, key_source()), raw, side.name)

    def live(self, work: Callable[[], Any]) -> Any:
        """Do something, if there is life in it."""
        self._left -= 1
        if self._left > 0:
            return work()
        if self._left == 0 and self._made:
            work()
        raise Killed


class Mortal:
    """A store as a process has it that will be killed."""

    def __init__(self, inner: Store, life: Life) -> None:
        self.inner = inner
        self._life = life
        self.get, self.scan, self.close = inner.get, inner.scan, inner.close
        self.traits = inner.traits._replace(
            retire=self._retire if inner.traits.retire else None, bulk=None, exclusive=None, snapshot=None
        )

    def commit(self, changes: Any) -> Any:
        return self._life.live(lambda: self.inner.commit(changes))

    def _retire(self, new: bytes, old: bytes) -> None:
        retire = self.inner.traits.retire
        assert retire is not None
        self._life.live(lambda: retire(new, old))


@pytest.mark.parametrize("lock", ["can be let go", "can't be let go"])
def test_on_an_error_the_source_lives_on_and_the_next_try_goes_on(places: Places, lock: str) -> None:
    source, target = places.side("sqlite a"), places.side("postgres b")
    fill(source.store)
    broken = Failing(target.store, StoreDown("the server is away"), 3)
    raw = target.raw if lock == "can be let go" else broken
    with pytest.raises(StoreDown) as caught:
        migrate.migrate(source, target._replace(store=broken, raw=raw), order())
    assert any("takes writes again" in line for line in caught.value.unchanged)
    assert is_alive(source)
    with pytest.raises(Moved, match="is not complete"):
        raise moved.unfinished(_note(moved.coming(target.raw)))
    state_of(source.store).set("k5", "changed meanwhile")
    state_of(source.store).delete("k6")
    before = dump(source.store)
    migrate.migrate(source, target, order(new_id=lambda: "e" * 32, alive=lambda info: False))
    assert dump(target.store) == before


@pytest.mark.parametrize("kind", ["sqlite", "others"])
def test_interrupted_while_the_source_is_closed_it_is_opened_again(places: Places, kind: str) -> None:
    source, target = places.side(f"{kind} a"), places.side("sqlite b")
    fill(source.store)
    retire = source.raw.traits.retire
    assert retire is not None
    calls: list[bytes] = []

    def interrupted(new: bytes, old: bytes) -> None:
        calls.append(new)
        retire(new, old)
        if len(calls) == 1:
            raise KeyboardInterrupt

    raw = Wrapped(source.raw, retire=interrupted)
    with pytest.raises(KeyboardInterrupt):
        migrate.migrate(source._replace(store=raw, raw=raw), target, order())
    assert calls[0] and not calls[-1] and is_alive(source)


class Wrapped:
    """A store with other traits."""

    def __init__(self, inner: Store, **traits: Any) -> None:
        self.traits = inner.traits._replace(**traits)
        self.get, self.scan, self.commit, self.close = inner.get, inner.scan, inner.commit, inner.close


def _note(note: moved.Note | None) -> moved.Note:
    assert note is not None
    return note


class Failing:
    """A store of which commit number ``count`` fails."""

    def __init__(self, inner: Store, error: SlothError, count: int) -> None:
        self.inner = inner
        self.traits = inner.traits._replace(bulk=None)
        self.get, self.scan, self.close = inner.get, inner.scan, inner.close
        self._error, self._count = error, count

    def commit(self, changes: Any) -> Any:
        self._count -= 1
        if self._count <= 0:
            raise self._error.again()
        return self.inner.commit(changes)


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_begun_can_be_undone(places: Places, begun: bool) -> None:
    source, target = places.side("sealed sqlite a"), places.side("sealed postgres b")
    fill(source.store)
    before = dump(source.store)
    if begun:
        life = Life(6, made=True)
        with pytest.raises(Killed):
            migrate.migrate(life.side(source), life.side(target), order())
        assert not is_alive(source) and dump(target.raw)
        migrate.abort(source, target, order(alive=lambda info: False))
    else:
        with pytest.raises(UsageError, match="no migration was begun"):
            migrate.abort(source, target, order())
    assert is_alive(source) and dump(source.store) == before and dump(target.store) == {}
    assert moved.coming(target.raw) is None and moved.left(source.raw) is None
    migrate.migrate(source, target, order(new_id=lambda: "e" * 32))
    assert dump(target.store) == before
    with pytest.raises(Moved, match="was moved"):
        migrate.abort(source, target, order())


def test_undone_on_the_way_back_the_old_home_stays_closed(places: Places) -> None:
    files, server = places.side("sqlite a"), places.side("postgres b")
    fill(files.store)
    migrate.migrate(files, server, order())
    state_of(server.store).set("k1", "later")
    life = Life(6, made=True)
    with pytest.raises(Killed):
        migrate.migrate(life.side(server), life.side(files), order(new_id=lambda: "e" * 32))
    assert not is_alive(server)
    migrate.abort(server, files, order(alive=lambda info: False))
    assert is_alive(server) and not is_alive(files)
    with pytest.raises(Moved, match=r"was moved to test://postgres/b"):
        files.raw.commit([Change(store_key("local", "k", "x"), b"1")])
    migrate.migrate(server, files, order(new_id=lambda: "d" * 32))
    assert is_alive(files) and not is_alive(server) and dump(files.store) == dump(server.store)


def test_nobody_is_moved_while_they_work(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("postgres b")
    fill(source.store)
    held = locks.acquire(source.store, SHARED, "stack:web", OWNER, 30.0, 1.0)
    assert isinstance(held, Held)
    words = r"'stack:web' in _shared: migrate \(ann@host1\)"
    with pytest.raises(LockHeld, match=words):
        migrate.survey(source, target, lambda count: None)
    closed: list[bytes] = []
    watched = source._replace(raw=Wrapped(source.raw, retire=lambda new, old: closed.append(new)))
    with pytest.raises(LockHeld, match=words):
        migrate.migrate(watched, target, order())
    assert not closed, "they could not go on meanwhile"
    assert locks.release(source.store, held, 2.0)
    assert is_alive(source)


def test_a_lock_taken_at_the_last_moment_stops_it(places: Places) -> None:
    """Between the look and the retiring: its holder goes on."""
    source, target = places.side("others a"), places.side("others b")
    fill(source.store)
    retire = source.raw.traits.retire
    assert retire is not None
    taken: list[object] = []

    def late(new: bytes, old: bytes) -> None:
        if not taken:
            taken.append(locks.acquire(source.store, "local", "late", OWNER, 30.0, 1.0))
        retire(new, old)

    source.raw.traits = source.raw.traits._replace(retire=late)
    with pytest.raises(LockHeld, match="late"):
        migrate.migrate(source, target, order())
    assert isinstance(taken[0], Held)
    assert locks.release(source.store, taken[0], 2.0)


def test_two_at_once_exclude_each_other(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("postgres b")
    fill(source.store)
    held = locks.acquire(target.raw, STORE, migrate.LOCK, OWNER, 30.0, 1.0)
    assert isinstance(held, Held)
    with pytest.raises(LockHeld, match=r"ann@host1 \(process 7\) is copying"):
        migrate.migrate(source, target, order())
    migrate.migrate(source, target, order(alive=lambda info: False))
    other = places.side("sqlite c")
    with pytest.raises(Moved, match="was moved to test://postgres/b"):
        migrate.migrate(source, other, order())
    with pytest.raises(Conflict, match="holds a state already: _shared, local"):
        fill(other.store)
        migrate.migrate(other, target, order())


def test_who_lost_the_targets_lock_touches_nothing_more(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("others b")
    fill(source.store)
    clock = Clock()

    def slow(count: int) -> None:
        clock.now += 1000  # by the holder's clock; and somebody broke the lock meanwhile
        info = locks.info(target.raw, STORE, migrate.LOCK)
        if info is not None:
            locks.break_lock(target.raw, info, BY, "test", clock.now)

    with pytest.raises(LockLost) as caught:
        migrate.migrate(source, target, order(clock=clock, progress=slow))
    assert any("takes no writes until" in line for line in caught.value.unchanged)
    assert not is_alive(source)
    migrate.migrate(source, target, order())
    assert is_alive(target)


def test_others_who_write_into_the_target_are_noticed(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("others b")
    fill(source.store)
    old = places.side("others b").store  # of a program that had it open before
    foreign = store_key("local", "k", "foreign")

    def meanwhile(count: int) -> None:
        if old.get(foreign) is None:
            old.commit([Change(foreign, b"{}")])

    with pytest.raises(Conflict, match=r"others write into"):
        migrate.migrate(source, target, order(progress=meanwhile))
    assert is_alive(source) and old.get(foreign) is not None


@pytest.mark.parametrize(
    "what", ["another value", "a lower fence", "a lost record", "a lost fence", "another key"]
)
def test_what_a_store_makes_of_what_was_copied_shows(places: Places, what: str) -> None:
    source, target = places.side("others a"), places.side("others b")
    fill(source.store, 3)
    head, fence = store_key("local", "k", "k0"), store_key("local", FENCE, "deployment")
    changed: list[str] = []

    def between(count: int) -> None:
        """The source was read again, and the target not yet."""
        if changed:
            return
        key = fence if "fence" in what else head
        entry = target.raw.get(key)
        assert entry is not None
        other = entry.value.replace(b'"ann"', b'"eve"').replace(b'"token": 3', b'"token": 2')
        assert other != entry.value
        stays = what in ("another value", "a lower fence")
        target.raw.commit([Change(key, other if stays else None, entry.rev)])
        if what == "another key":
            target.raw.commit([Change(store_key("local", "k", "k9"), entry.value)])
        changed.append(key)

    with pytest.raises(Conflict, match=r"does not hold what was copied there \(local\)"):
        migrate.migrate(source, target, order(progress=between))
    assert changed and is_alive(source)


def test_what_is_as_long_as_the_target_takes_is_taken(places: Places) -> None:
    source = places.side("others a")
    fill(source.store, 2)
    longest = max(len(value) for key, value in dump(source.raw).items() if key.startswith("local"))
    assert total(source.raw, "local", lambda count: None, most=longest).records
    with pytest.raises(TooLarge):
        total(source.raw, "local", lambda count: None, most=longest - 1)


def test_a_value_that_the_target_does_not_take_is_found_before_anything_is_changed(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("small b")
    state_of(source.store).set("large", "x" * 90_000)
    words = r"long value .* key 'large' in local has a record of 90,\d+ bytes; the target takes 80,000"
    with pytest.raises(TooLarge, match=words):
        migrate.survey(source, target, lambda count: None)
    with pytest.raises(TooLarge):
        migrate.migrate(source, target, order())
    assert is_alive(source)


def test_what_runs_said_is_shortened_to_what_the_target_takes(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("small b")
    state_of(source.store).set("key", "value")
    log = [{"time": None, "stream": "stdout", "text": f"line {number}"} for number in range(20_000)]
    said, small = store_key(SHARED, "t", "run", 1), store_key(SHARED, "n", "run")
    source.store.commit([Change(said, encode({"log": log, "calls": [], "state": []}))])
    source.store.commit([Change(small, encode({"status": "ok"}))])
    fitting = source._replace(store=Fitting(source.store, target.store.traits.max_value))
    assert migrate.survey(fitting, target, lambda count: None)
    migrate.migrate(fitting, target, order())
    entry = target.store.get(said)
    assert entry is not None and len(entry.value) <= 80_000
    assert b"lines are not kept" in entry.value and b'"line 0"' in entry.value
    assert dump(target.store)[small] == dump(source.store)[small]
    assert migrate.look(fitting, target).done


def test_what_cant_be_moved(places: Places) -> None:
    source = places.side("sqlite a")
    with pytest.raises(UsageError, match="both source and target"):
        migrate.look(source, source)
    memory = MemoryStore()
    with pytest.raises(UsageError, match="ends with its process"):
        migrate.look(source, Side(memory, memory, "memory://"))
    with pytest.raises(Moved, match="is not complete"):
        source.raw.commit([Change(ARRIVING, moved.encode(moved.Note("1" * 32, "a", "b", "ann", "h", 1.0)))])
        migrate.look(source, places.side("sqlite b"))


def test_an_empty_state_can_be_moved(places: Places) -> None:
    source, target = places.side("sqlite a"), places.side("postgres b")
    assert migrate.migrate(source, target, order()) == []
    assert not is_alive(source) and is_alive(target)


def test_lost_replies_are_resolved(places: Places) -> None:
    """Every commit of the target is made, and each other reply is lost."""
    source, target = places.side("sqlite a"), places.side("others b")
    fill(source.store)
    before = dump(source.store)
    lossy = Lossy(target.raw)
    migrate.migrate(source, Side(lossy, lossy, target.name), order())
    assert dump(target.store) == before and is_alive(target)


class Lossy:
    """Each other commit is made, and its reply lost."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.traits = inner.traits
        self.get, self.scan, self.close = inner.get, inner.scan, inner.close
        self._count = 0

    def commit(self, changes: Any) -> Any:
        self._count += 1
        revs = self.inner.commit(changes)
        if self._count % 2:
            raise Indeterminate("the reply was lost")
        return revs


def test_random_states_survive_any_journey(places: Places) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"SEED={seed}")
    rng = random.Random(seed)
    names = ["sqlite a", "postgres b", "others c", "small d"]
    here = previous = rng.choice(names)
    store = places.raw(here)
    for _ in range(200):
        key = store_key(rng.choice(["local", "web1"]), rng.choice("khrfb"), f"k{rng.randrange(60)}")
        value = (
            b'{"token": %d}' % rng.randrange(9)
            if place(key).kind == FENCE
            else rng.randbytes(rng.randrange(300))
        )
        store.commit([Change(key, value)])
    before = dump(store)
    number = itertools.count(1)
    visited = {here}
    for _ in range(6):
        choices = [name for name in names if name not in visited] or [previous]
        there = rng.choice(choices)
        migrate.migrate(places.side(here), places.side(there), order(new_id=lambda: f"{next(number):032x}"))
        assert dump(places.raw(there)) == before
        previous, here = here, there
        visited.add(here)
