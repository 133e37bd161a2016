"""Why: settings become a store, a writer, views of state and ways to machines in one place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sloth_runner.config import Settings, load_settings
from sloth_runner.errors import AgentUnknown, BadConfig
from sloth_runner.model import By
from sloth_runner.names import did_you_mean
from sloth_runner.state.layout import (
    ARRIVING,
    KEYRING,
    LOCAL,
    META,
    MOVED,
    SEP,
    SHARED,
    STORE,
    check_agent_name,
    namespace_of,
    prefix_of,
)

if TYPE_CHECKING:
    from sloth_runner.config_encryption import Encryption
    from sloth_runner.config_fields import Agent
    from sloth_runner.errors import SlothError
    from sloth_runner.inventory import Inventory
    from sloth_runner.state.keyring import KeySource
    from sloth_runner.state.locks import Owner
    from sloth_runner.state.patience import Contact
    from sloth_runner.state.sealed import Sealed
    from sloth_runner.state.state import State
    from sloth_runner.state.store import Store
    from sloth_runner.state.trust import Trust
    from sloth_runner.state.writer import Writer
    from sloth_runner.transports import Transports
    from sloth_runner.trust.authority import Authority

PATIENCE = 30.0
"""Seconds that a commit waits for other processes."""


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
    print keys and secrets; ``ask``: asks the user for a secret (None: nobody can be asked); ``sleep`` waits seconds.

    ``hurry`` set: nothing waits any more for a server that does not answer; ``trouble`` hears of each that is waited
    for, ``notice`` of what a user should know of the store."""

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
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.new_id = new_id
        self.getenv = getenv
        self.environ = environ or {}
        self.cwd = cwd or settings.home
        self.ask = ask
        self.hurry = False
        self.trouble: Callable[[SlothError], None] = lambda error: None
        self.notice: Callable[[str], None] = lambda words: None
        self._sleep = sleep
        self._contact: Contact | None = None
        self._shared: dict[str, object] = {}
        self._trust: Trust | None = None
        self._store: Store | None = None
        self._key_source: KeySource | None = None
        self._inventory: Inventory | None = None

    @property
    def store_name(self) -> str:
        """The store as documents and questions name it."""
        from sloth_runner.state.backends import public_url

        url = self.settings.store
        return f"sqlite://{self.settings.state_folder}" if url in ("sqlite", "sqlite://") else public_url(url)

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
            self._store = self._open(PATIENCE)
        return self._store

    def sibling(self) -> App:
        """The same settings with a store handle of its own, for another thread; its user closes it."""
        other = App(
            self.settings,
            clock=self.clock,
            new_id=self.new_id,
            getenv=self.getenv,
            environ=self.environ,
            cwd=self.cwd,
            ask=self.ask,
        )
        other._key_source = self.key_source() if self.encrypted else None
        other._store = self.fresh_store()
        return other

    def elsewhere(self, url: str, password_env: str | None, label: str) -> App:
        """The same settings with another store, which ``label`` (an option) names; its user closes it."""
        from sloth_runner.config_file import Origin

        origins = {**self.settings.origins, "state.store": Origin(label), "state.password_env": Origin(label)}
        other = App(
            self.settings._replace(store=url, password_env=password_env, origins=origins),
            clock=self.clock,
            new_id=self.new_id,
            getenv=self.getenv,
            environ=self.environ,
            cwd=self.cwd,
            ask=self.ask,
            sleep=self._sleep,
        )
        other._key_source = self.key_source() if self.encrypted else None
        return other

    def both_stores(self) -> tuple[Store, Store]:
        """The store as it is used, and what lies below its encryption (the same, if there is none), opened whatever a
        migration has left there. Their user closes the second. Raises KeyWrong, Foreign."""
        raw = self.raw_store()
        try:
            if not self.encrypted:
                ring = raw.get(KEYRING)
                if ring is not None and not _is_open(ring.value):
                    from sloth_runner.state.faults import refuse_sealed

                    refuse_sealed(ring.value)
                return raw, raw
            from sloth_runner.state.sealed import Sealed

            sealed = Sealed(raw, self.key_source())
            sealed.ready()
        except BaseException:
            raw.close()
            raise
        return sealed, raw

    def fresh_store(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """Another handle on the store, for another thread, patience or time-out (of a request, in seconds; at most
        the configured one); its user closes it."""
        if not self.settings.store.startswith("memory"):
            return self._open(patience, timeout)
        if not self.encrypted:
            return self.store()
        from sloth_runner.state.sealed import Sealed

        shared = self.store()
        assert isinstance(shared, Sealed)
        return Sealed(shared.inner, self.key_source())

    @property
    def encrypted(self) -> bool:
        """Whether the state is sealed, or on its way there or back."""
        return self.settings.encryption is not None

    @property
    def sealed_throughout(self) -> bool:
        """Whether the state is sealed and nothing of it in plaintext: neither encrypt nor decrypt is under way."""
        return self.encrypted and bool(getattr(self.store(), "whole", False))

    def key_source(self, encryption: Encryption | None = None, *, fresh: bool = False) -> KeySource:
        """Where the key of the state comes from: as configured, or as ``encryption`` says; asked for at most once.

        Raises BadConfig: none is configured, or its command is not trusted.
        """
        from sloth_runner.keyholder import key_source

        chosen = encryption or self.settings.encryption
        if chosen is None:
            raise BadConfig(
                "no key is configured for the state",
                unchanged=["nothing was read or written"],
                next=["name its source in sloth.toml: [state.encryption]"],
            )
        if encryption is None and self._key_source is not None:
            return self._key_source
        source = key_source(
            chosen,
            home=self.settings.home,
            cwd=self.cwd,
            environ=self.environ,
            ask=self.ask,
            clock=self.clock,
            fresh=fresh,
        )
        if encryption is None:
            self._key_source = source
        return source

    def sealed_store(self) -> Sealed:
        """The store as it can be sealed, unsealed, or sealed anew; its state is not looked at. Its user closes it."""
        from sloth_runner.state.sealed import Sealed

        source = self.key_source()
        return Sealed(self.raw_store(), source)

    def raw_store(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """The store below encryption: what is there, sealed or not; its server is tried before the first commit. Its
        user closes it."""
        store = self.untried_store(patience, timeout)
        if store.traits.embedded:
            return store
        from sloth_runner.state.trust import Trust, Trusting

        self._trust = self._trust or Trust(self.store_name, self.clock)
        return Trusting(store, self._trust)

    def untried_store(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """The store below encryption, to try its server. Its user closes it."""
        from sloth_runner.state.backends import Options, open_store

        settings = self.settings
        try:
            limit = settings.request_timeout
            options = Options(
                settings.state_folder,
                patience,
                limit if timeout is None else min(limit, timeout),
                self._password(),
                self.environ,
                self._shared,
            )
            store = open_store(settings.store, options)
        except BadConfig as error:
            raise settings.origins["state.store"].problem(error.message, *error.next) from None
        if store.traits.embedded:
            return store
        patient = self._patient(store, patience)
        if patient.traits.retire is not None:
            return patient
        from sloth_runner.state.moved import Retiring

        return Retiring(patient)

    def _patient(self, store: Store, patience: float) -> Store:
        """A handle that waits for a server which was there before and is away just now, and for others."""
        from sloth_runner.state.patience import Contact, Patience
        from sloth_runner.state.patient import Patient

        self._contact = self._contact or Contact()
        made = Patience(
            min(patience, self.settings.request_timeout),
            patience,
            contact=self._contact,
            sleep=self._sleep,
            stopped=lambda: self.hurry,
            told=lambda error: self.trouble(error),
        )
        return Patient(store, made)

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

    def transports(self) -> Transports:
        """The ways to machines, for one run; its user closes them."""
        from sloth_runner.transports import Transports

        return Transports(self)

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

        boot, started = self.process_identity()
        return Owner(holder, f"{holder}/{os.getpid()}/{instance}", self.by(), boot, started)

    def process_identity(self) -> tuple[str, int]:
        """This boot's id and this process's start time, which tell it from a later one with its pid."""
        from sloth_runner.state.backends.bootclock import boot_id

        return boot_id(), self.start_time(os.getpid()) or 0

    def start_time(self, pid: int) -> int | None:
        """The start time of the process that has ``pid`` now (its unit is the system's); None: no such process."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return None if Path("/proc/self/stat").exists() else _start_by_ps(pid)
        return int(stat.rpartition(")")[2].split()[19])

    def close(self) -> None:
        """Give the store back."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _password(self) -> str | None:
        """The store's password or token. Raises BadConfig: the variable that should hold it does not."""
        name = self.settings.password_env
        if name is None:
            return None
        found = self.getenv(name)
        if not found:
            raise self.settings.origins["state.password_env"].problem(
                f"the variable {name}, which should hold the store's password, is not set",
                f"export {name}=…",
            )
        return found

    def _look(self, store: Store) -> bytes | None:
        """What the store says of itself: its keyring. Raises Moved: a state is being copied into it."""
        own = {entry.key: entry.value for entry in store.scan(prefix_of(STORE, META))}
        if MOVED in own or ARRIVING in own:
            from sloth_runner.state import moved

            if ARRIVING in own:
                raise moved.unfinished(moved.decode(own[ARRIVING]))
            if self._store is None:
                self.notice(f"{moved.refusal(own[MOVED]).message}: what is read here is as it was then")
        return own.get(KEYRING)

    def _open(self, patience: float, timeout: float | None = None) -> Store:
        store = self.raw_store(patience, timeout)
        try:
            ring = self._look(store)
            if self.settings.encryption is None:
                if ring is not None and not _is_open(ring):
                    from sloth_runner.state.faults import refuse_sealed

                    refuse_sealed(ring)
                return store
            from sloth_runner.state.sealed import Sealed

            sealed = Sealed(store, self.key_source())
            sealed.ready()
            return sealed
        except BaseException:
            store.close()
            raise


def _is_open(ring: bytes) -> bool:
    """Whether a keyring says that its state is in plaintext again; a look that loads no cipher."""
    import json

    try:
        return bool(json.loads(ring)["mode"] == "open")
    except (ValueError, KeyError, TypeError):
        return False


def _start_by_ps(pid: int) -> int | None:
    import subprocess
    import time

    out = subprocess.run(  # noqa: S603 - fixed program, a number
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C"},
    )
    text = " ".join(out.stdout.split())
    return int(time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))) if text else None
