"""Why: flags, environment, project file and home file become one set of settings, each knowing its origin.

This is the only reader of the environment, the home folder and configuration files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sloth_runner.config_fields import (
    AGENT_SECTIONS,
    FIELDS,
    SECTIONS,
    Agent,
    Group,
    parse_agent,
    parse_group,
)
from sloth_runner.config_file import DEFAULT, ConfigFile, Origin, read_config
from sloth_runner.errors import BadConfig
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.config_encryption import Encryption

PREFIX = "SLOTH_RUNNER_"
HOME = "SLOTH_RUNNER_HOME"
PROJECT_FILE = "sloth.toml"
HOME_FILE = "config.toml"
AGENTS_FILE = "agents.toml"
SECTION: Final = "state.encryption"

Layer = dict[str, tuple[Any, Origin]]
"""What one file, or the environment, says of encryption: field -> raw value and place."""


class Settings(NamedTuple):
    """All settings. Durations are seconds, sizes bytes. ``origins``: dotted name -> where it was set."""

    home: Path
    files: tuple[Path, ...]
    store: str
    password_env: str | None
    request_timeout: float
    shared_prefixes: tuple[str, ...]
    keep: int
    days: float
    max: int
    bytes: int
    jobs: int
    forks: int
    lock_timeout: float
    timeout: float | None
    command: tuple[str, ...]
    lua_time: float
    lua_memory: int
    agents: Mapping[str, Agent]
    groups: Mapping[str, Group]
    user: str
    host: str
    origins: Mapping[str, Origin]
    encryption: Encryption | None = None

    @property
    def state_folder(self) -> Path:
        """Where the default store keeps its files."""
        return self.home / "state"

    def value(self, name: str) -> object:
        """The setting of a dotted name that stands in ``origins``."""
        if name.startswith(SECTION + ".") and self.encryption is not None:
            return self.encryption.values()[name[len(SECTION) + 1 :]]
        section, _, key = name.partition(".")
        if section == "agents":
            return self.agents[key].url
        if section == "groups":
            return dict(self.groups[key].values)
        return self.home if name == "home" else getattr(self, name.rpartition(".")[2])


def load_settings(
    environ: Mapping[str, str],
    cwd: Path,
    *,
    check_agent: Callable[[str], str],
    file_folder: Path | None = None,
    config: Path | None = None,
) -> Settings:
    """The settings for a task file in ``file_folder``, or for ``cwd``.

    ``config`` replaces the search for ``sloth.toml``. ``check_agent`` returns a name that may name an agent and
    raises otherwise. Raises BadConfig (file, line, source), FileMissing for ``config``.
    """
    home, home_origin = _home(environ, cwd)
    found: dict[str, Any] = {name: field.default for name, field in FIELDS.items()}
    origins: dict[str, Origin] = {"home": home_origin, **dict.fromkeys(FIELDS, DEFAULT)}
    agents: dict[str, Agent] = {}
    groups: dict[str, Group] = {}
    files = _files(home, cwd if file_folder is None else file_folder, cwd, config)
    layers: list[Layer] = []
    for file in files:
        layers.append({})
        for path, raw, origin in _leaves(file):
            _take(path, raw, origin, found, origins, agents, groups, check_agent, layers[-1], text=False)
    layers.append({})
    for path, text, origin in _variables(environ):
        _take(path, text, origin, found, origins, agents, groups, check_agent, layers[-1], text=True)
    _check_together(found, origins)
    encryption = _encryption(layers, origins, cwd, _user_home(environ)) if any(layers) else None
    return Settings(
        home=home,
        files=tuple(file.path for file in files),
        **{name.rpartition(".")[2]: value for name, value in found.items()},
        agents=agents,
        groups=groups,
        user=_user(),
        host=os.uname().nodename,
        origins=origins,
        encryption=encryption,
    )


def find_project(start: Path) -> Path | None:
    """``sloth.toml`` in ``start`` or above, up to the repository's root (a folder with ``.git``); where there is only
    ``agents.toml``, the place where it would be."""
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file() or (folder / AGENTS_FILE).is_file():
            return folder / PROJECT_FILE
        if (folder / ".git").exists():
            return None
    return None


def _home(environ: Mapping[str, str], cwd: Path) -> tuple[Path, Origin]:
    given = environ.get(HOME, "").strip()
    if given and not given.startswith("~"):
        return cwd / given, Origin(HOME)
    user_home = _user_home(environ)
    if not user_home.startswith("/"):
        raise BadConfig(
            "where to keep state is not known: neither SLOTH_RUNNER_HOME nor HOME is set to a folder",
            unchanged=["nothing was read or written"],
            next=["export SLOTH_RUNNER_HOME=/a/folder"],
        )
    if given:
        if given != "~" and not given.startswith("~/"):
            raise Origin(HOME).problem(f"{given!r}: only ~/ is understood, not another user's home")
        return Path(user_home, given[2:]), Origin(HOME)
    return Path(user_home, ".sloth-runner"), DEFAULT


def _user_home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME", "") or _password_entry()[1]


def _files(home: Path, start: Path, cwd: Path, config: Path | None) -> list[ConfigFile]:
    """The files to read, the weakest first."""
    files = [read_config(home / HOME_FILE), read_config(home / AGENTS_FILE)]
    if config is not None:
        files.append(read_config(cwd / config, required=True))
    else:
        project = find_project(start)
        if project is not None and project != home / HOME_FILE:
            files += [read_config(project), read_config(project.with_name(AGENTS_FILE))]
    return [file for file in files if file is not None]


def _leaves(file: ConfigFile) -> Iterator[tuple[tuple[str, ...], object, Origin]]:
    known = AGENT_SECTIONS if file.path.name == AGENTS_FILE else SECTIONS
    for section, table in file.data.items():
        if section not in known:
            raise file.origin(section).problem(
                f"there is no section [{section}]"
                if isinstance(table, dict)
                else f"unknown setting {section!r}",
                *(did_you_mean(section, known) or [f"sections: {', '.join(sorted(known))}"]),
            )
        if not isinstance(table, dict):
            raise file.origin(section).problem(f"{section!r} is a section: write [{section}]")
        for key, raw in table.items():
            if section == "state" and key in ("history", "encryption") and isinstance(raw, dict):
                for inner, value in raw.items():
                    yield ("state", key, inner), value, file.origin("state", key, inner)
            else:
                yield (section, key), raw, file.origin(section, key)


def _variables(environ: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], str, Origin]]:
    for name in sorted(environ):
        if name.startswith(PREFIX) and name != HOME:
            yield tuple(name[len(PREFIX) :].lower().split("__")), environ[name], Origin(name)


def _take(
    path: tuple[str, ...],
    raw: object,
    origin: Origin,
    found: dict[str, Any],
    origins: dict[str, Origin],
    agents: dict[str, Agent],
    groups: dict[str, Group],
    check_agent: Callable[[str], str],
    sealing: Layer,
    *,
    text: bool,
) -> None:
    name = ".".join(path)
    if path[0] == "agents" and len(path) >= 2:
        agents[name[7:]] = parse_agent(name[7:], raw, origin, check_agent)
    elif path[0] == "groups" and len(path) >= 2 and not text:
        groups[name[7:]] = parse_group(name[7:], raw, origin)
    elif path[:2] == ("state", "encryption") and len(path) == 3:
        sealing[path[2]] = (raw, origin)
        return
    elif name in FIELDS:
        try:
            found[name] = FIELDS[name].parse(raw, text)
        except ValueError as error:
            raise origin.problem(f"{path[-1]}: {error}") from None
    else:
        raise _unknown(path, origin, text=text)
    origins[name] = origin


def _encryption(layers: list[Layer], origins: dict[str, Origin], cwd: Path, home: str) -> Encryption | None:
    """What the layers say together, the last wins. One that names a source begins anew: two are never mixed."""
    from sloth_runner.config_encryption import parse_encryption

    found: Layer = {}
    for layer in layers:
        found = dict(layer) if "source" in layer else {**found, **layer}
    origins.update({f"{SECTION}.{name}": origin for name, (_, origin) in found.items()})
    return parse_encryption(found, cwd, home)


def _unknown(path: tuple[str, ...], origin: Origin, *, text: bool) -> BadConfig:
    name = ".".join(path)
    if text:
        known = [PREFIX + field.replace(".", "__").upper() for field in FIELDS] + [HOME]
        return origin.problem("no setting has this name", *did_you_mean(origin.label, known))
    section = ".".join(path[:-1])
    keys = [field.rpartition(".")[2] for field in FIELDS if field.rpartition(".")[0] == section]
    return (
        origin.problem(
            f"unknown key {path[-1]!r} in [{section}]",
            *(
                did_you_mean(path[-1], [*keys, "history", "encryption"] if section == "state" else keys)
                or [f"keys: {', '.join(keys)}"]
            ),
        )
        if keys
        else origin.problem(f"unknown key {name!r}")
    )


def _check_together(found: Mapping[str, Any], origins: Mapping[str, Origin]) -> None:
    keep, most = found["state.history.keep"], found["state.history.max"]
    if most < keep:
        name = "state.history.max" if origins["state.history.max"] is not DEFAULT else "state.history.keep"
        raise origins[name].problem(f"max ({most}) must not be less than keep ({keep})")


def _password_entry() -> tuple[str, str]:
    """Name and home of the user that this process runs as; empty where the system has no entry."""
    import pwd

    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return "", ""
    return entry.pw_name, entry.pw_dir


def _user() -> str:
    return _password_entry()[0] or str(os.getuid())
