"""Why: a content that takes a file's place can be checked before, and the one it replaces kept, in every module that
writes files, in one manner.

Options of a Want: ``backup`` (keep the old content beside), ``validate`` (words of a command in which ``%s`` stands
for a file with the new content), ``timeout`` in seconds and ``sensitive`` for that command.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Generator, Mapping

from sloth_runner.errors import TaskFailed
from sloth_runner.modules.base import Arg, Context
from sloth_runner.ops import FILE, Exec, OpError, Read, Remove, Stat, Write
from sloth_runner.plain import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from sloth_runner.modules.base import Attributes
    from sloth_runner.ops import Content, Found, Ran

T = TypeVar("T")

LIMIT = 256 << 20
"""Bytes of an old content that can be kept beside."""
NEW = 0o644
TRIES = 20
"""Times that a file is read anew because others wrote it meanwhile."""
ARGS = (
    Arg("backup", "boolean", "keep the old content beside, under a name made of its digest", default=False),
    Arg(
        "validate",
        "validate",
        'a command that must succeed before the file takes its place, such as "nginx -t -c %s"; no shell sees it',
    ),
)


def options(args: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Options for a Want, of the arguments ARGS."""
    found: dict[str, Any] = {}
    if args["backup"]:
        found["backup"] = True
    if args["validate"]:
        found["validate"] = args["validate"]
        found["timeout"], found["sensitive"] = context.timeout, context.sensitive
    return found


def backup_path(path: str, digest: str) -> str:
    """Where the content of ``path`` with that SHA-256 is kept."""
    return f"{path}.{digest[:16]}~"


def kept(path: str, args: Mapping[str, Any]) -> Generator[Any, Any, str | None]:
    """Where the content that is there now would be kept, if that is asked for and there is one."""
    if not args["backup"]:
        return None
    found: Found = yield Stat(path, digest=True, names=False)
    return None if found.digest is None else backup_path(path, found.digest)


def backed_up(path: str | None) -> Generator[Any, Any, dict[str, object]]:
    """Field ``backup`` of a result: the path, if something is kept there."""
    if path is None:
        return {}
    found: Found = yield Stat(path, names=False)
    return {"backup": path} if found.kind == FILE else {}


def undisturbed(path: str, work: Callable[[], Generator[Any, Any, T]]) -> Generator[Any, Any, T]:
    """What ``work`` gives, which reads a file and writes it ``over`` what it has read; begun anew if others wrote it
    meanwhile, so that nobody's change is lost. Raises TaskFailed when they do so each time."""
    for _ in range(TRIES):
        try:
            return (yield from work())
        except OpError as error:
            if error.kind != "changed":
                raise
    raise TaskFailed(
        f"{path} was changed by others each time it was about to be written",
        unchanged=[path],
        next=["run again when they are done"],
    )


def over(content: bytes | None) -> str:
    """What a Write says that takes the place of this content (None: of nothing)."""
    from hashlib import sha256

    return "" if content is None else sha256(content).hexdigest()


def put(
    path: str,
    content: bytes,
    before: Attributes | None,
    options: Mapping[str, Any],
    attributes: tuple[int | None, str | None, str | None] = (None, None, None),
    *,
    dry: bool = False,
    over: str | None = None,
) -> Generator[Any, Any, str]:
    """Write a file; ``before`` are the attributes of what it replaces, ``attributes`` the mode, owner and group
    that it gets (None: as they are); ``over`` as in Write. Returns a note. Raises TaskFailed if it is invalid, and
    changes nothing."""
    if options.get("validate") and not dry:
        yield from _validate(path, content, before, options, attributes)
    note = ""
    if options.get("backup") and before is not None and before["type"] == FILE:
        note = yield from _back_up(path, before)
    yield Write(path, content, *attributes, over=over)
    return note


def _back_up(path: str, before: Attributes) -> Generator[Any, Any, str]:
    from hashlib import sha256

    old: Content = yield Read(path, LIMIT)
    beside = backup_path(path, sha256(old.data).hexdigest())
    yield Write(beside, old.data, int(str(before["mode"]), 8), str(before["uid"]), str(before["gid"]))
    return f"the old content is kept as {beside}"


def _validate(
    path: str,
    content: bytes,
    before: Attributes | None,
    options: Mapping[str, Any],
    attributes: tuple[int | None, str | None, str | None],
) -> Generator[Any, Any, None]:
    from hashlib import sha256

    folder, name = posixpath.split(path)
    # One name for each file: what a killed run left is written over by the next one, and goes with it.
    digest = sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    beside = posixpath.join(folder, f".{name}.sloth-{digest[:16]}")
    mode, owner, group = attributes
    if before is not None and before["type"] == FILE:
        mode = int(str(before["mode"]), 8) if mode is None else mode
        owner = str(before["uid"]) if owner is None else owner
        group = str(before["gid"]) if group is None else group
    argv = tuple(word.replace("%s", beside) for word in options["validate"])
    label = f"the check of {path} by {argv[0]}"
    yield Write(beside, content, NEW if mode is None else mode, owner, group, passing=True)
    try:
        ran: Ran = yield Exec(
            label, argv, cwd="/", env={"LC_ALL": "C"}, timeout=options.get("timeout"), mutating=False
        )
    except OpError as error:
        raise TaskFailed(
            f"{path} could not be checked: {error}",
            unchanged=[path],
            next=["install the program, or correct validate"],
        ) from error
    finally:
        yield Remove(beside, passing=True)
    if ran.exit_code:
        raise _invalid(path, beside, label, ran, bool(options.get("sensitive")))


def _invalid(path: str, beside: str, label: str, ran: Ran, sensitive: bool) -> TaskFailed:
    from sloth_runner.modules.complaints import headline

    output = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace").replace(beside, path)
    said = [] if sensitive else output.splitlines()
    how = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    return TaskFailed(
        f"{label} {how}" + (f": {headline(said)}" if said else ""),
        system="\n".join(said[-5:]) or None,
        unchanged=[path],
        next=["correct the new content: it was checked before it would have taken the file's place"],
    )
