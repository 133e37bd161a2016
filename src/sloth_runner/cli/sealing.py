"""Why: what seals an export and opens it again is asked for in the same words by both commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import option
from sloth_runner.errors import UsageError
from sloth_runner.plain import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sloth_runner.state.age import Keys

F = TypeVar("F", bound=Callable[..., Any])


def passphrase_options(function: F) -> F:
    """``--passphrase-env`` and ``--passphrase``."""
    for add in (
        option("--passphrase", is_flag=True, help="Ask for a passphrase on the terminal."),
        option("--passphrase-env", metavar="NAME", help="Take the passphrase from this variable."),
    ):
        function = add(function)
    return function


def sealing_keys(shell: Shell, variable: str | None, ask: bool, recipients: tuple[str, ...]) -> Keys | None:
    """What to seal with; None: nothing. Raises UsageError."""
    given = (variable is not None) + ask + bool(recipients)
    if given > 1:
        raise UsageError(
            "--passphrase-env, --passphrase and --recipient exclude each other",
            unchanged=["nothing was written"],
        )
    if not given:
        return None
    from sloth_runner.state.age import Keys, recipient

    if recipients:
        return Keys(keys=tuple(dict.fromkeys(recipient(text) for text in recipients)))
    if variable is not None:
        return Keys(_from_variable(shell, variable))
    return Keys(shell.ask_secret("Passphrase:", twice=True).encode("utf-8", "surrogateescape"))


def opening_keys(
    shell: Shell, variable: str | None, ask: bool, identity_files: tuple[Path, ...], from_stdin: bool
) -> Callable[[bool], Keys | None]:
    """A function of whether a passphrase is needed: what to open with, None if nothing was given."""

    def find(has_passphrase: bool) -> Keys | None:
        from sloth_runner.state.age import Keys, identities
        from sloth_runner.state.bundle_files import read_small

        passphrase = None
        if variable is not None:
            passphrase = _from_variable(shell, variable)
        elif ask or (has_passphrase and not from_stdin and shell.world.stdin_tty and shell.world.stderr_tty):
            passphrase = shell.ask_secret("Passphrase:", twice=False).encode("utf-8", "surrogateescape")
        keys: list[bytes] = []
        for file in identity_files:
            keys += identities(read_small(shell.cwd / file, "the identity file"), str(file))
        return Keys(passphrase, tuple(keys)) if passphrase is not None or keys else None

    return find


def _from_variable(shell: Shell, variable: str) -> bytes:
    found = shell.world.environ.get(variable)
    if not found:
        raise UsageError(
            f"--passphrase-env: the variable {variable!r} is {'empty' if found == '' else 'not set'}",
            unchanged=["nothing was changed"],
        )
    return found.encode("utf-8", "surrogateescape")
