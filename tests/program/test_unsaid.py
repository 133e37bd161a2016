"""Why: what stays as an earlier run has set it is told; not what others say or have changed, and no secret."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, cast

import pytest

from sloth_runner.engine.recording import covered
from sloth_runner.execution.unsaid import unsaid
from sloth_runner.modules.base import Kind, Look, Observed, each_alone
from sloth_runner.state.ledger_records import Entry
from sloth_runner.transport.local import LocalTransport

WAS = {"type": "file", "content": "c0", "mode": "0644"}
IS = {"type": "file", "content": "c1", "mode": "0600"}
TOLD = "its mode stays as an earlier run has set it (mode 0600, before 0644), though no line that was come to says so"


def entry(**other: Any) -> Entry:
    """One of a file whose content and mode we have set."""
    made = Entry(
        "file", "/f", {}, IS, IS, WAS, {}, True, None, None, 0.0, 0.0,
        ("root", "here", 1, None, "t"), "s", ("",), None, "file.write",
    )  # fmt: skip
    return made._replace(**other)


def told(one: Entry, said: set[str], now: dict[str, Any] | None = IS) -> str:
    """What is told, where ``now`` is there."""

    def observe(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
        yield from ()
        return [Observed(now) for _ in looks]

    kind = Kind("file", "", observe, cast("Any", None), apart=each_alone("content", "mode"))
    return unsaid(one, kind, "s", said, LocalTransport({}), cast("Any", None))


SALTED = entry(
    salt="salt",
    **{name: covered(value, "salt") for name, value in (("wanted", IS), ("applied", IS), ("before", WAS))},
)


@pytest.mark.parametrize(
    ("one", "said", "now", "words"),
    [
        (entry(), {"content"}, IS, TOLD),
        (entry(), {"mode"}, IS, "its content stays as an earlier run has set it, though"),
        (
            entry(),
            set(),
            IS,
            "its content, mode stays as an earlier run has set it (mode 0600, before 0644), though",
        ),
        (entry(), {"content", "mode"}, IS, ""),
        (entry(), {"content"}, {**IS, "mode": "0640"}, ""),
        (entry(), {"content"}, None, ""),
        (entry(touched=False), {"content"}, IS, ""),
        (entry(before=None), {"content"}, IS, ""),
        (entry(before={"type": "link"}), {"content"}, IS, ""),
        (entry(before={**WAS, "type": "link"}), {"content"}, IS, ""),
        (entry(before={"type": "file", "content": "c0"}), {"content"}, IS, ""),
        (entry(applied=None), {"content"}, IS, ""),
        (entry(others={"o": []}), {"content"}, IS, ""),
        (entry(others={"o": []}, shares={"s": ["content"], "o": ["mode"]}), {"content"}, IS, ""),
        (entry(others={"o": []}, shares={"s": ["content"], "o": ["content"]}), {"content"}, IS, TOLD),
        (SALTED, {"content"}, IS, "its mode stays as an earlier run has set it, though no line"),
    ],
)
def test_what_is_told(one: Entry, said: set[str], now: dict[str, Any] | None, words: str) -> None:
    found = told(one, said, now)
    assert found.startswith(words) if words else found == ""
    assert ("prune puts it back" in found) is bool(words and not one.salt)
