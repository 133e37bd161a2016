"""Why: what the configuration says of encryption becomes a source of keys in one place, with errors that blame it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from sloth_runner.config_encryption import Encryption
from sloth_runner.config_file import Origin
from sloth_runner.config_trust import is_trusted
from sloth_runner.errors import BadConfig
from sloth_runner.secret import Secret
from sloth_runner.state import keysources
from sloth_runner.state.keyring import KeySource

Ask = Callable[[str, bool], str]
"""Asks the user for a secret (a question, and whether it is asked twice); raises BadConfig if there is nobody."""


def key_source(
    encryption: Encryption,
    *,
    home: Path,
    cwd: Path,
    environ: Mapping[str, str],
    ask: Ask | None,
    clock: Callable[[], float],
    fresh: bool = False,
) -> KeySource:
    """The source that the configuration names. ``environ`` is searched for its variable and handed to its command;
    ``fresh``: the secret is a new one, and asked for twice.

    Raises BadConfig (a command that is not trusted). What is missing is found when the key is needed.
    """
    source = encryption.source
    if source == "passphrase":
        read = _passphrase(encryption, environ, ask, fresh)
        return keysources.remembered(keysources.from_passphrase(read, os.urandom))
    if source == "aws-kms":
        from sloth_runner.state.kms import Kms, found_credentials, from_kms

        assert encryption.key is not None
        region = encryption.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        kms = Kms(region, encryption.endpoint, found_credentials(environ), clock)
        return keysources.remembered(from_kms(kms, encryption.key))
    if source == "command":
        place = encryption.command_origin
        if not is_trusted(home, place, encryption.command):
            raise untrusted(place)
        folder = cwd if place.file is None else Path(place.file).parent
        read = lambda: keysources.read_command(encryption.command, environ, folder)  # noqa: E731 - one of four ways
        name = f"what {encryption.command[0]} prints"
    elif source == "keyfile":
        path = encryption.file
        assert path is not None
        read, name = (lambda: keysources.read_file(path)), f"the key file {path}"
    else:
        read = lambda: _variable(encryption, environ)  # noqa: E731 - one of four ways
        name = f"the variable {encryption.variable}"
    return keysources.remembered(keysources.from_key(read, name))


def _passphrase(
    encryption: Encryption, environ: Mapping[str, str], ask: Ask | None, fresh: bool
) -> Callable[[], Secret]:
    if encryption.variable is not None:
        return lambda: _variable(encryption, environ)
    path = encryption.file
    if path is not None:
        return lambda: keysources.read_line(path)

    def asked() -> Secret:
        if ask is None:
            raise encryption.origin.problem("the passphrase can't be asked for here", *_UNATTENDED)
        question = "New passphrase of the state:" if fresh else "Passphrase of the state:"
        return Secret(ask(question, fresh).encode("utf-8", "surrogateescape"))

    return asked


def _variable(encryption: Encryption, environ: Mapping[str, str]) -> Secret:
    assert encryption.variable is not None
    found = environ.get(encryption.variable)
    if not found:
        what = "passphrase" if encryption.source == "passphrase" else "key"
        raise encryption.origin.problem(
            f"the variable {encryption.variable}, which is to hold the {what} of the state, is not set",
            f"set it: export {encryption.variable}=…",
            *([] if what == "passphrase" else [keysources.MAKE_ONE]),
        )
    return Secret(found.encode("utf-8", "surrogateescape"))


def untrusted(origin: Origin) -> BadConfig:
    """A command stands in a file that the user may not have written."""
    return origin.problem(
        "this command is to print the key, and nobody has said that it may be run",
        "look at it, and if you trust it: sloth-runner config trust",
        "or put [state.encryption] into the config.toml of your home folder",
    )


_UNATTENDED = (
    'give it in a variable: variable = "NAME" in [state.encryption]',
    'or in a file of yours alone: file = "…"',
)
