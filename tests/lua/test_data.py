"""json and yaml in task files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sloth_runner.errors import BadArgument, BadValue, SlothError
from sloth_runner.lua import data
from sloth_runner.model import Pairs, Returned
from tests.lua.driver import Desk

plain_text = st.text(st.characters(codec="utf-8"), max_size=20)
yaml_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


def tables(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        text
        | st.booleans()
        | st.integers(-(1 << 63), (1 << 63) - 1)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=15,
    )


@settings(max_examples=100)
@given(value=tables(plain_text))
def test_json_comes_back(value: Any) -> None:
    assert data.json_decode(data.json_encode(value)) == value
    assert json.loads(data.json_encode(value, {"indent": 2})) == value


@settings(max_examples=100)
@given(value=tables(yaml_text))
def test_yaml_comes_back(value: Any) -> None:
    assert data.yaml_decode(data.yaml_encode(value)) == value


def test_from_lua(desk: Desk) -> None:
    code = r"""
      local t = json.decode([[{"a": [1, 2.5, true], "n": null, "s": "ä\u0000"}]])
      local y = yaml.decode("a: [1, x]\nb: {c: 2024-01-02}\n5: five\nn: ~\n")
      return json.encode(t), y, json.encode({}), json.encode({b = 1, a = "x"}), json.decode("null"),
        yaml.decode("")"""
    assert desk.run(code) == Returned(
        (
            '{"a":[1,2.5,true],"s":"ä\\u0000"}',
            {"a": [1, "x"], "b": {"c": "2024-01-02"}, "5": "five"},
            "{}",
            '{"a":"x","b":1}',
            None,
            None,
        )
    )


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: data.json_encode(None), BadValue),
        (lambda: data.json_encode(float("nan")), BadValue),
        (lambda: data.json_encode(Pairs(((5, "x"),))), BadValue),
        (lambda: data.json_encode({"a": ["\udcff"]}), BadValue),
        (lambda: data.json_encode(1, {"indnt": 1}), BadArgument),
        (lambda: data.json_encode(1, {"indent": True}), BadArgument),
        (lambda: data.json_decode("[1, null]"), BadValue),
        (lambda: data.json_decode("{"), BadArgument),
        (lambda: data.json_decode("NaN"), BadArgument),
        (lambda: data.json_decode("[" * 100_000), BadValue),
        (lambda: data.json_decode("[" * 150 + "]" * 150), BadValue),
        (lambda: data.json_decode("9" * 5000), BadArgument),
        (lambda: data.json_decode(5), BadArgument),
        (lambda: data.json_decode(None), BadArgument),
        (lambda: data.yaml_encode(None), BadValue),
        (lambda: data.yaml_decode("a: ["), BadArgument),
        (lambda: data.yaml_decode("!!python/object/apply:os.system [ls]"), BadArgument),
        (lambda: data.yaml_decode("!!set {a, b}"), BadValue),
        (lambda: data.yaml_decode("--- 1\n--- 2\n"), BadArgument),
        (lambda: data.yaml_decode("- ~"), BadValue),
        (lambda: data.yaml_decode("? [1, 2]\n: x"), BadArgument),
        (lambda: data.yaml_decode("1: a\n'1': b"), BadValue),
        (lambda: data.yaml_decode("\udcff"), BadArgument),
    ],
)
def test_what_has_no_form_is_refused(call: Any, kind: type[SlothError]) -> None:
    with pytest.raises(kind):
        call()


def test_a_small_text_cannot_become_a_huge_value() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(BadValue, match="more than"):
        data.yaml_decode("\n".join(lines))
    with pytest.raises(BadValue, match="holds itself"):
        data.yaml_decode("&a [*a]")
