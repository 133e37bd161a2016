"""Why: from a setting to a store that can be used is a way of many steps, the same for whoever opens one: address,
password, patience with a server, proof of it, the note of a migration, the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sloth_runner.errors import BadConfig
from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.layout import ARRIVING, KEYRING, META, MOVED, STORE, prefix_of

if TYPE_CHECKING:
    from sloth_runner.config import Settings
    from sloth_runner.config_encryption import Encryption
    from sloth_runner.errors import SlothError
    from sloth_runner.state.keyring import KeySource
    from sloth_runner.state.patience import Contact
    from sloth_runner.state.sealed import Sealed
    from sloth_runner.state.store import Store
    from sloth_runner.state.trust import Trust

PATIENCE = 30.0
"""Seconds that a commit waits for other processes."""


class Stores:
    """Opens the store that ``settings`` name; who opens one closes it. ``clock``: seconds since the epoch;
    ``getenv``, ``environ``: the environment, for passwords and for what prints keys; ``ask``: asks the user for a
    secret (None: nobody can be asked); ``sleep`` waits seconds; ``key``: the source of the key, if it is known.

    ``hurry`` set: nothing waits any more for a server that does not answer; ``trouble`` hears of each that is waited
    for; ``notice`` hears, once, that what is read is as it was before a migration."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float],
        getenv: Callable[[str], str | None],
        environ: Mapping[str, str],
        cwd: Path,
        ask: Callable[[str, bool], str] | None,
        sleep: Callable[[float], None],
        key: KeySource | None = None,
    ) -> None:
        self.hurry = False
        self.trouble: Callable[[SlothError], None] = lambda error: None
        self.notice: Callable[[str], None] = lambda words: None
        self._settings = settings
        self._clock = clock
        self._getenv = getenv
        self._environ = environ
        self._cwd = cwd
        self._ask = ask
        self._sleep = sleep
        self._key = key
        self._contact: Contact | None = None
        self._trust: Trust | None = None
        self._shared: dict[str, object] = {}
        self._noticed = False

    @property
    def name(self) -> str:
        """The store as documents and questions name it."""
        from sloth_runner.state.backends import public_url

        url = self._settings.store
        return (
            f"sqlite://{self._settings.state_folder}" if url in ("sqlite", "sqlite://") else public_url(url)
        )

    def open(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """The store, to be used: ``patience`` with others and ``timeout`` of a request in seconds, at most the
        configured one. Raises KeyWrong, Foreign, Moved, BadConfig."""
        store = self.raw(patience, timeout)
        try:
            ring = self._look(store)
            if self._settings.encryption is None:
                _refuse_sealed(ring)
                return store
            return self._sealed(store)
        except BaseException:
            store.close()
            raise

    def both(self) -> tuple[Store, Store]:
        """The store as it is used, and what lies below its encryption (the same, if there is none), opened whatever a
        migration has left there; the second is to be closed. Raises KeyWrong, Foreign."""
        raw = self.raw()
        try:
            if self._settings.encryption is None:
                ring = raw.get(KEYRING)
                _refuse_sealed(None if ring is None else ring.value)
                return raw, raw
            return self._sealed(raw), raw
        except BaseException:
            raw.close()
            raise

    def sealed(self) -> Sealed:
        """The store as it can be sealed, unsealed, or sealed anew; its state is not looked at. Raises Moved."""
        from sloth_runner.state import moved
        from sloth_runner.state.sealed import Sealed

        source = self.key_source()
        store = self.raw()
        try:
            moved.refuse(store)
        except BaseException:
            store.close()
            raise
        return Sealed(store, source)

    def raw(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """The store below encryption: what is there, sealed or not; its server is tried before the first commit."""
        store = self.untried(patience, timeout)
        if store.traits.embedded:
            return store
        from sloth_runner.state.trust import Trust, Trusting

        self._trust = self._trust or Trust(self.name, self._clock)
        return Trusting(store, self._trust)

    def untried(self, patience: float = PATIENCE, timeout: float | None = None) -> Store:
        """The store below encryption, to try its server."""
        from sloth_runner.state.backends import Options, open_store

        settings = self._settings
        try:
            limit = settings.request_timeout
            options = Options(
                settings.state_folder,
                patience,
                limit if timeout is None else min(limit, timeout),
                self._password(),
                self._environ,
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

    def key_source(self, encryption: Encryption | None = None, *, fresh: bool = False) -> KeySource:
        """Where the key of the state comes from: as configured, or as ``encryption`` says; asked for at most once.

        Raises BadConfig: none is configured, or its command is not trusted.
        """
        from sloth_runner.keyholder import key_source

        chosen = encryption or self._settings.encryption
        if chosen is None:
            raise BadConfig(
                "no key is configured for the state",
                unchanged=["nothing was read or written"],
                next=["name its source in sloth.toml: [state.encryption]"],
            )
        if encryption is None and self._key is not None:
            return self._key
        source = key_source(
            chosen,
            home=self._settings.home,
            cwd=self._cwd,
            environ=self._environ,
            ask=self._ask,
            clock=self._clock,
            fresh=fresh,
        )
        if encryption is None:
            self._key = source
        return source

    def _patient(self, store: Store, patience: float) -> Store:
        """A handle that waits for a server which was there before and is away just now, and for others."""
        from sloth_runner.state.patience import Contact, Patience
        from sloth_runner.state.patient import Patient

        self._contact = self._contact or Contact()
        made = Patience(
            min(patience, self._settings.request_timeout),
            patience,
            contact=self._contact,
            sleep=self._sleep,
            stopped=lambda: self.hurry,
            told=lambda error: self.trouble(error),
        )
        return Patient(store, made)

    def _sealed(self, store: Store) -> Sealed:
        from sloth_runner.state.sealed import Sealed

        sealed = Sealed(store, self.key_source())
        sealed.ready()
        return sealed

    def _password(self) -> str | None:
        """The store's password or token. Raises BadConfig: the variable that should hold it does not."""
        name = self._settings.password_env
        if name is None:
            return None
        found = self._getenv(name)
        if not found:
            raise self._settings.origins["state.password_env"].problem(
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
            if not self._noticed:
                self._noticed = True
                self.notice(f"{moved.refusal(own[MOVED]).message}: what is read here is as it was then")
        return own.get(KEYRING)


def _refuse_sealed(ring: bytes | None) -> None:
    """Raise KeyWrong for a state whose keyring says that it is sealed; a look that loads no cipher."""
    if ring is None:
        return
    import json

    try:
        opened = bool(json.loads(ring)["mode"] == "open")
    except (ValueError, KeyError, TypeError):
        opened = False
    if not opened:
        from sloth_runner.state.faults import refuse_sealed

        refuse_sealed(ring)
