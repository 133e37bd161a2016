"""Why: of several keys one may be broken or sealed; the others still open the door, and what is wrong is said."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def unusable(files: Sequence[str], passphrase: str | None) -> dict[str, str]:
    """The files of private keys that can't be used, and why."""
    import asyncssh

    found: dict[str, str] = {}
    for file in files:
        try:
            asyncssh.read_private_key(file, passphrase)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, OSError) as error:
            sealed = passphrase is None and "passphrase" in str(error).lower()
            found[file] = _SEALED if sealed else getattr(error, "strerror", None) or str(error)
    return found


_SEALED = (
    "it is encrypted: name the variable that holds its passphrase (passphrase_env in the agent's table), "
    "or use a key agent"
)
