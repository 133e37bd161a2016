"""A secret that can't be had, or is none, is refused in words that don't hold it."""

from __future__ import annotations

import pytest

from sloth_runner.engine.mask import DOTS, SHORTEST, Mask
from sloth_runner.engine.secrets import LONGEST, Secrets
from sloth_runner.errors import SlothError

CANARY = "c4n4ry"


def secrets(value: str, mask: Mask | None = None) -> Secrets:
    """Where the variable KEY and the file ``key`` hold ``value``."""
    return Secrets(mask or Mask(), {"KEY": value}.get, {"key": value.encode()}.__getitem__, "/")


@pytest.mark.parametrize(
    ("args", "value", "words"),
    [
        (("NONE",), "", "the variable NONE is not set"),
        (("KEY",), "", "the variable KEY is empty"),
        (("KEY",), "\n", "the variable KEY is empty"),
        (({"file": "key"},), "x" * (SHORTEST - 1), "the file key has fewer than"),
        (({"file": "key"},), CANARY * LONGEST, "the file key holds more than"),
        ((), "", "secret takes a variable's name, or one of"),
        (("KEY", "KEY"), "", "secret takes a variable's name, or one of"),
        ((5,), "", "secret takes a variable's name, or one of"),
        (({},), "", "secret takes one of env, file and command"),
        (({"env": "KEY", "file": "key"},), "", "secret takes one of env, file and command"),
        (({"fiel": "key"},), "", "secret has no field 'fiel'"),
        (({"env": ""},), "", "secret: env is a text"),
        (({"env": ["KEY"]},), "", "secret: env is a text"),
        (({"command": []},), "", "secret: command is a text, or a list of words"),
        (({"command": ["cat", 5]},), "", "secret: command is a text, or a list of words"),
    ],
)
def test_what_is_no_secret_is_refused(args: tuple[object, ...], value: str, words: str) -> None:
    with pytest.raises(SlothError) as caught:
        secrets(value).read(*args)
    assert caught.value.message.startswith(words) or caught.value.message.startswith(f"secret: {words}")
    assert CANARY not in repr(vars(caught.value))


@pytest.mark.parametrize("args", [("KEY",), ({"env": "KEY"},), ({"file": "key"},)])
@pytest.mark.parametrize(("end", "lasts"), [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n"), (" ", " ")])
def test_a_secret_is_covered_from_the_moment_it_is_read(
    args: tuple[object, ...], end: str, lasts: str
) -> None:
    mask = Mask()
    found = secrets(CANARY + end, mask).read(*args)
    assert found == CANARY + lasts
    assert mask.holds(found) and mask.cover(f"a {CANARY}{lasts} b") == f"a {DOTS} b"


def test_the_shortest_and_the_longest_are_taken() -> None:
    for size in (SHORTEST, LONGEST):
        assert secrets("x" * size).read("KEY") == "x" * size
