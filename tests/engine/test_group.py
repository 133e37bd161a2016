"""Laws of new files that wait for each other: nobody who asks through us sees it, and what fails late is told where
it belongs."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sloth_runner.agent.perform import perform
from sloth_runner.agent.staging import Staged
from sloth_runner.engine.group import Group, room
from sloth_runner.errors import Interrupted, SlothError, StoreDown, TaskFailed
from sloth_runner.model import Call, Site
from sloth_runner.ops import Batch, OpError
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.layout import INTENT, LEDGER, place
from sloth_runner.state.ledger_queries import entries, intents
from sloth_runner.state.locks import held
from sloth_runner.state.store import Change, Check, Rev
from sloth_runner.transport.local import LocalTransport
from tests.engine.kit import Bench, call

Steps = Generator[Call, Any, Any]


class Here(LocalTransport):
    """This machine; ``before`` hears of each path before its file gets its name."""

    def __init__(self, before: Callable[[str], None] = lambda path: None) -> None:
        super().__init__({}, grace=0.2)
        self.before = before
        self.placed: list[str] = []

    def place(self, staged: Staged) -> Any:
        """See LocalTransport."""
        self.before(staged.path)
        done = super().place(staged)
        self.placed.append(Path(staged.path).name)
        return done


class Killed(BaseException):
    """The process ended here."""


def open_files(root: Path) -> int:
    """How many are open below a folder: others may open and close files meanwhile."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(number.readlink()))
    return sum(path.startswith(str(root)) for path in found)


def write(path: Path, content: str = "x", line: int = 1, **more: Any) -> Call:
    args = {"dest": str(path), "content": content, **more}
    return Call("file.write", (args,), Site("/t.sloth", line))


def known(bench: Bench) -> list[str]:
    bench.ledger.flush()
    return [Path(entry.id).name for entry in entries(bench.store, "local")]


BARRIERS: list[Callable[[Path], Call]] = [
    lambda path: call("state.get", "k"),
    lambda path: call("state.set", "k", 1),
    lambda path: call("sleep", 0),
    lambda path: call("file.stat", {"path": str(path)}),
    lambda path: call("file.line", {"path": str(path), "line": "y"}),
    lambda path: call("file.absent", {"path": str(path / "none")}),
    lambda path: call("cmd", {"command": "true"}),
    lambda path: write(path.parent / "b", follow=True),
    lambda path: write(path.parent / "b", backup=True),
    lambda path: write(path.parent / "b", ignore_errors=True),
    lambda path: write(path.parent / "b", delegate_to="local"),
    lambda path: write(path.parent / "new" / "b"),
    lambda path: write(path, "other"),
    lambda path: write(path.parent / "there", "other"),
    lambda path: call("file.copy", {"src": str(path), "dest": str(path.parent / "b")}),
    lambda path: call("file.copy", {"src": str(path.parent / "tree"), "dest": str(path.parent / "b")}),
]


@pytest.mark.parametrize("other", BARRIERS)
def test_what_waited_is_there_before_any_other_call(tmp_path: Path, other: Callable[[Path], Call]) -> None:
    (tmp_path / "there").write_text("old")
    (tmp_path / "tree").mkdir()
    path = tmp_path / "a"
    here = Here()

    def script() -> Steps:
        yield write(tmp_path / "there", "old")
        told = yield write(path)
        assert told["changed"] and told["message"] == f"created {path}"
        assert not path.exists()
        yield write(tmp_path / "there", "old")
        assert not path.exists(), "one that changes nothing is no reason"
        yield other(path)
        assert path.exists() and here.placed[0] == "a"

    Bench(machine=here).run(t=script)


class Told:
    """A staged file that says what becomes of it."""

    def __init__(self, inner: Staged, seen: list[str]) -> None:
        self.path, self.key, self.highest = inner.path, inner.key, inner.highest
        self.inner, self.seen = inner, seen
        self.close = inner.close

    def begin(self) -> None:
        self.seen.append("begin")
        self.inner.begin()

    def sync(self) -> None:
        self.seen.append("sync")
        self.inner.sync()

    def place(self, *more: Any) -> Any:
        self.seen.append("place")
        return self.inner.place(*more)


def test_intents_and_contents_are_durable_before_any_name_is_there(tmp_path: Path) -> None:
    seen: list[str] = []

    class Watched(Here):
        def stage(self, op: Any) -> Any:
            staged = super().stage(op)
            assert staged is not None
            return Told(staged, seen)

    class Store(MemoryStore):
        def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
            kinds = [
                place(one.key).kind for one in changes if isinstance(one, Change) and one.value is not None
            ]
            seen.append("intents" * (INTENT in kinds) + "entries" * (LEDGER in kinds))
            return super().commit(changes)

    def script() -> Steps:
        for n in range(4):
            yield write(tmp_path / str(n))

    bench = Bench(Store(), machine=Watched())
    bench.run(t=script)
    bench.ledger.flush()
    first = ["begin"] * 3 + ["intents"] + ["sync"] * 3 + ["place"] * 3
    assert seen == [*first, "begin", "intentsentries", "sync", "place", "entries"]


def test_a_group_that_is_full_ends(tmp_path: Path) -> None:
    here = Here()

    def script() -> Steps:
        for n in range(3):
            yield write(tmp_path / str(n))
        assert here.placed == []
        yield write(tmp_path / "3")
        assert here.placed == ["0", "1", "2"]
        yield write(tmp_path / "large", "x" * (1 << 20))
        assert here.placed == ["0", "1", "2", "3"]
        yield write(tmp_path / "larger", "x" * ((1 << 20) + 1))
        assert here.placed == ["0", "1", "2", "3", "large"] and (tmp_path / "larger").exists()

    bench = Bench(machine=here)
    bench.run(t=script)
    assert open_files(tmp_path) == 0
    assert known(bench) == ["0", "1", "2", "3", "large", "larger"]
    assert [Path(entry.id).name for entry in sorted(entries(bench.store, "local"), key=lambda one: one.order)] == [
        "0", "1", "2", "3", "large", "larger",
    ]  # fmt: skip


def test_a_group_holds_a_megabyte_from_the_first(tmp_path: Path) -> None:
    def script() -> Steps:
        yield write(tmp_path / "large", "x" * (1 << 20))
        assert not (tmp_path / "large").exists()

    Bench(machine=Here()).run(t=script)


@pytest.mark.parametrize(("files", "most"), [(4096, 32), (1024, 32), (1023, 31), (64, 2), (31, 0)])
def test_a_group_holds_few_of_the_files_that_may_be_open(files: int, most: int) -> None:
    """And none with a number that leaves less than 24 to others."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, before[1]))
        group = Group(lambda strand, error: None, lambda: 0.0)
        assert group.takes(1) is (most > 0) and room() == (most, files - 24)
        for highest, fits in ((files - 25, True), (files - 24, False)):
            staged: Any = SimpleNamespace(key=(1, 2, b"x"), highest=highest)
            assert group.has_place(staged) is fits
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_waits_when_all_is_over_is_gone(tmp_path: Path) -> None:
    bench = Bench(machine=Here())
    group = bench.group
    assert group is not None

    def script() -> Steps:
        yield write(tmp_path / "a")
        yield write(tmp_path / "b")
        group.drop()
        assert not group.waiting and open_files(tmp_path) == 0

    bench.run(t=script)
    assert list(tmp_path.iterdir()) == []


def test_what_others_have_made_meanwhile_is_looked_at_anew(tmp_path: Path) -> None:
    def rival(path: str) -> None:
        if Path(path).name in ("same", "other"):
            Path(path).write_text("x" if path.endswith("same") else "theirs")
            Path(path).chmod(0o644)

    def script() -> Steps:
        for line, name in enumerate(("same", "a", "other"), 1):
            yield write(tmp_path / name, line=line, mode="0644")

    bench = Bench(machine=Here(rival))
    bench.run(t=script)
    assert [(tmp_path / name).read_text() for name in ("same", "a", "other")] == ["x"] * 3
    told = {data["line"]: data for kind, data in bench.said if kind == "call.finished"}
    assert not told[1]["changed"] and told[2]["changed"] and told[3]["changed"]
    assert str(told[3]["message"]).startswith("updated ") and "-theirs" in str(told[3]["diff"])
    assert known(bench) == ["a", "other", "same"] and list(intents(bench.store, "local")) == []
    found = {Path(entry.id).name: entry for entry in entries(bench.store, "local")}
    assert not found["same"].touched, "it is theirs"
    assert found["a"].touched and found["a"].before is None
    assert found["other"].touched and bench.ledger.content(found["other"].before_content or "") == b"theirs"


def test_what_fails_late_is_told_on_its_line_and_nothing_after_it_is_done(tmp_path: Path) -> None:
    def full(path: str) -> None:
        if path.endswith("b"):
            raise OpError("full", path, "no space left on device")

    caught: list[SlothError] = []

    def script() -> Steps:
        for line, name in enumerate("abc", 1):
            yield write(tmp_path / name, line=line)
        try:
            yield call("state.set", "done", True)
        except TaskFailed as error:
            caught.append(error)
            raise

    bench = Bench(machine=Here(full))
    with pytest.raises(TaskFailed, match="no space left"):
        bench.run(t=script)
    (error,) = caught
    assert error.final, "the pcall around its call is over"
    assert (error.file, error.line, error.target) == ("/t.sloth", 2, "local")
    assert error.operation == "file.write, putting its file in its place"
    assert error.unchanged == [str(tmp_path / "b"), str(tmp_path / "c")] and error.changed == []
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert known(bench) == ["a"] and list(intents(bench.store, "local")) == []
    assert bench.state.get("done") is None
    assert open_files(tmp_path) == 0


def test_who_is_gone_again_when_looked_at_leaves_the_place_to_us(tmp_path: Path) -> None:
    def gone(path: str) -> None:
        raise OpError("exists", path, "is there already")

    def script() -> Steps:
        yield write(tmp_path / "a")

    bench = Bench(machine=Here(gone))
    bench.run(t=script)
    assert (tmp_path / "a").read_text() == "x"
    assert known(bench) == ["a"] and list(intents(bench.store, "local")) == []


def test_what_others_have_made_may_be_large(tmp_path: Path) -> None:
    def large(path: str) -> None:
        with Path(path).open("wb") as file:
            file.truncate(33 << 20)

    def script() -> Steps:
        yield write(tmp_path / "a", mode="0644")

    Bench(machine=Here(large)).run(t=script)
    assert (tmp_path / "a").read_text() == "x"


def test_what_can_not_be_read_afterwards_does_not_wait(tmp_path: Path) -> None:
    def script() -> Steps:
        yield write(tmp_path / "a", mode="0200")
        assert (tmp_path / "a").exists()

    Bench(machine=Here()).run(t=script)


def test_what_was_made_first_is_older_than_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")

    def script() -> Steps:
        yield write(tmp_path / "a")
        yield write(tmp_path / "b")

    bench = Bench(machine=Here())
    bench.run(t=script)
    bench.ledger.flush()
    found = {Path(entry.id).name: entry.order for entry in entries(bench.store, "local")}
    assert found["a"] < found["b"]


def denied(path: str) -> None:
    if path.endswith("a"):
        raise OpError("denied", path, "permission denied")


def test_a_body_that_fails_itself_does_not_hide_what_failed_late(tmp_path: Path) -> None:
    def script() -> Steps:
        yield write(tmp_path / "a")
        raise TaskFailed("its own")

    with pytest.raises(TaskFailed, match="permission denied"):
        Bench(machine=Here(denied)).run(t=script)


def test_who_is_to_stop_stops_whatever_fails_late(tmp_path: Path) -> None:
    def script() -> Steps:
        yield write(tmp_path / "a")
        raise Interrupted("stop")

    with pytest.raises(Interrupted):
        Bench(machine=Here(denied)).run(t=script)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_lock_is_given_back_whatever_fails_late(tmp_path: Path, leaves: bool) -> None:
    bench = Bench(machine=Here(denied))

    def script() -> Steps:
        entered = yield call("state.lock_enter", "L", None, None, None)
        yield write(tmp_path / "a")
        if leaves:
            yield call("state.lock_exit", entered.values[1], True, None)

    with pytest.raises(TaskFailed, match="permission denied"):
        bench.run(t=script)
    assert list(held(bench.store, "local")) == []


def test_it_is_the_one_whose_file_waited_that_hears_of_it(tmp_path: Path) -> None:
    """Also if it shows in a call of another that was under way before."""
    (tmp_path / "there").write_text("x")
    (tmp_path / "slow").write_text("old")

    class Slow(Here):
        met = False

        def at_once(self, op: Any) -> Any:
            return None if _is_of(op, "slow") and not self.met else super().at_once(op)

        async def do(self, op: Any, on_output: Any = None) -> Any:
            if _is_of(op, "slow"):
                self.met = True
                assert bench.group is not None
                for _ in range(10_000):
                    if bench.group.waiting:
                        break
                    await asyncio.sleep(0)
            return perform(op)

    def one() -> Steps:
        yield write(tmp_path / "slow", "new")

    def other() -> Steps:
        yield write(tmp_path / "there")
        yield call("sleep", 0.001)
        yield write(tmp_path / "a")
        for _ in range(3000):
            yield write(tmp_path / "there")

    bench = Bench(machine=Slow(denied), clock=lambda: 0.0)
    with pytest.raises(TaskFailed, match="permission denied"):
        bench.run(one=one, other=other)
    assert list(bench.errors) == ["other"] and list(bench.results) == ["one"]
    assert (tmp_path / "slow").read_text() == "new"


def _is_of(op: Any, name: str) -> bool:
    return isinstance(op, Batch) and getattr(op.ops[0], "path", "").endswith(name)


def test_the_call_in_which_it_shows_has_not_failed(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")

    def denied(path: str) -> None:
        raise OpError("denied", path, "permission denied")

    def script() -> Steps:
        yield write(tmp_path / "a", line=1)
        yield write(tmp_path / "there", "new", line=2)

    bench = Bench(machine=Here(denied))
    with pytest.raises(TaskFailed, match="a: permission denied") as caught:
        bench.run(t=script)
    assert caught.value.line == 1 and (tmp_path / "there").read_text() == "old"
    told = [(data["line"], data["message"]) for kind, data in bench.said if kind == "call.finished"]
    assert told == [(1, f"{tmp_path / 'a'}: permission denied")], "and nothing of the second"


def test_what_was_put_there_and_is_not_as_wanted_is_still_under_way(tmp_path: Path) -> None:
    class Spoiling(Here):
        def place(self, staged: Staged) -> Any:
            done = super().place(staged)
            Path(staged.path).write_text("theirs")
            return done

    def script() -> Steps:
        yield write(tmp_path / "a")
        yield write(tmp_path / "b")

    bench = Bench(machine=Spoiling())
    with pytest.raises(TaskFailed, match="still not as wanted") as caught:
        bench.run(t=script)
    assert caught.value.changed == [f"file:{tmp_path / 'a'}", f"wrote {tmp_path / 'a'}"]
    assert caught.value.unchanged == [str(tmp_path / "b")]
    bench.ledger.flush()
    assert [Path(address).name for address in intents(bench.store, "local")] == ["a"]


class Failing(MemoryStore):
    """A store that takes no intent."""

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        if any(place(change.key).kind == INTENT for change in changes):
            raise StoreDown("no")
        return super().commit(changes)


def test_without_intents_nothing_is_done(tmp_path: Path) -> None:
    def script() -> Steps:
        for line, name in enumerate("ab", 1):
            yield write(tmp_path / name, line=line)
        yield call("sleep", 0)

    bench = Bench(Failing(), machine=Here())
    with pytest.raises(StoreDown) as caught:
        bench.run(t=script)
    assert caught.value.line == 1 and {str(tmp_path / "a"), str(tmp_path / "b")} <= {*caught.value.unchanged}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", range(3))
def test_the_next_run_goes_on_where_one_was_killed(tmp_path: Path, place: int) -> None:
    """In the midst of a group: all intents are durable, some files are in their places, no entry is."""

    def kill(path: str) -> None:
        if path.endswith(str(place)):
            raise Killed

    def script() -> Steps:
        for n in range(3):
            yield write(tmp_path / str(n))

    store = MemoryStore()
    with pytest.raises(Killed):
        Bench(store, machine=Here(kill)).run(t=script)
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(n) for n in range(place)]
    assert len(list(intents(store, "local"))) == 3
    bench = Bench(store, machine=Here())
    bench.run(t=script)
    assert known(bench) == ["0", "1", "2"] and list(intents(store, "local")) == []
    assert all(entry.touched and entry.before is None for entry in entries(store, "local")), "they are ours"


def test_one_of_another_task_is_not_told_of_it(tmp_path: Path) -> None:
    """A task that gives way leaves files that wait; the next one has them in their places, and goes on."""
    (tmp_path / "there").write_text("x")

    def denied(path: str) -> None:
        if path.endswith("a"):
            raise OpError("denied", path, "permission denied")

    def long() -> Steps:
        yield write(tmp_path / "there")
        yield write(tmp_path / "a")
        for _ in range(600):
            yield write(tmp_path / "there")

    def other() -> Steps:
        yield call("state.set", "k", 1)
        yield write(tmp_path / "b")

    bench = Bench(machine=Here(denied))
    with pytest.raises(TaskFailed, match="permission denied"):
        bench.run(long=long, other=other)
    assert list(bench.errors) == ["long"] and "other" in bench.results
    assert (tmp_path / "b").exists() and bench.state.get("k") == 1


def test_a_template_waits_and_may_include_what_waits(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("{% include 'part' %}!")

    def script() -> Steps:
        yield call("file.template", {"src": str(tmp_path / "t"), "dest": str(tmp_path / "a")})

    def parts() -> Steps:
        yield write(tmp_path / "part", "hello")
        yield from script()
        assert not (tmp_path / "a").exists()

    Bench(machine=Here()).run(t=parts)
    assert (tmp_path / "a").read_text() == "hello!"


def test_nothing_waits_where_names_can_not(tmp_path: Path) -> None:
    class Old(Here):
        def stage(self, op: Any) -> None:
            return None

    def script() -> Steps:
        yield write(tmp_path / "a")
        assert (tmp_path / "a").exists()

    bench = Bench(machine=Old())
    bench.run(t=script)
    assert known(bench) == ["a"]


def test_it_waits_no_longer_than_its_task_computes_for_a_moment(tmp_path: Path) -> None:
    now = [100.0]
    bench = Bench(machine=Here(), clock=lambda: now[0])
    group = bench.group
    assert group is not None

    def script() -> Steps:
        assert not group.is_due
        for name in "ab":
            now[0] += 0.03
            yield write(tmp_path / name)
        now[0] += 0.02
        assert not group.is_due
        now[0] += 0.01
        assert group.is_due
        yield write(tmp_path / "c")
        assert (tmp_path / "b").exists() and not group.is_due, "whatever its task does"
        now[0] += 0.06
        group.catch_up(bench.pump.current)
        assert not group.is_due and (tmp_path / "b").exists()

    bench.run(t=script)


def test_the_same_twice_is_made_once(tmp_path: Path) -> None:
    def script() -> Steps:
        yield write(tmp_path / "a")
        told = yield write(tmp_path / "a")
        assert (tmp_path / "a").exists() and not told["changed"]
        told = yield write(tmp_path / "a", "y")
        assert told["message"] == f"updated {tmp_path / 'a'}"

    bench = Bench(machine=Here())
    bench.run(t=script)
    assert known(bench) == ["a"]
