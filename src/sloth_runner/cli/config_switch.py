"""Why: after a state has moved, the configuration must name its new home: in the file that named the old one.

The file keeps its comments and its layout; it is replaced at once. Where no file said where the state is, the home
folder's does from then on, since that is where the state was kept. What a variable says, only the user can change.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

from sloth_runner.config import HOME_FILE, PREFIX
from sloth_runner.errors import SlothError
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.config import Settings

VARIABLE = f"{PREFIX}STATE__STORE"


class Switch(NamedTuple):
    """What to change. ``file``: which (None: none can be changed); ``lines``: what it says then, or what to do."""

    file: Path | None
    url: str
    password_env: str | None
    lines: tuple[str, ...]


def plan(settings: Settings, url: str, password_env: str | None) -> Switch:
    """How to let the settings name ``url``, whose password is in the variable ``password_env``.

    Raises SlothError if the file can't be changed, as far as that can be known before.
    """
    switch = _planned(settings, url, password_env)
    if switch.file is not None:
        try:
            _edited(_text(switch.file), switch)
        except SlothError as error:
            error.next = [*error.next, "or with --no-switch: then say where the state is yourself"]
            raise
        except (OSError, UnicodeDecodeError):
            pass  # it is said once the state has moved, with what the file has to say
    return switch


def _planned(settings: Settings, url: str, password_env: str | None) -> Switch:
    origin = settings.origins["state.store"]
    lines = ["[state]", f"store = {json.dumps(url, ensure_ascii=False)}"]
    if password_env is not None:
        lines.append(f'password_env = "{password_env}"')
    if origin.file is not None:
        return Switch(Path(origin.file), url, password_env, tuple(lines))
    if origin.label == "default":
        return Switch(settings.home / HOME_FILE, url, password_env, tuple(lines))
    return Switch(None, url, password_env, (f"export {VARIABLE}={shlex.quote(url)}",))


def make(switch: Switch) -> str:
    """Change the file; "" or why that could not be done (then it is as it was)."""
    file = switch.file
    if file is None:
        return f"{VARIABLE} says where the state is"
    file = Path(os.path.realpath(file))  # a link stays one
    try:
        _replace(file, _edited(_text(file), switch))
    except SlothError as error:
        return error.message
    except (OSError, UnicodeDecodeError) as error:
        return str(error)
    return ""


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _edited(old: str, switch: Switch) -> str:
    if not old.strip():
        return old + "\n".join(switch.lines) + "\n"
    from sloth_runner.modules.files.keys import toml_text

    text = toml_text.put(old, ("state", "store"), switch.url)
    name = ("state", "password_env")
    if switch.password_env is not None:
        return toml_text.put(text, name, switch.password_env)
    return toml_text.drop(text, name) if toml_text.find(text, name) else text


def _replace(file: Path, text: str) -> None:
    """Write the file anew, with the mode that it has, durable and at once."""
    mode = file.stat().st_mode & 0o7777 if file.exists() else 0o600
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}~{os.getpid()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "wb") as stream:
            os.fchmod(handle, mode)
            stream.write(text.encode())
            stream.flush()
            os.fsync(handle)
        part.replace(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
