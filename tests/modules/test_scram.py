"""Why: what PostgreSQL stores of a password is computed as the RFCs say; their example shows it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from hashlib import pbkdf2_hmac, sha256
from hmac import digest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.modules.databases.client import NO_PASSWORD, mark
from sloth_runner.modules.databases.postgresql_kinds import identifier, literal
from sloth_runner.modules.databases.scram import is_verifier, matches, salt_for, verifier


def test_the_example_of_rfc_7677() -> None:
    """Section 3: user "user", password "pencil"; the proof and the server's signature of that exchange."""
    salt = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    form = verifier("pencil", salt)
    stored, server = (b64decode(part) for part in form.split("$")[2].split(":"))
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    assert b64encode(digest(server, message, "sha256")) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    proof = b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    client = bytes(a ^ b for a, b in zip(proof, digest(stored, message, "sha256"), strict=True))
    assert sha256(client).digest() == stored
    assert client == digest(pbkdf2_hmac("sha256", b"pencil", salt, 4096), b"Client Key", "sha256")


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("I\u00adX", "IX"),
        ("\u2168", "IX"),
        ("\u00aa", "a"),
        ("a\u00a0b", "a b"),
        ("pässword ½", "pässword 1⁄2"),
    ],
)
def test_passwords_are_prepared(given: str, same: str) -> None:
    assert matches(given, verifier(same, b"salt"))


@pytest.mark.parametrize("refused", ["ä\u0007", "\u0627\u0031\u00e4", "ü\ud800"[:1] + "\u0221"])
def test_what_can_not_be_prepared_is_taken_as_it_is(refused: str) -> None:
    form = verifier(refused, b"0123456789abcdef")
    raw = pbkdf2_hmac("sha256", refused.encode(), b"0123456789abcdef", 4096)
    assert form.split("$")[2].split(":")[1] == b64encode(digest(raw, b"Server Key", "sha256")).decode()


def test_only_the_password_matches() -> None:
    form = verifier("right", salt_for("right", "system", "ann", ""))
    assert matches("right", form) and matches(form, form)
    assert not matches("wrong", form) and not matches("right", "") and not matches("right", "md5" + "0" * 32)
    assert is_verifier(form) and not is_verifier("right")


def test_a_new_salt_hangs_on_the_place_and_the_password() -> None:
    salts = {
        salt_for("a", "1", "ann", ""), salt_for("b", "1", "ann", ""), salt_for("a", "2", "ann", ""),
        salt_for("a", "1", "bob", ""), salt_for("a", "1", "ann", "old"),
    }  # fmt: skip
    assert len(salts) == 5 and all(len(salt) == 16 for salt in salts)


def test_a_mark_is_short_and_none_is_a_word() -> None:
    assert mark(None) == mark("") == NO_PASSWORD
    assert len(mark(verifier("a", b"b"))) == 6


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_quoted_text_has_no_end_inside(text: str) -> None:
    assert '"' not in identifier(text)[1:-1].replace('""', "")
    quoted = literal(text)
    inner = quoted.removeprefix("E")[1:-1].replace("\\\\", "").replace("''", "")
    assert "'" not in inner and "\\" not in inner
    assert ("\\" in text) is quoted.startswith("E")
