"""Why: one file has one name in a plan, whatever links lead to it, and whether they are there yet or still."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sloth_runner.agent.perform import perform
from sloth_runner.engine.drive import Skipped
from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.ops import (
    FILE,
    FOLDER,
    LINK,
    Batch,
    Done,
    Exec,
    Fetch,
    Found,
    List,
    MakeDir,
    MakeLink,
    OpError,
    Owned,
    Read,
    Remove,
    SetAttrs,
    Stat,
    Unpack,
    Unpacked,
    Whose,
    Write,
)
from sloth_runner.transport.base import discard
from sloth_runner.transport.local import LocalTransport
from tests.archives import tar
from tests.modules.kit import make_tree, read_tree

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.ops import Op, Result

NAMES = st.sampled_from(("d", "e", "f", "l", "d/f", "d/e", "l/f", "l/e", "d/l", "l/l", "d/l/f", "e/f"))
TARGETS = st.sampled_from(("d", "e", "../d", "f", "l", "ROOT/d", "d/e", ".", "none"))
MODES = st.sampled_from((None, 0o600, 0o755))
OTHER = "65534" if os.geteuid() == 0 else str(os.geteuid())
OWNERS = st.sampled_from((None, None, OTHER, pwd.getpwuid(os.geteuid()).pw_name, "nosuch"))
GROUPS = st.sampled_from((None, None, str(os.getegid()), grp.getgrgid(os.getegid()).gr_name, "nosuch"))
OVER = st.sampled_from(("", *(sha256(text).hexdigest() for text in (b"new", b"newer"))))
OPS = st.one_of(
    NAMES.map(lambda name: Stat(name, digest=True)),
    NAMES.map(lambda name: Stat(name, digest=True, follow=True)),
    NAMES.map(lambda name: Read(name, 100)),
    st.tuples(NAMES, st.booleans()).map(lambda pair: List(pair[0], recursive=pair[1])),
    st.tuples(NAMES, st.just(0o755), OWNERS, GROUPS).map(lambda all_: MakeDir(*all_)),
    st.tuples(NAMES, TARGETS, OWNERS, GROUPS).map(lambda all_: MakeLink(*all_)),
    st.tuples(NAMES, st.just(b"new"), MODES, OWNERS, GROUPS).map(lambda all_: Write(*all_)),
    st.tuples(NAMES, OVER).map(lambda pair: Write(pair[0], b"newer", over=pair[1])),
    st.tuples(NAMES, MODES, OWNERS, GROUPS).map(lambda all_: SetAttrs(*all_)),
    NAMES.map(lambda name: Remove(name)),
    NAMES.map(lambda name: Remove(name, recursive=True)),
)


LOOKS = st.lists(OPS.filter(lambda op: isinstance(op, Stat | Read)), min_size=1, max_size=3)
BATCHES = st.tuples(OPS, LOOKS).map(lambda pair: Batch((pair[0], *pair[1])))


class Slow(LocalTransport):
    """A machine that does not answer at once, but for some of the questions."""

    def __init__(self, prompt: list[bool]) -> None:
        super().__init__(os.environ)
        self._prompt = prompt

    def at_once(self, op: Op) -> Result | None:
        """See Transport."""
        return super().at_once(op) if self._prompt and self._prompt.pop() else None

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """See Transport."""
        return perform(op)


def _placed(op: Any, root: str) -> Any:
    if isinstance(op, Batch):
        return Batch(tuple([_placed(one, root) for one in op.ops]))
    if isinstance(op, MakeLink):
        op = op._replace(target=op.target.replace("ROOT", root))
    return op._replace(path=f"{root}/{op.path}")


def _done(transport: LocalTransport | Rehearsal, op: Any) -> object:
    """What an operation comes to, as far as a plan can know it."""
    ops = op.ops if isinstance(op, Batch) else (op,)
    try:
        result = transport.at_once(op)
        if result is None:
            result = asyncio.run(transport.do(op))
    except OpError as error:
        kind = "missing" if error.kind == "not-folder" else error.kind
        return [*map(_known, ops, error.results), kind]
    return [*map(_known, ops, result if isinstance(op, Batch) else (result,))]


def _known(op: Any, result: object) -> object:
    if not isinstance(result, Found):
        return result
    whose = result.uid, result.gid, result.owner, result.group
    if result.kind != LINK:
        size = result.size if result.kind == FILE else 0
        return result.kind, result.mode, size, result.digest, result.real, whose
    if op.follow:  # a circle: where it is noticed, and how, tells nothing
        return "link"
    return LINK, result.digest, result.target, whose


USUAL: list[Any] = [
    Batch((Read("d/f", 100), Read("d/f", 1), Stat("e"))),
    Write("f", b"12"),
    Batch((Stat("d/f", digest=True), Read("f", 2), Read("d", 9), Stat("e"))),
    Batch((Write("f", b"123"), Read("e", 9), Stat("f"))),
    Read("f", 1),
    MakeLink("e", "f"),
    MakeDir("f", 0o755),
    List("f"),
    Remove("d"),
    SetAttrs("f", 0o600),
    SetAttrs("f", 0o600),
    MakeDir("d/e", 0o755),
    Write("d/e/y", b"y"),
    MakeDir("d/e", 0o755),
    Remove("d/e"),
    List("d"),
    List("d", recursive=True),
    Remove("d/f"),
    List("d"),
    Remove("d", recursive=True),
    Read("d", 9),
    List("d"),
    SetAttrs("d", 0o755),
    MakeDir("d", 0o755),
    List("d"),
    MakeDir("d/e", 0o700),
    Write("d/e/y", b"y"),
    Read("d/e", 9),
    List("d"),
    List("d", recursive=True),
    Write("d/e", b"y"),
    Remove("d"),
    Remove("none"),
]
"""What calls do one after the other, and what is refused."""


@example(USUAL, False, [])
@example(USUAL, False, [True] * 200)
@example([Write("f", b"1"), *USUAL], True, [True, False] * 100)
@given(st.lists(OPS | BATCHES, min_size=1, max_size=8), st.booleans(), st.lists(st.booleans()))
def test_a_plan_follows_links_as_the_machine_would(ops: list[Any], linked: bool, prompt: list[bool]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(folder).resolve())
        tree: dict[str, Any] = {
            "d/f": "f",
            "e": {"folder": "0755"},
            **({"l": {"link": "d"}} if linked else {}),
        }
        make_tree(Path(root), tree)
        before = read_tree(Path(root))
        rehearsal = Rehearsal(Slow(prompt))
        said: list[tuple[Op, Any]] = []
        for op in (_placed(one, root) for one in ops):
            # modules look there before they make anything
            makes: Any = op.ops[0] if isinstance(op, Batch) else op
            above = Stat(str(Path(makes.path).parent), follow=True)
            said.append((above, _done(rehearsal, above)))
            if not isinstance(makes, MakeDir | MakeLink | Write) or said[-1][1][0][0] == FOLDER:
                said.append((op, _done(rehearsal, op)))
        assert read_tree(Path(root)) == before, "a plan changes nothing"
        machine = LocalTransport(os.environ)
        for op, foretold in said:
            assert _done(machine, op) == foretold


def test_accounts_that_are_made_or_gone_before_count(tmp_path: Path) -> None:
    user, group = pwd.getpwuid(0).pw_name, grp.getgrgid(0).gr_name
    rehearsal = Rehearsal(LocalTransport(os.environ))
    new_user, new_group = "newcomer:x:4711:4711::/:/bin/sh", "newgroup:x:4712:"
    for file, gone, new in (("passwd", user, new_user), ("group", group, new_group)):
        rows = Path("/etc", file).read_text().splitlines()
        left = [row for row in rows if not row.startswith(f"{gone}:")]
        rehearsal.at_once(Write(f"/etc/{file}", "\n".join([*left, "+", "odd:x", new, ""]).encode()))
    for owner, of in (("newcomer", "newgroup"), ("4711", "4712")):
        rehearsal.at_once(Write(f"{tmp_path}/f", b"", None, owner, of))
        found = rehearsal.at_once(Stat(f"{tmp_path}/f"))
        assert isinstance(found, Found)
        assert (found.uid, found.gid, found.owner, found.group) == (4711, 4712, "newcomer", "newgroup")
    unknown: tuple[tuple[str | None, str | None, str, str], ...] = (
        (user, None, "no-user", f"there is no user {user!r} on this machine"),
        (None, group, "no-group", f"there is no group {group!r} on this machine"),
        ("odd", None, "no-user", "there is no user 'odd' on this machine"),
    )
    for nobody, none, kind, words in unknown:
        with pytest.raises(OpError) as caught:
            rehearsal.at_once(SetAttrs(f"{tmp_path}/f", None, nobody, none))
        assert (caught.value.kind, caught.value.reason) == (kind, words)
    numbers = rehearsal.at_once(Whose(f"{tmp_path}/f", "0", "0"))
    assert isinstance(numbers, Owned) and (numbers.uid, numbers.gid) == (0, 0)
    with pytest.raises(OpError) as caught:
        rehearsal.at_once(Exec("true", user="odd"))
    assert (caught.value.kind, caught.value.path) == ("no-login", "odd")
    with pytest.raises(Skipped):
        rehearsal.at_once(Exec("true", user="newcomer"))
    with pytest.raises(OpError) as caught:
        rehearsal.at_once(Fetch("get", "http://127.0.0.1/", into=f"{tmp_path}/into", owner="odd"))
    assert caught.value.path == f"{tmp_path}/into"


@pytest.mark.parametrize(
    ("row", "owner", "differing"),
    [("new:x:{uid}:0::/:/bin/sh", "new", ()), ("new:x:4711:0::/:/bin/sh", "new", ("f",)),
     ("new:x::0::/:/bin/sh", "new", ("f",)), ("new:x:4711:0::/:/bin/sh", "0", ("f",))],
)  # fmt: skip
def test_an_archive_may_be_for_an_account_that_is_made_before(
    tmp_path: Path, row: str, owner: str, differing: tuple[str, ...]
) -> None:
    """The machine does not know its name yet."""
    uid = os.geteuid() or 4000
    make_tree(tmp_path, {"f": "text"})
    if os.geteuid() == 0:
        os.chown(tmp_path / "f", uid, -1)
    rehearsal = Rehearsal(LocalTransport(os.environ))
    rows = Path("/etc/passwd").read_text() + row.format(uid=uid) + "\n"
    rehearsal.at_once(Write("/etc/passwd", rows.encode()))
    archive = tar({"name": "f", "content": "text"})
    for look in (True, False):
        unpacked = rehearsal.at_once(Unpack(str(tmp_path), None, archive, owner=owner, look=look))
        assert isinstance(unpacked, Unpacked) and unpacked.differing == differing


def test_what_was_rehearsed_meanwhile_is_not_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    rehearsal = Rehearsal(LocalTransport(os.environ))
    new, newer = (sha256(text).hexdigest() for text in (b"new", b"newer"))
    rehearsal.at_once(Write(path, b"new", over=""))
    for op in (Write(path, b"newer", over=""), Remove(path, over=newer)):
        with pytest.raises(OpError) as caught:
            rehearsal.at_once(op)
        assert caught.value.kind == "changed"
    assert rehearsal.at_once(Write(path, b"newer", over=new)) == Done(True)
    assert rehearsal.at_once(Remove(path, over=newer)) == Done(True)
