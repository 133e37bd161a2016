"""Plain JSON objects: read value by value, in whatever pieces they come."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.errors import BadName, BadValue, Corrupt, SlothError
from sloth_runner.model import Value
from sloth_runner.state.json_objects import items, write
from sloth_runner.state.value import decode, encode
from tests.state.bundle_kit import Blocks, nothing
from tests.state.kit import make_state
from tests.state.test_bundle import KEYS
from tests.state.test_value import same, values

SPACE = st.sampled_from(["", " ", "\n\t "])


@given(st.dictionaries(KEYS, values, max_size=6), st.integers(1, 40))
def test_objects_go_round(given_: dict[str, Value], block: int) -> None:
    state = make_state()
    for key, value in given_.items():
        state.set(key, value)
    parts: list[bytes] = []
    assert write(state.writer.store, "local", "", 0.0, parts.append, nothing) == len(given_)
    data = b"".join(parts)
    found = {key: decode(text) for key, text in items(Blocks(data, block).blocks())}
    assert found.keys() == given_.keys() == json.loads(data).keys()
    assert all(same(found[key], state.get(key)) for key in found)


@given(
    st.dictionaries(KEYS, st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=4),
    SPACE,
    SPACE,
)
def test_any_spacing_is_read(given_: dict[str, float], one: str, two: str) -> None:
    text = one + json.dumps(given_, separators=(two + "," + one, one + ":" + two), ensure_ascii=True) + two
    try:
        found = dict(items([text.encode()]))
    except BadValue:
        assert any(isinstance(v, int) and not -(2**63) <= v < 2**63 for v in given_.values())
        return
    assert found == {key: encode(value) for key, value in given_.items()}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", Corrupt), ("[]", Corrupt), ("{", Corrupt), ('{"a"', Corrupt), ('{"a":', Corrupt), ('{"a":1', Corrupt),
        ('{"a":1,}', Corrupt), ('{"a":1}x', Corrupt), ('{"a":1 "b":2}', Corrupt), ('{"a":tru}', Corrupt),
        ('{"a":1,"a":2}', Corrupt), ('{"a":null}', BadValue), ('{"a":NaN}', BadValue), ('{"a":[null]}', BadValue),
        ('{"a":{"$what":1}}', BadValue), ('{"":1}', BadName), ('{"a\\n":1}', BadName), ("{1:1}", Corrupt),
        ('{"a":' + "[" * 5000 + "]" * 5000 + "}", BadValue), ('{"a":99999999999999999999}', BadValue),
        ('{"\\ud800":1}', BadName), ('{"a":"\\ud800"}', BadValue), ('{"a":' + "9" * 5000 + "}", SlothError),
        ('{"a":"' + "x" * 2_000_000 + '"}', SlothError), ('{"a":1e400}', BadValue), ('{"a":{"b":1,"b":2}}', BadValue),
        ('{"a":{"$bytes":"!!"}}', BadValue), ('{"a":{"$table":[[1,2],[1,3]]}}', BadValue),
    ],
)  # fmt: skip
def test_what_is_no_object_of_values_is_refused(text: str, error: type[SlothError]) -> None:
    with pytest.raises(error):
        list(items(Blocks(text.encode("utf-8", "surrogatepass"), 5000).blocks()))


def test_what_is_too_much_is_refused() -> None:
    for data in (
        b'{"a":[' + b"{}," * 4_000_000,
        b'{"a":"' + b"x" * 20_000_000,
        b'{"\xff":1}',
        b" " * 9_000_000,
    ):
        with pytest.raises(Corrupt):
            list(items(Blocks(data).blocks()))


@given(st.binary(max_size=30))
def test_fuzz(data: bytes) -> None:
    for text in (data, b'{"a":' + data, b'{"a":1,' + data + b"}"):
        try:
            found = dict(items([text]))
        except SlothError:
            continue
        assert all(encode(decode(value)) == value for value in found.values())
