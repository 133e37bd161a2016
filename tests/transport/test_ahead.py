"""Why: an answer that was asked for ahead must never be older than what has been changed since, nor asked in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from sloth_runner.ops import Batch, Content, Exec, List, Read, Stat
from sloth_runner.transport.ahead import FRESH, LEAST, MOST, Ahead, key_of
from tests.state.kit import Clock

if TYPE_CHECKING:
    from sloth_runner.ops import Op, Result

A, B, C = (Stat(f"/{name}") for name in "abc")


def answer(version: int) -> Result:
    """What a machine tells that was changed so many times."""
    return Content(str(version).encode())


class Machine(RuleBasedStateMachine):
    """Questions are under way while the machine is changed, and answers arrive in any order."""

    asked = st.sampled_from([A, B])

    def __init__(self) -> None:
        super().__init__()
        self.ahead = Ahead(Clock())
        self.version = 0
        self.changing = 0
        self.flying: list[tuple[Op, int, int]] = []

    @rule(op=asked, times=st.integers(0, 2))
    def ask(self, op: Op, times: int) -> None:
        """A question is answered there; it is on its way back."""
        self.ahead.expect([op] * times)
        self.flying.append((op, self.version, self.ahead.epoch))

    @precondition(lambda self: self.flying)
    @rule(last=st.booleans())
    def arrive(self, last: bool) -> None:
        """An answer has come."""
        op, version, epoch = self.flying.pop(-1 if last else 0)
        self.ahead.keep(op, answer(version), epoch)

    @precondition(lambda self: self.changing < 2)
    @rule()
    def begin(self) -> None:
        """A change begins, perhaps beside another one, and has done something."""
        self.ahead.begin_change()
        self.changing += 1
        self.version += 1

    @precondition(lambda self: self.changing)
    @rule()
    def end(self) -> None:
        """It has done something more, and is over."""
        self.version += 1
        self.changing -= 1
        self.ahead.end_change()

    @rule(ops=st.sampled_from([(A,), (B,), (A, B), (B, A)]), together=st.booleans())
    def take(self, ops: tuple[Op, ...], together: bool) -> None:
        """What is known is what is so."""
        found = self.ahead.take(Batch(ops) if together else ops[0])
        if found is not None:
            assert not self.changing
            assert found == ((answer(self.version),) * len(ops) if together else answer(self.version))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def known(*ops: Op) -> Ahead:
    """The answers to ``ops`` are there."""
    ahead = Ahead(Clock())
    for op in ops:
        ahead.keep(op, answer(0), ahead.epoch)
    return ahead


def test_an_answer_is_good_as_often_as_it_was_expected() -> None:
    ahead = known(A)
    assert [ahead.take(A), ahead.take(A)] == [answer(0), None]
    ahead.expect([A, B, A])
    assert [ahead.expects(one) for one in (A, B, C)] == [True, True, False]
    for op in ahead.due():
        ahead.keep(op, answer(0), ahead.epoch)
    assert not ahead.expects(A) and ahead.due() == []
    assert [ahead.take(A), ahead.take(A), ahead.take(A)] == [answer(0), answer(0), None]
    ahead.forget([B, C])
    assert ahead.take(B) == answer(0)
    assert not ahead.expects(A) and not ahead.expects(B)


def test_an_answer_is_good_for_some_time() -> None:
    clock = Clock()
    ahead = Ahead(clock)
    for seconds, good in ((FRESH, True), (FRESH + 1, False)):
        ahead.keep(A, answer(0), ahead.epoch)
        clock.now += seconds
        assert (ahead.take(A) is not None) is good


def test_of_many_all_are_known_or_none() -> None:
    ahead = known(A, B)
    for unknown in (Batch((A, C)), Batch((C, A)), Batch((A, A)), C):
        assert ahead.take(unknown) is None
    assert ahead.take(Batch((B, A))) == (answer(0), answer(0))
    assert ahead.take(A) is None and ahead.take(B) is None


def test_what_is_due_begins_with_what_is_asked() -> None:
    ahead = known(B)
    ahead.expect([A, B, C])
    assert ahead.due() == [A, C]
    assert ahead.due(C) == [C, A]
    ahead.forget([A])
    assert ahead.due() == [C]


def test_the_more_often_something_changes_the_less_is_asked_at_once() -> None:
    ahead, ops = Ahead(Clock()), [Stat(f"/{number}") for number in range(MOST + 5)]
    ahead.expect(ops)
    sizes = []
    for used in (10, 1, 0):
        due = ahead.due()
        sizes.append((len(due), len(ahead.due(ops[-1]))))
        for op in due:
            ahead.keep(op, answer(0), ahead.epoch)
        assert all(ahead.take(op) for op in due[:used])
        ahead.begin_change()
        ahead.end_change()
    assert sizes == [(MOST, MOST), (20, 20), (LEAST, LEAST)]
    ahead.expect([A])
    assert len(ahead.due()) == MOST - 5


def test_questions_are_told_apart() -> None:
    run = Exec("x", ("x",), env={"A": "1"})
    assert key_of(run) == key_of(run._replace(env={"A": "1"})) != key_of(run._replace(env={"A": "2"}))
    assert key_of(A) == key_of(Stat("/a")) != key_of(Stat("/a", follow=True))
    assert key_of(List("/a", True)) != key_of(Read("/a", True)), "which are equal tuples"
    assert known(run).take(run) == answer(0)
