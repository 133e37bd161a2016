"""Why: ``[state.encryption]`` belongs together: which fields count depends on the source, and no layer mixes two."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from sloth_runner.config_file import Origin
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any, Final, NamedTuple

SECTION: Final = "state.encryption"
SOURCES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "passphrase": ((), ("variable", "file")),
    "keyfile": (("file",), ()),
    "env": (("variable",), ()),
    "command": (("command",), ()),
    "aws-kms": (("key",), ("region", "endpoint")),
}
"""By source: the fields that it needs, and those that it may have."""
FIELDS: Final = ("source", "variable", "file", "command", "key", "region", "endpoint")


class Encryption(NamedTuple):
    """Where the key of the state comes from. ``variable`` is a name, never what it holds."""

    source: str
    variable: str | None = None
    file: Path | None = None
    command: tuple[str, ...] = ()
    key: str | None = None
    region: str | None = None
    endpoint: str | None = None
    origin: Origin = Origin("default")
    """Where ``source`` was set."""
    command_origin: Origin = Origin("default")
    """Where ``command`` was set: whether that place is trusted decides if it is run."""

    def values(self) -> dict[str, object]:
        """The fields that are set, as they are shown: none of them is a secret."""
        found = {name: getattr(self, name) for name in FIELDS}
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in found.items() if value
        }


def parse_encryption(found: Mapping[str, tuple[Any, Origin]], cwd: Path, home: str) -> Encryption:
    """The settings. A relative ``file`` starts at the folder of the file that names it,
    from a variable at ``cwd``; ``~/`` at ``home``. Raises BadConfig."""
    for name, (_, origin) in found.items():
        if name not in FIELDS:
            raise origin.problem(
                f"unknown key {name!r} in [{SECTION}]",
                *(did_you_mean(name, FIELDS) or [f"keys: {', '.join(FIELDS)}"]),
            )
    if "source" not in found:
        _, origin = next(iter(found.values()))
        raise origin.problem(
            f"[{SECTION}] needs a source", f"source = one of {', '.join(SOURCES)}", "nothing would be sealed"
        )
    source, origin = found["source"]
    if source not in SOURCES:
        raise origin.problem(
            f"there is no source {source!r} of keys",
            *(did_you_mean(str(source), SOURCES) or [f"sources: {', '.join(SOURCES)}"]),
        )
    needs, may = SOURCES[source]
    for name, (_, where) in found.items():
        if name not in ("source", *needs, *may):
            raise where.problem(f"the source {source!r} takes no {name}", f"it takes {_list(needs, may)}")
    for name in needs:
        if name not in found:
            raise origin.problem(f"the source {source!r} needs {name}", _example(source))
    if "variable" in found and "file" in found:
        raise found["file"][1].problem("variable and file exclude each other: give one of them")
    fields: dict[str, Any] = {
        name: _field(name, *found[name], cwd, home) for name in found if name != "source"
    }
    command_origin = found["command"][1] if "command" in found else origin
    return Encryption(source, origin=origin, command_origin=command_origin, **fields)


def _field(name: str, raw: object, origin: Origin, cwd: Path, home: str) -> object:
    if name == "command":
        return _command(raw, origin)
    if not isinstance(raw, str) or not raw.strip():
        raise origin.problem(f"{name} is a text, not {raw!r}")
    if name == "file":
        folder = cwd if origin.file is None else Path(origin.file).parent
        return Path(home, raw[2:]) if raw.startswith("~/") else folder / raw
    if name == "variable" and not raw.replace("_", "a").isalnum():
        raise origin.problem("variable is the name of a variable: letters, digits and _")
    if name == "endpoint" and not raw.startswith(("https://", "http://")):
        raise origin.problem(f"endpoint is a URL such as https://kms.eu-central-1.amazonaws.com; not {raw!r}")
    return raw


def _command(raw: object, origin: Origin) -> tuple[str, ...]:
    if isinstance(raw, str):
        try:
            raw = shlex.split(raw)
        except ValueError as error:
            raise origin.problem(f"command: {error}") from None
    if not isinstance(raw, list) or not raw or not all(isinstance(word, str) and word for word in raw):
        raise origin.problem(
            "command is a program and its arguments", 'command = ["pass", "show", "sloth-runner"]'
        )
    return tuple(raw)


def _list(needs: tuple[str, ...], may: tuple[str, ...]) -> str:
    return ", ".join([*needs, *(f"{name} (may be left out)" for name in may)]) or "nothing else"


def _example(source: str) -> str:
    return {
        "keyfile": 'file = "~/.config/sloth-runner.key"',
        "env": 'variable = "SLOTH_KEY"',
        "command": 'command = ["pass", "show", "sloth-runner"]',
        "aws-kms": 'key = "alias/sloth-runner"',
    }[source]
