"""Why: a module says what it wants done on a machine in this closed vocabulary, and does nothing itself.

Diffs, tests without mocks, retries and every transport rest on it. Standard library only and able to run on
Python 3.8, because the agent that works on a bare machine is made of this file and ``agent/``.

Paths are absolute; text stands for bytes as UTF-8 with ``surrogateescape``, whatever the machine's locale.
Owners and groups are names, or numbers written as text. Modes are the low twelve bits. Times are seconds.

The file is longer than others because the vocabulary is closed: who adds a word, or a transport, sees all of it.
"""

from __future__ import annotations

from sloth_runner.plain import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    FileOp: TypeAlias = (
        "Stat | Read | Write | MakeDir | MakeLink | SetAttrs | SetTimes | Remove | Glob | List | WhoAmI"
    )
    Op: TypeAlias = "FileOp | Whose | Facts | Unpack | Exec | Fetch | Reach | Pause | Batch"
    Result: TypeAlias = (
        "Found | Content | Done | Matches | Listing | Identity | Owned | Gathered | Unpacked | Ran | Fetched"
        " | Reached | Paused | tuple[Result, ...]"
    )
    Stamp: TypeAlias = "tuple[int, int, int, int, int]"

FILE, FOLDER, LINK, OTHER, ABSENT = "file", "folder", "link", "other", "absent"
"""Kinds of things that a path may name."""
REHEARSED = -1.0
"""When something was modified that is only rehearsed."""


class OpError(Exception):
    """An operation could not be done. Unless ``partial`` says so, it changed nothing.

    ``kind`` is one of ``missing``, ``denied``, ``read-only``, ``exists``, ``folder``, ``not-folder``, ``not-empty``,
    ``not-file``, ``link``, ``mount``, ``flagged`` (by chattr), ``full``, ``quota``, ``files`` (as many are open as
    may be), ``bad-path``, ``no-user``, ``no-group``, ``taken`` (by another), ``no-login`` (a user to act as who is
    not there), ``no-rights`` (to act as a user), ``gone`` (who acts as a user; it may have been done), ``changed``
    (by others meanwhile), ``too-large``, ``too-deep``, ``not-found`` (a program), ``no-folder`` (to start one in),
    ``system``; of requests ``unreachable``, ``certificate``, ``timeout``, ``protocol``, ``checksum``, ``stopped``;
    ``path`` is what it was about; ``reason`` says why, in words. ``results`` holds what the operations of a Batch
    came to that had been done before this one failed.
    """

    def __init__(self, kind: str, path: str, reason: str, *, partial: bool = False) -> None:
        super().__init__(f"{path}: {reason}")
        self.kind = kind
        self.path = path
        self.reason = reason
        self.partial = partial
        self.results: tuple[Result, ...] = ()


class Stat(NamedTuple):
    """What ``path`` names: a Found, also when there is nothing. With ``digest`` a regular file's SHA-256 too.
    A symbolic link is described itself, unless ``follow``.

    ``known`` is a stamp and the digest that was true with it: while the file's stamp is that one, the file is
    not read again (the idea: git's index). Without ``names`` owner and group are not looked up by name."""

    path: str
    digest: bool = False
    follow: bool = False
    known: tuple[Stamp, str] | None = None
    names: bool = True


class Read(NamedTuple):
    """The content of a regular file (links are followed), if it has at most ``limit`` bytes; else
    ``too-large``."""

    path: str
    limit: int


class Write(NamedTuple):
    """Put a whole file in place of what was there, atomically: others see the old file or the new one.

    A symbolic link at ``path`` is replaced, not followed; a folder is refused. ``mode`` None keeps that of
    the file replaced (0644 for a new one); ``owner`` and ``group`` None keep those (a new file belongs to
    the user who writes). ACLs and extended attributes of a replaced file are kept. ``passing``: it is there only
    for a moment, and whoever writes it removes it again. ``over``: the SHA-256 of the content that it may take the
    place of ("": of nothing; None: of any); of another one it is OpError ``changed``.
    """

    path: str
    content: bytes
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    passing: bool = False
    over: str | None = None


class MakeDir(NamedTuple):
    """Make one folder in an existing one. Is there one already, it is left as it is (``Done(False)``)."""

    path: str
    mode: int
    owner: str | None = None
    group: str | None = None


class MakeLink(NamedTuple):
    """Put a symbolic link to ``target`` (any text) at ``path``, in place of a link or a file that is there;
    a folder is refused. ``owner`` and ``group`` are the link's own."""

    path: str
    target: str
    owner: str | None = None
    group: str | None = None


class SetTimes(NamedTuple):
    """Set when a file or folder was last modified and read, in seconds since the epoch (None: leave it)."""

    path: str
    modified: float | None = None
    read: float | None = None


class SetAttrs(NamedTuple):
    """Set mode, owner, group (None: leave it) of a file or folder; a symbolic link is refused."""

    path: str
    mode: int | None = None
    owner: str | None = None
    group: str | None = None


class Remove(NamedTuple):
    """Remove a file, a link (not what it leads to), or a folder; with ``recursive`` all that is in it.

    Nothing outside can be reached through links that appear meanwhile; a folder in which a file system is
    mounted is refused. ``Done(False)`` if there was nothing. ``passing``: what a passing Write has put there.
    ``over``: as in Write, the SHA-256 of the only content that may go.
    """

    path: str
    recursive: bool = False
    passing: bool = False
    over: str | None = None


class Glob(NamedTuple):
    """The regular files that ``patterns`` name, with their SHA-256. ``*`` stops at ``/``, ``**`` doesn't, and goes
    through no link to a folder; neither means names that start with a dot. Relative ones start at ``base``. A pattern
    without wildcards that names a folder means all files in it."""

    patterns: tuple[str, ...]
    base: str


class List(NamedTuple):
    """What is in a folder (with ``recursive``, in those below it too; links are not followed)."""

    path: str
    recursive: bool = False


class Unpack(NamedTuple):
    """Unpack an archive (tar, also compressed by gzip, bzip2 or xz; zip) into the folder ``path``: the file
    ``source`` there, or ``content``. With ``look`` only compare what is there with what is in it.

    Regular files, folders, hard links to files of the archive (as copies) and symbolic links that can't lead outside
    are unpacked; does it hold anything else, or an absolute path, ``..``, one name twice, more than ``most`` entries,
    ``size`` bytes or ``ratio`` times its own size, it is refused as a whole. ``strip`` leading names of each path
    are left out. Modes are those of the archive without setuid, setgid, sticky and the right to write for others than
    the owner. Only what differs is written, each file atomically; nothing else in the folder is touched.
    """

    path: str
    source: str | None = None
    content: bytes | None = None
    strip: int = 0
    owner: str | None = None
    group: str | None = None
    most: int = 100_000
    size: int = 4 << 30
    ratio: int = 200
    look: bool = False


class WhoAmI(NamedTuple):
    """The user who performs operations there."""


class Whose(NamedTuple):
    """Who is meant by an owner and a group, where ``path`` (or what else it names) is to be theirs: an Owned. Names
    that the machine does not know are ``no-user`` and ``no-group``; numbers need not stand for anybody."""

    path: str
    owner: str | None = None
    group: str | None = None


class Facts(NamedTuple):
    """What the machine is like, one ``section`` of it; changes nothing."""

    section: str


class Exec(NamedTuple):
    """Run a program: ``argv``, or a ``line`` for ``/bin/sh``; no standard input.

    It starts in ``cwd`` (None: the user's home), with PATH, HOME and LANG of the machine and then ``env``.
    ``timeout`` in seconds stops it and all it started. Of each output stream ``output_limit`` bytes are
    kept, half from its start and half from its end. ``label`` is what messages call it; ``mutating`` says
    whether it may change the machine. The output of a ``quiet`` one is for the module alone, not for the task's log.
    """

    label: str
    argv: tuple[str, ...] = ()
    line: str | None = None
    cwd: str | None = None
    env: Mapping[str, str] = {}
    user: str | None = None
    timeout: float | None = None
    output_limit: int = 1 << 20
    mutating: bool = True
    quiet: bool = False


class Fetch(NamedTuple):
    """Send a request to an HTTP server (http or https, whose certificate is verified: by the system's authorities, or
    those in the file ``ca`` alone), by way of the proxies that the machine's environment names, or ``env`` before it.

    ``url`` holds no user and no password. Redirections are followed with ``redirects``, at most ten; to another host
    no header goes along that could be a secret, and from https none leads to http. A Fetched is the answer whatever
    its status. Its body is kept if it has at most ``limit`` bytes; a longer one is read to its end only with
    ``whole``, for its digest. ``into`` is where the body of a success (2xx) is put, atomically and with ``mode``,
    ``owner`` and ``group`` as Write does, whatever its length, if it has the digest ``checksum`` (algorithm and hex;
    else OpError ``checksum``). ``timeout`` in seconds is for all of it. ``label`` is what messages call the request;
    ``mutating`` says whether it may change something.
    """

    label: str
    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    timeout: float = 60.0
    limit: int = 1 << 20
    whole: bool = False
    redirects: bool = True
    ca: str | None = None
    env: Mapping[str, str] = {}
    checksum: tuple[str, str] | None = None
    into: str | None = None
    mode: int | None = None
    owner: str | None = None
    group: str | None = None
    mutating: bool = False


class Reach(NamedTuple):
    """Whether a TCP connection to a port can be made from the machine within ``timeout`` seconds."""

    host: str
    port: int
    timeout: float = 5.0


class Pause(NamedTuple):
    """Wait for so many seconds."""

    seconds: float


class Batch(NamedTuple):
    """Operations that travel together, done in order up to the first that fails; a tuple of results."""

    ops: tuple[Op, ...]


class Found(NamedTuple):
    """What a Stat found; ``kind`` is FILE, FOLDER, LINK, OTHER or ABSENT. ``target`` is where a link leads;
    ``real`` the path without links (only with ``follow``); ``owner``, ``group`` are names if they have some.

    ``stamp`` of a regular file: device, inode, size, mtime and ctime in ns. With a digest it is None if the file
    changed so recently that it might change again without the stamp showing it."""

    kind: str
    mode: int = 0
    uid: int = -1
    gid: int = -1
    owner: str = ""
    group: str = ""
    size: int = 0
    digest: str | None = None
    target: str | None = None
    real: str | None = None
    modified: float = 0.0
    stamp: Stamp | None = None


class Content(NamedTuple):
    """What a Read read."""

    data: bytes


class Done(NamedTuple):
    """Whether the operation changed something."""

    changed: bool


class Matches(NamedTuple):
    """What a Glob found: absolute path and SHA-256, in order of paths; and the patterns that named nothing."""

    files: tuple[tuple[str, str], ...]
    empty: tuple[str, ...]


class Listing(NamedTuple):
    """What a List found: path relative to the folder, and kind; in order of paths."""

    entries: tuple[tuple[str, str], ...]


class Unpacked(NamedTuple):
    """What an Unpack found in the archive: path, kind, mode (as octal text; "" for links, and for folders that the
    archive implies) and SHA-256 or a link's target, of each; and the paths of those that differed (and were
    unpacked, unless it only looked)."""

    entries: tuple[tuple[str, str, str, str], ...]
    differing: tuple[str, ...]


class Identity(NamedTuple):
    """A user: name (or the number), number, and home folder; number and name of the group that what they make belongs
    to (-1: not known)."""

    name: str
    uid: int
    home: str
    gid: int = -1
    group: str = ""


class Owned(NamedTuple):
    """Numbers and names of an owner and a group (the number, where there is no name); -1 and "" for none."""

    uid: int = -1
    gid: int = -1
    owner: str = ""
    group: str = ""


class Gathered(NamedTuple):
    """The facts of one section: text, numbers, booleans, lists and mappings of them."""

    value: object


class Ran(NamedTuple):
    """How a program ended: its status, or the name of the signal that killed it (status 128 + number).

    ``stdout`` and ``stderr`` hold what was kept, with a line where something is left out;
    ``cut`` counts the bytes left out of each. ``left_open``: something it started still holds its output.
    """

    exit_code: int
    signal: str | None
    stdout: bytes
    stderr: bytes
    cut: tuple[int, int] = (0, 0)
    left_open: bool = False


class Fetched(NamedTuple):
    """How a server answered: status (and its ``reason``), headers (names in lower case, in order), the body as far as
    Fetch says (None: it was longer), the SHA-256 of all of it (None: not all was read) and its ``size``."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    sha256: str | None
    size: int

    def header(self, name: str) -> str | None:
        """The first header of that name (in lower case)."""
        return next((value for key, value in self.headers if key == name), None)


class Reached(NamedTuple):
    """Whether a connection was made; if not, why."""

    open: bool
    reason: str = ""


class Paused(NamedTuple):
    """The time after a Pause, by a clock that only goes forward, in seconds since an arbitrary moment."""

    clock: float


MUTATING = (Write, MakeDir, MakeLink, SetAttrs, SetTimes, Remove)
"""Operations that may change files; Exec and Fetch say it themselves."""


def mutates(op: object) -> bool:
    """Whether an operation may change the machine."""
    if isinstance(op, Batch):
        return any(map(mutates, op.ops))
    if isinstance(op, Unpack):
        return not op.look
    return op.mutating if isinstance(op, (Exec, Fetch)) else isinstance(op, MUTATING)
