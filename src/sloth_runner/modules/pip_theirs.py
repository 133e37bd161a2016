"""Why: others may keep files in a virtual environment, as in any folder; its own Python knows which are whose.

What venv makes is known by its names, what packages have brought by their records; all else is somebody's.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Generator

from sloth_runner.errors import Conflict
from sloth_runner.ops import Exec, OpError
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Change
    from sloth_runner.ops import Ran

_WHAT_OTHERS_PUT = """
import json, os, re, sys
from importlib import metadata
known = {os.path.join(sys.prefix, name) for name in ("pyvenv.cfg", ".gitignore", "lib64")}
for one in metadata.distributions():
    known.update(os.path.normpath(str(one.locate_file(file))) for file in one.files or ())
python = os.path.realpath(sys.executable)
venv = "(bin/[Aa]ctivate[.a-z0-9]*|share/python-wheels/.*[.]whl|.*/__pycache__/.*[.]pyc)$"
theirs = []
for folder, inner, files in os.walk(sys.prefix):
    for name in files + [name for name in inner if os.path.islink(os.path.join(folder, name))]:
        path = os.path.join(folder, name)
        short = os.path.relpath(path, sys.prefix)
        if path not in known and os.path.realpath(path) != python and not re.match(venv, short):
            theirs.append(short)
print(json.dumps(sorted(theirs)[:3]))
"""
"""Files in a virtual environment that neither venv nor an installed package has put there."""


def keep_theirs(change: Change) -> Generator[Any, Any, None]:
    """Raise Conflict if others have put files into an environment."""
    python = posixpath.join(change.resource.id, "bin/python")
    argv = (python, "-I", "-c", _WHAT_OTHERS_PUT)
    theirs = None
    try:
        ran: Ran = yield Exec(
            f"`{python}`", argv, cwd="/", env={"LC_ALL": "C.UTF-8"}, mutating=False, quiet=True
        )
        theirs = json.loads(ran.stdout) if ran.exit_code == 0 else None
    except OpError as error:
        if error.kind != "not-found":
            raise
    keys = [change.resource.address]
    if theirs is None:
        raise Conflict("its Python doesn't run, so what others have put into it is not known", keys=keys)
    if theirs:
        raise Conflict(f"others have put {', '.join(theirs)} into it", keys=keys)
