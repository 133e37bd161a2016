"""Why: on every store, whoever follows keys is told each revision once and in order, whoever writes how fast."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from sloth_runner.state.state import State
from sloth_runner.state.store import Store
from sloth_runner.state.watching import Change, Item, Scope, follow
from tests.conformance.worker import make_state

if TYPE_CHECKING:
    from tests.conformance.suite import Opener

LONG = 60.0
"""Seconds after which a test that waits for something has failed."""


def following(store: Store, rest: Callable[[], float]) -> Iterator[Item | None]:
    """What happens in the namespace from now on."""
    items = follow(store, lambda: [Scope("local")], time.time, rest)
    assert next(items) is None
    return items


def first(items: Iterator[Item | None], count: int) -> list[Change]:
    """The next so many changes; nothing else may come."""
    found: list[Change] = []
    end = time.monotonic() + LONG
    while len(found) < count and time.monotonic() < end:
        item = next(items)
        if item is not None:
            assert isinstance(item, Change)
            found.append(item)
    return found


def in_short(changes: list[Change]) -> list[tuple[str, int, object, object]]:
    """Key, number, old and new value."""
    return [(one.key, one.revision.record.number, one.revision.old, one.revision.new) for one in changes]


def check_chain(changes: list[Change], state: State) -> None:
    """Of each key all revisions, in order, each with what was there before."""
    for key in {change.key for change in changes}:
        own = [change.revision for change in changes if change.key == key]
        numbers = [one.record.number for one in own]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        history = state.history(key)
        assert numbers[-1] == history[0].record.number
        by_number = {one.record.number: one for one in history}
        assert [(one.old, one.new) for one in own] == [
            (by_number[number].old, by_number[number].new) for number in numbers
        ]


class WatchingLaws:
    """A part of the suite."""

    def test_a_watcher_is_told_of_each_revision(self, store: Store) -> None:
        state = make_state(store)
        state.set("a", 0)
        items = following(store, lambda: 1.0)
        for number in range(1, 6):
            state.set("a", number)
        state.set("b", "x" * 100_000)
        state.delete("a")
        changes = first(items, 7)
        assert in_short([one for one in changes if one.key == "a"]) == [
            *(("a", number + 1, number - 1, number) for number in range(1, 6)),
            ("a", 7, 5, None),
        ]
        assert in_short([one for one in changes if one.key == "b"]) == [("b", 1, None, "x" * 100_000)]
        state.agent("web1").set("a", 1)
        state.set("a", 2)
        assert in_short(first(items, 1)) == [("a", 8, None, 2)]

    def test_a_watcher_wakes_when_something_is_written(self, opener: Opener) -> None:
        if opener.url is None:
            pytest.skip("there is one handle alone")
        store, other = opener.open(), opener.open()
        state = make_state(other)
        state.set("a", 0)
        items = following(store, lambda: LONG)
        for number in range(1, 4):
            timer = threading.Timer(0.05, state.set, ("a", number))
            timer.start()
            item = next(items)
            timer.join()
            assert isinstance(item, Change) and item.revision.new == number
            assert next(items) is None
        store.close()
        other.close()

    def test_a_watcher_misses_nothing_of_what_processes_write(self, opener: Opener) -> None:
        from tests.conformance.suite import run_workers

        if opener.url is None:
            pytest.skip("other processes can't open it")
        ready, over = threading.Event(), threading.Event()
        written: list[int] = []
        found: list[Change] = []
        failed: list[BaseException] = []

        def watch() -> None:
            store = opener.open()
            try:
                items = following(store, lambda: 0.3)
                ready.set()
                end, looks = float("inf"), 0
                while looks < 3 and time.monotonic() < end:  # more than enough of them would show, too
                    item = next(items)
                    if item is not None:
                        assert isinstance(item, Change)
                        found.append(item)
                    elif over.is_set():
                        end = min(end, time.monotonic() + LONG)
                        looks += len(found) >= sum(written)
            except BaseException as error:
                failed.append(error)
                ready.set()
            finally:
                store.close()

        thread = threading.Thread(target=watch)
        thread.start()
        assert ready.wait(LONG)
        written += [report["revisions"] for report in run_workers(opener, "revise", 3, 15)]
        over.set()
        thread.join()
        assert failed == []
        assert len(found) == sum(written)
        store = opener.open()
        check_chain(found, make_state(store))
        store.close()
