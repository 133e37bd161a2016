"""Why: a secret is covered however a program writes it; what is no secret stays readable."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sloth_runner.engine.mask import DOTS, SHORTEST, Mask
from sloth_runner.errors import KeyWrong
from sloth_runner.model import Pairs, Value
from sloth_runner.state.value import encode

SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=6, max_size=40
)
WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda s: s,
    "JSON": json.dumps,
    "JSON in Unicode": lambda s: json.dumps(s, ensure_ascii=False),
    "URL": quote,
    "URL component": lambda s: quote(s, safe=""),
    "form": quote_plus,
    "shell": shlex.quote,
    "Python": repr,
    "hex": lambda s: s.encode().hex(),
}


@pytest.mark.parametrize("form", WRITTEN)
@given(secret=SECRETS, before=st.text(max_size=9), after=st.text(max_size=9))
def test_a_secret_is_covered_in_every_form(form: str, secret: str, before: str, after: str) -> None:
    mask = Mask()
    mask.learn(secret)
    inside = WRITTEN[form](secret).strip("\"'") if form != "as it is" else secret
    covered = mask.cover(f"{before}={WRITTEN[form](secret)};{after}")
    assert DOTS in covered
    assert inside not in covered or inside in before + after or inside in DOTS


@given(secret=st.binary(min_size=6, max_size=40), before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_in_base64_at_every_alignment(secret: bytes, before: bytes, after: bytes) -> None:
    mask, text = Mask(), secret.decode("utf-8", "surrogateescape")
    assume(len(text) >= SHORTEST)  # six bytes may be three characters
    mask.learn(text)
    for coded in (base64.b64encode, base64.urlsafe_b64encode):
        assert DOTS in mask.cover(coded(before + secret + after).decode())


def test_of_tables_every_text_and_number_is_learned() -> None:
    mask = Mask()
    value: Value = [{"a": "first secret"}, Pairs(((1, "second secret"),)), 12345, True]
    mask.learn(value)
    data = {"first secret": ["a second secret b", 12345, None], "True": "12345"}
    assert mask.cover_all(data) == {DOTS: [f"a {DOTS} b", 12345, None], "True": DOTS}


def test_a_number_is_covered_where_it_hardly_is_one_by_chance() -> None:
    mask = Mask()
    mask.learn({"pin": 48291734, "factor": 0.48291734, "line": 1234567})
    data = {"new": 48291734, "all": [0.48291734, 48291735, 4829173], "line": 1234567, "on": True}
    assert mask.cover_all(data) == {
        "new": DOTS,
        "all": [DOTS, 48291735, 4829173],
        "line": 1234567,
        "on": True,
    }


SHORT: Value = {"pin": 123, "ports": [22, 80], "odd": Pairs(((1, 5), (True, 6)))}
"""A table in which nothing is long enough to be searched for."""


def test_a_table_is_covered_as_a_whole_however_short_what_is_in_it_is() -> None:
    mask = Mask()
    mask.learn(SHORT)
    shown = json.loads(encode(SHORT))
    assert mask.cover_all({"new": shown, "all": [shown, 123, {"pin": 123}]}) == {
        "new": DOTS,
        "all": [DOTS, 123, {"pin": 123}],
    }
    assert mask.cover_all({"inner": [22, 80], "other": [22], "none": [None], "odd": {1: 2, "a": 3}}) == {
        "inner": DOTS,
        "other": [22],
        "none": [None],
        "odd": {1: 2, "a": 3},
    }
    for text in (encode(SHORT), json.dumps(shown, sort_keys=True)):
        assert mask.cover(f"it is {text}.") == f"it is {DOTS}."
        assert mask.cover(json.dumps(text)) == f'"{DOTS}"'


def test_a_table_that_is_next_to_nothing_stays_readable() -> None:
    mask = Mask()
    mask.learn({})
    mask.learn([{}, [7]])
    assert mask.cover_all({"a": {}, "b": [], "c": [7]}) == {"a": {}, "b": [], "c": [7]}


def test_each_line_of_a_secret_is_one() -> None:
    mask = Mask()
    mask.learn("-----BEGIN-----\nabcdef\nxy\n")
    assert mask.cover("abcdef xy") == f"{DOTS} xy"


def test_an_error_is_covered_with_all_that_it_came_from() -> None:
    mask = Mask()
    mask.learn("hunter2hunter2")
    try:
        try:
            raise ValueError("no hunter2hunter2 here", 5)
        except ValueError as cause:
            raise KeyWrong(
                "hunter2hunter2!", system="hunter2hunter2", next=["hunter2hunter2", "x"]
            ) from cause
    except KeyWrong as error:
        mask.cover_error(error)
        assert error.message == f"{DOTS}!" and error.args == (f"{DOTS}!",)
        assert (error.system, error.next) == (DOTS, [DOTS, "x"])
        assert error.__cause__ is not None and error.__cause__.args == (f"no {DOTS} here", 5)


def test_what_holds_a_secret_that_was_learned_as_a_whole() -> None:
    mask = Mask()
    assert not mask.holds("hunter2hunter2")
    mask.learn("hunter2hunter2")
    mask.learn("test")
    mask.learn({"env": "production"})
    mask.learn("-----BEGIN-----\nMIIabcdef")
    mask.learn(12345678)
    value: Value = {"a": [Pairs(((1, "Bearer hunter2hunter2"),))]}
    assert mask.holds(value) and mask.holds({"hunter2hunter2": 1}) and mask.holds("test")
    assert mask.holds("68756e7465723268756e74657232") and mask.holds(12345678)
    assert not mask.holds(["latest", "production", "-----BEGIN-----", 1, True, 1.5, None])


def test_what_holds_a_table_that_was_learned_as_a_whole() -> None:
    mask = Mask()
    mask.learn(SHORT)
    assert mask.holds(SHORT) and mask.holds({"a": [SHORT]}) and mask.holds(f"conf={encode(SHORT)}")
    assert not mask.holds([22, 80]) and not mask.holds({"pin": 123}) and not mask.holds([None, {"a": None}])
