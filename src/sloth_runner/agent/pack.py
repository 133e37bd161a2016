"""Why: a bare machine gets all that it needs to perform operations as one file, named by what is in it.

The same sources make the same file, byte for byte, whatever made it: nothing in it is compressed (the wire does
that). Runs on the controller.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sloth_runner.plain import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE = "sloth_runner"
PYTHONS = ("python3", "/usr/bin/python3", "/usr/local/bin/python3", "/usr/libexec/platform-python", "python")
_LEFT_OUT = frozenset(("pack.py",))
_INIT = b'"""Why: the part of Sloth Runner that works on other machines."""\n'
_MAIN = b"""import os, sys
from sloth_runner.agent.stdio import serve
sys.exit(serve(sys.argv[1] if len(sys.argv) > 1 else "", os.environ))
"""
_EPOCH = 1 << 5 | 1
"""The first of January 1980, in the form of MS-DOS."""
_UNIX = 3 << 8
"""Modes are those of Unix."""


class Packed(NamedTuple):
    """The agent as a zip application: its bytes, and their SHA-256 (hex), which names it."""

    data: bytes
    name: str


@lru_cache(maxsize=1)
def packed() -> Packed:
    """The agent of this version."""
    root = Path(__file__).resolve().parent.parent
    files = {"__main__.py": _MAIN, f"{PACKAGE}/__init__.py": _INIT}
    for path in (root / "plain.py", root / "ops.py", *(root / "agent").glob("*.py")):
        if path.name not in _LEFT_OUT:
            files[f"{PACKAGE}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    data = archive(files)
    return Packed(data, hashlib.sha256(data).hexdigest())


def archive(files: Mapping[str, bytes]) -> bytes:
    """Files as a ZIP archive, nothing compressed. Importing ``zipfile`` would take three times as long as this.
    Source: PKWARE's APPNOTE.TXT, 4.3."""
    import zlib

    local, central = b"", b""
    for name, data in sorted(files.items()):
        common = struct.pack(
            "<HHHHHIIIHH", 20, 0, 0, 0, _EPOCH, zlib.crc32(data), len(data), len(data), len(name), 0
        )
        there = struct.pack("<HHHII", 0, 0, 0, 0o600 << 16, len(local))
        central += b"PK\x01\x02" + struct.pack("<H", 20 | _UNIX) + common + there + name.encode("ascii")
        local += b"PK\x03\x04" + common + name.encode("ascii") + data
    end = struct.pack("<HHHHIIH", 0, 0, len(files), len(files), len(central), len(local), 0)
    return local + central + b"PK\x05\x06" + end


def command(name: str, python: str | None = None, *, keep: bool = True) -> str:
    """The shell command that starts the agent of that name on a machine, whatever its user's shell: one line, quoted
    in the one manner that all shells share. ``python``: the interpreter to use (None: the first that is found);
    ``keep``: whether the agent may stay on the machine's disk."""
    import base64
    import zlib

    source = (Path(__file__).parent / "bootstrap.py").read_bytes()
    text = base64.b64encode(zlib.compress(source, 9)).decode("ascii")
    code = f'import binascii as b,zlib as z;exec(z.decompress(b.a2b_base64("{text}")))'
    find = " || ".join(f"command -v {one}" for one in (PYTHONS if python is None else (python,)))
    script = (
        f'p=$({find}) || {{ printf "\\n\\0sloth-runner finds no python\\0\\n{python or ""}\\n"; exit 127; }}; '
        f'exec "$p" -I -S -c "$2" "$1" {"cache" if keep else "memory"} "$2"'
    )
    return f"exec /bin/sh -c '{script}' sh {name} '{code}'"
