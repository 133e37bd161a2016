"""Waiting for a key: each change is heard, nobody else waits meanwhile, and everything has its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest

from sloth_runner.engine.ear import Ear, News
from sloth_runner.errors import (
    BadArgument,
    BadField,
    BadName,
    Interrupted,
    SlothError,
    StoreDown,
    TaskFailed,
    TimedOut,
)
from sloth_runner.model import Call, Returned
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.store import Doorbell
from tests.engine.far import LONG, Distance
from tests.engine.kit import Bench, call
from tests.state.kit import Clock, make_state

Steps = Generator[Call, Any, Any]
MAKE: dict[str, Callable[[], Bench]] = {"near": Bench, "far": lambda: far()[0]}


def far() -> tuple[Bench, Distance]:
    """A bench whose store is far away."""
    distance = Distance(MemoryStore())
    return Bench(distance.handle(), fresh=distance.handle), distance


@pytest.fixture(params=MAKE)
def bench(request: pytest.FixtureRequest) -> Bench:
    """A bench on a store in this process, or on one that is asked by workers."""
    return MAKE[request.param]()


def entered(key: object, wanted: object = None, opts: object = None) -> Generator[Call, Any, tuple[Any, Any]]:
    """Begin to wait: the number, and the value that is there."""
    kind = "change" if wanted is None else "value"
    found: Returned = yield call("state.watch_enter", key, wanted, kind, opts)
    number, value, _ = found.values
    return number, value


def next_of(number: object) -> Generator[Call, Any, tuple[Any, Any]]:
    """The next change: the new value, and the change."""
    found: Returned = yield call("state.watch_next", number)
    value, change = found.values
    return value, change


def test_each_change_is_heard_in_order_while_others_go_on(bench: Bench) -> None:
    began = threading.Event()

    def watcher() -> Steps:
        yield call("state.set", "a", 0)
        number, value = yield from entered("a")
        began.set()
        assert value is None, "any change is waited for: what there is does not matter"
        heard = []
        while value != 5:
            value, change = yield from next_of(number)
            heard.append((change["rev"], change["op"], change.get("old"), change.get("new"), change["user"]))
        assert (yield call("state.watch_leave", number)) is True
        return heard

    def writer() -> Steps:
        while not began.is_set():
            yield call("sleep", 0.001)
        for value in range(1, 4):
            yield call("state.set", "a", value)
        yield call("state.delete", "a")
        yield call("state.set", "a", 5)

    results = bench.run(watcher=watcher, writer=writer)
    assert results["watcher"] == [
        (2, "set", 0, 1, "ann@host1"), (3, "set", 1, 2, "ann@host1"), (4, "set", 2, 3, "ann@host1"),
        (5, "delete", 3, None, "ann@host1"), (6, "set", None, 5, "ann@host1"),
    ]  # fmt: skip
    assert bench.output() == ["waiting for a change of 'a'"]


def test_a_value_that_was_there_for_a_moment_is_not_missed(bench: Bench) -> None:
    def watcher() -> Steps:
        number, value = yield from entered("a", {"n": [1, 2.5]})
        assert value is None
        for given in (1, {"n": [1, 2]}, {"n": [1, 2.5]}, 3):
            yield call("state.set", "a", given)
        value, change = yield from next_of(number)
        return value, change["rev"]

    assert bench.run(watcher=watcher)["watcher"] == ({"n": [1, 2.5]}, 3)


def test_a_value_that_is_there_is_not_waited_for(bench: Bench) -> None:
    def watcher() -> Steps:
        yield call("state.set", "a", 5)
        assert (yield from entered("a", 5)) == (None, 5)
        number, value = yield from entered("a", 5.0, {"timeout": 0.01})
        assert (number, value) == (1, 5), "an integer is no float"
        with pytest.raises(TimedOut):
            yield from next_of(number)

    bench.run(watcher=watcher)


def test_what_is_so_at_once_comes_with_the_change_that_made_it_so(bench: Bench) -> None:
    clock = bench.state.writer.clock
    assert isinstance(clock, Clock)

    def last(kind: str) -> Generator[Call, Any, Any]:
        found: Returned = yield call("state.watch_enter", "a", None, kind)
        return found.values[2]

    def watcher() -> Steps:
        assert (yield from last("function")) is None
        yield call("state.set", "a", 4)
        yield call("state.set", "a", 5, 30)
        found: Returned = yield call("state.watch_enter", "a", 5, "value")
        number, value, change = found.values
        assert (number, value) == (None, 5)
        assert isinstance(change, dict)
        assert (change["key"], change["rev"], change["old"], change["new"]) == ("a", 2, 4, 5)
        clock.now += 31
        expired = yield from last("function")
        assert expired == {"key": "a", "op": "expire", "time": clock.now - 1, "old": 5}
        yield call("state.delete", "a")
        yield call("state.set", "a", 6)
        yield call("state.delete", "a")
        gone = yield from last("function")
        assert (gone["op"], gone["old"], "new" in gone) == ("delete", 6, False)

    bench.run(watcher=watcher)


def test_what_another_handle_writes_wakes_it(bench: Bench) -> None:
    inner: Any = getattr(bench.store, "_distance", None)
    store = bench.store if inner is None else inner.inner
    timer = threading.Timer(0.05, lambda: make_state(store).set("a", "there"))

    def watcher() -> Steps:
        number, _ = yield from entered("a")
        timer.start()
        value, _ = yield from next_of(number)
        return value

    assert bench.run(watcher=watcher)["watcher"] == "there"
    timer.join()


def test_keys_below_a_prefix(bench: Bench) -> None:
    def watcher() -> Steps:
        number, value = yield from entered("w:", None, {"prefix": True})
        assert value is None
        for key in ("w:1", "x", "w:2"):
            yield call("state.set", key, key)
        found = []
        for _ in range(2):
            value, change = yield from next_of(number)
            found.append((value, change["key"]))
        return found

    assert bench.run(watcher=watcher)["watcher"] == [("w:1", "w:1"), ("w:2", "w:2")]


def test_an_expiry_is_a_change(bench: Bench) -> None:
    clock = bench.state.writer.clock
    assert isinstance(clock, Clock)

    def watcher() -> Steps:
        yield call("state.set", "a", 1, 30)
        number, _ = yield from entered("a")
        clock.now += 31
        value, change = yield from next_of(number)
        return value, change

    found: Any = bench.run(watcher=watcher)["watcher"]
    value, change = found
    assert value is None
    assert (change["op"], change["old"]) == ("expire", 1)
    assert "rev" not in change and "user" not in change


def test_it_ends_when_its_time_is_over(bench: Bench) -> None:
    def watcher() -> Steps:
        number, _ = yield from entered("a", None, {"timeout": 0.05})
        try:
            yield from next_of(number)
        except TimedOut as error:
            return error.message

    assert bench.run(watcher=watcher)["watcher"] == "state.watch: there was no change of 'a' within 0.1s"


def test_a_task_that_is_ended_waits_no_longer(bench: Bench) -> None:
    cleaned: list[object] = []

    def watcher() -> Steps:
        number, _ = yield from entered("a")
        try:
            yield call("engine.deadline", True, 0.02)
            yield from next_of(number)
        except SlothError:
            cleaned.append((yield call("state.watch_leave", number)))
            raise

    with pytest.raises(TimedOut, match="took longer than its timeout"):
        bench.run(watcher=watcher)
    assert cleaned == [True]


def test_an_interrupt_ends_it(bench: Bench) -> None:
    def watcher() -> Steps:
        number, _ = yield from entered("a")
        yield from next_of(number)

    threading.Timer(
        0.05, lambda: bench.pump.post(lambda: bench.pump.interrupt(Interrupted("enough"), force=False))
    ).start()
    with pytest.raises(Interrupted):
        bench.run(watcher=watcher)


def test_a_hundred_wait_with_one_ear(bench: Bench) -> None:
    def watcher(name: str) -> Callable[[], Steps]:
        def steps() -> Steps:
            number, _ = yield from entered(name)
            if name == "k99":
                for other in range(100):
                    yield call("state.set", f"k{other}", other)
            value, _ = yield from next_of(number)
            return value

        return steps

    results = bench.run(**{f"t{i}": watcher(f"k{i}") for i in range(100)})
    assert results == {f"t{i}": i for i in range(100)}
    assert [thread.name for thread in threading.enumerate()].count("ear") == 0


def test_revisions_that_are_gone_are_told_of(bench: Bench) -> None:
    bench.state.writer.retention = bench.state.writer.retention._replace(keep=2, most=2, days=0)
    make = bench.desk._make
    bench.desk._make = lambda store: retained(make(store), bench)

    def watcher() -> Steps:
        number, _ = yield from entered("a", 9, {"timeout": 60})
        for value in (*range(9), 8, 7, 9):
            bench.state.writer.clock.now += 1  # type: ignore[attr-defined] # a Clock
            yield call("state.set", "a", value)
        value, change = yield from next_of(number)
        return value, change["rev"]

    found: Any = bench.run(watcher=watcher)["watcher"]
    value, rev = found
    assert value == 9
    assert f"revisions 1 to {rev - 2} of 'a' are no longer kept" in bench.output()[-1]


def retained(writer: Any, bench: Bench) -> Any:
    """A worker's writer that keeps as little."""
    writer.retention = bench.state.writer.retention
    return writer


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((1,), BadName),
        (("",), BadName),
        (("a", None, "change", {"timeout": 0}), BadArgument),
        (("a", None, "change", {"timeot": 1}), BadField),
        (("a", None, "change", {"prefix": 1}), BadArgument),
        (("a", 1, "value", {"prefix": True}), BadArgument),
        ((5, None, "change", {"prefix": True}), BadArgument),
    ],
)
def test_what_it_does_not_take(args: tuple[object, ...], error: type[SlothError]) -> None:
    bench = Bench()

    def watcher() -> Steps:
        with pytest.raises(error, match=r"state\.watch"):
            yield call("state.watch_enter", *args)

    bench.run(watcher=watcher)


def test_not_inside_a_transaction() -> None:
    bench = Bench()

    def watcher() -> Steps:
        yield call("state.txn_begin")
        with pytest.raises(TaskFailed, match=r"state\.watch can't be used inside state\.transaction"):
            yield from entered("a")
        yield call("state.txn_end", 1, False)

    bench.run(watcher=watcher)


def broken(store: Any, error: Exception) -> None:
    """A doorbell that fails once it is listened to."""
    inner = store.traits.watch

    @contextmanager
    def watch(prefix: str) -> Generator[Doorbell]:
        with inner(prefix):

            def bell(seconds: float) -> None:
                raise error

            yield bell

    store.traits = store.traits._replace(watch=watch)


@pytest.mark.parametrize("error", [StoreDown("away"), RuntimeError("odd")])
def test_a_doorbell_that_breaks_is_an_error(error: Exception) -> None:
    bench = Bench()
    broken(bench.store, error)

    def watcher() -> Steps:
        number, _ = yield from entered("a")
        yield from next_of(number)

    with pytest.raises(SlothError, match=r"away|the doorbell broke"):
        bench.run(watcher=watcher)


def test_a_store_that_is_lost_is_lost_to_the_run() -> None:
    bench, distance = far()
    broken(distance.inner, StoreDown("away"))

    def before(verb: str, about: object) -> None:
        if begun:
            raise StoreDown("gone")

    begun: list[int] = []
    distance.before = before

    def watcher() -> Steps:
        number, _ = yield from entered("a")
        begun.append(1)
        yield from next_of(number)

    bench.store.traits = distance.handle().traits
    with pytest.raises(StoreDown, match="gone"):
        bench.run(watcher=watcher)
    assert [error.message for error in bench.downs] == ["gone"]


def test_an_ear_opens_again_for_the_next() -> None:
    store = MemoryStore()
    ear = Ear(store)
    state = make_state(store)
    for number in range(3):
        heard: list[News] = []
        news = threading.Event()

        def listen(one: News, heard: list[News] = heard, news: threading.Event = news) -> None:
            heard.append(one)
            if one:
                news.set()

        ear.add(listen)
        threading.Timer(0.02, lambda number=number: state.set("a", number)).start()
        assert news.wait(LONG)
        assert heard[0] is None
        ear.remove(listen)
        if number == 1:
            ear.close()
    ear.close()
