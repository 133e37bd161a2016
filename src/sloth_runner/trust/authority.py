"""Why: which machines are ours is decided in one place, by whoever runs them: an authority that is a folder of files.

``ca.key`` and ``ca.pem`` are the authority, ``agents.json`` says which names were enrolled and what was revoked,
``crl.pem`` is that in the form that agents check, ``controller.key`` and ``controller.pem`` are our own. No daemon:
certificates are short-lived and renewed by whoever connects (``renew``). A name that is enrolled is refused to
others until it is revoked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping

from sloth_runner.errors import AgentUnknown, BadName, Corrupt, Foreign
from sloth_runner.names import did_you_mean
from sloth_runner.plain import TYPE_CHECKING, Any, Final, NamedTuple
from sloth_runner.trust import certificates as certs
from sloth_runner.trust.certificates import AGENT, CONTROLLER, Bundle, Identity

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from sloth_runner.trust.folder import Folder

FORMAT: Final = "sloth-runner/agents"
YEARS: Final = 3650.0
DAYS: Final = 30.0
"""Days that a certificate lasts; it is renewed when a third of them is left."""
_NONE: Final = "sloth-runner agent ca init"


class Enrolled(NamedTuple):
    """A name: which enrolment, its role, the certificates that were given to it (serial and end), when that began
    and, if it was, when it was revoked and why. Times are seconds since the epoch."""

    name: str
    role: str
    enrolment: str
    serials: tuple[tuple[int, float], ...]
    since: float
    revoked: float | None = None
    reason: str = ""

    @property
    def identity(self) -> Identity:
        """As it stands in the certificates."""
        return Identity(self.role, self.name, self.enrolment)

    @property
    def until(self) -> float:
        """When the last certificate ends."""
        return max((end for _, end in self.serials), default=0.0)


class Credentials(NamedTuple):
    """What a controller shows and believes, PEM: its key, its certificate, the authority's."""

    key: bytes
    certificate: bytes
    authority: bytes


Stamp = tuple[int, int]


class _Roll(NamedTuple):
    """``agents.json`` as it was read: the list's number; all rows; those that are good by role and name; the numbers
    of enrolments that are not."""

    number: int
    rows: tuple[Enrolled, ...]
    good: Mapping[tuple[str, str], Enrolled]
    void: frozenset[str]


class Authority:
    """The authority in ``folder``. ``clock``: seconds since the epoch; ``new_id``: 128 random bits in hex.

    What is only looked up is read once for each state of the files: a run asks for hundreds of agents."""

    def __init__(self, folder: Folder, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._folder = folder
        self._clock = clock
        self._new_id = new_id
        self._roll: tuple[Stamp | None, _Roll] | None = None
        self._made: tuple[tuple[Stamp | None, ...], Credentials, float] | None = None

    @property
    def exists(self) -> bool:
        """Whether it was made."""
        return self._folder.read("ca.pem") is not None

    def init(self, label: str) -> None:
        """Make the authority. Raises BadName when there is one."""
        with self._folder.turn():
            if self.exists:
                raise BadName(
                    f"there is an authority already in {self._folder.path}",
                    unchanged=["nothing was changed"],
                    next=["sloth-runner agent ca show"],
                )
            key, now = certs.new_key(), self._clock()
            pem = certs.make_authority(key, label, now, YEARS)
            self._folder.write("ca.key", certs.key_pem(key))
            self._folder.write("agents.json", _encode(1, []))
            authority = certs.load_certificate(pem, "the new authority")
            self._folder.write("crl.pem", certs.revocations_pem(authority, key, 1, [], now), mode=0o644)
            self._folder.write("ca.pem", pem, mode=0o644)

    def certificate(self) -> x509.Certificate:
        """The authority's own. Raises FileMissing."""
        return certs.load_certificate(self._folder.need("ca.pem", _NONE), "ca.pem")

    def about(self) -> tuple[str, float]:
        """The fingerprint of the authority's certificate, and when that ends. Raises FileMissing."""
        certificate = self.certificate()
        return certs.fingerprint(certificate), certs.until(certificate)

    def enrolled(self) -> list[Enrolled]:
        """All names that are or were enrolled, in order of their enrolment."""
        return list(self._known().rows)

    def find(self, name: str, role: str = AGENT) -> Enrolled:
        """The enrolment of a name that is good now. Raises AgentUnknown."""
        roll = self._known()
        found = roll.good.get((role, name))
        if found is not None:
            return found
        gone = any(row.name == name for row in roll.rows if row.role == role)
        known = sorted(one for kind, one in roll.good if kind == role)
        raise AgentUnknown(
            f"the {role} {name!r} was revoked" if gone else f"no {role} called {name!r} is enrolled",
            unchanged=["nothing was asked of it"],
            next=[
                *did_you_mean(name, known),
                *([f"enroll it: sloth-runner agent enroll ssh://HOST {name}"] if role == AGENT else []),
            ],
        )

    def refuse_taken(self, name: str, role: str = AGENT) -> None:
        """Raises BadName: the name is enrolled. To be asked before anything is done for a new one of that name."""
        _refuse_taken(self._known().rows, name, role)

    def enroll(self, request: bytes, what: str) -> tuple[Identity, Bundle]:
        """Sign the request of somebody new. Raises BadName (the name is taken), Corrupt, Foreign."""
        csr, identity = certs.load_request(request, what)
        with self._folder.turn():
            number, rows = self._read()
            _refuse_taken(rows, identity.name, identity.role)
            if any(row.enrolment == identity.enrolment for row in rows):
                raise Foreign(f"{what} is from an enrolment that was revoked", next=["make a new key there"])
            row = Enrolled(identity.name, identity.role, identity.enrolment, (), self._clock())
            return identity, self._sign(csr, identity, number, [*rows, row])

    def renew(self, name: str, request: bytes, what: str) -> Bundle:
        """Sign a request of an enrolled agent anew. Raises AgentUnknown, Foreign, Corrupt."""
        csr, identity = certs.load_request(request, what)
        with self._folder.turn():
            number, rows = self._read()
            if identity != self.find(name, identity.role).identity:
                raise Foreign(f"{what} is for {identity.uri}, which is not {name!r} as it is enrolled")
            return self._sign(csr, identity, number, rows)

    def revoke(self, name: str, reason: str, role: str = AGENT) -> Enrolled:
        """Take a name away: its certificates are void from now on. Raises AgentUnknown."""
        with self._folder.turn():
            number, rows = self._read()
            gone, now = self.find(name, role), self._clock()
            made = gone._replace(revoked=now, reason=reason)
            self._write(number + 1, [made if row == gone else row for row in rows])
            return made

    def revocations(self) -> bytes:
        """The latest revocation list, PEM."""
        return self._folder.need("crl.pem", _NONE)

    def number(self) -> int:
        """Of the latest revocation list."""
        return self._known().number

    def is_void(self, enrolment: str) -> bool:
        """Whether an agent's enrolment (its number) is not good any more. Raises FileMissing, Corrupt."""
        return enrolment in self._known().void

    def credentials(self, name: str) -> Credentials:
        """Our own as a controller, made or renewed where that is due. Raises FileMissing, Corrupt."""
        seen = self._own_stamps()
        if self._made is not None and self._made[0] == seen and not self.due(self._made[2]):
            return self._made[1]
        authority = self._folder.need("ca.pem", _NONE)
        with self._folder.turn("own"):
            key, pem = self._folder.read("controller.key"), self._folder.read("controller.pem")
            if key is None or pem is None or self._is_due(pem):
                key, pem = self._own(name)
            made = Credentials(key, pem, authority)
            self._made = (
                self._own_stamps(),
                made,
                certs.until(certs.load_certificate(pem, "controller.pem")),
            )
        return made

    def _own_stamps(self) -> tuple[Stamp | None, ...]:
        return tuple([self._folder.stamp(name) for name in ("ca.pem", "controller.key", "controller.pem")])

    def can_sign(self) -> bool:
        """Whether the authority's key is on this machine."""
        return self._folder.read("ca.key") is not None

    def due(self, end: float) -> bool:
        """Whether a certificate that ends then should be renewed, if it can be."""
        return end - self._clock() < DAYS * 86400 / 3 and self.can_sign()

    def _is_due(self, pem: bytes) -> bool:
        certificate = certs.load_certificate(pem, "controller.pem")
        return self.due(certs.until(certificate))

    def _own(self, name: str) -> tuple[bytes, bytes]:
        old = self._folder.read("controller.pem")
        if old is not None:
            identity = certs.identity_of(certs.load_certificate(old, "controller.pem"), "controller.pem")
            name = identity.name
            key = certs.load_key(self._folder.need("controller.key"), "controller.key")
            bundle = self.renew(name, certs.request_pem(key, identity), "our own request")
        else:
            key = certs.new_key()
            identity = Identity(CONTROLLER, name, self._new_id())
            _, bundle = self.enroll(certs.request_pem(key, identity), "our own request")
            self._folder.write("controller.key", certs.key_pem(key))
        self._folder.write("controller.pem", bundle.certificate, mode=0o644)
        return certs.key_pem(key), bundle.certificate

    def _sign(
        self, csr: x509.CertificateSigningRequest, identity: Identity, number: int, rows: list[Enrolled]
    ) -> Bundle:
        authority, now = self.certificate(), self._clock()
        pem = certs.sign(authority, self._key(), csr, identity, now, DAYS)
        made = certs.load_certificate(pem, "the new certificate")
        given = (made.serial_number, certs.until(made))
        signed = [
            row._replace(serials=(*(one for one in row.serials if one[1] > now), given))
            if row.identity == identity
            else row
            for row in rows
        ]
        self._write(number, signed)
        return Bundle(pem, self._folder.need("ca.pem"), self._folder.need("crl.pem"))

    def _key(self) -> EllipticCurvePrivateKey:
        steps = ("the authority's key is on the machine where it was made: sign there",)
        return certs.load_key(self._folder.need("ca.key", *steps), "ca.key")

    def _known(self) -> _Roll:
        """What is on file. Raises FileMissing, Corrupt, Foreign."""
        stamp = self._folder.stamp("agents.json")
        if self._roll is None or stamp is None or stamp != self._roll[0]:
            self._read()
        assert self._roll is not None
        return self._roll[1]

    def _read(self) -> tuple[int, list[Enrolled]]:
        """What is on file now, whatever was known."""
        stamp = self._folder.stamp("agents.json")  # before it is read: what is newer is read again
        number, rows = self._parse()
        good = {(row.role, row.name): row for row in rows if row.revoked is None}
        void = frozenset(row.enrolment for row in rows if row.revoked is not None)
        self._roll = (stamp, _Roll(number, tuple(rows), good, void))
        return number, rows

    def _parse(self) -> tuple[int, list[Enrolled]]:
        data = self._folder.need("agents.json", _NONE)
        try:
            found = json.loads(data)
            if found["format"] != FORMAT or found["version"] != 1:
                raise Foreign(f"{self._folder.path / 'agents.json'} is of another program or a newer version")
            return int(found["number"]), list(_rows(found["enrolled"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{self._folder.path / 'agents.json'} can't be read: {error!r}") from error

    def _write(self, number: int, rows: list[Enrolled]) -> None:
        """The names, and the revocation list that follows from them. The list is first: a crash between leaves
        a certificate refused that is still called good, never the other way."""
        if number != self._read()[0]:
            now = self._clock()
            void = [
                (serial, row.revoked)
                for row in rows
                if row.revoked is not None
                for serial, end in row.serials
                if end > now
            ]
            pem = certs.revocations_pem(self.certificate(), self._key(), number, void, now)
            self._folder.write("crl.pem", pem, mode=0o644)
        self._folder.write("agents.json", _encode(number, rows))


def _encode(number: int, rows: list[Enrolled]) -> bytes:
    plain = [
        {**row._asdict(), "serials": [[f"{serial:x}", end] for serial, end in row.serials]} for row in rows
    ]
    document = {"format": FORMAT, "version": 1, "number": number, "enrolled": plain}
    return json.dumps(document, indent=1).encode() + b"\n"


def _rows(plain: list[dict[str, Any]]) -> Iterator[Enrolled]:
    for row in plain:
        serials = tuple((int(serial, 16), float(end)) for serial, end in row["serials"])
        yield Enrolled(**{**row, "serials": serials})


def _refuse_taken(rows: Iterable[Enrolled], name: str, role: str) -> None:
    if any(row.name == name and row.role == role and row.revoked is None for row in rows):
        raise BadName(
            f"the {role} {name!r} is enrolled already",
            unchanged=["nothing was signed"],
            next=[f"take the name away first: sloth-runner agent revoke {name}"],
        )
