"""Why: a bare machine gets all that it needs to perform operations as one file, named by what is in it.

The same sources make the same file, byte for byte, whatever made it: nothing in it is compressed (the wire does
that). Runs on the controller.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache
from pathlib import Path

from sloth_runner.plain import NamedTuple

PACKAGE = "sloth_runner"
PYTHONS = ("python3", "/usr/bin/python3", "/usr/local/bin/python3", "/usr/libexec/platform-python", "python")
_LEFT_OUT = frozenset(("pack.py",))
_INIT = b'"""Why: the part of Sloth Runner that works on other machines."""\n'
_MAIN = b"""import os, sys
from sloth_runner.agent.stdio import serve
sys.exit(serve(sys.argv[1] if len(sys.argv) > 1 else "", os.environ))
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


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
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o600 << 16
            archive.writestr(info, files[name])
    data = out.getvalue()
    return Packed(data, hashlib.sha256(data).hexdigest())


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
        f'p=$({find}) || {{ printf "\\n\\0sloth-runner finds no python\\0\\n"; exit 127; }}; '
        f'exec "$p" -I -S -c "$2" "$1" {"cache" if keep else "memory"} "$2"'
    )
    return f"exec /bin/sh -c '{script}' sh {name} '{code}'"
