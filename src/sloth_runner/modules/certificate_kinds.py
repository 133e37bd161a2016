"""Why: openssl tells what is in keys, requests and certificates, and makes them; here its words become attributes.

Of a private key only the public half is ever printed. Files are made beside their place and moved there whole.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Change, Kind, Look, Observed, one_by_one
from sloth_runner.modules.files.kind import folders_above, make_above, refuse_blocked, remove_made
from sloth_runner.modules.system.steps import failure, not_installed
from sloth_runner.ops import ABSENT, FILE, Exec, OpError, Remove, SetAttrs, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes
    from sloth_runner.ops import Found, Ran

_CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}
_NAMES = "-nameopt=sep_multiline,utf8,sname"


def _openssl(subject: str, *argv: str) -> Generator[Any, Any, Ran]:
    """What openssl says. Raises TaskFailed only if it isn't there."""
    op = Exec(
        f"a look through `openssl {argv[0]}`",
        ("openssl", *argv),
        cwd="/",
        env={"LC_ALL": "C.UTF-8"},
        mutating=False,
        quiet=True,
    )
    try:
        ran: Ran = yield op
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise not_installed(subject, "openssl") from error
    return ran


def _place(look: Look) -> Generator[Any, Any, dict[str, Any] | None]:
    """Mode and owner of the file; None if there is none."""
    path = look.resource.id
    found: Found = yield Stat(path)
    if found.kind == ABSENT:
        return None
    if found.kind != FILE:
        raise TaskFailed(
            f"{path} is no regular file", unchanged=[path], next=["move it away, or name another"]
        )
    return {
        "mode": f"{found.mode:04o}",
        "owner": found.owner,
        "group": found.group,
        "uid": found.uid,
        "gid": found.gid,
    }


def _public(subject: str, path: str) -> Generator[Any, Any, str]:
    """The digest of a key's public half; empty if it is no key that can be read without a passphrase."""
    ran = yield from _openssl(subject, "pkey", "-in", path, "-passin", "pass:", "-pubout")
    return _digest(ran.stdout) if ran.exit_code == 0 else ""


def _digest(pem: bytes) -> str:
    from hashlib import sha256

    return sha256(pem.strip()).hexdigest()


def _observe_key(look: Look) -> Generator[Any, Any, Observed]:
    path = look.resource.id
    attributes = yield from _place(look)
    if attributes is None:
        return Observed(None, (yield from folders_above(path, {}, {})))
    ran = yield from _openssl(
        look.resource.address, "pkey", "-in", path, "-passin", "pass:", "-noout", "-text_pub"
    )
    if ran.exit_code:
        return Observed({**attributes, "type": "unreadable"})
    attributes.update(_key_type(ran.stdout.decode("utf-8", "replace")))
    attributes["public"] = yield from _public(look.resource.address, path)
    return Observed(attributes)


def _key_type(text: str) -> dict[str, Any]:
    first = text.partition("\n")[0].lower()
    bits = re.search(r"\((\d+) bit", first)
    curve = re.search(r"NIST CURVE: (\S+)", text)
    named = re.search(r"ASN1 OID: (\S+)", text)
    if curve or named:
        name = _CURVES.get(curve[1], curve[1]) if curve else named[1] if named else ""
        return {"type": "ec", "curve": name}
    if "modulus" in text.lower():
        return {"type": "rsa", "bits": int(bits[1]) if bits else 0}
    return {"type": first.split()[0] if first.split() else "unknown"}


def _converge_key(change: Change) -> Generator[Any, Any, str]:
    path, wanted, before = change.resource.id, change.wanted, change.observed.attributes
    if wanted is None:
        return (yield from _remove(change))
    if before is not None and not change.differing & {"present", "type", "bits", "curve"}:
        yield from _attributes(path, wanted)
        return ""
    if change.options.get("undo"):
        raise _not_kept(change)
    if before is not None and not change.options.get("replace"):
        raise TaskFailed(
            f"{path} holds a key of another kind: {_of(before)}, not {_of(wanted)}",
            unchanged=[path],
            next=[
                "replace = true makes a new one; certificates of the old one no longer fit",
                "or say what it is",
            ],
        )
    kind = wanted["type"]
    options = {
        "rsa": ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{wanted.get('bits', 3072)}"],
        "ec": ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{wanted.get('curve', 'prime256v1')}"],
        "ed25519": ["-algorithm", "ED25519"],
    }[kind]
    return (yield from _make(change, ["genpkey", *options], "", wanted))


def _of(attributes: Attributes) -> str:
    words = [attributes["type"], attributes.get("bits"), attributes.get("curve")]
    return " ".join(str(word) for word in words if word)


def _attributes(path: str, wanted: Attributes) -> Generator[Any, Any, None]:
    owner = wanted.get("owner", wanted.get("uid"))
    group = wanted.get("group", wanted.get("gid"))
    mode = int(wanted["mode"], 8) if "mode" in wanted else None
    yield SetAttrs(path, mode, None if owner is None else str(owner), None if group is None else str(group))


def _remove(change: Change) -> Generator[Any, Any, str]:
    yield Remove(change.resource.id)
    if change.options.get("undo"):
        yield from remove_made(change.extra)
    return ""


def _make(change: Change, argv: Sequence[str], config: str, wanted: Attributes) -> Generator[Any, Any, str]:
    """Have openssl write a file beside ``path`` and move it there; attributes are set before anybody can open it.
    Folders that are missing above it are made; a note of them."""
    import shlex

    path = change.resource.id
    refuse_blocked(change, path)
    note = yield from make_above(change)
    new = posixpath.join(posixpath.dirname(path), f".{posixpath.basename(path)[:200]}.sloth-new")
    feed = 'printf %s "$SLOTH_CONFIG" | ' if config else ""
    owner, group = (wanted.get(a, wanted.get(b)) for a, b in (("owner", "uid"), ("group", "gid")))
    lines = [
        "set -e; umask 077",
        'rm -f -- "$SLOTH_NEW"',
        f'{feed}{shlex.join(["openssl", *argv])} -out "$SLOTH_NEW"',
    ]
    if owner is not None or group is not None:
        lines.append('chown -- "$SLOTH_OWNER" "$SLOTH_NEW"')
    lines += ['chmod -- "$SLOTH_MODE" "$SLOTH_NEW"', 'mv -f -T -- "$SLOTH_NEW" "$SLOTH_PATH"']
    env = {
        "LC_ALL": "C.UTF-8",
        "SLOTH_CONFIG": config,
        "SLOTH_NEW": new,
        "SLOTH_PATH": path,
        "SLOTH_MODE": str(wanted.get("mode", "0600")),
        "SLOTH_OWNER": f"{'' if owner is None else owner}{'' if group is None else f':{group}'}",
    }
    label = f"`openssl {argv[0]}`"
    ran: Ran = yield Exec(label, line="\n".join(lines), cwd="/", env=env, quiet=True)
    if ran.exit_code == 127:
        raise not_installed(change.resource.address, "openssl")
    if ran.exit_code:
        raise failure(change.resource.address, label, ran)
    return note


def _observer(argv: Sequence[str], more: Callable[[str, Look], Mapping[str, Any]]) -> Any:
    """How a request or a certificate is looked at: openssl's account of it, and whether it is of the key."""

    def observe(look: Look) -> Generator[Any, Any, Observed]:
        path, address = look.resource.id, look.resource.address
        attributes = yield from _place(look)
        if attributes is None:
            return Observed(None, (yield from folders_above(path, {}, {})))
        shown = [*argv, "-in", path, "-noout", "-subject", "-text", "-pubkey", _NAMES]
        ran = yield from _openssl(address, *shown)
        if ran.exit_code:
            return Observed(
                {**attributes, "subject": [], "names": [], "matches_key": False, **more("", look)}
            )
        text = ran.stdout.decode("utf-8", "replace")
        own = yield from _public(address, look.resource.params["key"])
        attributes["subject"] = _lines(text, "subject")
        attributes["names"] = _alternative(text)
        attributes["matches_key"] = own != "" and own == _digest(_pem(ran.stdout))
        attributes.update(more(text, look))
        if argv[0] == "x509":
            seconds = str(int(look.resource.params["renew_before"]) * 86400)
            ends = yield from _openssl(address, "x509", "-in", path, "-noout", "-checkend", seconds)
            attributes["current"] = ends.exit_code == 0
        return Observed(attributes)

    return observe


def _pem(output: bytes) -> bytes:
    found = re.search(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", output, re.DOTALL)
    return found[0] if found else b""


def _lines(text: str, title: str) -> list[str]:
    """The fields below "subject=" or "issuer=", one a line."""
    found = re.search(rf"^{title}=[ \t]*((?:\n[ ]{{4}}[^\n]*)*)", text, re.MULTILINE)
    return [line.strip() for line in found[1].splitlines() if line.strip()] if found else []


def _alternative(text: str) -> list[str]:
    from ipaddress import ip_address

    found = re.search(r"X509v3 Subject Alternative Name:[^\n]*\n\s*([^\n]+)", text)
    names = []
    for part in found[1].split(", ") if found else ():
        kind, _, value = part.strip().partition(":")
        if kind == "IP Address":
            try:
                names.append(f"IP:{ip_address(value)}")
            except ValueError:
                names.append(f"IP:{value}")
        else:
            names.append(f"{kind}:{value}")
    return sorted(names)


def _of_certificate(text: str, look: Look) -> Mapping[str, Any]:
    ca = re.search(r"X509v3 Basic Constraints:[^\n]*\n\s*CA:(TRUE|FALSE)", text)
    issuer = _lines(text, "issuer")
    same = (issuer != [] and issuer == _lines(text, "subject")) or (not issuer and "issuer=" in text)
    return {"ca": ca is not None and ca[1] == "TRUE", "self_signed": same, "current": False}


def _converger(argv: Sequence[str]) -> Any:
    """How a request or a certificate is made: openssl gets its settings from standard input."""

    def converge(change: Change) -> Generator[Any, Any, str]:
        path, wanted, before = change.resource.id, change.wanted, change.observed.attributes
        if wanted is None:
            return (yield from _remove(change))
        if before is not None and change.differing <= {"mode", "owner", "group", "uid", "gid"}:
            yield from _attributes(path, wanted)
            return ""
        if change.options.get("undo"):
            raise _not_kept(change)
        days = ["-days", str(change.options["days"])] if "days" in change.options else []
        key = str(change.resource.params["key"])
        if not change.dry:
            yield from _refuse_no_key(change, key)
        nobody = [] if wanted["subject"] else ["-subj", "/"]
        full = [*argv, "-config", "/dev/stdin", "-key", key, "-passin", "pass:", *days, *nobody]
        return (yield from _make(change, full, _settings(wanted), wanted))

    return converge


def _refuse_no_key(change: Change, key: str) -> Generator[Any, Any, None]:
    found: Found = yield Stat(key, follow=True, names=False)
    if found.kind == ABSENT:
        raise TaskFailed(
            f"{change.resource.address}: there is no key {key}",
            unchanged=[change.resource.id],
            next=[f'certificate.key({{path = "{key}"}}) makes one'],
        )


def _settings(wanted: Attributes) -> str:
    """openssl's configuration (config(5)) for a request."""
    certificate = "ca" in wanted
    lines = [
        "[req]", "prompt = no", "utf8 = yes", "string_mask = utf8only", "default_md = sha256",
        "distinguished_name = subject",
    ]  # fmt: skip
    lines.append("x509_extensions = own" if certificate else "req_extensions = own")
    lines.append("[subject]")
    for field in wanted["subject"]:
        name, _, value = field.partition("=")
        lines.append(f"{name} = {_escaped(value)}")
    lines.append("[own]")
    if certificate:
        lines.append(f"basicConstraints = critical,CA:{'TRUE' if wanted['ca'] else 'FALSE'}")
        lines.append("subjectKeyIdentifier = hash")
        use = "keyCertSign,cRLSign," if wanted["ca"] else ""
        lines.append(f"keyUsage = critical,{use}digitalSignature")
    if wanted["names"]:
        lines += ["subjectAltName = @names", "[names]"]
        lines += [
            f"{name.partition(':')[0]}.{number} = {name.partition(':')[2]}"
            for number, name in enumerate(wanted["names"], 1)
        ]
    return "\n".join(lines) + "\n"


def _escaped(value: str) -> str:
    """A value that openssl takes as it is: quotes, variables and comments in it mean nothing."""
    return re.sub(r"""([\\'"`$#])""", r"\\\1", value)


def _not_kept(change: Change) -> TaskFailed:
    return TaskFailed(
        f"{change.resource.id} was replaced or removed: what it held is not kept, so it can't be brought back",
        unchanged=[change.resource.id],
    )


KINDS = (
    Kind(
        "certificate.key",
        "a private key: type, bits or curve, mode, owner, group, public (digest of its public half); not brought"
        " back",
        *one_by_one(_observe_key, _converge_key),
        marks=frozenset({"public"}),
    ),
    Kind(
        "certificate.csr",
        "a request: subject, names, matches_key, mode, owner, group; not brought back",
        *one_by_one(
            _observer(("req",), lambda text, look: {}),
            _converger(("req", "-new")),
        ),
    ),
    Kind(
        "certificate.self_signed",
        "a certificate: subject, names, matches_key, ca, self_signed, current (does not end soon), mode, owner,"
        " group; not brought back",
        *one_by_one(
            _observer(("x509", "-issuer"), _of_certificate),
            _converger(("req", "-x509", "-new")),
        ),
    ),
)
