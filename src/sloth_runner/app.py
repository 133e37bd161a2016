"""Why: settings become a store, a writer, views of state and ways to machines in one place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from sloth_runner import processes
from sloth_runner.config import Settings, load_settings
from sloth_runner.errors import AgentUnknown
from sloth_runner.model import By
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.state.layout import LOCAL, SEP, SHARED, STORE, check_agent_name, namespace_of
from sloth_runner.stores import PATIENCE, Stores

if TYPE_CHECKING:
    from sloth_runner.config_fields import Agent
    from sloth_runner.errors import SlothError
    from sloth_runner.inventory import Inventory
    from sloth_runner.state.keyring import KeySource
    from sloth_runner.state.locks import Owner
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store
    from sloth_runner.state.writer import Writer
    from sloth_runner.transport.settling import Settling
    from sloth_runner.transports import Transports
    from sloth_runner.trust.authority import Authority


def settings_for(
    environ: Mapping[str, str], cwd: Path, *, file_folder: Path | None = None, config: Path | None = None
) -> Settings:
    """``load_settings`` with the rule for agents' names. Raises what it raises."""
    return load_settings(
        environ,
        cwd,
        check_agent=lambda name: check_agent_name(name, reserved=True),
        file_folder=file_folder,
        config=config,
    )


class App:
    """What commands and runs share. ``clock``: seconds since the epoch; ``new_id``: 128 random bits in hex;
    ``getenv``: a variable of this process's environment, for task files; ``environ``: all of it, for programs that
    print keys and secrets; ``ask``: asks the user for a secret (None: nobody can be asked); ``sleep`` waits seconds;
    ``give_up`` tells an error from any thread and ends the process (None: that is not ours to end).

    ``stores`` opens the store, ``key`` is the source of its key, if that is known; the handle of this thread is
    ``store()``."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        getenv: Callable[[str], str | None],
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ask: Callable[[str, bool], str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        key: KeySource | None = None,
        give_up: Callable[[SlothError], None] | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.new_id = new_id
        self.getenv = getenv
        self.environ = environ or {}
        self.cwd = cwd or settings.home
        self.ask = ask
        self.give_up = give_up
        self.stores = Stores(
            settings,
            clock=clock,
            getenv=getenv,
            environ=self.environ,
            cwd=self.cwd,
            ask=ask,
            sleep=sleep,
            key=key,
        )
        self._sleep = sleep
        self._store: Store | None = None
        self._inventory: Inventory | None = None

    @property
    def inventory(self) -> Inventory:
        """The agents, made of the configuration at the first use."""
        if self._inventory is None:
            from sloth_runner.inventory import Inventory

            settings, more = self.settings, None
            if settings.command:
                from sloth_runner.listing import from_command

                more = partial(from_command, settings, self.environ, self.cwd)
            self._inventory = Inventory(settings.agents, settings.groups, more)
        return self._inventory

    def store(self) -> Store:
        """The store, opened at the first use."""
        if self._store is None:
            self._store = self.stores.open()
        return self._store

    def sibling(self) -> App:
        """The same settings with a store handle of its own, for another thread; its user closes it."""
        other = self._like(self.settings)
        other._store = self.fresh_store()
        return other

    def elsewhere(self, url: str, password_env: str | None, label: str) -> App:
        """The same settings with another store, which ``label`` (an option) names; its user closes it."""
        from sloth_runner.config_file import Origin

        origins = {
            **self.settings.origins,
            "state.store": Origin(label),
            "state.password_env": Origin(f"{label}-password-env"),
        }
        return self._like(self.settings._replace(store=url, password_env=password_env, origins=origins))

    def _like(self, settings: Settings) -> App:
        return App(
            settings,
            clock=self.clock,
            new_id=self.new_id,
            getenv=self.getenv,
            environ=self.environ,
            cwd=self.cwd,
            ask=self.ask,
            sleep=self._sleep,
            key=self.stores.key_source() if self.encrypted else None,
            give_up=self.give_up,
        )

    def fresh_store(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """Another handle on the store, for another thread, patience or time-out (of a request, in seconds; at most
        the configured one); its user closes it."""
        if not self.settings.store.startswith("memory"):
            return self.stores.open(patience, timeout)
        if not self.encrypted:
            return self.store()
        from sloth_runner.state.sealed import Sealed

        shared = self.store()
        assert isinstance(shared, Sealed)
        return Sealed(shared.inner, self.stores.key_source())

    @property
    def encrypted(self) -> bool:
        """Whether the state is sealed, or on its way there or back."""
        return self.settings.encryption is not None

    @property
    def sealed_throughout(self) -> bool:
        """Whether the state is sealed and nothing of it in plaintext: neither encrypt nor decrypt is under way."""
        return self.encrypted and bool(getattr(self.store(), "whole", False))

    def writer(self, store: Store | None = None) -> Writer:
        """The path of every change, on ``store`` or the app's own."""
        from sloth_runner.state.batch import Retention
        from sloth_runner.state.writer import Writer

        settings = self.settings
        rule = Retention(settings.keep, settings.days, settings.max, settings.bytes)
        return Writer(store or self.store(), self.clock, self.new_id, rule)

    def state(self, agent: str | None = None, *, shared: bool = False) -> State:
        """A view of an agent's namespace (None: local), or of the shared one."""
        from sloth_runner.state.state import State

        namespace = SHARED if shared else agent or LOCAL
        return State(self.writer(), namespace, self.by(), shared_prefixes=self.settings.shared_prefixes)

    def by(self, run: str | None = None, task: str | None = None) -> By:
        """Who we are."""
        return By(self.settings.user, self.settings.host, os.getpid(), run, task)

    def namespaces(self, store: Store | None = None) -> list[str]:
        """Every namespace that the store holds, in order; read by this handle (None: the app's own)."""
        store = store or self.store()
        listed: Callable[[], list[str]] | None = getattr(store, "namespaces", None)
        if listed is not None:
            return [name for name in listed() if name != STORE]
        found: list[str] = []
        after = ""
        while (entry := next(iter(store.scan(after=after, limit=1)), None)) is not None:
            found.append(namespace_of(entry.key))
            after = found[-1] + chr(ord(SEP) + 1)  # beyond all of its keys
        return [name for name in found if name != STORE]

    def file_bytes(self, namespace: str) -> int | None:
        """Bytes on disk of a namespace; None where the store can't say."""
        measure: Callable[[str], int] | None = getattr(self.store(), "file_bytes", None)
        return None if measure is None else measure(namespace)

    def known_agents(self, store: Store | None = None) -> list[str]:
        """``local``, the configured agents (those that a command lists, if it was asked), and those that have
        state."""
        having = {name for name in self.namespaces(store) if name != SHARED}
        return [LOCAL, *sorted((having | set(self.inventory.seen)) - {LOCAL})]

    def require_agent(self, name: str, store: Store | None = None) -> str:
        """Return ``name`` if it is known: configured, or with state. Raises BadName, AgentUnknown."""
        if name == LOCAL or check_agent_name(name) in self.settings.agents:
            return name
        known = self.known_agents(store)
        if name in known or name in self.inventory.agents:
            return name
        raise AgentUnknown(
            f"there is no agent {name!r}: it is not configured and has no state",
            unchanged=["nothing was read or written"],
            next=[*did_you_mean(name, known), f"known: {', '.join(known)}"],
        )

    def agent(self, name: str) -> Agent:
        """How an agent is reached. Raises AgentUnknown, BadName."""
        return self.inventory.agent(name)

    def expand_agents(self, *names: str) -> list[str]:
        """The agents that targets mean: names, ``@group``, patterns, URLs, less those that begin with ``!``.

        Raises AgentUnknown (none), BadName, BadConfig (an address to which there is no way).
        """
        return self.inventory.expand(names)

    def values_for(self, agent: str) -> dict[str, Any]:
        """The ``values`` that configuration gives an agent: of its groups in order, then its own."""
        return self.inventory.values(agent)

    def transports(self, settling: Settling | None = None) -> Transports:
        """The ways to machines, for one run; its user closes them. ``settling`` keeps what is to be made durable in
        folders of this one (None: that is done at once)."""
        from sloth_runner.transports import Transports

        return Transports(self, settling)

    def authority(self) -> Authority:
        """Who decides which agents are ours: a folder beside the state."""
        from sloth_runner.trust.authority import Authority
        from sloth_runner.trust.folder import Folder

        return Authority(Folder(self.settings.home / "agents"), self.clock, self.new_id)

    def jitter(self) -> float:
        """A short random pause in seconds."""
        return 0.005 + int.from_bytes(os.urandom(2), "big") / 0xFFFF * 0.03

    def owner(self, holder: str, instance: str) -> Owner:
        """An owner of locks in this process; ``instance`` tells it from others of the same holder."""
        from sloth_runner.state.locks import Owner

        boot, started = processes.identity()
        return Owner(holder, f"{holder}/{os.getpid()}/{instance}", self.by(), boot, started)

    def close(self) -> None:
        """Give the store back."""
        if self._store is not None:
            self._store.close()
            self._store = None
