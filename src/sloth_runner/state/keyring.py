"""Why: records are sealed with random data keys of their store; the keyring keeps those, wrapped by the user's key.

It is one record at ``_store ␟ m ␟ keyring``, JSON in clear: the store's id (random, never copied), the epoch (how
often it was changed in a way that writers must know), the mode, which data key is current, how the wrapping key is
come by, the wrapped data keys, and a MAC over all of it. Whoever lacks the wrapping key can change nothing unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hmac import compare_digest, digest

from sloth_runner.errors import Corrupt, Foreign, KeyWrong
from sloth_runner.plain import Any, Final, NamedTuple
from sloth_runner.secret import Secret
from sloth_runner.state.sealing import NONCE, InvalidTag, Xaes

FORMAT: Final = 1
SEALED: Final = "sealed"
"""All records are sealed; plaintext is refused."""
SEALING: Final = "sealing"
"""On the way there: plaintext is read, and written no more."""
OPENING: Final = "opening"
"""On the way back: sealed records are read, and written no more where the namespace has been told."""
OPEN: Final = "open"
"""Back in plaintext: there are no data keys any more."""
KEY: Final = 32


class KeySource(NamedTuple):
    """Where the wrapping key comes from. ``kind`` goes into the keyring with ``begin(store id)``: what else is needed
    to come by the same key again (salts, parameters, never secrets). ``key(parameters, store id)`` gives the key; it
    raises KeyWrong or BadConfig, and may take a while. ``name`` is for people."""

    kind: str
    name: str
    begin: Callable[[str], dict[str, Any]]
    key: Callable[[Mapping[str, Any], str], Secret]


class Ring(NamedTuple):
    """An opened keyring. ``source``: kind and parameters of the wrapping key; ids and data keys are bytes."""

    store_id: bytes
    epoch: int
    mode: str
    current: bytes
    keys: Mapping[bytes, Secret]
    source: Mapping[str, Any]
    wrapping: Secret

    @property
    def takes_plaintext(self) -> bool:
        """Whether a record in plaintext may be there."""
        return self.mode != SEALED


def make(source: KeySource, random: Callable[[int], bytes], store_id: bytes | None, epoch: int) -> Ring:
    """A new keyring with one data key; a new store id unless one is given."""
    identity = store_id or random(16)
    parameters = {"kind": source.kind, **source.begin(identity.hex())}
    ring = Ring(identity, epoch, SEALED, b"", {}, parameters, source.key(parameters, identity.hex()))
    return with_new_key(ring, random)


def with_new_key(ring: Ring, random: Callable[[int], bytes]) -> Ring:
    """The same with one more data key, which is the current one; an epoch later."""
    key_id = random(8)
    keys = {**ring.keys, key_id: Secret(random(KEY))}
    return ring._replace(keys=keys, current=key_id, epoch=ring.epoch + 1)


def rewrapped(ring: Ring, source: KeySource) -> Ring:
    """The same data keys under another wrapping key. No writer needs to know: the epoch stays."""
    parameters = {"kind": source.kind, **source.begin(ring.store_id.hex())}
    return ring._replace(source=parameters, wrapping=source.key(parameters, ring.store_id.hex()))


def encode(ring: Ring, random: Callable[[int], bytes]) -> bytes:
    """The keyring as it is stored."""
    cipher = Xaes(digest(ring.wrapping.reveal(), b"sloth-runner keyring: wrap", "sha256"))
    wrapped = {}
    for key_id, key in ring.keys.items():
        nonce = random(NONCE)
        wrapped[key_id.hex()] = (
            nonce + cipher.seal(nonce, key.reveal(), _bound(ring.store_id, key_id))
        ).hex()
    body = {
        "format": FORMAT,
        "store": ring.store_id.hex(),
        "epoch": ring.epoch,
        "mode": ring.mode,
        "current": ring.current.hex(),
        "source": dict(ring.source),
        "keys": wrapped,
    }
    return json.dumps({**body, "mac": _mac(ring.wrapping, body)}).encode()


def read(data: bytes) -> dict[str, Any]:
    """The record in clear, its form checked, its truth not. Raises Foreign, Corrupt."""
    try:
        row = json.loads(data)
        if row["format"] != FORMAT:
            raise Foreign(
                f"the keyring has format {row['format']}; this version of sloth-runner reads {FORMAT}",
                unchanged=["nothing was read or written"],
            )
        for name, kind in (("store", str), ("epoch", int), ("mode", str), ("current", str), ("mac", str)):
            if not isinstance(row[name], kind):
                raise TypeError(name)
        for text in (row["store"], row["current"], row["mac"], *row["keys"], *row["keys"].values()):
            bytes.fromhex(text)
        str(row["source"]["kind"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"the keyring of this state is damaged: {error!r}",
            unchanged=["nothing was read or written"],
            next=["restore the state, or its keyring, from a backup"],
        ) from error
    return dict(row)


def unlock(data: bytes, source: KeySource, known: Ring | None = None) -> Ring:
    """Open a stored keyring with the user's key; ``known`` saves asking for a key that this process has.

    Raises KeyWrong (another key), Corrupt (altered), Foreign (another version), and what the source raises.
    """
    row = read(data)
    store_id = row["store"]
    parameters = row["source"]
    if known is not None and known.source == parameters:
        wrapping = known.wrapping
    else:
        _check_kind(parameters, source)
        wrapping = source.key(parameters, store_id)
    keys = _unwrapped(row, wrapping, source)
    body = {name: value for name, value in row.items() if name != "mac"}
    if not compare_digest(_mac(wrapping, body), row["mac"]):
        if not keys:
            raise _wrong(source)
        raise Corrupt(
            "the keyring of this state has been altered: its check does not hold",
            unchanged=["nothing was read or written"],
            next=["restore the state from a backup"],
        )
    current = bytes.fromhex(row["current"])
    return Ring(bytes.fromhex(store_id), row["epoch"], row["mode"], current, keys, parameters, wrapping)


def _unwrapped(row: Mapping[str, Any], wrapping: Secret, source: KeySource) -> dict[bytes, Secret]:
    cipher = Xaes(digest(wrapping.reveal(), b"sloth-runner keyring: wrap", "sha256"))
    keys: dict[bytes, Secret] = {}
    for name, text in row["keys"].items():
        key_id, sealed = bytes.fromhex(name), bytes.fromhex(text)
        bound = _bound(bytes.fromhex(row["store"]), key_id)
        try:
            keys[key_id] = Secret(cipher.open(sealed[:NONCE], sealed[NONCE:], bound))
        except (InvalidTag, ValueError) as error:
            raise _wrong(source) from error
    return keys


def _check_kind(parameters: Mapping[str, Any], source: KeySource) -> None:
    if parameters["kind"] != source.kind:
        raise KeyWrong(
            f"this state's keyring is locked with {_KINDS.get(parameters['kind'], repr(parameters['kind']))}; "
            f"[state.encryption] names {source.name}",
            unchanged=["nothing was read or written"],
            next=["configure the source that it was locked with", "to change it: state rekey --to"],
        )


def _wrong(source: KeySource) -> KeyWrong:
    return KeyWrong(
        f"{source.name} does not open this state: it was sealed with another key",
        unchanged=["nothing was read or written"],
        next=["give the key that it was sealed with: [state.encryption]"],
    )


def _bound(store_id: bytes, key_id: bytes) -> bytes:
    return b"sloth-runner keyring 1" + store_id + key_id


def _mac(wrapping: Secret, body: Mapping[str, Any]) -> str:
    key = digest(wrapping.reveal(), b"sloth-runner keyring: mac", "sha256")
    return digest(key, json.dumps(body, sort_keys=True).encode(), "sha256").hex()


_KINDS: Final = {"key": "a key", "passphrase": "a passphrase", "aws-kms": "a key of AWS KMS"}
