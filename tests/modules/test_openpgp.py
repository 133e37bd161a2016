"""Why: a keyring decides whom apt trusts; what is made of a key must be what gpg makes of it."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sloth_runner.modules.packages.openpgp import fingerprints, keyring


def gpg(home: Path, *words: str) -> bytes:
    command = ["gpg", "--batch", "--quiet", "--homedir", str(home), "--passphrase", "", *words]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of gpg with two keys, one with a subkey."""
    if shutil.which("gpg") is None and not os.environ.get("CI"):
        pytest.skip("gpg is not installed (scripts/test-packages.txt)")
    folder = tmp_path_factory.mktemp("gpg")
    folder.chmod(0o700)
    gpg(folder, "--quick-generate-key", "one@example.org", "ed25519", "sign", "never")
    gpg(folder, "--quick-generate-key", "two@example.org", "default", "default", "never")
    return folder


def known(home: Path) -> list[str]:
    lines = gpg(home, "--with-colons", "--fingerprint").decode().splitlines()
    pairs = [line.split(":") for line in lines]
    return [row[9] for before, row in itertools.pairwise(pairs) if row[0] == "fpr" and before[0] == "pub"]


def test_it_agrees_with_gpg(home: Path) -> None:
    binary, armored = gpg(home, "--export"), gpg(home, "--export", "--armor")
    assert keyring(armored) == keyring(binary) == binary
    assert sorted(fingerprints(binary)) == sorted(known(home))
    assert len(known(home)) == 2
    one = gpg(home, "--export", "--armor", "one@example.org")
    two = gpg(home, "--export", "--armor", "two@example.org")
    assert keyring(b"a comment\n" + one + b"\n" + two.replace(b"\n", b"\r\n")) == binary


def test_a_secret_key_is_refused(home: Path) -> None:
    for more in ((), ("--armor",)):
        secret = gpg(home, "--pinentry-mode", "loopback", *more, "--export-secret-keys", "one@example.org")
        with pytest.raises(ValueError, match=r"secret key|no public key"):
            keyring(secret)


@given(at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_damaged_armor_is_never_taken(home: Path, at: int, bit: int) -> None:
    armored = _cache(home)
    lines = armored.index(b"\n\n") + 2
    end = armored.rindex(b"\n-----END")
    place = lines + at % (end - lines)
    damaged = armored[:place] + bytes([armored[place] ^ (1 << bit)]) + armored[place + 1 :]
    try:
        ring = keyring(damaged)
    except ValueError:
        return
    assert ring == keyring(armored) or b"\n=" not in damaged, "only a checksum that is gone can't be compared"


_kept: dict[Path, bytes] = {}


def _cache(home: Path) -> bytes:
    if home not in _kept:
        _kept[home] = gpg(home, "--export", "--armor", "one@example.org")
    return _kept[home]


@given(data=st.binary(max_size=300))
def test_what_is_no_key_is_refused_clearly(data: bytes) -> None:
    try:
        ring = keyring(data)
        fingerprints(ring)
    except ValueError as error:
        assert str(error).startswith(("holds", "is "))
