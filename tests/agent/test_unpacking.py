"""Why: whatever an archive says, nothing is put outside its folder, and nothing is written of one that is refused."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.agent.perform import perform
from sloth_runner.ops import OpError, Unpack, Unpacked
from tests.agent.test_writing import as_nobody
from tests.archives import Entry, tar, zipped
from tests.modules.kit import make_tree, read_tree


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """The folder to unpack into, with something beside it that must never change."""
    make_tree(tmp_path, {"box": {"folder": "0755"}, "outside/precious": "kept"})
    return tmp_path / "box"


def unpack(box: Path, content: bytes, **how: Any) -> Unpacked:
    result = perform(Unpack(str(box), content=content, **how))
    assert isinstance(result, Unpacked)
    return result


GOOD = (
    {"name": "./app/", "folder": 0o775},
    {"name": "app/bin/run", "content": "#!/bin/sh\n", "mode": 0o6777},
    {"name": "app/data", "content": b"\0\xff", "mode": 0o640},
    {"name": "app/lib/link", "link": "../data"},
    {"name": "app/same", "hard": "app/data"},
)
AFTER = {
    "app/bin/run": {"content": "#!/bin/sh\n", "mode": "0755"},
    "app/data": {"content": b"\0\xff", "mode": "0640"},
    "app/lib/link": {"link": "../data"},
    "app/same": {"content": b"\0\xff", "mode": "0640"},
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip in two": lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + b"\0" * 512,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("how", PACKED)
def test_tar(box: Path, how: str) -> None:
    packed = PACKED[how](tar(*GOOD))
    looked = unpack(box, packed, look=True)
    assert read_tree(box) == {}
    result = unpack(box, packed)
    assert result == looked
    assert read_tree(box) == AFTER
    assert {entry[0] for entry in result.entries} == {"app", "app/bin", "app/lib", *AFTER}
    assert "app/lib" in result.differing
    assert unpack(box, packed).differing == ()


@pytest.mark.parametrize("how", ["w", "pax", "gnu"])
def test_tar_formats(box: Path, how: str) -> None:
    form = {"w": tarfile.USTAR_FORMAT, "pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}[how]
    name = "d/" * 20 + "n" * 90
    unpack(box, tar({"name": name, "content": "x"}, format=form))
    assert read_tree(box) == {name: "x"}


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zip(box: Path, method: int) -> None:
    packed = zipped(
        {"name": "app/", "type": stat.S_IFDIR, "mode": 0o700},
        {"name": "app/run", "content": "x", "mode": 0o755},
        {"name": "app/link", "link": "run"},
        method=method,
    )
    unpack(box, packed)
    assert read_tree(box) == {
        "app": {"folder": "0700"},
        "app/run": {"content": "x", "mode": "0755"},
        "app/link": {"link": "run"},
    }
    assert unpack(box, packed, look=True).differing == ()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("pack", [tar, zipped])
def test_of_two_things_of_one_name_the_later_counts(box: Path, pack: Callable[..., bytes]) -> None:
    packed = pack(
        {"name": "a", "content": "old"},
        {"name": "b", "link": "a"},
        {"name": "./a", "content": "new", "mode": 0o600},
        {"name": "b", "content": "b"},
        {"name": "c", "content": "c"},
        {"name": "c", "link": "a"},
    )
    assert unpack(box, packed).differing == ("a", "b", "c")
    assert read_tree(box) == {"a": {"content": "new", "mode": "0600"}, "b": "b", "c": {"link": "a"}}
    assert unpack(box, packed).differing == ()


def test_hard_links_are_those_of_the_later_file(box: Path) -> None:
    pair = [{"name": "a", "content": "old"}, {"name": "b", "hard": "a"}]
    unpack(box, tar(*pair, {"name": "a", "content": "new"}, *pair[1:], {"name": "a", "hard": "a"}))
    assert read_tree(box) == {"a": "new", "b": "new"}


def test_a_hard_link_may_name_another_and_stand_before_it(box: Path) -> None:
    unpack(box, tar({"name": "z", "content": "x"}, {"name": "m", "hard": "z"}, {"name": "a", "hard": "m"}))
    assert read_tree(box) == {"a": "x", "m": "x", "z": "x"}


def test_a_folder_that_is_only_on_the_way_stays_as_it_is(box: Path) -> None:
    make_tree(box, {"app": {"folder": "0700"}, "app/own": "kept"})
    packed = tar({"name": "app/run", "content": "x"}, {"name": "app/up", "link": "./../app/run"})
    result = unpack(box, packed)
    assert result.differing == ("app/run", "app/up")
    assert [(path, mode) for path, _, mode, _ in result.entries] == [
        ("app", ""),
        ("app/run", "0644"),
        ("app/up", ""),
    ]
    assert read_tree(box) == {
        "app": {"folder": "0700"},
        "app/own": "kept",
        "app/run": "x",
        "app/up": {"link": "../app/run"},
    }


def test_a_folder_that_is_missing_can_be_compared_and_is_not_made(box: Path) -> None:
    opened = len(list(Path("/proc/self/fd").iterdir()))
    missing = box / "none"
    assert unpack(missing, tar(*GOOD[1:2]), look=True).differing == ("app", "app/bin", "app/bin/run")
    with pytest.raises(OpError) as caught:
        unpack(missing, tar(*GOOD))
    assert caught.value.kind == "missing" and not missing.exists()
    missing.touch()
    for look in (True, False):
        with pytest.raises(OpError) as caught:
            unpack(missing, tar(*GOOD), look=look)
        assert caught.value.kind == "not-folder"
    unpack(box, tar(*GOOD))
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_whose_things_are_is_compared_too(box: Path) -> None:
    packed, nobody = tar(*GOOD), {"owner": "65534", "group": "65534"}
    unpack(box, packed, **nobody)
    assert unpack(box, packed, **nobody).differing == ()
    os.chown(box / "app/data", 0, -1)
    os.chown(box / "app/bin", -1, 0)
    os.chown(box / "app/lib/link", 0, -1, follow_symlinks=False)
    assert unpack(box, packed, **nobody).differing == ("app/data", "app/lib/link")
    assert unpack(box, packed, owner="65534").differing == ()


@pytest.mark.parametrize("how", PACKED)
def test_an_empty_tar(box: Path, how: str) -> None:
    assert unpack(box, PACKED[how](tar())).entries == ()
    assert read_tree(box) == {}


def test_only_what_differs_is_written(box: Path) -> None:
    unpack(box, tar(*GOOD))
    (box / "app/data").write_bytes(b"edited")
    (box / "app/own").write_text("kept")
    (box / "app/bin/run").chmod(0o700)
    before = (box / "app/same").stat().st_ino
    assert set(unpack(box, tar(*GOOD)).differing) == {"app/data", "app/bin/run"}
    assert read_tree(box) == {**AFTER, "app/own": "kept"}
    assert (box / "app/same").stat().st_ino == before


def test_leading_names_are_left_out(box: Path) -> None:
    unpack(box, tar(*GOOD), strip=1)
    assert read_tree(box) == {name.removeprefix("app/"): what for name, what in AFTER.items()}


def test_a_link_in_the_place_of_a_file_is_replaced(box: Path) -> None:
    (box / "a").symlink_to("../outside/precious")
    unpack(box, tar({"name": "a", "content": "new"}))
    assert read_tree(box) == {"a": "new"}


REFUSED: dict[str, tuple[bytes, str]] = {
    "an absolute path": (tar({"name": "/etc/x", "content": "x"}), "leads outside"),
    "a path upwards": (tar({"name": "a/../../outside/precious", "content": "x"}), "leads outside"),
    "a path upwards, in zip": (zipped({"name": "../outside/precious", "content": "x"}), "leads outside"),
    "an absolute path, in zip": (zipped({"name": "/etc/x", "content": "x"}), "leads outside"),
    "an absolute path in a pax header": (
        tar({"name": "a", "content": "x", "pax": {"path": "/etc/x"}}, format=tarfile.PAX_FORMAT),
        "leads outside",
    ),
    "a link outside": (tar({"name": "a", "link": "../outside"}), "may lead outside"),
    "a link to an absolute path": (tar({"name": "a", "link": "/etc"}), "may lead outside"),
    "a link outside, in zip": (zipped({"name": "a/b", "link": "../../outside"}), "may lead outside"),
    "a link that goes up behind a name": (
        tar({"name": "d", "link": "."}, {"name": "a", "link": "d/d/../../outside"}),
        "may lead outside",
    ),
    "a file below a link": (
        tar({"name": "a", "link": "b"}, {"name": "a/precious", "content": "x"}),
        "below 'a', which is no folder",
    ),
    "a link in the place of a folder": (
        tar({"name": "a/x", "content": "x"}, {"name": "a", "link": "b"}),
        "holds 'a' twice",
    ),
    "a folder in the place of a file": (
        tar({"name": "a", "content": "x"}, {"name": "a", "folder": 0o755}),
        "holds 'a' twice",
    ),
    "a hard link to what is another file later": (
        tar({"name": "a", "content": "x"}, {"name": "b", "hard": "a"}, {"name": "a", "content": "y"}),
        "'b', a hard link to the first of two things called 'a'",
    ),
    "a name twice, in zip": (zipped({"name": "a", "content": "x"}, {"name": "b/../a"}), "leads outside"),
    "a hard link outside": (tar({"name": "a", "hard": "../outside/precious"}), "leads outside"),
    "a hard link to an absolute path": (tar({"name": "a", "hard": "/etc/passwd"}), "leads outside"),
    "a hard link to a link": (
        tar({"name": "a", "link": "b"}, {"name": "c", "hard": "a"}),
        "no file before it",
    ),
    "a hard link to what comes later": (
        tar({"name": "a", "hard": "b"}, {"name": "b", "content": "x"}),
        "no file before it",
    ),
    "a device": (tar({"name": "a", "type": tarfile.CHRTYPE}), "neither file, folder nor link"),
    "a block device": (tar({"name": "a", "type": tarfile.BLKTYPE}), "neither file, folder nor link"),
    "a pipe": (tar({"name": "a", "type": tarfile.FIFOTYPE}), "neither file, folder nor link"),
    "a pipe, in zip": (zipped({"name": "a", "type": stat.S_IFIFO}), "neither file, folder nor link"),
    "an unknown type": (
        tar({"name": "a", "type": b"Z", "content": "x" * 600}),
        "neither file, folder nor link",
    ),
    "a sparse file": (
        tar(
            {"name": "a", "content": "x", "pax": {"GNU.sparse.size": "99999999999", "GNU.sparse.map": "0,1"}},
            format=tarfile.PAX_FORMAT,
        ),
        "neither file, folder nor link",
    ),
    "a bomb": (
        gzip.compress(tar({"name": "a", "content": b"\0" * (30 << 20)})),
        "grows to more than 200 times",
    ),
    "a bomb in xz": (
        lzma.compress(tar({"name": "a", "content": b"\0" * (30 << 20)})),
        "grows to more than 200",
    ),
    "a bomb in bzip2": (
        bz2.compress(tar({"name": "a", "content": b"\0" * (30 << 20)})),
        "grows to more than 200",
    ),
    "a bomb in zip": (zipped({"name": "a", "content": b"\0" * (30 << 20)}), "grows to more than 200 times"),
    "a header that fills the memory": (
        gzip.compress(
            tar({"name": "a", "pax": {"comment": "x" * (4 << 20)}}, format=tarfile.PAX_FORMAT),
            compresslevel=1,
        ),
        "header of more than",
    ),
    "a name that fills the memory": (
        gzip.compress(tar({"name": "a" * (4 << 20)}, format=tarfile.GNU_FORMAT)),
        "header of more than",
    ),
    "a zip's link to nothing": (zipped({"name": "a", "link": ""}), "may lead outside"),
    "a zip's link that is no path": (zipped({"name": "a", "link": "b\0c"}), "may lead outside"),
    "no archive": (b"hello" * 200, "is neither tar"),
    "nothing": (b"", "is neither tar"),
    "zstd": (b"\x28\xb5\x2f\xfd" + b"x" * 600, "zstd, which is not unpacked"),
    "a tar without its end": (tar({"name": "a", "content": "x" * 600})[:1024], "cut off|damaged"),
    "a tar cut off between entries": (
        tar({"name": "a", "content": "x"}, {"name": "b", "content": "x"})[:1024],
        "cut off",
    ),
    "a tar with a damaged header": (
        (lambda data: data[:1024] + b"Q" * 512 + data[1536:])(
            tar({"name": "a", "content": "x"}, {"name": "b", "content": "x"})
        ),
        "damaged",
    ),
    "a gzip that is cut off": (gzip.compress(tar(*GOOD))[:-30], "damaged"),
    "a gzip with a wrong checksum": (
        (lambda data: data[:-8] + b"\0\0\0\0" + data[-4:])(gzip.compress(tar(*GOOD))),
        "damaged",
    ),
    "a bzip2 that is damaged": (
        (lambda data: data[:20] + b"\xff" * 20 + data[40:])(bz2.compress(tar(*GOOD))),
        "damaged",
    ),
    "a zip with a wrong checksum": (
        (lambda data: data.replace(b"precious-content", b"previous-content", 1))(
            zipped({"name": "a", "content": "precious-content"}, method=zipfile.ZIP_STORED)
        ),
        "damaged",
    ),
    "a zip that is cut off": (zipped({"name": "a", "content": "x" * 100})[:-30], "damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_as_a_whole(box: Path, what: str) -> None:
    content, message = REFUSED[what]
    before = read_tree(box.parent)
    for look in (True, False):
        with pytest.raises(OpError, match=message) as caught:
            unpack(box, content, look=look)
        assert not caught.value.partial
        assert read_tree(box.parent) == before


def test_what_is_good_before_what_is_bad_is_not_written_either(box: Path) -> None:
    with pytest.raises(OpError):
        unpack(box, tar({"name": "good", "content": "x"}, {"name": "../bad", "content": "x"}))
    assert read_tree(box) == {}


@pytest.mark.parametrize(
    ("how", "message"),
    [({"most": 3}, "more than 3 entries"), ({"size": 4096}, "more than 4,096 bytes")],
    ids=str,
)
def test_caps(box: Path, how: dict[str, int], message: str) -> None:
    with pytest.raises(OpError, match=message):
        unpack(box, tar(*GOOD), **how)
    with pytest.raises(OpError, match=message):
        unpack(box, zipped(*({"name": f"f{n}", "content": "x" * 2000} for n in range(5))), **how)
    assert read_tree(box) == {}
    unpack(box, tar(*GOOD), most=len(GOOD))
    assert read_tree(box) == AFTER


def test_a_size_that_a_zip_lies_about(box: Path) -> None:
    data = bytearray(zipped({"name": "a", "content": b"\0" * (1 << 20)}))
    true, lie = (1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    with pytest.raises(OpError, match="damaged"):
        unpack(box, bytes(data.replace(true, lie)))
    assert read_tree(box) == {}


@pytest.mark.parametrize("name", ["sub", "sub/deep"])
def test_a_link_in_the_folder_is_not_followed(box: Path, name: str) -> None:
    (box / name).parent.mkdir(exist_ok=True)
    (box / name).symlink_to(box.parent / "outside")
    before = read_tree(box.parent)
    with pytest.raises(OpError) as caught:
        unpack(box, tar({"name": f"{name}/precious", "content": "bad"}))
    assert not caught.value.partial
    assert read_tree(box.parent) == before


def test_a_link_that_leads_inside_is_no_way_out_for_others(box: Path) -> None:
    """Links that are each fine are chained; nothing is ever written through one."""
    unpack(
        box,
        tar({"name": "d/e/x", "content": "x"}, {"name": "d/up", "link": ".."}, {"name": "l", "link": "d/up"}),
    )
    for path in ("d/up/precious", "l/precious"):
        with pytest.raises(OpError):
            unpack(box, tar({"name": path, "content": "bad"}))
    for link in ("d/up", "l"):
        assert (box / link).resolve().is_relative_to(box.resolve())


def test_a_folder_in_the_place_of_a_file(box: Path) -> None:
    make_tree(box, {"a/x": "x"})
    with pytest.raises(OpError, match="is there already, and is no file"):
        unpack(box, tar({"name": "b", "content": "b"}, {"name": "a", "content": "a"}))
    assert read_tree(box) == {"a/x": "x"}


def test_a_file_in_the_place_of_a_folder(box: Path) -> None:
    make_tree(box, {"b": "b"})
    with pytest.raises(OpError, match="is there already, and is no folder"):
        unpack(box, tar({"name": "a", "content": "a"}, {"name": "b", "folder": 0o755}))
    assert read_tree(box) == {"b": "b"}


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(box: Path) -> None:
    os.mkfifo(box / "a")
    with pytest.raises(OpError, match="is there already, and is no file"):
        unpack(box, tar({"name": "a", "content": "a"}))


def test_an_archive_there(box: Path) -> None:
    source = box.parent / "a.tar.gz"
    source.write_bytes(gzip.compress(tar(*GOOD)))
    perform(Unpack(str(box), source=str(source)))
    assert read_tree(box) == AFTER
    with pytest.raises(OpError, match="no such file"):
        perform(Unpack(str(box), source=str(box.parent / "none")))
    os.mkfifo(box.parent / "pipe")
    with pytest.raises(OpError, match="is not a regular file"):
        perform(Unpack(str(box), source=str(box.parent / "pipe")))


NAMES = st.lists(st.sampled_from(["a", "b", ".", "..", "", "up"]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.lists(
    st.one_of(
        st.builds(lambda name: {"name": name, "content": "x"}, NAMES),
        st.builds(lambda name: {"name": name, "folder": 0o755}, NAMES),
        st.builds(lambda name, to: {"name": name, "link": to or "x"}, NAMES, NAMES),
        st.builds(lambda name, to: {"name": name, "hard": to or "x"}, NAMES, NAMES),
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(archives=st.lists(ENTRIES, min_size=1, max_size=3))
def test_nothing_gets_out(tmp_path_factory: pytest.TempPathFactory, archives: list[list[Entry]]) -> None:
    """Any archives, one after another: what is beside the folder stays, and no link in it leads out."""
    root = tmp_path_factory.mktemp("any")
    make_tree(root, {"box": {"folder": "0755"}, "a": "kept", "x": "kept", "up/a": "kept"})
    outside = {name: what for name, what in read_tree(root).items() if not name.startswith("box")}
    for entries in archives:
        before = read_tree(root)
        try:
            unpack(root / "box", tar(*entries))
        except OpError as error:
            assert error.partial or read_tree(root) == before
        assert {k: v for k, v in read_tree(root).items() if not k.startswith("box")} == outside
        for path in (root / "box").rglob("*"):
            if path.is_symlink() and not _in_a_circle(path):  # those lead nowhere; resolve is not sure of all
                assert path.resolve().is_relative_to((root / "box").resolve())


def _in_a_circle(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' folders")
def test_what_is_unpacked_in_part_is_told() -> None:
    """As a user to whom one of the folders does not belong."""
    packed = tar({"name": "a", "content": "a"}, {"name": "z/x", "content": "x"}, {"name": "z/l", "link": "x"})
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        make_tree(box, {"z": {"folder": "0755"}})
        unpack(box, packed)  # all that nobody could not load is loaded
        for name in ("a", "z/x", "z/l"):
            (box / name).unlink()
        os.chown(box, 65534, -1)
        for partial, content in ((True, packed), (False, packed), (False, tar({"name": "z/l", "link": "x"}))):
            with as_nobody(), pytest.raises(OpError) as caught:
                unpack(box, content)
            assert (caught.value.kind, caught.value.partial) == ("denied", partial)
            assert read_tree(box) == {"a": "a", "z": {"folder": "0755"}}
