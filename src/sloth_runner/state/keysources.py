"""Why: the key that unlocks a state comes from where its owner keeps keys; here are the ways.

A key is 32 random bytes, as 64 hex digits or base64. A passphrase is stretched by Argon2id (RFC 9106, its second
recommended set of parameters), whose parameters are stored in the keyring and bounded here: what a keyring asks for
is not trusted to be sane. Nothing here reads the environment; what was found there is handed in.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sloth_runner.errors import BadConfig, Corrupt, SlothError
from sloth_runner.plain import Any, Final
from sloth_runner.secret import Secret
from sloth_runner.state.keyring import KEY, KeySource

MAKE_ONE: Final = "make one: openssl rand -base64 32"
PATIENCE: Final = 60.0
"""Seconds that a program may take to print a key."""
LONGEST: Final = 64 << 10
_MEMORY, _ITERATIONS, _LANES = 65536, 3, 4
_MOST: Final = {"memory": 4 << 20, "iterations": 100, "lanes": 64}


def from_key(read: Callable[[], Secret], name: str) -> KeySource:
    """A source that gives the key itself. ``name`` says where it is from, for people."""
    return KeySource("key", name, lambda store_id: {}, lambda parameters, store_id: parse_key(read(), name))


def from_passphrase(
    read: Callable[[], Secret], random: Callable[[int], bytes], name: str = "the passphrase"
) -> KeySource:
    """A source that stretches a passphrase with Argon2id."""

    def begin(store_id: str) -> dict[str, Any]:
        cost = {"memory": _MEMORY, "iterations": _ITERATIONS, "lanes": _LANES}
        return {"function": "argon2id", "salt": random(16).hex(), **cost}

    return KeySource("passphrase", name, begin, lambda parameters, store_id: stretch(read(), parameters))


def parse_key(found: Secret, name: str) -> Secret:
    """The key that this text stands for, or these 32 bytes if they are no text.

    Raises BadConfig, which says nothing of what was found."""
    raw = found.reveal()
    if len(raw) == KEY and not raw.isascii():
        return found
    text = raw.strip()
    try:
        if len(text) == 2 * KEY:
            return Secret(bytes.fromhex(text.decode("ascii")))
        key = base64.b64decode(
            text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4), validate=True
        )
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY:
        raise BadConfig(
            f"{name} holds no key: 32 random bytes are needed, as 64 hex digits or base64",
            unchanged=["nothing was read or written"],
            next=[MAKE_ONE, 'for words that people remember: source = "passphrase"'],
        ) from None
    return Secret(key)


def stretch(passphrase: Secret, parameters: Mapping[str, Any]) -> Secret:
    """The key that a passphrase gives with a keyring's parameters. Raises BadConfig (empty), Corrupt."""
    from unicodedata import normalize

    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    words = normalize("NFC", passphrase.text()).encode("utf-8", "surrogateescape")
    if not words:
        raise BadConfig("the passphrase is empty", unchanged=["nothing was read or written"])
    try:
        if parameters["function"] != "argon2id":
            raise ValueError(f"unknown function {parameters['function']!r}")
        cost = {name: int(parameters[name]) for name in _MOST}
        for name, most in _MOST.items():
            if not 1 <= cost[name] <= most:
                raise ValueError(f"{name} = {cost[name]}")
        salt = bytes.fromhex(parameters["salt"])
        function = Argon2id(
            salt=salt,
            length=KEY,
            iterations=cost["iterations"],
            lanes=cost["lanes"],
            memory_cost=cost["memory"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(
            f"the keyring asks for a key derivation that makes no sense: {error}",
            unchanged=["nothing was read or written"],
        ) from error
    return Secret(function.derive(words))


def read_file(path: Path) -> Secret:
    """What a file of its owner alone holds. Raises BadConfig: missing, too open, too large."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            raise _unreadable(path, "it is no regular file")
        if info.st_mode & 0o077:
            raise _unreadable(
                path, f"its mode {info.st_mode & 0o777:04o} lets others at it", f"chmod 600 {path}"
            )
        content = os.read(fd, LONGEST + 1)
    finally:
        os.close(fd)
    if len(content) > LONGEST:
        raise _unreadable(path, f"it has more than {LONGEST:,} bytes: that is no key")
    return Secret(content)


def read_line(path: Path) -> Secret:
    """The first line of a file of its owner alone, as text. Raises what ``read_file`` raises."""
    return Secret(read_file(path).reveal().split(b"\n", 1)[0].rstrip(b"\r"))


def read_command(argv: Sequence[str], environ: Mapping[str, str], folder: Path) -> Secret:
    """What a program prints, without its last newline. Its errors go where ours go to nobody: they may quote the key.

    Raises BadConfig: it is not there, fails, prints nothing or too much, or takes too long.
    """
    import subprocess

    try:
        done = subprocess.run(  # noqa: S603 - the user configured and trusted it
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            cwd=folder,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
        )
    except OSError as error:
        raise _no_output(argv, error.strerror or str(error)) from None
    except subprocess.TimeoutExpired:
        raise _no_output(argv, f"it printed nothing within {PATIENCE:g} s") from None
    if done.returncode != 0:
        raise _no_output(argv, f"it ended with status {done.returncode}")
    found = done.stdout.removesuffix(b"\n").removesuffix(b"\r")
    if not found or len(found) > LONGEST:
        raise _no_output(argv, "it printed nothing" if not found else "it printed too much for a key")
    return Secret(found)


def remembered(source: KeySource) -> KeySource:
    """The same source, asked once for the same parameters, from whichever thread."""
    import json
    import threading

    guard = threading.Lock()
    known: dict[str, Secret] = {}

    def key(parameters: Mapping[str, Any], store_id: str) -> Secret:
        name = json.dumps([dict(parameters), store_id], sort_keys=True)
        with guard:
            if name not in known:
                known[name] = source.key(parameters, store_id)
            return known[name]

    return source._replace(key=key)


def _unreadable(path: Path, why: str, *steps: str) -> SlothError:
    return BadConfig(
        f"the key file {path} can't be used: {why}", unchanged=["nothing was read or written"], next=steps
    )


def _no_output(argv: Sequence[str], why: str) -> SlothError:
    return BadConfig(
        f"the command that prints the key gave none: {why}",
        unchanged=["nothing was read or written"],
        next=[f"try it by hand: {argv[0]} …"],
    )
