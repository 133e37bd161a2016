"""Why: our named tuples must be the standard library's in all but what they cost."""

from __future__ import annotations

import pickle
import typing
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner import plain


class Ours(plain.NamedTuple):
    """Words."""

    name: str
    size: int = 3
    rest: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """Twice the size."""
        return self.size * 2


class Theirs(typing.NamedTuple):
    """Words."""

    name: str
    size: int = 3
    rest: tuple[int, ...] = ()

    @property
    def double(self) -> int:
        """Twice the size."""
        return self.size * 2


class Wide(plain.NamedTuple):
    a: int
    b: int
    c: int


VALUES = st.one_of(st.integers(), st.text(max_size=3), st.none())


def outcome(call: Callable[[], Any]) -> object:
    """What a call gives, or the kind of its error."""
    try:
        found = call()
    except (TypeError, ValueError) as error:
        return type(error) if isinstance(error, TypeError) else TypeError
    return repr(found).replace("Theirs", "Ours")


@given(
    st.lists(VALUES, max_size=4), st.dictionaries(st.sampled_from(["name", "size", "rest", "none"]), VALUES)
)
def test_made_alike(args: list[Any], named: dict[str, Any]) -> None:
    assert outcome(lambda: Ours(*args, **named)) == outcome(lambda: Theirs(*args, **named))
    assert outcome(lambda: Ours._make(args)) == outcome(lambda: Theirs._make(args))
    assert outcome(lambda: Ours("n")._replace(**named)) == outcome(lambda: Theirs("n")._replace(**named))


def test_they_are_tuples_with_names() -> None:
    one = Ours("n", rest=(1,))
    assert tuple(one) == ("n", 3, (1,))
    assert one == tuple(Theirs("n", 3, (1,)))
    assert hash(one) == hash(Theirs("n", 3, (1,)))
    assert (one.name, one.size, one.rest, one.double) == ("n", 3, (1,), 6)
    assert one._asdict() == {"name": "n", "size": 3, "rest": (1,)}
    assert pickle.loads(pickle.dumps(one)) == one
    assert type(pickle.loads(pickle.dumps(one))) is Ours
    for name in ("_fields", "_field_defaults", "__match_args__", "__doc__"):
        assert getattr(Ours, name) == getattr(Theirs, name)
    assert list(Ours.__annotations__) == list(Theirs.__annotations__)
    match one:
        case Ours(name, size):
            assert (name, size) == ("n", 3)


def test_they_can_not_be_changed() -> None:
    one = Wide(1, b=2, c=3)
    assert repr(one) == "Wide(a=1, b=2, c=3)"
    with pytest.raises(AttributeError):
        one.a = 2  # type: ignore[misc] # it must not be possible
    with pytest.raises(AttributeError):
        one.d = 2  # type: ignore[attr-defined] # nor this
