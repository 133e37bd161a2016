"""Why: a target asks a service, or fetches a file, by itself: what it gets need not pass through the controller.

``http.request`` is an action: what it does, the server knows. ``http.download`` converges a file, by its checksum, or
by asking the server whether it is still the one that came last time (ETag, Last-Modified), and only else by reading
it all to compare.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping

from sloth_runner.errors import BadArgument, BadValue, TaskFailed
from sloth_runner.model import Outcome
from sloth_runner.modules.base import Arg, Context, Ensure, Module, Predict, Recall, Resource, Want
from sloth_runner.modules.files.put import attributes, where
from sloth_runner.modules.urls import basic, take_apart
from sloth_runner.ops import FILE, Exec, Fetch, Stat
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Converged, Step, Steps
    from sloth_runner.ops import Fetched, Found, Ran

TIMEOUT = 60.0
BODY_LIMIT = 16 << 20
"""Bytes that the body of an answer may have: it is handed to the task whole."""
SMALL = 1 << 20
"""Bytes up to which a file that is downloaded passes through memory, so that its difference can be shown."""
ASKING = ("GET", "HEAD", "OPTIONS")
"""Methods that ask and change nothing (RFC 9110, safe methods)."""


def request(args: Mapping[str, Any], context: Context) -> Steps:
    """Send a request; judge the answer by its status."""
    method, changing = args["method"], args["changed_when"]
    if changing is None:
        changing = method not in ASKING
    op = prepared(args, context, method)
    body, kind = _body(args)
    if kind is not None and not any(name.lower() == "content-type" for name, _ in op.headers):
        op = op._replace(headers=(*op.headers, ("Content-Type", kind)))
    follow = args["redirects"] and method in ("GET", "HEAD")
    op = op._replace(body=body, limit=BODY_LIMIT, redirects=follow, mutating=changing)
    unknown = ("status", "body", "headers", "json")
    yield Predict(f"http:{op.label}", f"would send {op.label}", changing, unknown=unknown)
    answer: Fetched = yield op
    expect(answer, args["status"], op, context)
    if answer.body is None:
        raise TaskFailed(
            f"{op.label}: the answer has more than {BODY_LIMIT >> 20} MiB, which http.request does not carry",
            next=["http.download puts it into a file on the target"],
        )
    text = answer.body.decode("utf-8", "surrogateescape")
    fields: dict[str, object] = {"status": answer.status, "body": text, "headers": _joined(answer)}
    if "json" in (answer.header("content-type") or "").partition(";")[0]:
        fields["json"] = _json(text, op)
    return Outcome(changing, f"{op.label}: {answer.status} {answer.reason}".rstrip(), fields)


def prepared(args: Mapping[str, Any], context: Context, method: str) -> Fetch:
    """The request that a call's url, headers, username, password and ca make, with the password in a header rather
    than in the URL."""
    url = take_apart(args["url"])
    headers = list(args["headers"])
    user, password = args["username"] or url.user, args["password"] or url.password
    if user is not None or password is not None:
        if any(name.lower() == "authorization" for name, _ in headers):
            raise BadArgument("a request has either an Authorization header or username and password")
        headers.append(("Authorization", basic(user or "", password or "")))
    if not any(name.lower() == "user-agent" for name, _ in headers):
        headers.append(("User-Agent", "sloth-runner"))
    headers.append(("Accept-Encoding", "identity"))
    label = f"{method} (sensitive)" if context.sensitive else f"{method} {url.shown}"
    env = {name: value for name, value in context.env.items() if name.lower().endswith("_proxy")}
    return Fetch(
        label, url.public, method, tuple(headers), timeout=context.timeout or TIMEOUT, ca=args["ca"], env=env
    )


def _body(args: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    if args["body"] is not None and args["json"] is not None:
        raise BadArgument("http.request takes either body (a text) or json (a value)")
    if args["json"] is not None:
        try:
            text = json.dumps(args["json"], ensure_ascii=False, allow_nan=False)
            return text.encode(), "application/json"
        except (TypeError, ValueError):  # of what is no UTF-8, too
            raise BadValue(
                "http.request: json can't say this value: it holds what JSON has no word for"
            ) from None
    if args["body"] is not None:
        return args["body"].encode("utf-8", "surrogateescape"), "application/octet-stream"
    return (b"", None) if args["method"] in ("POST", "PUT", "PATCH") else (None, None)


def expect(answer: Fetched, statuses: tuple[int, ...] | None, op: Fetch, context: Context) -> None:
    """Raise TaskFailed unless the status is right (None: any success)."""
    if answer.status in statuses if statuses else 200 <= answer.status < 300:
        return
    said = (answer.body or b"").decode("utf-8", "replace").strip().splitlines()[:5]
    wanted = f", not {' or '.join(map(str, statuses))}" if statuses else ""
    hints = {
        401: ["give username and password, or an Authorization header"],
        404: ["check the URL's spelling"],
        407: ["the proxy wants a password: https_proxy = http://user:password@host:port"],
    }
    if 300 <= answer.status < 400:
        hints[answer.status] = [
            "it is redirected: use the URL in its Location header, or status = {…} to accept it"
        ]
    raise TaskFailed(
        f"{op.label}: the server answered {answer.status} {answer.reason}".rstrip() + wanted,
        system=None if context.sensitive else "\n".join(line[:200] for line in said) or None,
        next=hints.get(answer.status, ["status = {…} names the statuses that are right"]),
    )


def _joined(answer: Fetched) -> dict[str, str]:
    """Headers by name in lower case; of several with one name the values, joined by commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in answer.headers:
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _json(text: str, op: Fetch) -> object:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise TaskFailed(f"{op.label}: the answer says that it is JSON, but is not: {error}") from None


def _no_constant(name: str) -> object:
    raise ValueError(f"it holds {name}")


def download(args: Mapping[str, Any], context: Context) -> Steps:
    """A file of a server: its digest is found in the cheapest manner that is sure, then it is an ordinary file."""
    path = yield from where(args["dest"], args["follow"], context)
    op = prepared(args, context, "GET")._replace(limit=SMALL)
    wanted = attributes(FILE, args)
    memory: Mapping[str, Any] = (yield Recall(_memory_name(path))) or {}
    found: Found = yield Stat(path, digest=True)
    content, digest, seen = yield from _wanted(args, op, found, memory, context)
    if content is None and digest is not None:
        wanted["content"] = digest
    into = op._replace(into=path, checksum=args["checksum"] or _known(digest), mutating=True)
    resource = Resource("file", path)
    done: tuple[Converged, ...] = yield Ensure((Want(resource, wanted, content, {"fetch": into}),))
    outcome = Outcome(done[0].action != "none", done[0].message, {"path": path}, done[0].diff)
    after: Found = yield Stat(path, digest=True)
    if content is None and digest is None and after.kind == FILE:
        # What came is known only now; the ledger is told, so that drift can be seen.
        yield Ensure((Want(resource, {**wanted, "content": after.digest}),))
    return outcome._replace(remember=_remembered(path, op.url, args["checksum"], after, seen))


def _wanted(
    args: Mapping[str, Any], op: Fetch, found: Found, memory: Mapping[str, Any], context: Context
) -> Generator[Step, Any, tuple[bytes | None, str | None, Mapping[str, str]]]:
    """The content that should be there if it is small, else its SHA-256 (None: it is missing, and large), and what to
    ask with next time."""
    checksum = args["checksum"]
    if checksum is not None and checksum[0] == "sha256":
        return None, checksum[1], {}
    same = (
        found.kind == FILE and memory.get("sha256") == found.digest and memory.get("url") == _digest(op.url)
    )
    if checksum is not None:
        if found.kind == FILE and (same and memory.get("checksum") == list(checksum)):
            return None, found.digest, {}
        if found.kind == FILE and (yield from _has(args["dest"], checksum)):
            return None, found.digest, {}
    asking = op
    validators: Mapping[str, str] = memory.get("validators", {}) if same else {}
    if checksum is None and validators:
        names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
        asking = op._replace(
            headers=(*op.headers, *((names[name], text) for name, text in validators.items()))
        )
    answer: Fetched = yield asking._replace(checksum=checksum, whole=found.kind == FILE)
    if answer.status == 304 and validators:
        return None, found.digest, validators
    expect(answer, None, op, context)
    fresh = {name: value for name in ("etag", "last-modified") if (value := answer.header(name)) is not None}
    return answer.body, answer.sha256, fresh


def _has(path: str, checksum: tuple[str, str]) -> Generator[Step, Any, bool]:
    """Whether the file there has a checksum that Stat does not make."""
    program = f"{checksum[0]}sum"
    ran: Ran = yield Exec(f"{program} of {path}", (program, "--", path), cwd="/", mutating=False, quiet=True)
    return ran.exit_code == 0 and ran.stdout.lstrip(b"\\").startswith(checksum[1].encode())


def _known(digest: str | None) -> tuple[str, str] | None:
    return None if digest is None else ("sha256", digest)


def _digest(url: str) -> str:
    """Which URL it was; a query may hold a secret, and is not kept."""
    from hashlib import sha256

    return sha256(url.encode()).hexdigest()


def _memory_name(path: str) -> str:
    return f"download:{path}"


def _remembered(
    path: str, url: str, checksum: tuple[str, str] | None, found: Found, validators: Mapping[str, str]
) -> tuple[str, Mapping[str, Any]] | None:
    """What the next call needs in order not to read everything again."""
    if found.kind != FILE or found.digest is None:
        return None
    memory: dict[str, Any] = {"sha256": found.digest, "url": _digest(url), "validators": dict(validators)}
    if checksum is not None:
        memory["checksum"] = list(checksum)
    return _memory_name(path), memory


_WHERE = (
    Arg("url", "url", "the URL; a user and password in it are sent as basic authentication", required=True),
    Arg("headers", "headers", "headers to send, a table", default=()),
    Arg("username", "string", "for basic authentication"),
    Arg("password", "string", "for basic authentication"),
    Arg("ca", "path", "a file on the target with the certificate authorities to trust; without it: the system's"),
)  # fmt: skip
_REFUSED = {
    "verify": "certificates are always checked; ca = … names the authority of your own servers",
    "insecure": "certificates are always checked; ca = … names the authority of your own servers",
    "token": 'say headers = { Authorization = "Bearer …" }, with sensitive = true',
}

MODULES = (
    Module(
        "http.request",
        request,
        (
            *_WHERE,
            Arg("method", "method", "GET, POST, PUT, …", default="GET"),
            Arg("body", "content", "what to send, byte for byte"),
            Arg("json", "any", "a value to send as JSON"),
            Arg("status", "statuses", "the status, or statuses, that are right; without it: 200 to 299"),
            Arg("redirects", "boolean", "whether GET and HEAD follow redirections", default=True),
            Arg(
                "changed_when",
                "boolean",
                "whether it counts as a change; without it: with any method but GET, HEAD and OPTIONS. A request that"
                " does not is sent in check mode, too",
            ),
        ),
        "Sends an HTTP request from the target.",
        refused=_REFUSED,
        returns={
            "status": "the status",
            "body": "the answer, byte for byte",
            "headers": "the answer's headers, their names in lower case",
            "json": "the answer's value, if it says that it is JSON",
        },
    ),
    Module(
        "http.download",
        download,
        (
            *_WHERE,
            Arg("dest", "file path", "the file's absolute path on the target", required=True),
            Arg(
                "checksum",
                "checksum",
                '"sha256:…" or "sha512:…": the file is fetched only if it differs, and refused if what comes differs;'
                " without it the server is asked each time whether it has another one",
            ),
            Arg("mode", "mode", 'permissions as octal text, "0644"; without it: as they are, 0644 if new'),
            Arg("owner", "owner", "whom it belongs to, a name or number; without it: as it is"),
            Arg("group", "owner", "its group, a name or number; without it: as it is"),
            Arg("follow", "boolean", "act on what a symbolic link leads to, not on the link", default=False),
        ),
        "Downloads a file onto the target.",
        refused={**_REFUSED, "path": "say dest = …", "sha256": 'say checksum = "sha256:…"'},
        returns={"path": "the file's path"},
    ),
)
