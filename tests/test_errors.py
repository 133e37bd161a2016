"""An error that several meet is told to each as an error of its own."""

from __future__ import annotations

import errno
import os

from sloth_runner.errors import Bug, Conflict, SlothError, StoreDown


def test_another_like_it_is_of_its_kind_and_on_its_own() -> None:
    first = StoreDown("away", system="timed out", changed=["a"], unchanged=["b"], next=["wait"])
    first.final = True
    second = first.again()
    assert type(second) is StoreDown
    assert second.__cause__ is first
    assert second.document() == first.document()
    assert second.final
    for told in (second.changed, second.unchanged, second.next):
        told.append("more")
    second.target = "web1"
    assert (first.changed, first.unchanged, first.next, first.target) == (["a"], ["b"], ["wait"], None)


def test_an_error_with_more_to_it_keeps_that() -> None:
    second: SlothError = Conflict("changed meanwhile", keys=["k"]).again()
    assert isinstance(second, Conflict)
    assert second.keys == {"k"}


def test_what_fails_for_want_of_files_is_no_fault_of_ours() -> None:
    for error in (OSError(errno.EMFILE, "no"), ImportError(f"x.so: {os.strerror(errno.EMFILE)}")):
        known = Bug.of(error)
        assert known.code == "E-TASK" and known.__cause__ is error and "ulimit -n" in known.next[0]
    assert {Bug.of(error).code for error in (OSError(errno.EIO, "no"), ImportError("x"))} == {"E-BUG"}
