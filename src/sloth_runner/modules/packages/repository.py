"""Why: where packages come from is a file in apt's folder, and whom to trust for them another one."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Resource, Source, Want
from sloth_runner.modules.files.put import where
from sloth_runner.modules.packages.openpgp import fingerprints, keyring
from sloth_runner.ops import FILE, OpError, Read
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Step, Steps
    from sloth_runner.ops import Content, Fetched

FOLDER = "/etc/apt/sources.list.d"
KEYRINGS = "/etc/apt/keyrings"
KEY_LIMIT = 1 << 20


def repository(args: Mapping[str, Any], context: Context) -> Steps:
    """A source of packages, as a file of the form deb822."""
    path = yield from where(f"{FOLDER}/{args['name']}.sources", False, context)
    if args["state"] == "absent":
        return (yield from _file(path, None))
    for name in ("uris", "suites"):
        if not args[name]:
            raise BadArgument(f"pkg.repository needs {name}")
    if (args["signed_by"] is None) is (args["key"] is None):
        raise BadArgument(
            "pkg.repository takes either signed_by (the path of a keyring on the target) or key (an armored key)",
            next=['pkg.key puts a keyring there: signed_by = "/etc/apt/keyrings/NAME.gpg"'],
        )
    exact = [suite for suite in args["suites"] if suite.endswith("/")]
    if bool(exact) is bool(args["components"]) or (exact and len(exact) != len(args["suites"])):
        raise BadArgument(
            "pkg.repository: a suite that ends with / has no components, and any other has some"
        )
    return (yield from _file(path, _deb822(args).encode()))


def _deb822(args: Mapping[str, Any]) -> str:
    fields = {
        "Types": args["types"], "URIs": args["uris"], "Suites": args["suites"], "Components": args["components"],
        "Architectures": args["architectures"],
    }  # fmt: skip
    lines = [f"{name}: {' '.join(words)}" for name, words in fields.items() if words]
    if args["signed_by"] is not None:
        lines.append(f"Signed-By: {args['signed_by']}")
    else:
        lines.append("Signed-By:")
        lines += [f" {line}" if line.strip() else " ." for line in args["key"].strip().splitlines()]
    if not args["enabled"]:
        lines.append("Enabled: no")
    return "\n".join([*lines, ""])


def key(args: Mapping[str, Any], context: Context) -> Steps:
    """A keyring for apt, at a path of its own: it is trusted only by the sources that name it."""
    path = yield from where(f"{KEYRINGS}/{args['name']}.gpg", False, context)
    given = [name for name in ("src", "key", "url") if args[name] is not None]
    if args["state"] == "absent":
        return (yield from _file(path, None))
    if len(given) != 1:
        raise BadArgument("pkg.key takes one of src (a file here), key (an armored text) and url")
    if args["url"] is not None and args["fingerprint"] is None:
        raise BadArgument(
            "pkg.key: with url give fingerprint, too: else whoever answers there could have packages trusted",
            next=["its owner tells it; `gpg --show-keys FILE` shows that of a file"],
        )
    wanted = args["fingerprint"]
    if args["url"] is not None:
        there = yield from _there(path)
        if there is not None and _first(there) == wanted:
            return (yield from _file(path, there))
    data: bytes = yield from _data(args, context)
    what = f"pkg.key {args['name']}: what came from {given[0]}"
    try:
        ring = keyring(data)
        found = fingerprints(ring)
    except ValueError as error:
        raise TaskFailed(f"{what} {error}", unchanged=[path]) from None
    if wanted is not None and found != [wanted]:
        raise TaskFailed(
            f"{what} has the fingerprint {', '.join(found)}, not {wanted}",
            unchanged=[path],
            next=["ask its owner which one is right, before you change it here"],
        )
    outcome = yield from _file(path, ring)
    return outcome._replace(fields={**outcome.fields, "fingerprints": found})


def _first(ring: bytes) -> str | None:
    """The fingerprint of a keyring of one key."""
    try:
        found = fingerprints(keyring(ring))
    except ValueError:
        return None
    return found[0] if len(found) == 1 else None


def _there(path: str) -> Generator[Step, Any, bytes | None]:
    try:
        read: Content = yield Read(path, KEY_LIMIT)
    except OpError as error:
        if error.kind in ("missing", "too-large", "not-file"):
            return None
        raise
    return read.data


def _data(args: Mapping[str, Any], context: Context) -> Generator[Step, Any, bytes]:
    if args["key"] is not None:
        return str(args["key"]).encode("utf-8", "surrogateescape")
    if args["src"] is not None:
        source: bytes = yield Source(args["src"])
        return source
    from sloth_runner.modules.http import expect, prepared

    plain = {"url": args["url"], "headers": (), "username": None, "password": None, "ca": args["ca"]}
    op = prepared(plain, context, "GET")._replace(limit=KEY_LIMIT)
    answer: Fetched = yield op
    expect(answer, None, op, context)
    if answer.body is None:
        raise TaskFailed(f"{op.label}: the answer has more than {KEY_LIMIT >> 20} MiB, which no key has")
    return answer.body


def _file(path: str, content: bytes | None) -> Steps:
    wanted = None if content is None else {"type": FILE, "mode": "0644"}
    done: tuple[Converged, ...] = yield Ensure((Want(Resource("file", path), wanted, content),))
    return Outcome(done[0].action != "none", done[0].message, {"path": path}, done[0].diff)


_NAME = Arg("name", "file name", "letters, digits, _, - and ., as apt takes them", required=True)
_STATE = Arg("state", "present or absent", '"present" or "absent"', default="present")

MODULES = (
    Module(
        "pkg.repository",
        repository,
        (
            _NAME,
            Arg("uris", "source uris", "where it is: one address, or several", default=()),
            Arg(
                "suites",
                "source words",
                'such as "bookworm"; or the path of a flat one, which ends with /',
                default=(),
            ),
            Arg("components", "source words", 'such as "main"', default=()),
            Arg("signed_by", "path", "the keyring on the target whose keys may sign it"),
            Arg("key", "string", "the armored key that may sign it, kept in the same file"),
            Arg("types", "source words", '"deb", "deb-src"', default=("deb",)),
            Arg("architectures", "source words", "which ones; without it: the machine's", default=()),
            Arg("enabled", "boolean", "whether apt uses it", default=True),
            _STATE,
        ),
        "Adds a source of packages to apt, in a .sources file. pkg with update_cache sees that sources changed.",
        refused={
            "trusted": "packages are always checked: sign the repository",
            "repo": 'say uris = "https://…", suites = "…", components = "…"',
            "filename": "say name = …: it is the name of the file, too",
        },
        returns={"path": "the file's path"},
    ),
    Module(
        "pkg.key",
        key,
        (
            _NAME,
            Arg("src", "line", "a file with the key, armored or not, relative to the task file"),
            Arg("key", "string", "the armored key itself"),
            Arg("url", "url", "where the target fetches it; with fingerprint"),
            Arg("fingerprint", "fingerprint", "what the key's fingerprint must be, 40 hex digits"),
            Arg("ca", "path", "a file on the target with the certificate authorities to trust for url"),
            _STATE,
        ),
        "Puts the public key of a repository into a keyring of its own, /etc/apt/keyrings/NAME.gpg.",
        refused={"id": "key servers are not asked: give the key itself, with its fingerprint"},
        returns={"path": "the keyring's path", "fingerprints": "of the keys in it"},
    ),
)
