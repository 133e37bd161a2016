"""Why: keys, signing requests and self-signed certificates are made by openssl on the target, where they stay.

A private key is made by openssl in a file beside its place (mode 0600) and moved there whole; its content is never
read, shown, sent or recorded. What is known of it is its type and the digest of its public half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sloth_runner.errors import BadArgument
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Resource, Want
from sloth_runner.modules.certificate_kinds import KINDS
from sloth_runner.modules.certificate_types import SUBJECT
from sloth_runner.modules.files.kind import ownership
from sloth_runner.modules.system.steps import alone
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Steps

__all__ = ["KINDS", "MODULES"]

BITS = {"rsa": (2048, 16384)}


def key(args: Mapping[str, Any], context: Context) -> Steps:
    """A private key."""
    yield from alone(context, "certificate.key")
    path, kind = args["path"], args["type"]
    resource = Resource("certificate.key", path)
    if args["state"] == "absent":
        return _outcome((yield Ensure((Want(resource, None),))))
    wanted = {**_place(args), "type": kind}
    if kind == "rsa":
        wanted["bits"] = args["bits"]
        if not BITS["rsa"][0] <= args["bits"] <= BITS["rsa"][1]:
            raise BadArgument(
                f"certificate.key: bits are from 2048 to 16384, not {args['bits']}", unchanged=[path]
            )
    elif kind == "ec":
        wanted["curve"] = args["curve"]
    return _outcome((yield Ensure((Want(resource, wanted, None, {"replace": args["replace"]}),))))


def self_signed(args: Mapping[str, Any], context: Context) -> Steps:
    """A certificate signed by its own key."""
    yield from alone(context, "certificate.self_signed")
    if args["days"] <= args["renew_before"]:
        raise BadArgument(
            f"certificate.self_signed: a certificate for {args['days']} days that is renewed"
            f" {args['renew_before']} days before it ends would be made anew each time",
            unchanged=[args["path"]],
        )
    params = {"key": args["key"], "renew_before": args["renew_before"]}
    resource = Resource("certificate.self_signed", args["path"], params)
    if args["state"] == "absent":
        return _outcome((yield Ensure((Want(resource, None),))))
    wanted = {**_place(args), **_request(args), "ca": args["ca"], "current": True, "self_signed": True}
    return _outcome((yield Ensure((Want(resource, wanted, None, {"days": args["days"]}),))))


def csr(args: Mapping[str, Any], context: Context) -> Steps:
    """A request to sign a certificate."""
    yield from alone(context, "certificate.csr")
    resource = Resource("certificate.csr", args["path"], {"key": args["key"]})
    if args["state"] == "absent":
        return _outcome((yield Ensure((Want(resource, None),))))
    return _outcome((yield Ensure((Want(resource, {**_place(args), **_request(args)}),))))


def _place(args: Mapping[str, Any]) -> dict[str, Any]:
    wanted: dict[str, Any] = {"mode": f"{args['mode']:04o}"}
    wanted.update(ownership(args["owner"], args["group"]))
    return wanted


def _request(args: Mapping[str, Any]) -> dict[str, Any]:
    """Whom a certificate is for, and that it belongs to the key."""
    names = [*(f"DNS:{name}" for name in args["dns"]), *(f"IP:{ip}" for ip in args["ip"])]
    subject = dict(args["subject"])
    if args["common_name"] is not None:
        if "CN" in subject:
            raise BadArgument(
                "certificate: common_name is the CN of subject; give one of them", unchanged=[args["path"]]
            )
        subject["CN"] = args["common_name"]
    if not subject and not names:
        raise BadArgument(
            "certificate: say whom it is for: common_name, subject, dns or ip", unchanged=[args["path"]]
        )
    ordered = [f"{field}={subject[field]}" for field in SUBJECT if field in subject]
    return {"subject": ordered, "names": sorted(names), "matches_key": True}


def _outcome(done: Sequence[Converged]) -> Outcome:
    (one,) = done
    return Outcome(one.action != "none", one.message, {"path": one.resource.id})


def _args(mode: str, words: str) -> tuple[Arg, ...]:
    return (
        Arg("mode", "mode", f"permissions as octal text; {words}", default=int(mode, 8)),
        Arg("owner", "owner", "whom it belongs to, a name or number; without it: as it is"),
        Arg("group", "owner", "its group, a name or number; without it: as it is"),
        Arg(
            "state",
            "present or absent",
            'whether it should be there: "present" or "absent"',
            default="present",
        ),
    )


_WHOM = (
    Arg("common_name", "subject text", "the name it is for (CN)"),
    Arg(
        "subject", "subject", "more of the subject: {C = …, ST = …, L = …, O = …, OU = …, CN = …}", default={}
    ),
    Arg("dns", "dns names", "host names it is valid for; *. at the start means any one", default=()),
    Arg("ip", "ip addresses", "IP addresses it is valid for", default=()),
)
_RETURNS = {"path": "(string) the path of the file"}
MODULES = (
    Module(
        "certificate.key",
        key,
        (
            Arg("path", "file path", "the key's file, an absolute path on the target; folders above it that"
                " are missing are made (0755)", required=True),
            Arg("type", "key type", "rsa, ec or ed25519", default="ec"),
            Arg("bits", "integer", "the length of an rsa key", default=3072),
            Arg("curve", "curve", "the curve of an ec key: prime256v1, secp384r1, secp521r1", default="prime256v1"),
            Arg("replace", "boolean", "make a new key if the one there is of another type or length", default=False),
            *_args("0600", "0600 if not given"),
        ),
        "Makes a private key, if there is none. It is never read from the target.",
        positional="path",
        refused={
            "passphrase": "a key that a service reads at its start can't ask; it is protected by its mode",
            "size": "say bits = …",
        },
        returns=_RETURNS,
    ),
    Module(
        "certificate.self_signed",
        self_signed,
        (
            Arg("path", "file path", "the certificate's file, an absolute path on the target; folders above it that"
                " are missing are made (0755)", required=True),
            Arg("key", "file path", "the private key's file on the target", required=True),
            *_WHOM,
            Arg("days", "integer", "how long it is valid", default=365),
            Arg("renew_before", "integer", "days before its end from which on it is made anew", default=30),
            Arg("ca", "boolean", "whether it may sign other certificates", default=False),
            *_args("0644", "0644 if not given"),
        ),
        "Makes a certificate signed by its own key; anew if it ends soon, is for others, or belongs to another key.",
        refused={"san": "say dns = {…} and ip = {…}", "force": "it is made anew when it has to be"},
        returns=_RETURNS,
    ),
    Module(
        "certificate.csr",
        csr,
        (
            Arg("path", "file path", "the request's file, an absolute path on the target; folders above it that"
                " are missing are made (0755)", required=True),
            Arg("key", "file path", "the private key's file on the target", required=True),
            *_WHOM,
            *_args("0644", "0644 if not given"),
        ),
        "Makes a request to sign a certificate; anew if it is for others or belongs to another key.",
        refused={"san": "say dns = {…} and ip = {…}"},
        returns=_RETURNS,
    ),
)  # fmt: skip
