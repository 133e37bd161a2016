"""Why: asyncssh looks, while it is imported, for what few machines have and we do not use: as long as a login takes.

That is an X.509 library (a sixth of all its imports), and liboqs, for which it starts the linker and the compiler.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sloth_runner.plain import Any, Final

_CACHE: Final = Path("/etc/ld.so.cache")
"""Names all libraries that the linker knows of. Source: ldconfig(8)."""


def load() -> Any:
    """asyncssh. Raises ImportError."""
    if "asyncssh" in sys.modules:
        return sys.modules["asyncssh"]
    import ctypes.util

    find = ctypes.util.find_library

    def known(name: str) -> str | None:
        """What the linker does not know of is not looked for in other manners."""
        try:
            there = name.removeprefix("lib").encode() in _CACHE.read_bytes()
        except OSError:  # another system, another linker
            there = True
        return find(name) if there else None

    # Host keys are believed by known_hosts alone: the module is not there, and asyncssh can do without it.
    sys.modules.setdefault("asyncssh.crypto.x509", None)  # type: ignore[arg-type] # as the import system has it
    ctypes.util.find_library = known
    try:
        import asyncssh
    finally:
        ctypes.util.find_library = find
    return asyncssh
