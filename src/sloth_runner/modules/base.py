"""Why: what every module is made of: arguments described as data, and generators that do no I/O themselves.

A module that converges something names *resources* and what they should be like; a *kind* of resource knows how to
look at one and how to change it. Everything else follows from these two functions, once, in the engine:
idempotence, check mode, differences, the ledger, drift, prune and restoring what was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, MutableMapping, Sequence

from sloth_runner.plain import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from sloth_runner.errors import TaskFailed
    from sloth_runner.model import Outcome
    from sloth_runner.ops import Op, Stamp
    from sloth_runner.state.ledger_records import Entry

    Attributes: TypeAlias = Mapping[str, Any]
    """What a resource is like: plain values by name. ``content`` is the SHA-256 (hex) of its content."""
    Step: TypeAlias = "Op | Source | SourceTree | Recall | Deliver | Ensure | Predict | Follow"
    Steps: TypeAlias = Generator[Step, Any, Outcome]
    """What a module function returns: it yields steps, is resumed with their results (an OpError, or the error of
    another step, is thrown into it) and returns its Outcome. It does no I/O itself."""


class Source(NamedTuple):
    """The content (bytes) of a file on the controller; relative paths start at the task file's folder."""

    path: str


class SourceTree(NamedTuple):
    """What is in a folder on the controller, and below it, links not followed: a tuple of SourceEntry in order of
    paths, the first of which ("") is what ``path`` itself names (links are followed to it)."""

    path: str


class SourceEntry(NamedTuple):
    """One thing in a folder on the controller: its path in there, its kind (FILE, FOLDER, LINK, OTHER), its mode,
    and where it leads if it is a link."""

    path: str
    kind: str
    mode: int
    target: str | None = None


class Deliver(NamedTuple):
    """Put ``content`` into a file on the controller (relative paths start at the task file's folder), atomically;
    answered with whether it differed from what was there."""

    path: str
    content: bytes
    mode: int = 0o644


class Recall(NamedTuple):
    """What an Outcome of the same name remembered last on this target: a mapping, or None."""

    name: str


class Resource(NamedTuple):
    """One thing on a machine that can be converged, under ledger address ``kind:id``.

    ``params`` is what looking at it takes beside its id (a pattern, a port); plain values, kept in the ledger.
    """

    kind: str
    id: str
    params: Mapping[str, Any] = {}

    @property
    def address(self) -> str:
        """``kind:id``."""
        return f"{self.kind}:{self.id}"


class Want(NamedTuple):
    """What a resource should be like: those attributes that matter (None: it shall not be there).

    ``content`` is the content itself, or where it is found on the controller; the engine fills in its digest as
    attribute ``content``. ``options`` steer how it is brought about, and are not part of what is wanted.
    """

    resource: Resource
    wanted: Attributes | None
    content: bytes | Source | None = None
    options: Mapping[str, Any] = {}


class Ensure(NamedTuple):
    """Make resources of one kind as wanted, looked at together and changed in order. Answered with a tuple of
    Converged; in check mode as well, with what would be."""

    wants: tuple[Want, ...]


class Follow(NamedTuple):
    """What will be asked for after the next change, so that it can travel with that; a hint, answered with None."""

    ops: tuple[Op, ...] = ()


class Predict(NamedTuple):
    """What is known beforehand about how a call ends whose next operation can't be rehearsed (a command).

    In check mode the call ends there, and the result has only these fields; reading another one stops the task's
    plan. ``changed`` None: that isn't known either. ``makes`` and ``removes`` are paths that success promises.
    """

    address: str
    message: str
    changed: bool | None = None
    reason: str = ""
    makes: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ("stdout", "stderr", "exit_code")


class Look(NamedTuple):
    """A resource to look at. ``keys`` are the attributes that matter (None: all that can be seen); ``known`` is what
    looking at it left last time, to make this look cheaper where that is safe."""

    resource: Resource
    keys: frozenset[str] | None = None
    known: tuple[Stamp, str] | None = None


class Observed(NamedTuple):
    """What is there: its attributes (None: nothing). ``extra`` is what undoing needs beside them, such as folders
    that were missing above a file; ``known`` is kept for the next Look."""

    attributes: Attributes | None
    extra: Mapping[str, Any] = {}
    known: tuple[Stamp, str] | None = None


class Change(NamedTuple):
    """A difference to be removed: from what was observed to what is wanted (None: absent).

    ``differing`` names the attributes concerned; ``content`` is there if the content is among them. ``extra`` is the
    one observed before we first touched the resource, when our work is undone. ``dry``: only rehearsed; ``doubt``
    names what would be done before by a program, so that all may be otherwise by then.
    """

    resource: Resource
    observed: Observed
    wanted: Attributes | None
    differing: frozenset[str]
    content: bytes | None = None
    options: Mapping[str, Any] = {}
    extra: Mapping[str, Any] = {}
    dry: bool = False
    doubt: str = ""


class Saved(NamedTuple):
    """What undoing will need of what is about to be replaced, where that is more than one content: ``extra``, as it
    is recorded then, whose list ``contents`` names by SHA-256 those that are kept; and the new ones of them."""

    extra: Mapping[str, Any]
    contents: Mapping[str, bytes] = {}


class Told(NamedTuple):
    """What ``converge`` says of a change when a note is not all: how the content that it made differs, and the
    SHA-256 ("": there is none) of the whole file that a part was put into; ``gone`` are other paths that were removed
    with all in them."""

    note: str
    diff: str
    file: str = ""
    gone: tuple[str, ...] = ()


class Converged(NamedTuple):
    """How a resource was met and left. ``action`` is create, update, delete or none; ``content`` the wanted content
    where it had to be read; ``before`` the attributes that it was met with (None: it was not there)."""

    resource: Resource
    action: str
    message: str = ""
    diff: str | None = None
    content: bytes | None = None
    before: Attributes | None = None


def _nothing(before: Attributes) -> frozenset[str]:
    return frozenset()


def each_alone(*names: str) -> tuple[frozenset[str], ...]:
    """Attributes that stand for themselves, for ``apart``; two that say one thing are joined: "owner uid"."""
    return tuple(frozenset(name.split()) for name in names)


class Part(NamedTuple):
    """The params of a part of a resource, and what it was like when it was applied."""

    params: Attributes
    attributes: Attributes


class Kind(NamedTuple):
    """A kind of resource.

    ``observe`` looks at resources, all at once, and changes nothing. ``converge`` makes changes and returns a note
    for each ("" for none), or a Told. Both are generators of operations. ``content`` reads a resource's content, to
    show differences and to bring it back (None: it is too large or there is none). ``undo`` says whether what was
    before can be brought back, ``undone`` what prune does if it is more or less than that; ``doc`` names the
    attributes. ``apart`` are attributes that can be put back without the others, those together that say one thing:
    what we never set among them is left alone when work is undone.
    ``part``: it is a part of the content of the file ``params["path"]``; ``lists`` is the attribute that names what
    is in the folder ``id`` beside what should be.
    ``marks`` are attributes that nobody asks for, by which what we made is told from what others put in its place.
    ``lost`` names what of earlier attributes can't be brought back, because they hold only a mark of it.
    ``save`` tells what undoing will need of what a change is about to replace; it is given what the ledger has of our
    earlier work, if any. ``converge`` gets those contents back, by their SHA-256, as option ``contents``.
    ``pictured``: in check mode ``converge`` rehearses in files all that looking at one reads, before programs.
    ``split`` divides a resource that is about many paths, given its params and which paths others want: the part that
    may be undone, and the one that stays.
    ``said`` notes what a call wants, in a mapping that all calls of a run on a machine share, with the call's line;
    it raises BadArgument if that can't be so together with what another call wants. ``derived`` are attributes that
    follow from others: whoever has changed them, it is ours still. ``amiss`` tells why a resource is not as wanted
    although ``converge`` has changed it, given the attributes concerned (None: it does not know, either).
    """

    name: str
    doc: str
    observe: Callable[[Sequence[Look]], Generator[Any, Any, Sequence[Observed]]]
    converge: Callable[[Sequence[Change]], Generator[Any, Any, Sequence[str | Told]]]
    content: Callable[[Resource], Generator[Any, Any, bytes | None]] | None = None
    undo: bool = True
    apart: tuple[frozenset[str], ...] = ()
    marks: frozenset[str] = frozenset()
    undone: str = ""
    lost: Callable[[Attributes], frozenset[str]] = _nothing
    part: bool = False
    lists: str = ""
    pictured: bool = False
    save: Callable[[Want, Observed, Entry | None], Generator[Any, Any, Saved]] | None = None
    said: Callable[[Sequence[Want], MutableMapping[str, Any], int | None], None] | None = None
    derived: frozenset[str] = frozenset()
    split: Callable[[Attributes, Callable[[str], bool]], tuple[Part | None, Part | None]] | None = None
    amiss: Callable[[Resource, Collection[str]], Generator[Any, Any, TaskFailed | None]] | None = None


class Context(NamedTuple):
    """Where a call runs: the task file's ``folder`` (on the controller), the task's ``workdir`` and ``env``,
    the target, and what the call asks for beside the module's arguments. ``timeout`` is in seconds. ``dry``: the call
    is only rehearsed."""

    folder: str
    workdir: str | None
    env: Mapping[str, str]
    agent: str
    is_local: bool
    user: str | None = None
    timeout: float | None = None
    sensitive: bool = False
    dry: bool = False


class Arg(NamedTuple):
    """One argument. ``type`` is a name in ``arguments.TYPES``; ``doc`` says what it is for, and what holds
    without it."""

    name: str
    type: str
    doc: str
    required: bool = False
    default: Any = None


PRESENCE = Arg(
    "state", "present or absent", 'whether it should be there: "present" or "absent"', default="present"
)
"""The argument of all that can be there or not."""


class Module(NamedTuple):
    """A module: its dotted name, its arguments, and the function that makes its steps.

    ``positional`` names the argument that a single string stands for. ``refused`` gives the reason for
    arguments that other tools have and this module deliberately has not. ``returns`` documents the result's fields
    beside ``changed``, ``message`` and ``diff``; a text may begin with the type: ``(integer) the exit status``.

    ``settles``: a call converges one file and depends on nothing but its arguments, that file and, if it has one, the
    ``source``, an argument that names a file of the controller. Such a call is not made again while it is the same
    and neither file has been touched.

    ``along``: on the target, a call looks at nothing but the one file that it converges; so it may be made while
    other new files wait for their places.
    """

    name: str
    run: Callable[[Mapping[str, Any], Context], Steps]
    args: tuple[Arg, ...]
    doc: str
    positional: str | None = None
    refused: Mapping[str, str] = {}
    returns: Mapping[str, str] = {}
    settles: bool = False
    source: str | None = None
    along: bool = False


def differing(observed: Attributes | None, wanted: Attributes | None) -> frozenset[str]:
    """The attributes in which what is there differs from what is wanted; ``present`` where one of them is absent."""
    if observed is None or wanted is None:
        return frozenset() if observed is wanted else frozenset({"present"})
    return frozenset(key for key, value in wanted.items() if observed.get(key) != value)


def go_on(steps: Generator[Any, Any, T], op: object) -> Generator[Any, Any, T]:
    """What steps do from an operation on that they have asked for already."""
    while True:
        go: Callable[[Any], Any] = steps.send
        what: object
        try:
            what = yield op
        except Exception as error:  # whatever it is, the steps are who asked
            go, what = steps.throw, error
        try:
            op = go(what)
        except StopIteration as end:
            found: T = end.value
            return found


def one_by_one(
    observe: Callable[[Look], Generator[Any, Any, Observed]],
    converge: Callable[[Change], Generator[Any, Any, str]],
) -> tuple[
    Callable[[Sequence[Look]], Generator[Any, Any, Sequence[Observed]]],
    Callable[[Sequence[Change]], Generator[Any, Any, Sequence[str]]],
]:
    """``observe`` and ``converge`` of a Kind whose resources have nothing in common."""

    def observe_all(looks: Sequence[Look]) -> Generator[Any, Any, Sequence[Observed]]:
        found = []
        for look in looks:
            found.append((yield from observe(look)))
        return found

    def converge_all(changes: Sequence[Change]) -> Generator[Any, Any, Sequence[str]]:
        notes = []
        for change in changes:
            notes.append((yield from converge(change)))
        return notes

    return observe_all, converge_all


def ensure(*wants: Want, fields: Mapping[str, object] | None = None) -> Steps:
    """The steps of a module that does nothing but converge: all ``wants``, summed up in one Outcome."""
    from sloth_runner.model import Outcome

    done: tuple[Converged, ...] = yield Ensure(wants)
    changed = [one for one in done if one.action != "none"]
    message = "; ".join(one.message for one in changed if one.message)
    diff = "\n".join(one.diff for one in changed if one.diff) or None
    return Outcome(bool(changed), message, fields or {}, diff)
