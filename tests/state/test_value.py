"""Laws of the one codec."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import BadValue, Corrupt, TooLarge
from sloth_runner.model import Pairs, Value
from sloth_runner.state.value import MAX_VALUE, decode, encode, pairs_order, type_name

any_bytes = st.binary(max_size=40).map(lambda b: b.decode("utf-8", "surrogateescape"))
integers = st.integers(-(1 << 63), (1 << 63) - 1)
scalars = st.one_of(
    st.booleans(), integers, st.floats(), any_bytes, st.text(st.characters(exclude_categories=["Cs"]))
)
odd_keys = st.one_of(
    st.booleans(),
    integers,
    st.floats(allow_nan=False).filter(lambda f: f != int(f) if math.isfinite(f) else True),
)


def pairs(children: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.lists(
        st.tuples(odd_keys, children), min_size=1, max_size=4, unique_by=lambda kv: repr(kv[0])
    ).map(lambda rows: Pairs(tuple(sorted(rows, key=lambda kv: pairs_order(kv[0])))))


values: st.SearchStrategy[Value] = st.recursive(
    scalars,
    lambda children: st.one_of(
        st.lists(children, min_size=1, max_size=4),
        st.dictionaries(any_bytes, children, max_size=4),
        pairs(children),
    ),
    max_leaves=12,
)


def same(left: object, right: object) -> bool:
    """Equality by type, as in Lua; nan equals itself here."""
    if isinstance(left, float) and isinstance(right, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    if type(left) is not type(right):
        return False
    if isinstance(left, Pairs) and isinstance(right, Pairs):
        return same([list(p) for p in left.items], [list(p) for p in right.items])
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return left == right


@given(values)
def test_decoding_gives_back_what_was_encoded(value: Value) -> None:
    assert same(decode(encode(value)), value)


@given(values)
def test_the_text_is_canonical(value: Value) -> None:
    assert encode(decode(encode(value))) == encode(value)


@given(values, values)
def test_equal_text_means_equal_value(left: Value, right: Value) -> None:
    assert (encode(left) == encode(right)) == same(left, right)


def test_types_differ_as_in_lua() -> None:
    assert len({encode(5), encode("5"), encode(5.0), encode(True), encode("true")}) == 5
    kinds: list[Value] = ["x", 1, 1.0, True, {}]
    assert [type_name(kind) for kind in kinds] == ["string", "integer", "float", "boolean", "table"]


def test_an_empty_list_is_the_empty_table() -> None:
    assert encode([]) == encode({}) == "{}"


@pytest.mark.parametrize("value", [None, object(), len, {"a": None}, [1, None], 1 << 63, {"a": {"b": print}}])
def test_what_lua_can_not_store_is_refused(value: object) -> None:
    with pytest.raises(BadValue):
        encode(value)  # type: ignore[arg-type] # that is the point


@pytest.mark.parametrize("value", ["\ud800", ["a", "\ud800"], {"\ud800": 1}, {"a": "\udfff"}])
def test_half_a_character_is_refused(value: Value) -> None:
    with pytest.raises(BadValue, match="which is no character"):
        encode(value)


def test_a_text_nested_without_end_is_corrupt() -> None:
    with pytest.raises(Corrupt):
        decode("[" * 100_000)


def test_the_error_says_where() -> None:
    with pytest.raises(BadValue, match=r"the value of 'k'\.a\[2\]"):
        encode({"a": [1, print]}, "the value of 'k'")  # type: ignore[list-item] # that is the point


def test_a_value_that_holds_itself_ends() -> None:
    value: list[Value] = []
    value.append(value)
    with pytest.raises(BadValue, match="nested"):
        encode(value)


def test_the_limit_counts_a_strings_own_bytes() -> None:
    assert decode(encode("é" * (MAX_VALUE // 2))) == "é" * (MAX_VALUE // 2)
    with pytest.raises(TooLarge, match="1,048,577"):
        encode("x" * (MAX_VALUE + 1))
    with pytest.raises(TooLarge):
        encode(["x" * MAX_VALUE])


@pytest.mark.parametrize("text", ["", "{", "null", '{"$what": 1}', '{"$bytes": 5}', "[null]"])
def test_foreign_text_is_corrupt(text: str) -> None:
    with pytest.raises(Corrupt):
        decode(text)
