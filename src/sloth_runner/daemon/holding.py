"""Why: what an agent holds to be true about keys and certificates lies in its folder, and is looked at again whenever
it changes there.

``agent.key`` never leaves the machine; ``agent.pem`` is what the authority gave for it: certificate, authority and
revocation list in one file.
"""

from __future__ import annotations

from collections.abc import Callable

from sloth_runner.errors import Foreign, KeyWrong
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple
from sloth_runner.trust import certificates as certs
from sloth_runner.trust.certificates import AGENT, CONTROLLER, Bundle, Identity, Revocations

if TYPE_CHECKING:
    from cryptography import x509

    from sloth_runner.trust.folder import Folder

KEY, REQUEST, BUNDLE, NEXT = "agent.key", "agent.csr", "agent.pem", "next.key"
_HOW: Final = (
    "make a key: sloth-runner agent keygen NAME",
    "have its request signed on the controller: sloth-runner agent sign agent.csr",
    "and put what that gives beside the key, as agent.pem",
)


class Held(NamedTuple):
    """What is in the folder, read and checked."""

    identity: Identity
    key: bytes
    bundle: Bundle
    authority: x509.Certificate
    certificate: x509.Certificate
    revocations: Revocations


class Denied(Exception):
    """Whoever calls may not; the words are for the caller."""


class Keeper:
    """The agent's folder. ``clock``: seconds since the epoch; ``new_id``: 128 random bits in hex."""

    def __init__(self, folder: Folder, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self.folder = folder
        self._clock = clock
        self._new_id = new_id
        self._seen: tuple[tuple[int, int] | None, ...] = ()
        self._held: Held | None = None

    def make_key(self, name: str) -> bytes:
        """A new key and a signing request for it, PEM; what was there before is replaced."""
        key = certs.new_key()
        request = certs.request_pem(key, Identity(AGENT, name, self._new_id()))
        with self.folder.turn():
            self.folder.write(KEY, certs.key_pem(key))
            self.folder.write(REQUEST, request, mode=0o644)
        return request

    def held(self) -> Held:
        """What holds now. Raises FileMissing, Corrupt, Foreign, KeyWrong."""
        seen = (self.folder.stamp(KEY), self.folder.stamp(BUNDLE))
        if self._held is None or seen != self._seen:
            self._held = self._load()
            self._seen = seen
        return self._held

    def next_request(self) -> bytes:
        """A signing request for a new key, which becomes ours when its certificate is brought (``accept``)."""
        key = certs.new_key()
        with self.folder.turn():
            self.folder.write(NEXT, certs.key_pem(key))
        return certs.request_pem(key, self.held().identity)

    def accept(self, data: bytes) -> None:
        """Take a bundle that a controller brings: one with a certificate for our key or the next one, or the same one
        with a later revocation list. Raises Corrupt, Foreign, KeyWrong."""
        held = self.held()
        bundle = certs.split_bundle(data, "what was brought")
        if certs.load_certificate(bundle.authority, "what was brought") != held.authority:
            raise Foreign("what was brought is of another authority")
        with self.folder.turn():
            key = held.key
            following = self.folder.read(NEXT)
            if following is not None and _fits(following, bundle.certificate):
                key = following
            fresh = check(key, bundle, self._clock())
            if fresh.identity != held.identity:
                raise Foreign(f"what was brought is for {fresh.identity.uri}; this is {held.identity.uri}")
            if fresh.revocations.number < held.revocations.number:
                raise Foreign("what was brought has an older revocation list than ours")
            if key is not held.key:
                self.folder.write(KEY, key)
            self.folder.write(BUNDLE, bundle.pem())

    def revoke(self, data: bytes) -> None:
        """Take a later revocation list; an older one, or the same, changes nothing. Raises Corrupt, Foreign."""
        held = self.held()
        fresh = certs.load_revocations(data, held.authority, "what was brought")
        if fresh.number > held.revocations.number:
            with self.folder.turn():
                self.folder.write(BUNDLE, held.bundle._replace(revocations=data).pem())

    def admit(self, pem: bytes | None) -> tuple[Identity, int]:
        """Who calls, by the certificate that TLS has checked: a controller of our authority, whose certificate is
        good now. Its identity and serial. Raises Denied."""
        if pem is None:
            raise Denied("no certificate was shown")
        try:
            certificate = certs.load_certificate(pem, "the caller's certificate")
            identity = certs.identity_of(certificate, "the caller's certificate")
            certificate.verify_directly_issued_by(self.held().authority)
        except Exception as error:  # whatever is wrong with it: it is refused
            raise Denied(f"the certificate is not believed: {error}") from error
        if identity.role != CONTROLLER:
            raise Denied(f"{identity.uri} is no controller")
        self.still(certificate.serial_number, certs.since(certificate), certs.until(certificate))
        return identity, certificate.serial_number

    def still(self, serial: int, since: float, until: float) -> None:
        """Raise Denied unless a certificate is good now."""
        now = self._clock()
        if serial in self.held().revocations.serials:
            raise Denied("the certificate was revoked")
        if not since <= now <= until:
            raise Denied("the certificate is not valid now")

    def _load(self) -> Held:
        key = self.folder.need(KEY, *_HOW)
        bundle = certs.split_bundle(self.folder.need(BUNDLE, *_HOW[1:]), BUNDLE)
        following = self.folder.read(NEXT)
        if (
            not _fits(key, bundle.certificate)
            and following is not None
            and _fits(following, bundle.certificate)
        ):
            key = following  # a renewal was cut short between its two files
        return check(key, bundle, None)


def check(key: bytes, bundle: Bundle, now: float | None) -> Held:
    """A key and what was given for it, if they belong together (and are good at ``now``). Raises Corrupt, Foreign,
    KeyWrong."""
    authority = certs.load_certificate(bundle.authority, "the authority's certificate")
    certificate = certs.load_certificate(bundle.certificate, "the agent's certificate")
    identity = certs.identity_of(certificate, "the agent's certificate")
    if identity.role != AGENT:
        raise Foreign(f"{identity.uri} is no agent")
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception as error:  # whatever is wrong with it
        raise Foreign(
            "the agent's certificate was not signed by the authority that stands with it"
        ) from error
    if not _fits(key, bundle.certificate):
        raise KeyWrong("the agent's certificate is for another key", next=_HOW)
    if now is not None and certs.until(certificate) <= now:
        raise Foreign("the agent's certificate has ended")
    revocations = certs.load_revocations(bundle.revocations, authority, "the revocation list")
    return Held(identity, key, bundle, authority, certificate, revocations)


def _fits(key: bytes, certificate: bytes) -> bool:
    own = certs.load_key(key, "the agent's key").public_key()
    return own == certs.load_certificate(certificate, "the agent's certificate").public_key()
