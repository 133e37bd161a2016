"""Checkpoints of the S3 store change nothing that can be read, whoever reads, and however late."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from sloth_runner.state.layout import store_key
from sloth_runner.state.store import Change, Entry
from tests.services import shared_url
from tests.services.s3 import part
from tests.state.s3_kit import SMALL, another, settled

NAMES = [f"{letter}{number}" for letter in "abc" for number in range(6)]


class Machine(RuleBasedStateMachine):
    """Three processes on one store, one of which keeps nothing tidy; each may begin anew at any time."""

    def __init__(self) -> None:
        super().__init__()
        name = uuid.uuid4().hex
        self.urls = [part(shared_url("s3"), name, checkpoint=often) for often in ("2", "3", "1000")]
        self.stores = [another(url) for url in self.urls]
        self.model: dict[str, Entry] = {}

    @rule(
        who=st.integers(0, 2),
        rows=st.dictionaries(
            st.sampled_from(NAMES), st.one_of(st.none(), st.binary(max_size=90)), min_size=1
        ),
    )
    def commit(self, who: int, rows: dict[str, bytes | None]) -> None:
        changes = [Change(store_key("local", "k", name), value) for name, value in rows.items()]
        revs = self.stores[who].commit(changes)
        for change, rev in zip(changes, revs, strict=True):
            if change.value is None:
                self.model.pop(change.key, None)
            else:
                assert rev > (self.model[change.key].rev if change.key in self.model else 0)
                self.model[change.key] = Entry(change.key, change.value, rev)
        settled(self.stores[who])

    @rule(who=st.integers(0, 2))
    def begin_anew(self, who: int) -> None:
        self.stores[who] = another(self.urls[who], sizes=SMALL._replace(ratio=1 + who))

    @rule(who=st.integers(0, 2), name=st.sampled_from(NAMES))
    def get(self, who: int, name: str) -> None:
        key = store_key("local", "k", name)
        assert self.stores[who].get(key) == self.model.get(key)

    @rule(
        who=st.integers(0, 2),
        prefix=st.sampled_from(["", "a", "b", "c", "zz"]),
        after=st.sampled_from(["", *NAMES]),
        limit=st.one_of(st.none(), st.integers(0, 7)),
        reverse=st.booleans(),
    )
    def scan(self, who: int, prefix: str, after: str, limit: int | None, reverse: bool) -> None:
        prefix = store_key("local", "k", prefix)
        after = store_key("local", "k", after) if after else ""
        rows: Sequence[str] = sorted(self.model, reverse=reverse)
        if after:
            rows = [key for key in rows if (key < after if reverse else key > after)]
        wanted = [self.model[key] for key in rows if key.startswith(prefix)][:limit]
        assert list(self.stores[who].scan(prefix, after=after, limit=limit, reverse=reverse)) == wanted

    @rule()
    def a_newcomer_agrees(self) -> None:
        found = list(another(self.urls[2]).scan())
        assert found == [self.model[key] for key in sorted(self.model)]


def test_checkpoints_change_nothing() -> None:
    shared_url("s3")
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make an example smaller takes too long
        ),
    )
