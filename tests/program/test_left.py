"""Why: folders that were made for a resource go with the last of ours in them.

The heir is found by search: it must be one that a look at all would find, and nothing may be lost on the way.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.execution.left import Left
from sloth_runner.state.ledger_records import Entry

NAMES = st.lists(st.sampled_from(["a", "b", "a.", "a-"]), min_size=1, max_size=3)
THERE = {"type": "file"}


def entry(path: str, *, touched: bool, new: bool, missing: list[str]) -> Entry:
    """One of a file."""
    return Entry(
        "file", path, {}, THERE, THERE, None if new else THERE, {"missing": missing}, touched, None, None,
        0.0, 0.0, ("root", "here", 1, None, None), "s", ("",), None, "file.write",
    )  # fmt: skip


@st.composite
def ledgers(draw: st.DrawFn) -> list[Entry]:
    """Entries at different paths; some had folders made for them."""
    out = []
    for names in draw(st.lists(NAMES, min_size=1, max_size=8, unique_by=tuple)):
        folders = ["/" + "/".join(names[:end]) for end in range(1, len(names))]
        made = folders[draw(st.integers(0, len(folders))) :]
        touched, new = draw(st.booleans()), draw(st.booleans())
        out.append(entry("/" + "/".join([*names, "f"]), touched=touched, new=new, missing=made))
    return out


@given(ledgers(), st.randoms(use_true_random=False))
def test_folders_go_with_the_last_of_ours_in_them(entries: list[Entry], random: object) -> None:
    left, plain = Left(entries), {one.address: one for one in entries}
    order = sorted(plain)
    random.shuffle(order)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    for address in order:
        gone = plain.pop(address)
        heir = left.take(address)
        ours = [one for one in plain.values() if one.touched and one.before is None]
        shared = [
            name for name in gone.extra["missing"] if any(one.id.startswith(f"{name}/") for one in ours)
        ]
        if heir is None:
            assert shared == []
        else:
            assert shared
            before = plain[heir.address]
            assert before in ours
            assert heir.id.startswith(f"{shared[-1]}/"), "the deepest folder that others are in"
            assert set(heir.extra["missing"]) == {*before.extra["missing"], *shared}
            plain[heir.address] = heir
        assert {one.address: one for one in left.values()} == plain
        assert left.get(address) is None
