"""Why: a certificate binds a name and a role, and nothing else is believed about who somebody is.

An identity stands in the certificate's SAN, as a URI that people can read and as a DNS name that TLS compares. Each
enrolment of a name has a random number that is part of both: a certificate of an earlier enrolment, which was
revoked, is another identity. Keys are ECDSA on P-256; an agent's certificate is good for serving alone, a
controller's for calling alone (RFC 5280, 4.2.1.12).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sloth_runner.errors import Corrupt, Foreign
from sloth_runner.plain import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AGENT, CONTROLLER = "agent", "controller"
SCHEME: Final = "sloth-runner:"
ZONE: Final = ".sloth-runner.internal"
BACK: Final = timedelta(minutes=10)
"""How much earlier a certificate begins than it was made: clocks differ."""


class Identity(NamedTuple):
    """Whose certificate it is: the role, the name, and which enrolment of that name (32 hex digits)."""

    role: str
    name: str
    enrolment: str

    @property
    def uri(self) -> str:
        """As it stands in the certificate."""
        return f"{SCHEME}{self.role}/{self.name}/{self.enrolment}"

    @property
    def host(self) -> str:
        """The DNS name that TLS compares. A digest: a name may have characters that DNS has not."""
        return hashlib.sha256(self.uri.encode()).hexdigest()[:40] + ZONE


class Revocations(NamedTuple):
    """What a revocation list says: its number, which grows, and the serials of certificates that are void."""

    number: int
    serials: frozenset[int]


class Bundle(NamedTuple):
    """What somebody is given: a certificate, the authority's, and its latest revocation list, all PEM."""

    certificate: bytes
    authority: bytes
    revocations: bytes

    def pem(self) -> bytes:
        """All three in one file."""
        return self.certificate + self.authority + self.revocations


def new_key() -> EllipticCurvePrivateKey:
    """A private key."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    """A key as PKCS #8, not encrypted: the file's mode protects it."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(data: bytes, what: str) -> EllipticCurvePrivateKey:
    """The key in a file. Raises Corrupt."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise Corrupt(f"{what} holds no key that can be read: {error}") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise Corrupt(f"{what} holds a key of another kind")
    return key


def request_pem(key: EllipticCurvePrivateKey, identity: Identity) -> bytes:
    """A signing request."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = x509.CertificateSigningRequestBuilder(_subject(identity.name))
    return (
        builder.add_extension(_alternative(identity), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def load_request(data: bytes, what: str) -> tuple[x509.CertificateSigningRequest, Identity]:
    """A signing request, its own signature checked, and whom it is for. Raises Corrupt, Foreign."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        found = x509.load_pem_x509_csr(data)
        good = found.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Corrupt(f"{what} is no signing request: {error}") from error
    if not good:
        raise Corrupt(f"{what} is not signed by the key that it is for")
    return found, identity_of(found, what)


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """The first certificate in a file. Raises Corrupt."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise Corrupt(f"{what} holds no certificate that can be read: {error}") from error


def identity_of(found: x509.Certificate | x509.CertificateSigningRequest, what: str) -> Identity:
    """Whose it is. Raises Foreign: it was not made for Sloth Runner."""
    from cryptography import x509

    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = None
    uris = [] if names is None else names.get_values_for_type(x509.UniformResourceIdentifier)
    parts = uris[0][len(SCHEME) :].split("/") if len(uris) == 1 and uris[0].startswith(SCHEME) else []
    if len(parts) != 3 or parts[0] not in (AGENT, CONTROLLER) or not all(parts):
        raise Foreign(f"{what} was not made for Sloth Runner: it names no agent and no controller")
    return Identity(*parts)


def make_authority(key: EllipticCurvePrivateKey, label: str, now: float, days: float) -> bytes:
    """A certificate of an authority that signs for machines, and for no other authority."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    subject = _subject(label)
    return (
        _builder(now, days)
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def sign(
    authority: x509.Certificate,
    key: EllipticCurvePrivateKey,
    request: x509.CertificateSigningRequest,
    identity: Identity,
    now: float,
    days: float,
) -> bytes:
    """A certificate for the key of a request. Only the key is taken from it; all else is said here."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import ExtendedKeyUsageOID as oid  # noqa: N813

    purpose = oid.SERVER_AUTH if identity.role == AGENT else oid.CLIENT_AUTH
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return (
        _builder(now, days)
        .subject_name(_subject(identity.name))
        .issuer_name(authority.subject)
        .public_key(request.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        .add_extension(_alternative(identity), critical=False)
        .add_extension(issuer, critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def revocations_pem(
    authority: x509.Certificate,
    key: EllipticCurvePrivateKey,
    number: int,
    void: Sequence[tuple[int, float]],
    now: float,
) -> bytes:
    """A revocation list (RFC 5280, 5): serials and the moments when they were revoked."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(_moment(now) - BACK)
        .next_update(_moment(now) + timedelta(days=3650))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, at in void:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(at))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def load_revocations(data: bytes, authority: x509.Certificate, what: str) -> Revocations:
    """A revocation list, its signature checked. Raises Corrupt, Foreign."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    try:
        found = x509.load_pem_x509_crl(data)
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound) as error:
        raise Corrupt(f"{what} is no revocation list: {error}") from error
    public = authority.public_key()
    assert isinstance(public, EllipticCurvePublicKey)
    if not found.is_signature_valid(public):
        raise Foreign(f"{what} was not signed by our authority")
    return Revocations(number, frozenset(one.serial_number for one in found))


def split_bundle(data: bytes, what: str) -> Bundle:
    """The parts of a bundle's file. Raises Corrupt."""
    blocks: list[bytes] = []
    for part in data.split(b"-----BEGIN ")[1:]:
        blocks.append(b"-----BEGIN " + part)
    kinds = [block.split(b"-----")[1].removeprefix(b"BEGIN ") for block in blocks]
    if kinds != [b"CERTIFICATE", b"CERTIFICATE", b"X509 CRL"]:
        raise Corrupt(f"{what} does not hold a certificate, its authority and a revocation list")
    return Bundle(*blocks)


def until(certificate: x509.Certificate) -> float:
    """When it ends, in seconds since the epoch."""
    return certificate.not_valid_after_utc.timestamp()


def since(certificate: x509.Certificate) -> float:
    """When it begins, in seconds since the epoch."""
    return certificate.not_valid_before_utc.timestamp()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, as people compare it."""
    from cryptography.hazmat.primitives.serialization import Encoding

    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, 64, 2))


def _subject(name: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])


def _alternative(identity: Identity) -> x509.SubjectAlternativeName:
    from cryptography import x509

    return x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.host)]
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(now: float, days: float) -> x509.CertificateBuilder:
    from cryptography import x509

    start = _moment(now)
    builder = x509.CertificateBuilder().serial_number(x509.random_serial_number())
    return builder.not_valid_before(start - BACK).not_valid_after(start + timedelta(days=days))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
