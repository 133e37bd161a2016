"""Why: a machine is given a name, groups and values once, by a command or by hand."""

from __future__ import annotations

from pathlib import Path

from sloth_runner.cli.agent import complete_agents
from sloth_runner.cli.base import output_option, yes_option
from sloth_runner.cli.shell import Shell
from sloth_runner.cli.words import argument, command, option
from sloth_runner.errors import AgentUnknown, Duplicate, UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Any


@command("show")
@argument("name", complete=complete_agents)
@output_option
def show(shell: Shell, name: str) -> None:
    """Show how the agent NAME is reached, its groups and tags, and the values that tasks on it see."""
    from sloth_runner.documents import agents as told

    app = shell.app()
    app.require_agent(name)
    row = told.one(app, name)
    if shell.structured:
        shell.document("agent.show", {"store": app.stores.name, **row})
        return
    import json

    pairs = [
        ("url", row["url"] or "- (not configured)"),
        ("groups", ", ".join(row["groups"]) or "-"),
        ("tags", ", ".join(row["tags"]) or "-"),
        ("values", json.dumps(row["values"], ensure_ascii=False) if row["values"] else "-"),
        ("state", "yes" if row["has_state"] else "no"),
        ("from", row["origin"] or "-"),
    ]
    shell.fields(name, pairs)


@command("add")
@argument("name")
@argument("url", metavar="URL")
@option("--group", "groups", multiple=True, metavar="GROUP", help="A group that it is in.")
@option("--tag", "tags", multiple=True, metavar="TAG", help="A tag that it has.")
@option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="A value (YAML; dots in KEY).")
@option("--python", metavar="PATH", help="The Python to use there.")
@option("--sudo-password-env", metavar="VARIABLE", help="Holds the password that sudo wants there.")
@option("--password-env", metavar="VARIABLE", help="Holds the password of the login.")
@option("--home", is_flag=True, help="In the home folder's file, for all projects.")
@output_option
def add(shell: Shell, /, name: str, url: str, home: bool, **given: Any) -> None:
    """Add the agent NAME, reached at URL (ssh://user@host:22, grpc://host:7443, chroot:///path, local://), to
    agents.toml: that of the project, else the home folder's.
    """
    from sloth_runner.agents_file import added, write
    from sloth_runner.config import AGENTS_FILE
    from sloth_runner.config_fields import parse_agent
    from sloth_runner.config_file import Origin
    from sloth_runner.inventory import Inventory
    from sloth_runner.state.backends import public_url
    from sloth_runner.state.layout import check_agent_name
    from sloth_runner.transports import check_agent
    from sloth_runner.values import load_values

    check_agent_name(name, reserved=True)
    app = shell.app()
    known = app.settings.agents.get(name)
    if known is not None:
        ours = Path(known.origin.file or "").name == AGENTS_FILE
        raise Duplicate(
            f"there is an agent {name!r} already: {public_url(known.url)} ({known.origin.label})",
            unchanged=["nothing was written"],
            next=[
                f"take it away first: sloth-runner agent remove {name}" if ours else "take it out there first"
            ],
        )
    table: dict[str, Any] = {"url": url}
    values = load_values((), given.pop("sets"), ())
    table |= {
        key: list(value) if isinstance(value, tuple) else value for key, value in given.items() if value
    }
    table |= {"values": values} if values else {}
    made = parse_agent(name, table, Origin(url), lambda n: check_agent_name(n, reserved=True))
    check_agent(made)
    path = _file(shell, home)
    write(path, added(path.read_text(encoding="utf-8") if path.exists() else "", name, table))
    if shell.structured:
        shell.document("agent.add", {"store": app.stores.name, "name": name, "url": url, "file": str(path)})
    else:
        shell.print(f"{name} is {url} now ({path})")
    for text in Inventory({**app.settings.agents, name: made}, {}).twins([name]):
        shell.warn(text)


@command("remove")
@argument("name", complete=complete_agents)
@yes_option
@output_option
def remove(shell: Shell, name: str, yes: bool) -> None:
    """Take the agent NAME out of agents.toml. Its state, and the machine, stay as they are."""
    from sloth_runner.agents_file import removed, write
    from sloth_runner.config import AGENTS_FILE
    from sloth_runner.state.backends import public_url

    app = shell.app()
    entry = app.settings.agents.get(name)
    if entry is None:
        raise AgentUnknown(
            f"there is no configured agent {name!r}",
            unchanged=["nothing was written"],
            next=did_you_mean(name, app.settings.agents),
        )
    path = Path(entry.origin.file or "")
    if path.name != AGENTS_FILE:
        raise UsageError(
            f"the agent {name!r} does not stand in {AGENTS_FILE}: {entry.origin.label}",
            unchanged=["nothing was written"],
            next=["take it out there"],
        )
    text = removed(path.read_text(encoding="utf-8"), name)
    shell.confirm([f"  {name} = {public_url(entry.url)}", f"in {path}"], "Remove it?", yes=yes)
    write(path, text)
    if shell.structured:
        shell.document("agent.remove", {"store": app.stores.name, "name": name, "file": str(path)})
    else:
        shell.print(f"{name} is removed from {path}; its state stays")


def _file(shell: Shell, home: bool) -> Path:
    """The file of agents that is meant: beside the project's configuration, if there is a project."""
    from sloth_runner.config import AGENTS_FILE, find_project

    project = None if home else find_project(shell.cwd)
    return (shell.app().settings.home if project is None else project.parent) / AGENTS_FILE
