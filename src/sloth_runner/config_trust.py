"""Why: a repository that is only looked at must not make us run a program; its owner's word is asked for once.

``trusted.json`` in the home folder lists commands by the configuration file that names them. A changed command,
or the same in another file, is not trusted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from sloth_runner.config_file import Origin
from sloth_runner.errors import BadConfig
from sloth_runner.folders import make_private
from sloth_runner.plain import Final

NAME: Final = "trusted.json"
HOME_FILE: Final = "config.toml"


def is_trusted(home: Path, origin: Origin, command: tuple[str, ...]) -> bool:
    """Whether this command may be run: it stands in the user's own file or environment, or was trusted there."""
    if origin.file is None or Path(origin.file) == home / HOME_FILE:
        return True
    wanted = (origin.file, list(command))
    return any((row.get("file"), row.get("command")) == wanted for row in _read(home))


def trust(home: Path, origin: Origin, command: tuple[str, ...], purpose: str = "") -> None:
    """Remember that this command in this file may be run; an earlier one of that file for the same ``purpose`` may no
    more."""
    rows = [row for row in _read(home) if (row.get("file"), row.get("for")) != (origin.file, purpose)]
    rows.append({"file": origin.file, "command": list(command), **({"for": purpose} if purpose else {})})
    make_private(home)
    path, fresh = home / NAME, home / f".{NAME}.{os.getpid()}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump({"commands": rows}, file, indent=2)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)


def _read(home: Path) -> list[dict[str, object]]:
    path = home / NAME
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["commands"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadConfig(
            f"the list of trusted commands can't be read: {error}",
            file=str(path),
            unchanged=["nothing was run"],
            next=["remove it, and trust again what you still trust: sloth-runner config trust"],
        ) from error
    return [row for row in rows if isinstance(row, dict)]
