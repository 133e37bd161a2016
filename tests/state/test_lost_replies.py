"""Whatever the network does: an operation has effect at most once, and what its caller is told is true."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sloth_runner.errors import Forbidden, Indeterminate, LockLost, SlothError, StoreDown
from sloth_runner.state import edits, lineage, locks, rollback, tags
from sloth_runner.state.backends.memory import MemoryStore
from sloth_runner.state.batch import Retention
from sloth_runner.state.commits import settle
from sloth_runner.state.layout import FENCE, store_key
from sloth_runner.state.ledger import Ledger
from sloth_runner.state.ledger_queries import intents, pending
from sloth_runner.state.ledger_records import Intent, Pending
from sloth_runner.state.locks import Held, Owner
from sloth_runner.state.patience import CONTENTION, OUTAGE, Contact, Patience, Tries
from sloth_runner.state.patient import Patient
from sloth_runner.state.store import ABSENT, Change, Check
from tests.state.kit import BY, Clock
from tests.state.lossy import FATES, Line, Lossy

fates = st.lists(st.sampled_from(FATES), max_size=5)
AN_INTENT = Intent({"mode": "0644"}, {}, None, True, (), 1.0, "r1")


class Machine(RuleBasedStateMachine):
    """Any operations over a bad line, a rival on the same keys."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line(sealed=self.sealed)
        self.tokens = itertools.count()
        self.times: dict[str, int] = {}
        self.held: Held | None = None

    sealed = False

    def token(self, who: str) -> str:
        return f"{who}{next(self.tokens)}"

    @rule(fates=fates)
    def push(self, fates: list[str]) -> None:
        line, token = self.line, self.token("mine")
        line.suffer(fates, lambda: line.rival.apply("list", edits.push(self.token("rival"))))
        length = line.mine.apply("list", edits.push(token))
        line.calm()
        items = line.rival.get("list")
        assert items.count(token) == 1
        assert items.index(token) + 1 == length

    @rule(fates=fates, amount=st.integers(1, 5))
    def add(self, fates: list[str], amount: int) -> None:
        line = self.line
        before = line.rival.get("n", 0)
        rivals: list[object] = []
        line.suffer(fates, lambda: rivals.append(line.rival.increment("n", 1000)))
        total = line.mine.increment("n", amount)
        line.calm()
        assert line.rival.get("n") == before + amount + 1000 * len(rivals)
        assert total in [before + amount + 1000 * i for i in range(len(rivals) + 1)]

    @rule(fates=fates)
    def swap(self, fates: list[str]) -> None:
        line, new = self.line, self.token("mine")
        old = line.rival.get("register")
        line.suffer(fates, lambda: line.rival.set("register", self.token("rival")))
        won = line.mine.apply("register", edits.swap(old, new))
        line.calm()
        was_there = [r.new for r in line.rival.history("register")].count(new)
        assert was_there == (1 if won else 0)

    @rule(fates=fates)
    def delete(self, fates: list[str]) -> None:
        line = self.line
        line.rival.set("victim", self.token("rival"))
        before = len(line.rival.history("victim"))
        line.suffer(fates, lambda: line.rival.delete("victim"))
        gone = line.mine.delete("victim")
        line.calm()
        revisions = line.rival.history("victim")
        assert not line.rival.exists("victim")
        assert len(revisions) == before + 1
        assert gone is (int(revisions[0].record.write_id, 16) < 1 << 64)

    @rule(fates=fates, ttl=st.integers(10, 99))
    def touch(self, fates: list[str], ttl: int) -> None:
        line = self.line
        line.rival.set("touched", "x")
        line.suffer(fates, lambda: line.rival.apply("touched", edits.set_ttl(100)))
        try:
            assert line.mine.apply("touched", edits.set_ttl(ttl)) is True
        except Indeterminate:
            assert any("rival" in fate for fate in fates), "only another touch can hide what became of ours"
        else:
            assert line.rival.ttl("touched") in (ttl, 100)
        line.calm()

    @rule(fates=fates, names=st.lists(st.sampled_from("abcd"), min_size=2, max_size=6))
    def together(self, fates: list[str], names: list[str]) -> None:
        line = self.line
        before = {name: line.rival.get(f"g{name}", 0) for name in names}
        rivals: list[object] = []
        line.suffer(fates, lambda: rivals.append(line.rival.increment("ga", 1000)))
        results = line.mine.writer.apply([line.mine.edit(f"g{name}", edits.add(1)) for name in names])
        line.calm()
        assert not [result for result in results if isinstance(result, SlothError)]
        for name in set(names):
            extra = 1000 * len(rivals) if name == "a" else 0
            assert (
                line.rival.get(f"g{name}") == before.get(name, 0) + names.count(name) + extra
                if (name in before)
                else True
            )

    def owner(self, who: str) -> Owner:
        return Owner(who, self.token(who), BY)

    @rule(fates=fates, rival_is_faster=st.booleans())
    def acquire(self, fates: list[str], rival_is_faster: bool) -> None:
        line = self.line
        if self.held is not None:
            return
        other, mine = self.owner("rival"), self.owner("mine")

        def rival() -> None:
            found = locks.acquire(line.direct, "local", "lock", other, 60, line.clock.now)
            if isinstance(found, Held) and not rival_is_faster:
                locks.release(line.direct, found, line.clock.now)

        line.suffer(fates, rival)
        found = locks.acquire(line.store, "local", "lock", mine, 60, line.clock.now)
        line.calm()
        there = locks.info(line.direct, "local", "lock")
        assert there is not None
        if isinstance(found, Held):
            assert there.owner == mine and there.token == found.token
            fence = line.direct.get(store_key("local", FENCE, "lock"))
            assert fence is not None and fence.rev == found.fence_rev
            line.mine.under((found.fence,)).set("guarded", self.token("mine"))
            self.held = found
        else:
            assert found.owner == there.owner == other
            assert locks.break_lock(line.direct, there, BY, "", line.clock.now)

    @rule(fates=fates, breaks=st.booleans())
    def renew(self, fates: list[str], breaks: bool) -> None:
        line, held = self.line, self.held
        if held is None:
            return
        broken: list[object] = []
        line.suffer(fates, (lambda: broken.append(self.break_it())) if breaks else (lambda: None))
        try:
            locks.renew(line.store, held, line.clock.now)
            line.calm()
            found = locks.info(line.direct, "local", "lock")
            assert found is not None or broken
        except LockLost:
            assert broken
        line.calm()
        if broken:
            self.held = None

    def break_it(self) -> bool:
        found = locks.info(self.line.direct, "local", "lock")
        return found is not None and locks.break_lock(self.line.direct, found, BY, "", self.line.clock.now)

    @rule(fates=fates, stays=st.booleans())
    def release(self, fates: list[str], stays: bool) -> None:
        line, held = self.line, self.held
        if held is None:
            return
        self.held = None
        broke: list[bool] = []

        def rival() -> None:
            """Break it if it is still held, else take it, for a while or for good."""
            found = locks.info(line.direct, "local", "lock")
            if found is not None and found.token == held.token:
                broke.append(self.break_it())
            elif found is None:
                line.clock.now += 1
                taken = locks.acquire(line.direct, "local", "lock", self.owner("rival"), 60, line.clock.now)
                if isinstance(taken, Held) and not stays:
                    locks.release(line.direct, taken, line.clock.now)

        line.suffer(fates, rival)
        try:
            released = locks.release(line.store, held, line.clock.now)
        except Indeterminate:
            token = locks.fence_token(
                (line.direct.get(store_key("local", FENCE, "lock")) or pytest.fail()).value
            )
            assert token > held.token + 1, "it can be told while nobody but the next one had it"
        else:
            assert released is not any(broke)
        line.calm()
        found = locks.info(line.direct, "local", "lock")
        assert found is None or found.token != held.token
        if found is not None:
            self.break_it()

    @rule(fates=fates, breaker_first=st.booleans())
    def break_rivals(self, fates: list[str], breaker_first: bool) -> None:
        line = self.line
        if self.held is not None:
            return
        found = locks.acquire(line.direct, "local", "lock", self.owner("rival"), 60, line.clock.now)
        there = locks.info(line.direct, "local", "lock")
        assert isinstance(found, Held) and there is not None
        let_go: list[bool] = []
        line.suffer(fates, lambda: let_go.append(locks.release(line.direct, found, line.clock.now)))
        broken = locks.break_lock(line.store, there, BY, "why", line.clock.now)
        line.calm()
        assert broken is not any(let_go)
        assert locks.info(line.direct, "local", "lock") is None

    @invariant()
    def chains_are_whole(self) -> None:
        from sloth_runner.state.verify import verify

        self.line.calm()
        report = verify(self.line.direct, "local", None)
        assert report.ok, report.findings


class SealedMachine(Machine):
    """The same through a sealed store, whose bytes differ at every try."""

    sealed = True


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestSealedMachine = SealedMachine.TestCase
TestSealedMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


@given(fates=st.lists(fates, max_size=6))
def test_a_ledger_is_as_it_was_told(fates: list[list[str]]) -> None:
    line = Line(sealed=False)
    ledger = Ledger(line.store, "web1", tuple)
    expected: set[str] = set()
    for number, some in enumerate(fates):
        line.lossy.suffer(some)
        address = f"file:/f{number}"
        ledger.begin({address: AN_INTENT}, {"d" * 64: b"content"})
        assert address in set(intents(line.memory, "web1"))
        due = Pending("restart", "stack", address, 1.0, "r1", "t")
        ledger.call_for([due])
        if number % 2:
            ledger.withdraw(address)
        else:
            expected.add(address)
        line.lossy.suffer(some)
        ledger.flush()
        line.calm()
        assert set(intents(line.memory, "web1")) == expected
        assert len(pending(line.memory, "web1", "stack")) == number + 1


@given(fates=fates)
def test_a_checkpoint_a_lineage_and_going_back(fates: list[str]) -> None:
    line = Line(sealed=False)
    for number in range(3):
        line.rival.set(f"k{number}", number)
    line.lossy.suffer(fates)
    tag = tags.make(line.store, "local", "t1", BY, line.clock.now)
    assert tags.find(line.memory, "local", "t1") == tag
    line.lossy.suffer(fates)
    found = lineage.ensure_lineage(line.store, "local", lambda: "ab" * 16)
    assert found == lineage.lineage_of(line.memory, "local")
    line.rival.set("k1", "other")
    line.clock.now += 1
    steps, _ = rollback.plan(line.store, "local", rollback.Target(tag.time, None, "t1"), line.clock.now)
    line.lossy.suffer(fates)
    rollback.apply(line.mine.writer, "local", steps, BY)
    line.calm()
    assert line.rival.get("k1") == 1
    assert [r.record.op for r in line.rival.history("k1")] == ["rollback", "set", "set"]
    line.lossy.suffer(fates)
    tags.drop(line.store, "local", "t1")
    line.calm()
    assert tags.find(line.memory, "local", "t1") is None


def test_what_is_compacted_is_not_guessed() -> None:
    """The write was made, and others have written so much since that its revision is gone."""
    line = Line(sealed=False, retention=Retention(1, 0.0, 2))

    def rival() -> None:
        for number in range(9):
            line.clock.now += 1
            line.rival.set("a", number)

    line.suffer(["lost after, then rival"], rival)
    with pytest.raises(Indeterminate, match="compacted"):
        line.mine.set("a", "mine")


def test_a_server_that_stays_away_leaves_a_commit_unknown_and_not_undone() -> None:
    """After a lost reply "nothing was done" would be a lie, even if the next try surely did nothing."""
    clock = Clock(0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    lossy = Lossy(MemoryStore())
    patience = Patience(5, 5, clock=clock, sleep=sleep)
    store = Patient(lossy, patience)
    lossy.suffer(["lost after", *["down"] * 1000])
    with pytest.raises(Indeterminate):
        settle(store, [Change(store_key("local", "k", "a"), b"1", ABSENT)])
    assert 5 <= clock.now <= 10.5


@pytest.mark.parametrize(("fate", "tries"), [("down", 1), ("lost before", 2)])
def test_a_server_that_took_all_the_time_is_asked_once_more_only_what_became_of_a_commit(
    fate: str, tries: int
) -> None:
    """It does not answer at all: each request takes its whole time."""
    clock = Clock(0.0)
    asked: list[str] = []

    class Hanging(Lossy):
        def commit(self, changes: Sequence[Change | Check]) -> list[int]:
            asked.append("commit")
            clock.now += 5
            return super().commit(changes)

    lossy = Hanging(MemoryStore())
    patience = Patience(5, 5, clock=clock, sleep=lambda seconds: pytest.fail("waited"))
    patience.contact.reached = True
    lossy.suffer([fate] * 9)
    with pytest.raises(StoreDown if fate == "down" else Indeterminate):
        settle(Patient(lossy, patience), [Change(store_key("local", "k", "a"), b"1", ABSENT)])
    assert len(asked) == tries


def test_who_is_not_let_in_does_not_wait() -> None:
    def refuse() -> None:
        raise Forbidden("may not write")

    lossy = Lossy(MemoryStore())
    lossy.rival = refuse
    store = Patient(lossy, Patience(1e9, 1e9, sleep=lambda seconds: pytest.fail("waited")))
    change = [Change(store_key("local", "k", "a"), b"1")]
    store.commit(change)
    lossy.suffer(["rival"])
    with pytest.raises(Forbidden):
        store.commit(change)


def test_only_a_server_that_was_there_is_waited_for() -> None:
    clock = Clock(0.0)
    told: list[SlothError] = []

    def sleep(seconds: float) -> None:
        clock.now += seconds

    lossy = Lossy(MemoryStore())
    contact = Contact()
    patience = Patience(5, 5, contact=contact, clock=clock, sleep=sleep, told=told.append)
    store = Patient(lossy, patience)
    change = [Change(store_key("local", "k", "a"), b"1")]
    lossy.suffer(["down", "fine"])
    with pytest.raises(StoreDown):
        store.commit(change)
    assert clock.now == 0
    store.commit(change)
    lossy.suffer(["down"] * 4)
    store.commit(change)
    assert len(told) == 1
    assert 0 < clock.now < 2
    lossy.suffer(["down"] * 1000)
    with pytest.raises(StoreDown):
        store.commit(change)
    assert len(told) == 2
    assert clock.now < 8


@given(st.lists(st.floats(0, 1), min_size=30, max_size=30))
def test_pauses_grow_stay_below_their_bound_and_end(chances: list[float]) -> None:
    clock = Clock(0.0)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        clock.now += seconds + 0.001

    patience = Patience(9, 2, clock=clock, sleep=sleep, random=itertools.cycle(chances).__next__)
    patience.contact.reached = True
    for pace, length in ((CONTENTION, 2), (OUTAGE, 9)):
        pauses.clear()
        begun = clock.now
        tries = Tries(patience, pace)
        while tries.again():
            assert len(pauses) < 20_000
        assert length <= clock.now - begun <= length + pace.most + 0.01
        assert max(pauses) <= pace.most
        assert all(p <= pace.first * 2.0 ** min(i, 30) for i, p in enumerate(pauses))


def test_whoever_wants_to_end_waits_no_more() -> None:
    stopped: list[bool] = []

    def sleep(seconds: float) -> None:
        stopped.append(True)

    patience = Patience(100, 100, sleep=sleep, stopped=lambda: bool(stopped))
    patience.contact.reached = True
    tries = Tries(patience, OUTAGE)
    assert tries.again()
    assert not tries.again()
    assert len(stopped) == 1


def test_contention_on_one_key_holds_up_no_other_key_of_the_same_commit() -> None:
    line = Line(sealed=False)
    line.mine.set("quiet", 0)
    seen: list[int] = []

    def rival() -> None:
        seen.append(line.rival.get("quiet"))
        line.rival.increment("busy")

    line.suffer(["rival"] * 6, rival)
    mutations = [line.mine.edit(key, edits.add(1)) for key in ("quiet", "busy")]
    assert line.mine.writer.apply(mutations) == [1, 7]
    assert seen[-1] == 1, "it was written while the other was still being tried"


@pytest.mark.parametrize(
    "fate", ["lost before", "late", "lost after", "lost after, then rival", "rival, then lost after"]
)
@pytest.mark.parametrize("rival", [edits.put(2), edits.set_ttl(5), edits.put(1, sensitive=True)])
@pytest.mark.parametrize("mine", [edits.set_ttl(60), edits.put(1, sensitive=True, keep_ttl=True)])
def test_a_flag_or_an_expiry_is_said_to_be_set_only_where_that_is_known(
    fate: str, rival: edits.Edit, mine: edits.Edit
) -> None:
    line = Line(sealed=False)
    line.rival.set("k", 1, ttl=1000)
    line.suffer([fate], lambda: line.rival.apply("k", rival))
    if "rival" not in fate:
        assert line.mine.apply("k", mine) is True
        row = line.rival.row("k")
        assert row is not None and (row.record.expires == line.clock.now + 60 or row.record.sensitive)
        return
    with pytest.raises(Indeterminate, match="others changed it since"):
        line.mine.apply("k", mine)
