"""Why: one file has one name in a plan, whatever links lead to it, and whether they are there yet or still."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.engine.rehearsal import Rehearsal
from sloth_runner.ops import (
    FOLDER,
    LINK,
    Found,
    List,
    MakeDir,
    MakeLink,
    OpError,
    Read,
    Remove,
    Stat,
    Write,
)
from sloth_runner.transport.local import LocalTransport
from tests.modules.kit import make_tree

if TYPE_CHECKING:
    from sloth_runner.ops import Op

NAMES = st.sampled_from(("d", "e", "f", "l", "d/f", "d/e", "l/f", "l/e", "d/l", "l/l", "d/l/f", "e/f"))
TARGETS = st.sampled_from(("d", "e", "../d", "f", "l", "ROOT/d", "d/e", ".", "none"))
OPS = st.one_of(
    NAMES.map(lambda name: Stat(name, digest=True)),
    NAMES.map(lambda name: Stat(name, digest=True, follow=True)),
    NAMES.map(lambda name: Read(name, 100)),
    NAMES.map(lambda name: List(name, recursive=True)),
    NAMES.map(lambda name: MakeDir(name, 0o755)),
    st.tuples(NAMES, TARGETS).map(lambda pair: MakeLink(*pair)),
    NAMES.map(lambda name: Write(name, name.encode())),
    NAMES.map(lambda name: Remove(name)),
    NAMES.map(lambda name: Remove(name, recursive=True)),
)


def _placed(op: Any, root: str) -> Any:
    if isinstance(op, MakeLink):
        op = op._replace(target=op.target.replace("ROOT", root))
    return op._replace(path=f"{root}/{op.path}")


def _done(transport: LocalTransport | Rehearsal, op: Any) -> object:
    """What an operation comes to, as far as a plan can know it."""
    try:
        result = transport.at_once(op)
    except OpError as error:
        return "missing" if error.kind == "not-folder" else error.kind
    if isinstance(result, Found):
        real = None if result.kind == LINK else result.real  # where a circle is noticed tells nothing
        return (
            result.kind,
            result.digest,
            None if result.kind == LINK and op.follow else result.target,
            real,
        )
    return result


@given(st.lists(OPS, min_size=1, max_size=8), st.booleans())
def test_a_plan_follows_links_as_the_machine_would(ops: list[Any], linked: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(folder).resolve())
        tree: dict[str, Any] = {
            "d/f": "f",
            "e": {"folder": "0755"},
            **({"l": {"link": "d"}} if linked else {}),
        }
        make_tree(Path(root), tree)
        rehearsal = Rehearsal(LocalTransport(os.environ))
        said: list[tuple[Op, Any]] = []
        for op in (_placed(one, root) for one in ops):
            # modules look there before they make anything
            above = Stat(str(Path(op.path).parent), follow=True)
            said.append((above, _done(rehearsal, above)))
            if not isinstance(op, MakeDir | MakeLink | Write) or said[-1][1][0] == FOLDER:
                said.append((op, _done(rehearsal, op)))
        machine = LocalTransport(os.environ)
        for op, foretold in said:
            assert _done(machine, op) == foretold
