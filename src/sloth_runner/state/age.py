"""Why: an export that leaves the machine is sealed in a form that outlives this program: age's.

The format is https://age-encryption.org/v1 (C2SP's age.md): a header that wraps a random file key, by scrypt from a
passphrase or by X25519 to recipients, then the payload in chunks of 64 KiB under ChaCha20-Poly1305 (the STREAM
construction), so that it is written and read in constant memory and ``age -d`` opens it, too. The primitives are
those of ``cryptography``; nothing here departs from the specification.
"""

from __future__ import annotations

import os
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Sequence

from sloth_runner.errors import Corrupt, KeyWrong, UsageError
from sloth_runner.plain import Final, NamedTuple, Protocol
from sloth_runner.state import bech32

MAGIC: Final = b"age-encryption.org/v1\n"
ARMOR: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
CHUNK: Final = 64 * 1024
TAG: Final = 16
WORK: Final = 17
"""log2 of scrypt's N for what is sealed here: 128 MiB (OWASP's recommendation for scrypt)."""
MOST_WORK: Final = 18
"""What is opened at most: 256 MiB, age's own default. A header must not be able to ask for more."""
HEADER_MAX: Final = 64 * 1024
STANZAS_MAX: Final = 100
_SCRYPT_LABEL = b"age-encryption.org/v1/scrypt"
_X25519_LABEL = b"age-encryption.org/v1/X25519"
_HRP, _SECRET_HRP = "age", "age-secret-key-"


class Read(Protocol):
    """``read(n)``: up to n bytes, fewer only at the end."""

    def __call__(self, count: int, /) -> bytes: ...


class Keys(NamedTuple):
    """What opens or seals: a passphrase, or raw X25519 keys (public to seal, private to open)."""

    passphrase: bytes | None = None
    keys: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return "Keys(…)"


class Stanza(NamedTuple):
    """One wrapping of the file key."""

    kind: str
    arguments: tuple[str, ...]
    body: bytes


def recipient(text: str) -> bytes:
    """The public key of ``age1…``. Raises UsageError."""
    hrp, data = bech32.decode(text) or ("", b"")
    if hrp != _HRP or len(data) != 32 or text != text.lower():
        kind = "; this version seals to age1… (X25519) only" if text.startswith(("ssh-", "age1")) else ""
        raise UsageError(
            f"{text[:80]!r} is no age recipient{kind}",
            unchanged=["nothing was written"],
            next=["age-keygen makes a key and prints its recipient: age1…"],
        )
    return data


def identities(text: str, what: str) -> tuple[bytes, ...]:
    """The private keys of an identity file (``AGE-SECRET-KEY-1…`` a line, ``#`` comments). Raises UsageError, which
    never shows a line."""
    found: list[bytes] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        hrp, data = bech32.decode(line.strip()) or ("", b"")
        if hrp != _SECRET_HRP or len(data) != 32:
            raise UsageError(
                f"line {number} of {what} is no age identity",
                unchanged=["nothing was read or written"],
                next=["lines are AGE-SECRET-KEY-1…, as age-keygen writes them"],
            )
        found.append(data)
    if not found:
        raise UsageError(f"{what} holds no age identity", unchanged=["nothing was read or written"])
    return tuple(found)


class Sealer:
    """Seals what it is given and hands it to ``write``. ``entropy(n)``: n random bytes."""

    def __init__(
        self, write: Callable[[bytes], object], keys: Keys, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._write = write
        self._pending = bytearray()
        self._number = 0
        file_key = entropy(16)
        if keys.passphrase is not None:
            stanzas = [_wrap_passphrase(file_key, keys.passphrase, entropy(16))]
        else:
            stanzas = [_wrap_to(file_key, key) for key in keys.keys]
        header = MAGIC + b"".join(map(_stanza_lines, stanzas)) + b"---"
        write(header + b" " + _b64(_mac(file_key, header)) + b"\n")
        nonce = entropy(16)
        write(nonce)
        self._cipher = _Cipher(_hkdf(file_key, nonce, b"payload"))

    def write(self, data: bytes) -> None:
        """The next bytes of the content."""
        self._pending += data
        if len(self._pending) <= CHUNK:
            return
        end = (len(self._pending) - 1) // CHUNK * CHUNK  # the last chunk is known as such only at the end
        view = memoryview(self._pending)
        for start in range(0, end, CHUNK):
            self._write(self._cipher.seal(bytes(view[start : start + CHUNK]), self._number, last=False))
            self._number += 1
        view.release()
        del self._pending[:end]

    def finish(self) -> None:
        """The end of the content: without this it can't be opened."""
        self._write(self._cipher.seal(bytes(self._pending), self._number, last=True))


class Opener:
    """Opens a sealed file. Its header is read and its key found once; ``blocks`` may be read several times.

    ``read`` stands behind nothing yet. Raises Corrupt (damaged, or another form), KeyWrong.
    """

    def __init__(self, read: Read, keys: Keys) -> None:
        header = _read_header(read)
        self._payload_at = len(header)
        stanzas, signed, mac = _parse_header(header)
        file_key = _unwrap(stanzas, keys)
        import hmac

        if not hmac.compare_digest(_mac(file_key, signed), mac):
            raise _damaged("its header was changed")
        self._file_key = file_key

    @property
    def payload_at(self) -> int:
        """Where the payload begins, in bytes."""
        return self._payload_at

    def blocks(self, read: Read) -> Iterator[bytes]:
        """The content, block by block; ``read`` stands at ``payload_at``. Nothing comes that is not authentic, but
        that it ends too early is known only at the end: Corrupt."""
        nonce = read(16)
        if len(nonce) != 16:
            raise _damaged("it is cut off")
        cipher = _Cipher(_hkdf(self._file_key, nonce, b"payload"))
        number = 0
        chunk = read(CHUNK + TAG)
        while True:
            following = read(CHUNK + TAG) if len(chunk) == CHUNK + TAG else b""
            last = not following
            plain = cipher.open(chunk, number, last=last)
            if plain is None:
                raise _damaged("it was changed, or is cut off")
            if last and not plain and number:
                raise _damaged("it ends with an empty chunk")
            yield plain
            if last:
                return
            number += 1
            chunk = following


class _Cipher:
    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._aead = ChaCha20Poly1305(key)

    def seal(self, plain: bytes, number: int, *, last: bool) -> bytes:
        return self._aead.encrypt(_nonce(number, last), plain, None)

    def open(self, sealed: bytes, number: int, *, last: bool) -> bytes | None:
        return _opened(self._aead.decrypt, _nonce(number, last), sealed)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def _opened(decrypt: Callable[[bytes, bytes, None], bytes], nonce: bytes, sealed: bytes) -> bytes | None:
    from cryptography.exceptions import InvalidTag

    try:
        return decrypt(nonce, sealed, None)
    except InvalidTag:
        return None


def _hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt, info).derive(key)


def _mac(file_key: bytes, header: bytes) -> bytes:
    import hmac

    return hmac.digest(_hkdf(file_key, b"", b"header"), header, "sha256")


def _scrypt(passphrase: bytes, salt: bytes, work: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=_SCRYPT_LABEL + salt, length=32, n=1 << work, r=8, p=1).derive(passphrase)


def _wrap_passphrase(file_key: bytes, passphrase: bytes, salt: bytes) -> Stanza:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    body = ChaCha20Poly1305(_scrypt(passphrase, salt, WORK)).encrypt(bytes(12), file_key, None)
    return Stanza("scrypt", (_b64(salt).decode(), str(WORK)), body)


def _wrap_to(file_key: bytes, public: bytes) -> Stanza:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise UsageError("a recipient's key is of low order: it would keep nothing secret") from None
    key = _hkdf(shared, share + public, _X25519_LABEL)
    return Stanza("X25519", (_b64(share).decode(),), ChaCha20Poly1305(key).encrypt(bytes(12), file_key, None))


def _unwrap(stanzas: Sequence[Stanza], keys: Keys) -> bytes:
    kinds = {stanza.kind for stanza in stanzas}
    if "scrypt" in kinds and len(stanzas) > 1:
        raise _damaged("a passphrase stands beside other keys")
    for stanza in stanzas:
        file_key = None
        if stanza.kind == "scrypt" and keys.passphrase is not None:
            file_key = _unwrap_passphrase(stanza, keys.passphrase)
        elif stanza.kind == "X25519":
            file_key = next((k for key in keys.keys if (k := _unwrap_with(stanza, key)) is not None), None)
        if file_key is not None:
            return file_key
    raise KeyWrong(
        _why_not(kinds, keys),
        unchanged=["nothing was changed"],
        next=["--passphrase-env NAME" if "scrypt" in kinds else "--identity FILE"],
    )


def _why_not(kinds: set[str], keys: Keys) -> str:
    if "scrypt" in kinds:
        return "the passphrase is wrong" if keys.passphrase is not None else "it is sealed with a passphrase"
    if keys.keys:
        return "it is sealed to other recipients than the given identities"
    return "it is sealed to recipients: an identity is needed"


def _unwrap_passphrase(stanza: Stanza, passphrase: bytes) -> bytes | None:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if len(stanza.arguments) != 2 or len(stanza.body) != 32:
        raise _damaged("its header is malformed")
    salt, work = _unb64(stanza.arguments[0]), stanza.arguments[1]
    if len(salt) != 16 or not (work.isascii() and work.isdigit() and len(work) <= 2 and work[0] != "0"):
        raise _damaged("its header is malformed")
    if int(work) > MOST_WORK:
        raise Corrupt(
            f"the sealed file asks for a scrypt work factor of {work}; at most {MOST_WORK} is done here",
            unchanged=["nothing was changed"],
            next=["open it with age -d, and import the result"],
        )
    aead = ChaCha20Poly1305(_scrypt(passphrase, salt, int(work)))
    return _opened(aead.decrypt, bytes(12), stanza.body)


def _unwrap_with(stanza: Stanza, private: bytes) -> bytes | None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    share = _unb64(stanza.arguments[0]) if len(stanza.arguments) == 1 else b""
    if len(share) != 32 or len(stanza.body) != 32:
        raise _damaged("its header is malformed")
    own = X25519PrivateKey.from_private_bytes(private)
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:  # a share of low order
        raise _damaged("its header is malformed") from None
    key = _hkdf(shared, share + own.public_key().public_bytes_raw(), _X25519_LABEL)
    return _opened(ChaCha20Poly1305(key).decrypt, bytes(12), stanza.body)


def _stanza_lines(stanza: Stanza) -> bytes:
    body = _b64(stanza.body)
    lines = [body[i : i + 64] for i in range(0, len(body) + 1, 64)]
    first = " ".join(["->", stanza.kind, *stanza.arguments]).encode()
    return b"\n".join([first, *lines]) + b"\n"


def _read_header(read: Read) -> bytes:
    """The header's bytes, to the end of its last line."""
    header = bytearray()
    line_at = 0
    while len(header) < HEADER_MAX:
        byte = read(1)
        if not byte:
            break
        header += byte
        if byte == b"\n":
            if line_at == 0 and header != MAGIC:
                break
            if header.startswith(b"--- ", line_at):
                return bytes(header)
            line_at = len(header)
    raise _damaged("its header is malformed, or cut off")


def _parse_header(header: bytes) -> tuple[list[Stanza], bytes, bytes]:
    """The stanzas, what the header's MAC covers, and the MAC."""
    try:
        lines = header.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise _damaged("its header is malformed") from None
    stanzas: list[Stanza] = []
    at = 1
    while lines[at].startswith("-> "):
        kind, *arguments = lines[at].split(" ")[1:]
        body = ""
        while True:
            at += 1
            body += lines[at]
            if len(lines[at]) != 64:
                break
        stanzas.append(Stanza(kind, tuple(arguments), _unb64(body)))
        at += 1
        if len(stanzas) > STANZAS_MAX:
            raise _damaged(f"it has more than {STANZAS_MAX} recipients")
    if not stanzas or not lines[at].startswith("--- ") or any(len(line) > 64 for line in lines[at + 1 :]):
        raise _damaged("its header is malformed")
    return stanzas, header[: header.rindex(b"\n--- ") + 4], _unb64(lines[at][4:])


def _b64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).rstrip(b"=")


def _unb64(text: str) -> bytes:
    """Base64 without padding, in its one canonical form."""
    try:
        data = a2b_base64(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        raise _damaged("its header is malformed") from None
    if _b64(data).decode() != text:
        raise _damaged("its header is malformed")
    return data


def _damaged(why: str) -> Corrupt:
    return Corrupt(
        f"the sealed file can't be opened: {why}",
        unchanged=["nothing was changed"],
        next=["use another copy of it"],
    )
