"""Why: whatever is in a file, an edit made twice is made once, and one that put something in can be taken back."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.errors import SlothError
from sloth_runner.modules.base import Change, Observed, Resource
from sloth_runner.modules.files import block, line
from sloth_runner.modules.files.lines import insert, join, remove, split
from tests.modules.kit import Machine

TEXTS = st.text(st.sampled_from("ab#=[]: \t\r\n\u00e9\udcff"), max_size=40)
WORDS = st.text(st.sampled_from("ab#=: \u00e9\udcff"), min_size=1, max_size=5)
LINES = WORDS


def once(file: Path, content: bytes | None) -> Machine:
    folder = file / "m"
    folder.mkdir()
    machine = Machine(folder)
    if content is not None:
        (machine.root / "f").write_bytes(content)
    return machine


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@given(text=TEXTS, at=st.integers(0, 40), texts=st.lists(LINES, max_size=3))
def test_lines_come_back(text: str, at: int, texts: list[str]) -> None:
    lines = split(text)
    assert join(lines) == text
    at = min(at, len(lines))
    more = insert(lines, at, texts)
    assert [one.text for one in more] == [
        *(one.text for one in lines[:at]), *texts, *(one.text for one in lines[at:])
    ]  # fmt: skip
    assert split(join(more)) == more
    if not texts:
        assert more == lines
    assert join(remove(more, range(at, at + len(texts)))) == text


PLACES = st.sampled_from(
    [{}, {"insert_before": "BOF"}, {"insert_after": "^a"}, {"insert_before": "b$", "first_match": True}]
)


@settings(max_examples=60, deadline=None)
@given(text=st.none() | TEXTS, wanted=LINES, regexp=st.sampled_from([None, "^a", "b$", "="]), place=PLACES)
def test_line(
    tmp_path_factory: pytest.TempPathFactory,
    text: str | None,
    wanted: str,
    regexp: str | None,
    place: dict[str, Any],
) -> None:
    before = None if text is None else raw(text)
    machine = once(tmp_path_factory.mktemp("line"), before)
    file = machine.root / "f"
    args = {"path": str(file), "line": wanted, "create": True, **place}
    args.update({} if regexp is None else {"regexp": regexp})
    machine.call("file.line", args)
    created = machine.jobs[0].action == "create"
    after = file.read_bytes()
    assert wanted in {one.text for one in split(after.decode("utf-8", "surrogateescape"))}
    assert not machine.call("file.line", args).changed
    assert file.read_bytes() == after
    if created:
        how = {"line": wanted} if regexp is None else {"regexp": f"^{re.escape(wanted)}$"}
        machine.call("file.line", {"path": str(file), **how, "state": "absent"})
        left = file.read_bytes() if file.exists() else None
        assert left == before or (regexp is not None and not left and before is None)


@settings(max_examples=60, deadline=None)
@given(
    text=st.none() | TEXTS, lines=st.lists(WORDS, max_size=3), other=st.lists(WORDS, max_size=3), place=PLACES
)
def test_block(
    tmp_path_factory: pytest.TempPathFactory,
    text: str | None,
    lines: list[str],
    other: list[str],
    place: dict[str, Any],
) -> None:
    before = None if text is None else raw(text)
    machine = once(tmp_path_factory.mktemp("block"), before)
    file = machine.root / "f"
    args = {"path": str(file), "create": True, **place}
    for block_ in (lines, other):
        one = {**args, "block": "\n".join(block_)}
        machine.call("file.block", one)
        after = file.read_bytes()
        assert not machine.call("file.block", one).changed
        assert file.read_bytes() == after
    machine.call("file.block", {**args, "state": "absent"})
    assert (file.read_bytes() if file.exists() else None) == before


@given(text=TEXTS, wanted=LINES, regexp=st.sampled_from(["^a", "b$", "="]))
def test_a_line_that_was_there_comes_back(text: str, wanted: str, regexp: str) -> None:
    params = {"path": "/f", "regexp": regexp}
    if not re.search(regexp, wanted):
        params["line"] = wanted
    resource = Resource("file.line", "/f#", params)
    before, extra = line.read(text, params)
    if before is not None and before["line"] == wanted:
        return  # nothing is changed, and so nothing undone
    new = line.edit(text, Change(resource, Observed(before), {"line": wanted}, frozenset()))
    now, _ = line.read(new, params)
    assert now is not None
    assert now["line"] == wanted
    back = line.edit(new, Change(resource, Observed(now), before, frozenset(), extra=extra))
    assert back == text


@given(text=TEXTS, regexp=st.sampled_from(["^a", "b$", "="]))
def test_lines_that_were_taken_away_come_back(text: str, regexp: str) -> None:
    params = {"path": "/f", "regexp": regexp}
    resource = Resource("file.line", "/f#", params)
    before, extra = line.read(text, params)
    new = line.edit(text, Change(resource, Observed(before), None, frozenset()))
    assert line.read(new, params) == (None, {})
    if before is not None:
        back = line.edit(new, Change(resource, Observed(None), before, frozenset(), extra=extra))
        assert [one.text for one in split(back)] == [one.text for one in split(text)]
        assert line.read(back, params)[0] == before


@given(lines=st.lists(WORDS, max_size=5), at=st.integers(0, 5))
def test_a_block_that_was_taken_away_comes_back(lines: list[str], at: int) -> None:
    params = {"path": "/f", "begin": "<<", "end": ">>"}
    resource = Resource("file.block", "/f#", params)
    text = join(insert(split("\n".join(lines)), min(at, len(split("\n".join(lines)))), ["<<", "x", ">>"]))
    before, extra = block.read(text, params)
    new = block.edit(text, Change(resource, Observed(before), None, frozenset()))
    options = {"undo": True}
    assert (
        block.edit(new, Change(resource, Observed(None), before, frozenset(), None, options, extra)) == text
    )


NAMES = st.sampled_from(["a", "b", "c", "on", "x-y", "0"])
SCALARS = st.one_of(
    st.integers(-(10**12), 10**12),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(st.sampled_from("ab:#'\"\\{}[]-, \t\n\u00e9~0"), max_size=6),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
KEYS = st.lists(NAMES, min_size=1, max_size=3)


def json_text(data: object, style: int) -> str:
    return json.dumps(data, indent=[None, 2, "\t"][style % 3], separators=[None, (",", ":")][style // 3 % 2])


def yaml_text(data: object, style: int) -> str:
    text = yaml.safe_dump(data, default_flow_style=bool(style % 2), indent=2 + style % 3, sort_keys=False)
    return f"# top\n{text}" + ("# end" if style % 5 == 0 else "")


def toml_text(data: object, style: int) -> str:
    import tomlkit

    return "# top\n" + tomlkit.dumps(data)  # type: ignore[arg-type] # a dict serves


FORMATS: dict[str, Any] = {
    "json": (json_text, json.loads),
    "yaml": (yaml_text, yaml.safe_load),
    "toml": (toml_text, lambda text: tomllib.loads(text.replace("\r\n", "\n"))),
}


def typed(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def with_key(data: dict[str, Any], key: list[str], value: object) -> dict[str, Any] | None:
    """The data with a key set; None if something on the way is no table."""
    data = json.loads(json.dumps(data))
    here: Any = data
    for name in key[:-1]:
        if not isinstance(here, dict):
            return None
        here = here.setdefault(name, {})
    if not isinstance(here, dict):
        return None
    here[key[-1]] = value
    return data


def lookup(data: Any, key: list[str]) -> bool:
    for name in key:
        if not isinstance(data, dict) or name not in data:
            return False
        data = data[name]
    return True


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=80, deadline=None)
@given(data=DOCUMENTS, key=KEYS, value=VALUES, style=st.integers(0, 30), crlf=st.booleans())
def test_set_key(
    tmp_path_factory: pytest.TempPathFactory,
    form: str,
    data: dict[str, Any],
    key: list[str],
    value: Any,
    style: int,
    crlf: bool,
) -> None:
    write, load = FORMATS[form]
    text = write(data, style)
    if crlf and "\\n" not in text:
        text = text.replace("\n", "\r\n")
    loaded = load(text) or {}
    expected = with_key(loaded, key, value)
    machine = once(tmp_path_factory.mktemp("key"), text.encode())
    file = machine.root / "f"
    args = {"path": str(file), "format": form, "key": key}
    if expected is None:
        with pytest.raises(SlothError):
            machine.call("file.set_key", {**args, "value": value})
        assert file.read_bytes() == text.encode()
        return
    try:
        machine.call("file.set_key", {**args, "value": value})
    except SlothError:
        assert file.read_bytes() == text.encode()
        assert form in ("toml", "yaml"), "what can't be done truthfully is refused; JSON always can"
        return
    after = file.read_bytes()
    assert typed(load(after.decode())) == typed(expected)
    assert not machine.call("file.set_key", {**args, "value": value}).changed
    assert file.read_bytes() == after
    machine.call("file.set_key", {**args, "state": "absent"})
    without = load(file.read_text()) or {}
    assert not lookup(without, key)
    if not lookup(loaded, key):
        assert typed(without) == typed(loaded)
        if form == "json" and loaded:
            assert file.read_bytes() == text.encode() or "{}" in text.replace(" ", "")


@pytest.mark.parametrize("form", ["json", "yaml", "toml", "ini"])
@pytest.mark.parametrize("before", [None, b""], ids=["no file", "an empty file"])
@pytest.mark.parametrize("key", [["a"], ["a", "b"]], ids=".".join)
def test_a_key_in_nothing_leaves_nothing(
    tmp_path: Path, form: str, before: bytes | None, key: list[str]
) -> None:
    machine = once(tmp_path, before)
    file = machine.root / "f"
    args = {"path": str(file), "format": form, "key": key, "create": True}
    machine.call("file.set_key", {**args, "value": "x"})
    assert b"x" in file.read_bytes()
    machine.call("file.set_key", {**args, "state": "absent"})
    assert (file.read_bytes() if file.exists() else None) == before


INI = st.lists(
    st.sampled_from(["[a]", "[b]", "x = 1", "x=2", "  y : z", "; x = 3", "# c", "", "lone", "[a] ; c"]),
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(
    lines=INI,
    end=st.sampled_from(["", "\n", "\r\n"]),
    key=st.sampled_from([["a", "x"], ["b", "y"], ["c", "z.z"], ["x"]]),
    value=st.sampled_from(["v", "", 5, True, "a=b;c"]),
)
def test_set_key_in_ini(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, key: list[str], value: object
) -> None:
    text = (end or "\n").join(lines) + (end if lines else "")
    machine = once(tmp_path_factory.mktemp("ini"), text.encode())
    file = machine.root / "f"
    args = {"path": str(file), "format": "ini", "key": key}
    first = machine.call("file.set_key", {**args, "value": value})
    entry = machine.ledger.entry(machine.jobs[0].address)
    after = file.read_bytes()
    assert not machine.call("file.set_key", {**args, "value": value}).changed
    assert file.read_bytes() == after
    kept = [one for one in text.splitlines() if one.lstrip()[:1] in ("#", ";", "[")]
    assert [one for one in after.decode().splitlines() if one in kept] == kept
    machine.call("file.set_key", {**args, "state": "absent"})
    if first.changed and entry is not None and entry.before is None:
        assert file.read_bytes() == text.encode()
