"""Why: ``values`` come from files and words of all kinds; what Lua can't hold is refused where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from sloth_runner.errors import BadValues, UsageError
from sloth_runner.values import load_values


def _read(folder: Path, name: str, text: str) -> object:
    (folder / name).write_text(text)
    return load_values([folder / name])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("v.yaml", "x: &a {y: *a}"),
        ("v.yaml", "x: &a [*a, *a]"),
        ("v.yaml", "x: " + "[" * 150 + "]" * 150),
        ("v.yaml", "x: " + "[" * 3_000 + "]" * 3_000),
        ("v.json", '{"x": ' + "[" * 150 + "]" * 150 + "}"),
        ("v.json", '{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("v.toml", "x = " + "[" * 5_000 + "]" * 5_000),
    ],
)
def test_what_holds_itself_or_is_too_deep(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(BadValues, match=r"nested more than 100 deep") as found:
        _read(tmp_path, name, text)
    assert found.value.file == str(tmp_path / name)


@pytest.mark.parametrize("raw", ["&a [*a]", "&a {y: *a}", "[" * 3_000 + "]" * 3_000])
def test_a_word_that_holds_itself_or_is_too_deep(raw: str) -> None:
    with pytest.raises(BadValues, match=r"^x.*nested more than 100 deep"):
        load_values([], [f"x={raw}"])


def test_what_stands_twice_holds_nothing_of_itself(tmp_path: Path) -> None:
    assert _read(tmp_path, "v.yaml", "a: &a [1]\nb: [*a, *a]") == {"a": [1], "b": [[1], [1]]}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("v.yaml", "x: 1\ny: 2\nx: 3\n", 3),
        ("v.yaml", "a:\n  - b: {x: 1,\n      x: 1}\n", 3),
        ("v.yaml", 'a: {5: 1, "5": 2}\n', 1),
        ("v.json", '{"a": {"x": 1, "x": 2}}', None),
        ("v.toml", "x = 1\nx = 2", None),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, name: str, text: str, line: int | None) -> None:
    with pytest.raises(BadValues) as found:
        _read(tmp_path, name, text)
    assert found.value.line == line and found.value.file == str(tmp_path / name)
    if line is not None:
        assert "stands twice in one table, first on line" in found.value.message


def test_a_word_with_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="'a' stands twice in one table"):
        load_values([], ["x={a: 1, a: 2}"])


def test_what_is_merged_may_be_stood_over(tmp_path: Path) -> None:
    text = "o: {b: &b {<<: &a {x: 1, y: 1}, x: 2}}\nc: {<<: *b, y: 3}\nd: [*a, *a, *b]\n"
    a, b = {"x": 1, "y": 1}, {"x": 2, "y": 1}
    assert _read(tmp_path, "v.yaml", text) == {"o": {"b": b}, "c": {"x": 2, "y": 3}, "d": [a, a, b]}


@pytest.mark.parametrize("null", ["null", "~", "Null"])
def test_null_says_nothing_wherever_it_stands(tmp_path: Path, null: str) -> None:
    (tmp_path / "v.yaml").write_text("x: 1\ny: 2\n")
    (tmp_path / "w.yaml").write_text(f"x: {null}\nz: {null}\n")
    files = [tmp_path / "v.yaml", tmp_path / "w.yaml"]
    assert load_values(files) == load_values(files[:1], [f"x={null}", f"z={null}"]) == {"x": 1, "y": 2}
    assert load_values([], ["x=", f"y={{a: {null}}}"]) == {"x": "", "y": {}}


@pytest.mark.parametrize(
    ("text", "line", "message", "advice"),
    [
        ("a: 1\n5: five\n", 2, "the key 5 is a number in YAML", '"5"'),
        ("a: 1\nb: 2\nyes: yes\n", 3, "the key yes is true or false in YAML", '"yes"'),
        ("2026-01-01: x\n", 1, "the key 2026-01-01 is a date in YAML", '"2026-01-01"'),
        ("~: x\n", 1, "the key ~ is null in YAML", '"~"'),
    ],
)
def test_a_key_that_is_no_text_is_named(
    tmp_path: Path, text: str, line: int, message: str, advice: str
) -> None:
    with pytest.raises(BadValues) as found:
        _read(tmp_path, "v.yaml", text)
    error = found.value
    assert message in error.message
    assert (error.line, error.column, error.source) == (line, 1, text.splitlines()[line - 1])
    assert error.next == [f"put it in quotes: {advice}"]


def test_a_values_file_holds_a_table(tmp_path: Path) -> None:
    with pytest.raises(BadValues, match="holds a table"):
        _read(tmp_path, "v.yaml", "- a\n")


def test_a_byte_that_is_no_utf_8_is_told_with_its_line_also_behind_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "my values.yaml"
    for mark in (b"", b"\xef\xbb\xbf"):
        file.write_bytes(mark + b"a: 1\nb: caf\xe9\n")
        with pytest.raises(BadValues, match="there is the byte 0xe9 in this line") as found:
            load_values([file])
        assert found.value.line == 2
        assert found.value.next == ["if it is Latin-1: iconv -f ISO-8859-1 -t UTF-8 'my values.yaml' > NEW"]
