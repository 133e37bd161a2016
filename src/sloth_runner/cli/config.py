"""Why: "where does this setting come from" has an answer."""

from __future__ import annotations

import json

from sloth_runner.cli.base import output_option, yes_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import command, option
from sloth_runner.config_fields import BYTES, FIELDS, SECONDS
from sloth_runner.durations import human


@command("show")
@output_option
def show(shell: Shell) -> None:
    """Show every setting, its value and where it comes from: default, a variable, or a file and line.

    A variable is named SLOTH_RUNNER_SECTION__KEY, such as SLOTH_RUNNER_STATE__STORE. Its text is the value, without
    quotes or brackets; lists are split at commas: SLOTH_RUNNER_STATE__SHARED_PREFIXES=cluster:,team:.
    """
    settings = shell.app().settings
    values = [(name, settings.value(name), origin.label) for name, origin in settings.origins.items()]
    if shell.structured:
        rows = [{"key": name, "value": _plain(value), "origin": origin} for name, value, origin in values]
        shell.document(
            "config.show",
            {
                "store": shell.app().stores.name,
                "home": str(settings.home),
                "files": [str(file) for file in settings.files],
                "values": rows,
            },
        )
        return
    cells = [[name, _shown(name, value, shell.human), origin] for name, value, origin in values]
    shell.table(["SETTING", "VALUE", "FROM"], cells, flexible=(1, 2))


@command("trust")
@option("--inventory", is_flag=True, help="The command that lists agents.")
@yes_option
@output_option
def trust(shell: Shell, inventory: bool, yes: bool) -> None:
    """Let the command run that a sloth.toml names as the source of the state's key, or to list agents.

    This is needed once, and again when that command, or the place of its file, changes. What the home folder's
    config.toml or a variable names needs no trust.
    """
    from sloth_runner.config_trust import is_trusted
    from sloth_runner.config_trust import trust as remember
    from sloth_runner.errors import KeyMissing

    settings = shell.app().settings
    encryption = settings.encryption
    keyed = encryption is not None and bool(encryption.command)
    if inventory or (not keyed and settings.command):
        what, origin, found = "to list agents", settings.origins["inventory.command"], settings.command
    elif encryption is not None and encryption.command:
        what, origin, found = "to print the key", encryption.command_origin, encryption.command
    else:
        what, origin, found = "", settings.origins["home"], ()
    if not found:
        raise KeyMissing(
            "no command is configured that prints a key or lists agents: there is nothing to trust"
        )
    words = list(found)
    changed = not is_trusted(settings.home, origin, found)
    if changed:
        lines = [f"  {json.dumps(words, ensure_ascii=False)}", f"named by {origin.label}"]
        shell.confirm(lines, f"Let it run {what}?", yes=yes)
        remember(settings.home, origin, found, "agents" if what == "to list agents" else "")
    if shell.structured:
        body = {"file": origin.file, "command": words, "changed": changed}
        shell.document("config.trust", {"store": shell.app().stores.name, **body})
    else:
        shell.print(f"{'trusted' if changed else 'trusted already'}: {json.dumps(words, ensure_ascii=False)}")


def _plain(value: object) -> object:
    """What JSON can hold; a password in a URL is left out."""
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    if isinstance(value, tuple):
        return list(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return json.loads(json.dumps(value, default=str)) if isinstance(value, dict) else str(value)


def _shown(name: str, value: object, people: bool) -> str:
    plain = _plain(value)
    if plain is None:
        return "none"
    unit = FIELDS[name].unit if people and name in FIELDS else ""
    if unit == SECONDS and isinstance(plain, float):
        return human(plain) if plain else "0s"
    if unit == BYTES and isinstance(plain, int) and plain % (1 << 20) == 0:
        return f"{plain >> 20} MiB"
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at and ":" in user:
        user = user.partition(":")[0] + ":••••••"
    return f"{scheme}{separator}{user}{at}{host}{slash}{path}"
