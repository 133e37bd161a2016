"""Why: a bucket is the store that nobody has to run; several machines share state by a log of create-only
objects.

S3 has no transactions, and conditional puts on separate objects do not fence: a writer that was stopped between
its check and its put overwrites what its successor wrote. So the whole store, all namespaces, is one log, and
commit *n* is the object ``log/n``, created with ``If-None-Match: *``. Who wants to commit replays the log to
its tail, evaluates all expectations on the state that this gives, and creates the next object. If that fails,
somebody else was faster: replay, evaluate, try again. One create is one atomic step, so a commit may check and
change any number of keys.

The parts: ``s3_url``, ``s3_login`` (settings), ``s3_client`` (requests, and what their errors mean), ``s3_log``
(objects of the log), ``s3_state`` (the replayed state), ``s3_tail`` (replaying), ``s3_replica`` (reads and
commits of all handles of a process), ``s3_checkpoint``, ``s3_segment`` (checkpoints, read), ``s3_keeping`` (and
made), ``s3_lease`` (the server's clock), ``s3_proof`` (what is not taken on trust).

**Lost replies.** A create whose answer did not come can only ever land at its own number. So that number is
read: an object with our id in it means done, another's means never; as long as there is none the same object is
created again, which is harmless. If the server stays away, Indeterminate; the same commit made again goes under
the same id, and is known again if it did land.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from itertools import islice
from weakref import WeakValueDictionary

from sloth_runner.errors import BadConfig, TooLarge
from sloth_runner.plain import TYPE_CHECKING, Final
from sloth_runner.state.backends.s3_client import Objects, World
from sloth_runner.state.backends.s3_keeping import GRACE, Keeper
from sloth_runner.state.backends.s3_login import Login, find_login
from sloth_runner.state.backends.s3_replica import Replica
from sloth_runner.state.backends.s3_segment import SIZES, Segments, Sizes
from sloth_runner.state.backends.s3_state import Pending
from sloth_runner.state.backends.s3_tail import Tail
from sloth_runner.state.backends.s3_url import Settings, endpoint_of, read_url
from sloth_runner.state.store import Change, Check, Entry, Rev, Traits, check_commit

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config
    from obstore.store import S3Store as Bucket

    from sloth_runner.state.backends import Options

MAX_CHANGES: Final = 10_000
MAX_VALUE: Final = 16 << 20
MAX_COMMIT: Final = 32 << 20
"""Bytes of all values of one commit."""
CONCURRENCY: Final = 64
_SHARED: Final[WeakValueDictionary[object, Replica]] = WeakValueDictionary()
"""The replicas of this process: a hundred handles replay one log once. It is no setting and holds nothing
alive."""
_SHARING: Final = threading.Lock()


class S3Store:
    """A handle on a replica. ``patience``: seconds that a commit may wait for others."""

    def __init__(self, replica: Replica, patience: float) -> None:
        self.replica = replica
        self._patience = patience
        self._doubted: Pending | None = None
        """A commit whose fate is not known."""
        self._open = True
        self.traits = Traits(
            embedded=False,
            concurrency=CONCURRENCY,
            max_changes=MAX_CHANGES,
            max_value=MAX_VALUE,
            watch=replica.watch,
            probe=replica.probe,
            max_bytes=MAX_COMMIT // 2,
            streams=True,
            scrub=lambda namespace: replica.keeper.scrub(replica),
        )
        replica.join()

    def get(self, key: str) -> Entry | None:
        """See Store."""
        return self.replica.find(key)

    def scan(
        self, prefix: str = "", *, after: str = "", limit: int | None = None, reverse: bool = False
    ) -> Iterator[Entry]:
        """See Store; a snapshot."""
        return islice(self.replica.scan(prefix, after, reverse), limit)

    def commit(self, changes: Sequence[Change | Check]) -> list[Rev]:
        """See Store."""
        check_commit(changes, self.traits)
        if all(isinstance(change, Check) for change in changes):
            return self.replica.check(changes)
        pending = self._pending(tuple(changes))
        if pending.size > MAX_COMMIT:
            raise TooLarge(
                f"a commit has {pending.size:,} bytes; this store takes {MAX_COMMIT:,}",
                unchanged=["nothing was stored"],
            )
        self.replica.commit([pending])
        self._doubted = pending if pending.slot and pending.made is None else None
        if pending.error is not None:
            raise pending.error.again()
        self.replica.keep()
        assert pending.made is not None
        return pending.made

    def close(self) -> None:
        """See Store."""
        if self._open:
            self._open = False
            self.replica.leave()

    def _pending(self, changes: tuple[Change | Check, ...]) -> Pending:
        """The commit; under its old id if it is the one that is in doubt."""
        until = self.replica.world.now() + self._patience
        doubted = self._doubted
        if doubted is not None and doubted.changes == changes:
            doubted.error, doubted.until = None, until
            return doubted
        return Pending(self.replica.world.new_id(), changes, until)


def open_store(url: str, options: Options) -> S3Store:
    """A handle on the store below a prefix of a bucket; nothing is asked yet. Raises BadConfig."""
    key = (os.getpid(), url, options.timeout, options.password, frozenset(options.environ.items()))
    with _SHARING:
        replica = _SHARED.get(key)
        if replica is None:
            replica = _SHARED[key] = make_replica(url, options, system_world())
    return S3Store(replica, options.patience)


def system_world() -> World:
    """This machine's clock, that counts through a suspension where there is one, and real chance."""
    import random
    import time

    kind = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    chance = random.SystemRandom()
    return World(lambda: time.clock_gettime(kind), time.sleep, chance.random, lambda: os.urandom(16).hex())


def make_replica(
    url: str, options: Options, world: World, *, sizes: Sizes = SIZES, grace: float = GRACE
) -> Replica:
    """A replica of one's own. ``sizes`` of what checkpoints are made of; ``grace``: seconds that what nobody
    needs any more is kept. Raises BadConfig."""
    try:
        import obstore as _  # noqa: F401
    except ImportError as error:
        from sloth_runner.state.backends import needs

        raise needs("s3", error) from error
    settings = read_url(url)
    login = find_login(settings, options.password, options.environ)
    endpoint = endpoint_of(settings, options.environ, login.profile)
    config: S3Config = {
        **login.config,
        "region": _region(settings, options.environ, login.profile),
        **_address(settings, endpoint),
        "conditional_put": "etag",
        "checksum_algorithm": "SHA256",  # or some servers would keep an object that was cut off on its way
    }
    if settings.sse is not None:
        config["server_side_encryption"] = settings.sse
    if settings.kms_key is not None:
        config["sse_kms_key_id"] = settings.kms_key
    authority = settings.ca_file or options.environ.get("AWS_CA_BUNDLE")
    folder = "/".join(part for part in (settings.bucket, settings.prefix) if part)
    place = f"s3://{folder}" + (f" at {endpoint}" if endpoint else "")
    plain = f"{endpoint or 'https://s3.amazonaws.com'}/{folder}" if settings.unsigned else None

    def objects(seconds: float) -> Objects:
        bucket = _bucket(settings, login, config, authority, seconds)
        return Objects(bucket, place, seconds, world, authority, plain)

    main = objects(0.75 * options.timeout)
    quick = cache(lambda: objects(0.25 * options.timeout))  # to make one takes milliseconds
    segments = Segments(main, settings.cache)
    keeper = Keeper(main, segments, settings.checkpoint, sizes, grace)
    tail = Tail(main, segments, options.timeout, world)
    return Replica(tail, main, quick, options.timeout, world, keeper, settings.poll)


def _bucket(
    settings: Settings, login: Login, config: S3Config, authority: str | None, seconds: float
) -> Bucket:
    from obstore.store import S3Store as Bucket

    client: ClientConfig = {
        "allow_http": config.get("endpoint", "").startswith("http:"),
        "timeout": timedelta(seconds=seconds),
        "connect_timeout": timedelta(seconds=min(5.0, seconds)),
    }
    if authority is not None:
        client["root_certificate"] = _read(authority)
    return Bucket(
        settings.bucket,
        prefix=settings.prefix or None,
        config=config,
        client_options=client,
        retry_config={"max_retries": 0},
        credential_provider=login.provider,
    )


def _region(settings: Settings, environ: Mapping[str, str], profile: Mapping[str, str]) -> str:
    return (
        settings.region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or profile.get("region")
        or "us-east-1"
    )


def _address(settings: Settings, endpoint: str | None) -> S3Config:
    """The bucket in the path, unless it is AWS's own server, or said otherwise."""
    in_path = settings.path_style
    if in_path is None:
        in_path = endpoint is not None or "." in settings.bucket
    found: S3Config = {"virtual_hosted_style_request": not in_path}
    if endpoint is not None:
        scheme, _, host = endpoint.partition("://")
        found["endpoint"] = endpoint if in_path else f"{scheme}://{settings.bucket}.{host}"
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadConfig(
            f"the certificates {path} can't be read: {error.strerror}",
            unchanged=["nothing was read or written"],
        ) from error
