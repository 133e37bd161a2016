"""Why: the index is fast because it keeps what it has read; it must never say anything else than the state does."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.documents import search as searching
from sloth_runner.model import By
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.layout import SHARED
from sloth_runner.state.state import State
from sloth_runner.state.writer import Writer
from sloth_runner.web.drawing import sides, waterfall
from sloth_runner.web.index import leaf as leaves
from sloth_runner.web.index.index import Index
from sloth_runner.web.index.picture import SEPARATORS, Group
from sloth_runner.web.index.shelf import UNCHANGED
from sloth_runner.web.view import OPEN, OPEN_TEXT, toggled

NAMES = st.text(alphabet="ab:/C", min_size=1, max_size=6)
KEYS = st.one_of(NAMES, NAMES.map(lambda name: f"cluster:{name}"))
VALUES = st.one_of(
    st.text(alphabet='ab"\\\nÄ', max_size=8), st.integers(-5, 5), st.lists(st.booleans(), max_size=3)
)
STEPS = st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES), st.booleans()), max_size=60)


class World:
    """A state in memory and an index of it, whose leaves hold no more than three keys."""

    def __init__(self) -> None:
        ids = count(1)
        self.now = 1000.0
        self.store = MemoryStore()
        writer = Writer(self.store, lambda: self.now, lambda: f"{next(ids):032x}", Retention())
        self.view = State(writer, "local", By("ann", "host", 1))
        self.index = Index(("cluster:",), heads=3)

    def load(self) -> None:
        """Read everything."""
        for namespace in ("local", SHARED):
            self.index.shelf(namespace).load(self.store, self.now)

    def step(self, key: str, value: object, secret: bool) -> str:
        """Set or delete a key; its namespace."""
        self.now += 1
        if value is None:
            self.view.delete(key)
        else:
            self.view.set(key, value, sensitive=secret)  # type: ignore[arg-type] # what hypothesis made
        return self.view.home(key)


def _groups(world: World, prefix: str) -> list[Group]:
    """A level of the tree, the plain way."""
    out: dict[str, list[str]] = {}
    for key in world.view.keys(prefix):
        ends = [at for mark in SEPARATORS if (at := key.find(mark, len(prefix))) >= 0]
        out.setdefault(key[: min(ends) + 1] if ends else key, []).append(key)
    found = []
    for keys in out.values():
        if len(keys) == 1:
            found.append(Group(keys[0], 1, False))
            continue
        same = min(keys[0], keys[-1], key=len)
        while not (keys[0].startswith(same) and keys[-1].startswith(same)):
            same = same[:-1]
        cut = max(same.rfind(mark) for mark in SEPARATORS) + 1
        found.append(Group(same[:cut], len(keys), True))
    return sorted(found)


def _check(world: World) -> None:
    index, view = world.index, world.view
    assert index.count("local", "") == len(view.keys())
    for prefix in ("", "a", "a:", "cluster:", "cl", "a:b/"):
        assert index.count("local", prefix) == len(view.keys(prefix))
        # An own key may be below a group that shared ones make, so groups are compared where they don't mix.
        if not prefix.startswith("cl") and prefix:
            assert sorted(index.level("local", prefix, "", 1000)) == _groups(world, prefix)
    level = index.level("local", "", "", 1000)
    paged: list[Group] = []
    while page := index.level("local", "", paged[-1].name if paged else "", 2):
        paged += page
    assert paged == level
    assert sum(group.keys for group in level) == len(view.keys())
    for text in ("a", "B", "c:", "ä", '"', "\\", "\n", "true", "ab"):
        hits = index.search("local", text, "", "", 1000)
        wanted = [(m.row.namespace, m.row.key, m.where) for m in searching.scan(view, text, "")]
        assert [(hit.namespace, hit.key, hit.match) for hit in hits] == wanted
        gone_on = []
        after = ""
        while part := index.search("local", text, "", after, 2):
            gone_on += part
            after = f"{part[-1].match}/{part[-1].key}"
        assert gone_on == hits
    for namespace in ("local", SHARED):
        own = State(view.writer, namespace, view.by, shared_prefixes=())
        assert index.shelf(namespace).stats() == own.stats()


@settings(max_examples=60)
@given(STEPS, STEPS)
def test_it_says_what_the_state_says(
    before: list[tuple[str, object, bool]], after: list[tuple[str, object, bool]]
) -> None:
    world = World()
    for step in before:
        world.step(*step)
    world.load()
    _check(world)
    for key, value, secret in after:
        namespace = world.step(key, value, secret)
        world.index.shelf(namespace).look_at(world.store, key, world.now)
    _check(world)
    for key, value, secret in before:
        world.step(key, value, not secret)
    for namespace in ("local", SHARED):
        low: str | None = ""
        while low is not None:
            _, low = world.index.shelf(namespace).look_over(world.store, low, world.now)
    _check(world)


def test_looking_over_what_is_unchanged_says_so() -> None:
    world = World()
    world.step("a", 1, False)
    world.load()
    shelf = world.index.shelf("local")
    picture = shelf.picture
    assert shelf.look_over(world.store, "", world.now) == (UNCHANGED, None)
    assert shelf.picture is picture
    world.step("a", 2, False)
    world.step("a", 3, False)
    assert shelf.look_over(world.store, "", world.now) == (2, None)


def test_what_has_expired_is_gone_and_not_before() -> None:
    world = World()
    world.view.set("short", "x", ttl=10)
    world.load()
    shelf = world.index.shelf("local")
    assert not shelf.expire(world.store, world.now + 9)
    assert world.index.count("local", "") == 1
    assert shelf.expire(world.store, world.now + 11)
    assert world.index.count("local", "") == 0


def test_values_are_cut_to_fit() -> None:
    world = World()
    for number in range(100):
        world.step(f"key{number:03d}", "x" * 80, False)
    shelf = world.index.shelf("local")
    shelf.load(world.store, world.now, room=2000)
    assert shelf.values <= 2000 and shelf.depth < leaves.VALUE
    assert len(world.index.search("local", "x", "", "", 1000)) == 100


@given(st.sets(st.text("ab", min_size=1, max_size=600).map(lambda text: f"{text}:"), max_size=OPEN))
def test_any_branch_can_be_opened_however_many_are(opened: set[str]) -> None:
    place = {"namespace": "local", "prefix": "", "after": ""}
    address = urlsplit(toggled("new:", place, frozenset(opened)))
    names = dict(parse_qsl(address.query))["open"].split("\n")
    assert "new:" in names and len(names) <= OPEN and len("\n".join(names)) <= OPEN_TEXT


@given(st.floats(0, 10 * 86400))
def test_no_two_marks_of_a_scale_say_the_same(seconds: float) -> None:
    task = {"name": "t", "agent": "local", "status": "ok", "started": "2026-01-31T09:00:00.000Z"}
    drawn = waterfall({"tasks": [{**task, "seconds": seconds}]}, 0.0)
    assert drawn is not None
    labels = [label for _, label in drawn.ticks]
    assert len(set(labels)) == len(labels)


@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_two_columns_hold_what_the_two_values_are(old: list[str], new: list[str]) -> None:
    from sloth_runner.state.difference import unified
    from sloth_runner.state.value import encode

    lines = unified(encode("\n".join(old)), encode("\n".join(new)), "a", "b")
    rows = sides("".join(f"{line}\n" for line in lines))
    for side, whole in ((0, "\n".join(old).split("\n")), (1, "\n".join(new).split("\n"))):
        for row in rows:
            if row is not None and row[side].number is not None:
                assert whole[row[side].number - 1] == row[side].text  # type: ignore[operator] # not None
    changed = [row for row in rows if row is not None and (row[0].kind or row[1].kind)]
    assert sum(row[0].kind == "minus" for row in changed) == sum(line[:1] == "-" for line in lines[2:])


def test_assets_are_small_and_what_their_authors_published() -> None:
    import gzip
    import hashlib

    folder = Path(__file__).parents[2] / "src" / "sloth_runner" / "web" / "static"
    lines = (folder / "vendor" / "SHA256SUMS").read_text().splitlines()
    sums = {line.split()[1]: line.split()[0] for line in lines}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / "vendor" / name).read_bytes()).hexdigest() == digest
    sent = [file for file in folder.rglob("*") if file.suffix in (".js", ".css", ".svg")]
    assert {file.name for file in sent if file.parent.name == "vendor"} == set(sums)
    assert sum(len(gzip.compress(file.read_bytes())) for file in sent) <= 80 << 10
    for file in sent:
        text = file.read_text()
        assert "http://" not in text.replace("http://www.w3.org", "") or file.parent.name == "vendor"
        assert "https://" not in text or file.parent.name == "vendor"


def test_the_clock_is_not_asked_of_the_machine() -> None:
    world = World()
    world.step("a", 1, False)
    world.load()
    newest = world.index.shelf("local").stats().newest
    assert newest is not None and newest < time.time() - 1e6
