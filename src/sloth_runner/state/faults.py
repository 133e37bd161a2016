"""Why: what is wrong with a sealed record is said in one place, each in the words of who has to deal with it."""

from __future__ import annotations

from sloth_runner.errors import Corrupt, Foreign, KeyWrong, SlothError
from sloth_runner.state import keyring
from sloth_runner.state.keyring import OPEN
from sloth_runner.state.layout import SEAL, SEP, STORE, what
from sloth_runner.state.sealing import MARK, Cleartext
from sloth_runner.state.store import Entry


def altered(key: str) -> Corrupt:
    """A changed bit, or a forgery."""
    return Corrupt(
        f"{what(key)} has been altered since it was sealed",
        unchanged=["nothing was changed"],
        next=["restore it from a backup"],
    )


def plaintext(key: str) -> Corrupt:
    """A record that nobody with the key wrote."""
    return Corrupt(
        f"{what(key)} is in plaintext, and this state is sealed: such records are not believed",
        unchanged=["nothing was changed"],
        next=[
            "if it is yours (written by a program without the key), take it in: sloth-runner state encrypt"
        ],
    )


def elsewhere(key: str, clear: Cleartext) -> Foreign:
    """A record, or the keyring, from another physical store."""
    also = "" if clear.key == key else f", and was {what(clear.key)} there"
    return Foreign(
        f"{what(key)} was sealed in another store ({clear.store_id.hex()}){also}",
        unchanged=["nothing was changed"],
        next=["records can't be copied between stores: export and import carry them"],
    )


def moved(key: str, clear: Cleartext) -> Corrupt:
    """A genuine record in a wrong place: in which way it is wrong."""
    here, there = key.split(SEP), clear.key.split(SEP)
    differs = "name"
    if here[0] != there[0]:
        differs = "namespace"
    elif here[1:2] != there[1:2]:
        differs = "kind"
    elif here[2:3] == there[2:3]:
        differs = "revision"
    return Corrupt(
        f"in the place of {what(key)} lies another record: it was sealed as {what(clear.key)} "
        f"(its {differs} differs)",
        unchanged=["nothing was changed"],
        next=["restore it from a backup"],
    )


def no_ring(found: Entry) -> SlothError:
    """There is no keyring: the state is in plaintext, or has lost it."""
    if found.value[: len(MARK)] == MARK or found.key.endswith(SEAL):
        return lost()
    return Foreign(
        f"[state.encryption] is configured, and this state is in plaintext ({what(found.key)}, for one)",
        unchanged=["nothing was read or written"],
        next=["seal it: sloth-runner state encrypt", "or take [state.encryption] out"],
    )


def lost() -> KeyWrong:
    """The keyring is gone."""
    return KeyWrong(
        "the keyring of this sealed state is missing: without it no record can be opened",
        unchanged=["nothing was written"],
        next=[f"restore the namespace {STORE} (with SQLite the file {STORE}.db) from a backup"],
    )


def refuse_sealed(data: bytes) -> None:
    """Raise KeyWrong if this keyring says that the state is sealed: for programs that have no key for it."""
    if keyring.read(data)["mode"] != OPEN:
        raise KeyWrong(
            "this state is sealed, and no key for it is configured",
            unchanged=["nothing was read or written"],
            next=["name the source of its key in sloth.toml: [state.encryption]"],
        )
