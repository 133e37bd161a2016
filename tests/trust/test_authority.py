"""Why: what the authority signs, refuses and takes back decides which machines are ours."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from sloth_runner.errors import AgentUnknown, BadName, Corrupt, FileMissing, Foreign
from sloth_runner.trust import certificates as certs
from sloth_runner.trust.authority import DAYS, Authority
from sloth_runner.trust.certificates import AGENT, CONTROLLER, Identity
from sloth_runner.trust.folder import Folder
from tests.state.kit import Clock

DAY = 86400.0


def authority(folder: Path, clock: Clock | None = None) -> Authority:
    numbers = itertools.count(1)
    return Authority(Folder(folder), clock or Clock(), lambda: f"{next(numbers):032x}")


def request(name: str, number: int = 1, role: str = AGENT) -> bytes:
    return certs.request_pem(certs.new_key(), Identity(role, name, f"{number:032x}"))


def test_a_name_is_signed_for_once(tmp_path: Path) -> None:
    clock = Clock()
    ours = authority(tmp_path / "ca", clock)
    with pytest.raises(FileMissing, match=r"ca\.pem"):
        ours.certificate()
    ours.init("ours")
    with pytest.raises(BadName, match="already"):
        ours.init("again")
    identity, bundle = ours.enroll(request("web1"), "the request")
    made = certs.load_certificate(bundle.certificate, "it")
    made.verify_directly_issued_by(ours.certificate())
    assert certs.identity_of(made, "it") == identity == ours.find("web1").identity
    assert certs.until(made) == clock.now + DAYS * DAY == ours.find("web1").until
    assert certs.split_bundle(bundle.pem(), "it") == bundle
    before = (tmp_path / "ca" / "agents.json").read_bytes()
    with pytest.raises(BadName, match="enrolled already"):
        ours.enroll(request("web1", 2), "another request")
    assert (tmp_path / "ca" / "agents.json").read_bytes() == before


def test_what_is_revoked_is_void_and_its_name_free(tmp_path: Path) -> None:
    clock = Clock()
    ours = authority(tmp_path / "ca", clock)
    ours.init("ours")
    first = request("web1")
    _, bundle = ours.enroll(first, "the request")
    number = certs.identity_of(certs.load_certificate(bundle.certificate, "it"), "it").enrolment
    assert not ours.is_void(number)
    ours.revoke("web1", "stolen")
    assert ours.is_void(number)
    with pytest.raises(AgentUnknown, match="revoked"):
        ours.find("web1")
    with pytest.raises(AgentUnknown):
        ours.renew("web1", first, "the request")
    with pytest.raises(Foreign, match="revoked"):
        ours.enroll(first, "the request")
    serial = certs.load_certificate(bundle.certificate, "it").serial_number
    listed = certs.load_revocations(ours.revocations(), ours.certificate(), "the list")
    assert listed == (2, frozenset([serial]))
    ours.enroll(request("web1", 2), "a new request")
    assert len({row.identity.host for row in ours.enrolled()}) == 2  # each enrolment has its own name in TLS


def test_a_list_forgets_what_has_ended_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    ours = authority(tmp_path / "ca", clock)
    ours.init("ours")
    for name in ("a", "b"):
        ours.enroll(request(name, ord(name)), "the request")
    ours.revoke("a", "")
    clock.now += (DAYS + 1) * DAY
    ours.revoke("b", "")
    assert certs.load_revocations(ours.revocations(), ours.certificate(), "the list") == (3, frozenset())


def test_what_another_process_does_is_known_at_once(tmp_path: Path) -> None:
    ours, other = (
        Authority(Folder(tmp_path / "ca"), Clock(), lambda: os.urandom(16).hex()) for _ in range(2)
    )
    ours.init("ours")
    ours.enroll(request("web1"), "the request")
    first = other.find("web1")
    assert (other.number(), other.is_void(first.enrolment)) == (1, False)
    ours.revoke("web1", "stolen")
    assert (other.number(), other.is_void(first.enrolment)) == (2, True)
    ours.enroll(request("web1", 2), "a new request")
    assert other.find("web1").enrolment == f"{2:032x}"
    own = other.credentials("host1")
    (tmp_path / "ca" / "controller.pem").unlink()
    ours.revoke("host1", "lost", CONTROLLER)
    fresh = ours.credentials("host1")
    assert other.credentials("host1") == fresh != own


def test_our_own_certificate_is_renewed_in_time(tmp_path: Path) -> None:
    clock = Clock()
    ours = authority(tmp_path / "ca", clock)
    ours.init("ours")
    first = ours.credentials("host1")
    assert ours.credentials("host1") == first
    clock.now += DAYS * DAY * 0.7
    second = ours.credentials("host1")
    assert (second.key, second.certificate == first.certificate) == (first.key, False)
    made = certs.load_certificate(second.certificate, "it")
    assert certs.identity_of(made, "it").role == CONTROLLER
    assert certs.until(made) == clock.now + DAYS * DAY


def test_what_can_not_be_believed_is_refused(tmp_path: Path) -> None:
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    ours.init("ours")
    theirs.init("theirs")
    good = request("web1")
    lines = good.splitlines()
    with pytest.raises(Corrupt):
        ours.enroll(b"\n".join([lines[0], lines[1][:-2] + b"AA", *lines[2:]]), "a damaged request")
    with pytest.raises(Corrupt, match="no signing request"):
        ours.enroll(b"words", "words")
    with pytest.raises(Foreign, match="not signed by our"):
        certs.load_revocations(theirs.revocations(), ours.certificate(), "their list")
    ours.enroll(good, "the request")
    with pytest.raises(Foreign, match="which is not"):
        ours.renew("web1", request("web1", 9), "a request of another enrolment")
    assert [row.name for row in ours.enrolled()] == ["web1"]


@pytest.mark.parametrize("name", ["web_1", "a" * 63, "w.e-b.1"])
def test_every_name_that_an_agent_may_have_can_be_enrolled(tmp_path: Path, name: str) -> None:
    ours = authority(tmp_path / "ca")
    ours.init("ours")
    assert ours.enroll(request(name), "the request")[0].name == name


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    ours = authority(tmp_path / "ca")
    ours.init("ours")
    ours.credentials("host1")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "ca").iterdir()}
    assert modes["ca.key"] == modes["controller.key"] == modes["agents.json"] == 0o600
    assert (tmp_path / "ca").stat().st_mode & 0o777 == 0o700
