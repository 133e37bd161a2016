"""Law: many files in a row come to the same as one by one, whatever is there and whatever fails."""

from __future__ import annotations

import contextlib
import os
import resource
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.agent.perform import perform
from sloth_runner.agent.staging import stage, stage_row
from sloth_runner.ops import Batch, Done, MakeDir, MakeLink, OpError, Remove, Stat, Write
from sloth_runner.plain import Any
from tests.agent.test_writing import as_nobody

NAMES = ("a", "b", "c", "d", "d/x", "l", "no/x", "f", "long" * 80)
names = st.sampled_from(NAMES)
numbers = st.sampled_from((None, 0o600, 0o755, 0o4711, 1 << 40))
ops = st.one_of(
    st.builds(lambda name, content, mode: Write(name, content, mode), names, st.binary(max_size=3), numbers),
    st.builds(
        lambda name, owner: Write(name, b"x", None, owner), names, st.sampled_from(("nobody", "nosuch"))
    ),
    st.builds(lambda name: Write(name, b"over", over=""), names),
    st.builds(lambda name: Write(name, b"x"), names),
    st.builds(lambda name: Write(name, b"x"), names),
    st.builds(lambda name: MakeDir(name, 0o700), names),
    st.builds(lambda name: MakeLink(name, "a"), names),
    st.builds(lambda name: Remove(name), names),
    st.builds(lambda name: Stat(name), names),
)


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = path.read_bytes() if stat.S_ISREG(status.st_mode) else None
        if path.is_symlink():
            content = str(path.readlink())
        found[str(path.relative_to(root))] = (stat.filemode(status.st_mode), status.st_uid, content)
    return found


def told(results: tuple[Any, ...]) -> list[object]:
    return [one.changed if isinstance(one, Done) else one.kind for one in results]


def done(root: Path, given_ops: list[Any], *, together: bool) -> tuple[Any, ...]:
    """What came of it: results, error, tree."""
    (root / "d").mkdir()
    (root / "f").write_text("old")
    (root / "f").chmod(0o640)
    (root / "l").symlink_to("f")
    placed: list[Any] = [op._replace(path=f"{root}/{op.path}") for op in given_ops]
    results: tuple[Any, ...] = ()
    error = None
    try:
        if together:
            results = perform(Batch(tuple(placed)))
        else:
            for op in placed:
                results = (*results, perform(op))
    except OpError as failure:
        results = failure.results if together else results
        error = (failure.kind, str(failure).replace(str(root), ""))
    except OverflowError:  # no caller gives such a mode
        results, error = (), ("overflow", "")
    return told(results), error, tree(root)


def open_files(root: Path) -> list[str]:
    """What is open below a folder: others may open and close files meanwhile."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(number.readlink()))
    return [path for path in found if path.startswith(str(root))]


@given(st.lists(ops, min_size=1, max_size=8))
def test_a_batch_is_its_operations_one_by_one(given_ops: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        found = done(Path(one), given_ops, together=True)
        assert open_files(Path(one)) == []
        assert found == done(Path(other), given_ops, together=False)


def test_a_row_ends_with_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    given_ops: list[Any] = [
        Stat(f"{tmp_path}"),
        *(Write(f"{tmp_path}/{name}", b"x") for name in ("a", "there", "b")),
        Write(f"{tmp_path}/c", b"x", over=""),
        MakeDir(f"{tmp_path}/d", 0o700),
        Write(f"{tmp_path}/d/e", b"x"),
    ]
    staged, end = stage_row(given_ops, 1)
    assert sorted(staged) == [1, 3] and end == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    for one in staged.values():
        one.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


def test_what_is_there_by_now_is_not_replaced(tmp_path: Path) -> None:
    staged = stage(Write(f"{tmp_path}/a", b"ours", 0o600))
    assert staged is not None
    staged.begin()
    staged.sync()
    (tmp_path / "a").write_text("theirs")
    with pytest.raises(OpError) as caught:
        staged.place()
    staged.close()
    assert caught.value.kind == "exists" and (tmp_path / "a").read_text() == "theirs"


def test_one_place_is_one_under_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("d")
    found = [stage(Write(f"{tmp_path}/{name}", b"x")) for name in ("d/a", "l/a", "d/b", "a")]
    keys = [one.key for one in found if one is not None]
    assert len(keys) == 4 and keys[0] == keys[1] and len(set(keys)) == 3
    for one in found:
        assert one is not None and one.highest > 2
        one.close()


def test_a_folder_that_is_exchanged_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    staged = stage(Write(f"{tmp_path}/d/a", b"ours"))
    assert staged is not None
    (tmp_path / "d").rename(tmp_path / "e")
    (tmp_path / "d").symlink_to("/")
    staged.place()
    staged.close()
    assert (tmp_path / "e" / "a").read_text() == "ours"


def test_where_it_can_not_be_written_nothing_is_left_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with as_nobody(), pytest.raises((OpError, OSError)):
        stage(Write(f"{tmp_path}/a", b"x"))
    assert open_files(tmp_path) == []


def test_contents_are_durable_before_any_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the disk has begun with all of them before the first is waited for."""
    seen: list[str] = []
    for name in ("posix_fadvise", "fsync", "link"):
        real = getattr(os, name)

        def spy(*args: Any, name: str = name, real: Any = real, **more: Any) -> Any:
            seen.append(name)
            return real(*args, **more)

        monkeypatch.setattr(os, name, spy)
    perform(Batch(tuple(Write(f"{tmp_path}/{name}", b"x") for name in "abc")), lambda fd, path: None)
    assert seen == ["posix_fadvise"] * 3 + ["fsync"] * 3 + ["link"] * 3


def test_what_could_not_be_made_durable_gets_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OpError, match="output error") as caught:
        perform(Batch(tuple(Write(f"{tmp_path}/{name}", b"x") for name in "ab")))
    assert caught.value.results == () and list(tmp_path.iterdir()) == []


FEW = """
import resource, sys
from sloth_runner.agent.perform import perform
from sloth_runner.ops import Batch, Write
perform(Batch((Write(sys.argv[1] + "/first", b"x"),)))
resource.setrlimit(resource.RLIMIT_NOFILE, (12, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
print(len(perform(Batch(tuple(Write(f"{sys.argv[1]}/{n}", b"x") for n in range(20))))))
"""


def test_few_open_files_are_enough(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 12
    said = subprocess.run(
        [sys.executable, "-c", FEW, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert said.stdout == "20\n", said.stderr
    assert len(list(tmp_path.iterdir())) == 21
