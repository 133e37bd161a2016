"""Why: which machines a name means is said once: an agent, several, a group or tag, a pattern, an address.

A target is a name, ``@group`` (or tag), a pattern, or a URL; of several, one that begins with ``!`` takes away.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from sloth_runner.config_fields import Agent
from sloth_runner.config_file import Origin
from sloth_runner.errors import AgentUnknown, BadConfig, BadName, UsageError
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.backends import public_url
from sloth_runner.state.layout import LOCAL, check_agent_name
from sloth_runner.transports import check_agent, check_url
from sloth_runner.values import merge

if TYPE_CHECKING:
    from sloth_runner.config_fields import Group
    from sloth_runner.listing import Listed

_PATTERN = frozenset("*?[")
_HERE = Origin("this machine")


class Inventory:
    """The agents of a configuration, and those that ``more`` lists, which is asked when they are needed. Addresses
    that are used without a name get one of their own."""

    def __init__(
        self,
        agents: Mapping[str, Agent],
        groups: Mapping[str, Group],
        more: Callable[[], Listed] | None = None,
    ) -> None:
        self._agents = dict(agents)
        self._groups = dict(groups)
        self._more = more
        self._addresses: dict[str, Agent] = {}

    @property
    def agents(self) -> Mapping[str, Agent]:
        """All agents by name; what a file says of a name comes before what the command prints."""
        self._load()
        return self._agents

    @property
    def seen(self) -> Mapping[str, Agent]:
        """Those that are known without asking the command."""
        return self._agents

    @property
    def groups(self) -> Mapping[str, Group]:
        """All groups by name."""
        self._load()
        return self._groups

    def _load(self) -> None:
        if self._more is not None:
            more, self._more = self._more, None
            agents, groups = more()
            self._agents = {**agents, **self._agents}
            self._groups = {**groups, **self._groups}

    def agent(self, name: str) -> Agent:
        """How an agent is reached. Raises AgentUnknown, BadName."""
        if name == LOCAL:
            return Agent(LOCAL, "local://", (), {}, _HERE)
        found = self._agents.get(name) or self._addresses.get(name) or self.agents.get(name)
        if found is not None:
            return found
        from sloth_runner.agents_file import toml_key

        known = [LOCAL, *sorted(self.agents)]
        address = [f"an address is named as ssh://{name}"] if re.search(r".[.@].", name) else []
        try:
            check_agent_name(name)
        except BadName as error:
            error.next = address or error.next
            raise
        label = [f"did you mean '@{name}'? That is a group or a tag"] if f"@{name}" in self.labels() else []
        raise AgentUnknown(
            f"how to reach the agent {name!r} is not known",
            unchanged=["nothing was run on it"],
            next=[
                *label,
                *did_you_mean(name, known),
                f'add to sloth.toml under [agents]: {toml_key(name)} = "ssh://user@host"',
                *address,
            ],
        )

    def expand(self, names: Iterable[str]) -> list[str]:
        """The agents that targets mean together, each once. Raises AgentUnknown, BadName, BadConfig."""
        found: dict[str, None] = {}
        gone: set[str] = set()
        only_without = True
        for name in names:
            if name.startswith("!"):
                gone.update(self._meant(name[1:]))
            else:
                only_without = False
                found.update(dict.fromkeys(self._meant(name)))
        if only_without and gone:
            found = dict.fromkeys(sorted(self.agents))
        return [name for name in found if name not in gone]

    def limit(self, names: Sequence[str]) -> tuple[str, ...]:
        """What ``--limit`` says, groups and patterns as the agents they mean; a plain name need not be an agent's
        (but no group's), where nothing is taken away. Raises AgentUnknown, and UsageError where nothing is left."""
        loose = [] if any(name.startswith("!") for name in names) else list(filter(_plain, names))
        labels = (
            {label for one in self._agents.values() for label in (*one.groups, *one.tags)} if loose else ()
        )
        for name in loose:
            if name in labels:
                self.agent(name)  # which says so, unless it is one
        found = tuple(dict.fromkeys([*loose, *self.expand(name for name in names if name not in loose)]))
        if names and not found:
            raise UsageError(f"--limit leaves no agent: {','.join(names)!r}", unchanged=["nothing was run"])
        return found

    def twins(self, names: Iterable[str]) -> list[str]:
        """What is wrong where one of these agents is a machine that another name means, too, in words. The command
        that lists agents is not asked for it; several names for this machine are no mistake."""
        found: dict[tuple[str, ...], list[str]] = {}
        for name, entry in sorted(self._agents.items()):
            found.setdefault(_login(entry), []).append(name)
        asked = (self._agents.get(name) for name in names)
        meant = dict.fromkeys(_login(entry) for entry in asked if entry is not None)
        address = {login: public_url(self._agents[found[login][0]].url) for login in meant}
        return [
            f"{_and(found[login])} are one machine ({address[login]}): its state and ledger are kept once under each "
            "name, so what is done by one name is not known by the other, and may be undone by "
            "it; use one name, and groups or tags for what differs"
            for login in meant
            if len(found[login]) > 1 and login[0] != "local"
        ]

    def idle_groups(self) -> list[str]:
        """What is wrong where a group has values and no agent is in it, in words."""
        used = {group for one in self.agents.values() for group in one.groups}
        return [
            "; ".join(
                [
                    f"no agent is in the group {name!r}, which has values ({entry.origin.label})",
                    *did_you_mean(name, used),
                ]
            )
            for name, entry in self.groups.items()
            if entry.values and name not in used
        ]

    def labels(self) -> list[str]:
        """All groups and tags that agents have, as they are named on a command line: ``@web``."""
        return sorted({f"@{label}" for one in self.agents.values() for label in (*one.groups, *one.tags)})

    def values(self, name: str) -> dict[str, Any]:
        """The ``values`` that configuration gives an agent: of its groups in order, then its own."""
        out: dict[str, Any] = {}
        entry = None if name == LOCAL else self._agents.get(name) or self.agents.get(name)
        if entry is not None:
            for group in entry.groups:
                found = self._groups.get(group) or self.groups.get(group)
                if found is not None:
                    merge(out, dict(found.values))
            merge(out, dict(entry.values))
        return out

    def _meant(self, name: str) -> list[str]:
        if "://" in name:
            return [self._at(name)]
        agents = self._agents if _plain(name) else self.agents
        if name.startswith("@"):
            label = name[1:]
            found = [
                one for one in sorted(agents) if label in agents[one].groups or label in agents[one].tags
            ]
            known = self.labels()
        elif _PATTERN & set(name):
            from fnmatch import fnmatchcase

            found, known = [one for one in sorted(agents) if fnmatchcase(one, name)], sorted(agents)
        else:
            found, known = [self.agent(name).name], []
        if not found:
            raise AgentUnknown(
                f"no configured agent is meant by {name!r}",
                unchanged=["nothing was run"],
                next=[*did_you_mean(name, known), f"known: {', '.join(known) or 'none'}"],
            )
        for one in found:
            check_agent(self.agent(one))
        return found

    def _at(self, url: str) -> str:
        """The agent at an address: the configured one, or a new one that is called by its host."""
        if url == "local://":
            return LOCAL
        check_url(url)
        for known_so_far in (self._agents, self.agents):
            for name, entry in known_so_far.items():
                if entry.url == url or _place(entry.url) == _place(url):
                    return name
        name = address_name(url)
        known = self.agents.get(name) or self._addresses.get(name)
        if known is not None and known.url != url:
            raise BadConfig(
                f"{url} would be called {name!r}, but that is {known.url}",
                unchanged=["nothing was run"],
                next=[f'give it a name in sloth.toml under [agents]: other = "{url}"'],
            )
        self._addresses[name] = Agent(name, url, (), {}, Origin(url))
        return name


def _plain(name: str) -> bool:
    return not (name.startswith(("@", "!")) or "://" in name or _PATTERN & set(name))


def _place(url: str) -> tuple[str, ...]:
    """What is the same for addresses of the same login on the same machine, as far as they show it."""
    scheme, _, rest = url.partition("://")
    user, _, host = rest.rstrip("/").rpartition("@")
    if scheme == "chroot":
        return scheme, rest.rstrip("/")
    return scheme, user, host.lower().removesuffix(":22") if scheme == "ssh" else host.lower()


def _login(entry: Agent) -> tuple[str, ...]:
    """The same for an agent: one with an interpreter of its own may be in a place of its own."""
    return (*_place(entry.url), entry.python or "")


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + f" and {names[-1]}"


def address_name(url: str) -> str:
    """What an agent without a name is called: its host, and its port if the address names one. Its state is kept
    under this name. Raises BadConfig for an address of which no name can be made."""
    parts = urlsplit(url)
    place = parts.hostname or re.sub(r"[^a-z0-9._-]+", "-", f"{parts.scheme}{parts.path}".lower()).strip("-")
    name = place if parts.port is None else f"{place}-{parts.port}"
    try:
        return check_agent_name(name, reserved=True)
    except Exception as error:
        raise BadConfig(
            f"{url}: no name can be made of this address",
            unchanged=["nothing was run"],
            next=[f'give it one in sloth.toml under [agents]: web1 = "{url}"'],
        ) from error
