"""Why: the modules of a machine's set-up all read small text files, ask programs, and tell why a program failed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from sloth_runner.errors import BadArgument, TaskFailed
from sloth_runner.ops import ABSENT, FOLDER, LINK, Exec, MakeDir, OpError, Read, Remove, Stat, WhoAmI, Write
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.modules.base import Context
    from sloth_runner.ops import Content, Done, Found, Identity, Ran

LARGEST = 8 << 20
"""Bytes of a file of settings that are read; a larger one is no such file."""
CHANGED = 75
"""The exit status by which a shell line of ours says that others changed what it was to change."""
PACKAGES = {
    "crontab": "cron", "sysctl": "procps", "systemctl": "systemd", "visudo": "sudo", "umount": "mount",
    "psql": "postgresql-client", "mariadb": "mariadb-client",
    **dict.fromkeys(
        ("chpasswd", "gpasswd", "groupadd", "groupdel", "groupmod", "useradd", "userdel", "usermod"), "passwd"
    ),
}  # fmt: skip
"""Which Debian package has a program; the others carry its name."""


def alone(context: Context, module: str, advice: str = "") -> Generator[Any, Any, None]:
    """Files are handled as the user we are. Raises BadArgument where a call asks for another one."""
    if context.user is None:
        return
    identity: Identity = yield WhoAmI()
    if context.user not in (identity.name, str(identity.uid)):
        raise BadArgument(
            f"{module} can't act as {context.user!r} on this machine; it acts as {identity.name!r}",
            unchanged=["this call changed nothing"],
            next=[advice or "connect as that user, or run sloth-runner as that user"],
        )


def text_of(path: str) -> Generator[Any, Any, str | None]:
    """The text of a file; None if there is none."""
    try:
        read: Content = yield Read(path, LARGEST)
    except OpError as error:
        if error.kind == "missing":
            return None
        raise
    return read.data.decode("utf-8", "surrogateescape")


def lines_of(path: str) -> Generator[Any, Any, list[str]]:
    """The lines of a file, without their ends; none if there is no file."""
    text = yield from text_of(path)
    return (text or "").splitlines()


def edit_lines(
    path: str,
    edit: Callable[[list[str]], Sequence[str]],
    mode: int = 0o644,
    owner: str | None = None,
    group: str | None = None,
    *,
    gone: bool = False,
) -> Generator[Any, Any, bool]:
    """Make of a file's lines what ``edit`` makes of them, whoever else writes it; mode, owner and group are those of
    a new one. With ``gone`` it is removed if no line is left; whether it was. Raises TaskFailed for a link: its owner
    may have made it one to what only we may read."""
    from sloth_runner.modules.files.guard import over, undisturbed

    def work() -> Generator[Any, Any, bool]:
        found: Found = yield Stat(path, names=False)
        if found.kind == LINK:
            raise TaskFailed(
                f"{path} is a symbolic link to {found.target}, and is not edited",
                unchanged=[path],
                next=[
                    "name the file itself, where the module takes a path, or put a file in the link's place"
                ],
            )
        text = yield from text_of(path)
        lines = edit((text or "").splitlines())
        old = None if text is None else text.encode("utf-8", "surrogateescape")
        if gone and not lines:
            yield Remove(path, over=over(old))
            return True
        new = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
        write = Write(path, new, over=over(old))
        yield write if old is not None else write._replace(mode=mode, owner=owner, group=group)
        return False

    return (yield from undisturbed(path, work))


def replaced(lines: Sequence[str], is_ours: Callable[[str], bool], new: Sequence[str]) -> list[str]:
    """The lines without ours, and with the new ones in the place of the first of them, or at the end."""
    out: list[str] = []
    for line in lines:
        if is_ours(line):
            out.extend(new)
            new = ()
        else:
            out.append(line)
    return [*out, *new]


def missing_above(path: str) -> Generator[Any, Any, list[str]]:
    """The folders missing above a path, the highest first."""
    import posixpath

    missing: list[str] = []
    folder = posixpath.dirname(path)
    while folder != "/":
        found: Found = yield Stat(folder, follow=True, names=False)
        if found.kind == FOLDER:
            break
        if found.kind != ABSENT:
            raise TaskFailed(f"{folder} is no folder, so {path} can't be in it", unchanged=[path])
        missing.insert(0, folder)
        folder = posixpath.dirname(folder)
    return missing


def make_folders(folders: Sequence[str], mode: int = 0o755) -> Generator[Any, Any, None]:
    """Make folders, the highest first."""
    for folder in folders:
        yield MakeDir(folder, mode)


def remove_empty(folders: Sequence[str]) -> Generator[Any, Any, None]:
    """Take folders away again, the deepest first, up to one that something is in."""
    for folder in reversed(folders):
        try:
            removed: Done = yield Remove(folder)
        except OpError as error:
            if error.kind not in ("not-empty", "not-folder", "denied", "read-only", "mount", "flagged"):
                raise
            return
        del removed


def ask(*argv: str, env: Mapping[str, str] | None = None) -> Generator[Any, Any, Ran | None]:
    """What a program that only looks says; None if it is not installed."""
    label = f"`{' '.join(argv)}`"
    try:
        ran: Ran = yield Exec(
            label, argv, cwd="/", env={"LC_ALL": "C", **(env or {})}, mutating=False, quiet=True
        )
    except OpError as error:
        if error.kind == "not-found":
            return None
        raise
    return ran


def act(
    subject: str, argv: Sequence[str], *, advice: Sequence[str] = (), sensitive: bool = False
) -> Generator[Any, Any, Ran]:
    """Run a program that changes something. Raises TaskFailed, in ``subject``'s name and the program's own words; of
    a sensitive one only its name is told."""
    op = Exec(f"`{argv[0]}` (sensitive)" if sensitive else f"`{' '.join(argv)}`", tuple(argv))
    return (yield from perform(subject, op, advice=advice, sensitive=sensitive))


def feed(
    subject: str,
    text: str,
    argv: Sequence[str],
    *,
    mutating: bool = True,
    sensitive: bool = False,
    first: str = "",
    env: Mapping[str, str] | None = None,
) -> Generator[Any, Any, Ran]:
    """The same for a program that reads ``text`` from its standard input. The text goes through the environment,
    which nobody but its user can read, because everybody can read arguments. Up to 100,000 bytes. The shell lines
    ``first``, which see ``env``, come before; if they end with status CHANGED, OpError ``changed`` is raised."""
    import shlex

    if len(text.encode("utf-8", "surrogateescape")) > 100_000:
        raise TaskFailed(
            f"{subject}: more than 100,000 bytes can't be handed to {argv[0]}", unchanged=[subject]
        )
    line = f'{first}printf %s "$SLOTH_TEXT" | {shlex.join(argv)}'
    given = {**(env or {}), "SLOTH_TEXT": text}
    op = Exec(f"`{' '.join(argv)}`", (), line, env=given, mutating=mutating, quiet=not mutating)
    return (yield from perform(subject, op, sensitive=sensitive))


def perform(
    subject: str,
    op: Exec,
    *,
    advice: Sequence[str] = (),
    sensitive: bool = False,
) -> Generator[Any, Any, Ran]:
    """Run a program; raise TaskFailed if it is missing or fails."""
    try:
        ran: Ran = yield op._replace(cwd="/", env={"LC_ALL": "C", **op.env})
    except OpError as error:
        if error.kind != "not-found":
            raise
        raise not_installed(subject, error.path) from error
    if ran.exit_code == CHANGED and f"exit {CHANGED}" in (
        op.line or ""
    ):  # else it is the program's own status
        raise OpError("changed", subject, "was changed by others meanwhile")
    if ran.exit_code:
        program = (op.argv or (op.label.strip("`").split()[0],))[0]
        if op.line is not None and ran.exit_code == 127:
            raise not_installed(subject, program)
        failed = failure(subject, op.label, ran, advice=advice, sensitive=sensitive)
        if op.mutating:  # it, or one before it, may have changed a part of it
            failed.unchanged.clear()
        raise failed
    return ran


def not_installed(subject: str, program: str) -> TaskFailed:
    """The error for a program that is not there."""
    package = PACKAGES.get(program, program)
    return TaskFailed(
        f"{subject}: {program} is not installed",
        unchanged=[subject],
        next=[f"install it first (on Debian it is in package {package})"],
    )


def failure(
    subject: str,
    label: str,
    ran: Ran,
    *,
    advice: Sequence[str] = (),
    sensitive: bool = False,
) -> TaskFailed:
    """The error for a program that failed, in its own words."""
    from sloth_runner.modules.complaints import headline

    said = (ran.stderr.strip() or ran.stdout.strip()).decode("utf-8", "replace").splitlines()
    if sensitive:
        said = []
    how = f"was killed by {ran.signal}" if ran.signal else f"ended with exit status {ran.exit_code}"
    last = f": {headline(said)}" if said else ""
    return TaskFailed(
        f"{subject}: {label} {how}{last}", operation=label, system="\n".join(said[-5:]) or None, unchanged=[subject],
        next=advice,
    )  # fmt: skip
