"""Why: a plan must show what a run would do without doing it, and what it rehearses first must count in what follows.

``Rehearsal`` is a transport over a transport. Operations that look are performed; changes of files are made in
memory, on top of what is there; a program or a request that would change something raises Skipped. So "a folder, a
file in it, a command that makes a path in it" is told as it would happen, and nothing is invented.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256

from sloth_runner.engine.drive import Skipped
from sloth_runner.engine.mounts import Mounts
from sloth_runner.engine.owners import Owners, by_number
from sloth_runner.engine.picture import Node, Picture
from sloth_runner.engine.ways import Ways
from sloth_runner.errors import Bug, Unpredictable
from sloth_runner.ops import (
    ABSENT,
    FILE,
    FOLDER,
    LINK,
    Batch,
    Content,
    Done,
    Exec,
    Facts,
    Fetch,
    Found,
    Glob,
    List,
    Listing,
    MakeDir,
    MakeLink,
    Matches,
    OpError,
    Pause,
    Reach,
    Read,
    Remove,
    SetAttrs,
    SetTimes,
    Stat,
    Unpack,
    Unpacked,
    WhoAmI,
    Whose,
    Write,
    mutates,
)
from sloth_runner.plain import TYPE_CHECKING, Any, TypeAlias, cast
from sloth_runner.transport.base import discard

if TYPE_CHECKING:
    from sloth_runner.model import Sink
    from sloth_runner.modules.base import Observed
    from sloth_runner.ops import Op, Owned, Result
    from sloth_runner.transport.base import Transport

    Asking: TypeAlias = Generator[Op, Result, Result]

NEW = 0o644


class Rehearsal:
    """One machine in check mode. ``predicted`` holds, by address, what resources would be like whose change could
    not be rehearsed; ``notified`` are handlers that changes would call for; ``opaque`` names the change that could
    not be rehearsed by whose effect later looks may err. ``same``: the rehearsal of another agent that is the
    same machine under another name; both share one picture of it."""

    def __init__(self, inner: Transport, same: Rehearsal | None = None) -> None:
        self.is_local = inner.is_local
        self.notified: list[str] = []
        self._others: dict[str, Rehearsal] = {}
        self._inner = inner
        self._picture: Picture = same._picture if same is not None else Picture()
        self._nodes = self._picture.nodes
        self._ways = Ways(self._picture)
        self._owners = Owners(self._picture)
        self._mounts: Mounts = same._mounts if same is not None else Mounts()
        self.predicted = self._picture.predicted

    def as_user(self, user: str | None) -> Rehearsal:
        """The same machine, looked at as a user; all see one picture."""
        inner = self._inner.as_user(user)
        if user is None or inner is self._inner:
            return self
        found = self._others.get(user)
        if found is None:
            found = self._others[user] = Rehearsal(inner, self)
            found.notified = self.notified
        return found

    @property
    def opaque(self) -> str | None:
        """The change that could not be rehearsed on which a later call most likely depends."""
        return self._picture.opaque

    def obscured(self, address: str) -> str | None:
        """In words, the change of a resource that could not be rehearsed, if there was one."""
        return self._picture.obscured.get(address)

    def obscure(self, address: str, words: str = "") -> None:
        """This would be changed, and all that it changes can't be rehearsed. ``words``: what does it, if that says
        more."""
        self._picture.obscured.setdefault(address, words or address)

    def assumed(self) -> str:
        """What is taken for granted since this was asked last, in words."""
        said, self._picture.assumed = self._picture.assumed, []
        return "; ".join(dict.fromkeys(said))

    def changes(self, path: str) -> bool:
        """Whether something would be done to a path; not to what is no path."""
        return path.startswith("/") and self._picture.changes(path)

    def untouched(self, path: str) -> frozenset[str]:
        """The attributes of a path, which something would be done to, that would stay as the machine has them."""
        return self._picture.untouched(path)

    def predict(self, address: str, observed: Observed) -> None:
        """A resource would be like this."""
        self.predicted[address] = observed
        self.obscure(address)

    def expect(self, makes: Mapping[str, str], removes: Mapping[str, str]) -> None:
        """A command would make and remove these paths (path -> by whom)."""
        for path, by in makes.items():
            self._nodes[path] = Node(Found(FILE), None, by)
        for path in removes:
            self._picture.forget(path)

    def at_once(self, op: Op) -> Result | None:
        """What needs no waiting; changes of files in memory. Raises Skipped, OpError, Unpredictable."""
        before = dict(self._nodes.items()) if isinstance(op, Batch) and mutates(op) else None
        steps = self._steps(op)
        below: Result | None = None
        error: OpError | None = None
        while True:
            try:
                asked = steps.send(below) if error is None else steps.throw(error)  # type: ignore[arg-type]
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # what the steps return
            below, error = None, None
            try:
                below = self._inner.at_once(asked)
            except OpError as failure:
                error = failure
            if below is None and error is None:
                break
        steps.close()
        if before is not None:  # it is rehearsed again, from its beginning
            self._nodes.put_back(before)
        return None

    async def do(self, op: Op, on_output: Sink = discard) -> Result:
        """The same, waiting."""
        steps = self._steps(op)
        below: Result | None = None
        error: OpError | None = None
        while True:
            try:
                asked = steps.send(below) if error is None else steps.throw(error)  # type: ignore[arg-type]
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return] # what the steps return
            below, error = None, None
            try:
                below = await self._inner.do(asked, on_output)
            except OpError as failure:
                error = failure

    async def ready(self) -> None:
        """Have the way to the machine open. Raises Unreachable."""
        await self._inner.ready()

    async def aclose(self) -> None:
        """The machine's own transport stays open: its owner closes it."""

    def _steps(self, op: Op) -> Asking:
        """Yields what the machine has to be asked for; the result. Nothing is changed in memory before the last
        question has been answered."""
        owned = yield from self._owners.ask(op)
        if isinstance(op, Whose):
            return owned
        if isinstance(op, Exec | Fetch | Pause):
            if isinstance(op, Pause) or op.mutating:
                raise Skipped(op)
            return (yield op)
        if isinstance(op, Unpack):
            yield from self._mounts.ask(op)
            yield from self._ways.ask((op,))
            op = cast("Unpack", self._ways.straight(op))
            yield from self._foresee(op)
            looked: Result = yield by_number(op, owned)._replace(look=True)
            return looked if op.look else (yield from self._unpack(op, looked, owned))
        if isinstance(op, Batch):
            return (yield from self._together(op))
        if isinstance(op, Facts | WhoAmI | Reach) or (
            not self._nodes and isinstance(op, Stat | Read | Glob | List)
        ):
            return (yield op)
        yield from self._mounts.ask(op)
        yield from self._ways.ask((op,))
        op = self._ways.straight(op)
        needed = self._needed(op)
        if needed is None:
            return (yield from self._answer(op, owned))
        return (yield from self._apply(op, (yield needed), owned))

    def _together(self, batch: Batch) -> Asking:
        """A Batch. What only looks at paths of which nothing is rehearsed is asked for in one question."""
        if not self._nodes and all(isinstance(op, Stat | Read | Glob | List) for op in batch.ops):
            return (yield batch)
        looks = [op for op in batch.ops if isinstance(op, Stat | Read)]
        if len(looks) < len(batch.ops):
            return (yield from self._one_by_one(batch.ops, {}))
        yield from self._ways.ask(looks)
        below = []
        for op in looks:
            with suppress(OpError):  # told when it is its turn
                straight = self._ways.straight(op)
                below += [straight] if self._needed(straight) is not None else []
        known: dict[Op, Result] = {}
        if below:
            try:
                answers: Any = yield Batch(tuple(below))
                known = dict(zip(below, answers, strict=True))
            except OpError:
                pass  # one by one, so that what was before the failing one is told
        return (yield from self._one_by_one(looks, known))

    def _one_by_one(self, ops: Sequence[Op], known: Mapping[Op, Result]) -> Asking:
        """One after the other; of some the machine's answer is ``known``."""
        results: list[Result] = []
        for op in ops:
            try:
                straight = self._ways.straight(op) if known else op
                results.append(known[straight] if straight in known else (yield from self._steps(op)))
            except OpError as error:
                error.results = (*results, *error.results)
                raise
        return tuple(results)

    def _foresee(self, op: Unpack) -> Generator[Op, Result, None]:
        """An archive can be compared with what is on the machine, not with what would be there by then."""
        if op.source is not None and self._picture.covered(op.source) is not None:
            raise Unpredictable(f"what {op.source} will be is not known: it is not there yet")
        node = self._nodes.get(op.path)
        made = node is not None and node.found.kind == FOLDER and node.content is not None
        below = (yield Stat(op.path)) if made else None
        if self._picture.below(op.path) or (isinstance(below, Found) and below.kind != ABSENT):
            raise Unpredictable(f"what will be in {op.path} is not known: it would be changed before")

    def _unpack(self, op: Unpack, looked: Result, owned: Owned) -> Asking:
        """What would be there once the archive is unpacked: all of it but the contents of files."""
        assert isinstance(looked, Unpacked)
        entries = [
            (posixpath.join(op.path, path), *rest)
            for path, *rest in looked.entries
            if path in looked.differing
        ]
        folders = tuple(Stat(path) for path, kind, *_ in entries if kind == FOLDER)
        found: Any = (yield Batch(folders)) if folders else ()
        old = {one.path for one, there in zip(folders, found, strict=True) if there.kind == FOLDER}
        self._mounts.refuse_unpacked(((path, kind) for path, kind, *_ in entries), old)
        for path, kind, mode, detail in entries:
            target = detail if kind == LINK else None
            made = self._owners.made(kind, int(mode or "755", 8), owned, target)
            made = made._replace(digest=detail if kind == FILE else None)
            content = b"" if kind == FOLDER and path not in old else None
            self._nodes[path] = Node(made, content, packed=kind == FILE)
        return looked

    def _needed(self, op: Op) -> Op | None:
        """What has to be known of the machine to answer ``op``; None if nothing."""
        if isinstance(op, Write | MakeDir | MakeLink | SetAttrs | SetTimes | Remove):
            read = isinstance(op, SetAttrs | SetTimes) or (
                isinstance(op, Write | Remove) and op.over is not None
            )
            return None if self._picture.covered(op.path) is not None else Stat(op.path, digest=read)
        if isinstance(op, Glob):
            return op
        if isinstance(op, List):
            return op if self._picture.opens(op.path) else None
        if isinstance(op, Stat | Read):
            return op if self._picture.covered(op.path) is None else None
        return op

    def _answer(self, op: Op, owned: Owned) -> Asking:
        path = getattr(op, "path", "")
        node = self._picture.covered(path)
        if node is None:
            raise Bug(f"nothing is rehearsed about {path!r}")
        if node.unknown:
            raise Unpredictable(f"what {path} will be is not known: {node.unknown} would make it")
        if isinstance(op, Stat):
            return node.stat(op)
        if isinstance(op, Read):
            return (yield from self._read(op, node))
        if isinstance(op, List):
            return self._picture.listing(op, node)
        return (yield from self._apply(op, node.found, owned))

    def _read(self, op: Read, node: Node) -> Asking:
        if node.found.kind == ABSENT:
            raise OpError("missing", op.path, "there is no such file or folder")
        if node.found.kind != FILE:
            raise OpError("not-file", op.path, "is not a regular file")
        if node.packed:
            raise Unpredictable(f"what {op.path} will hold is not known: it is in an archive")
        if node.content is None:
            return (yield op)  # only its attributes would change
        if len(node.content) > op.limit:
            raise OpError("too-large", op.path, f"has more than {op.limit:,} bytes")
        return Content(node.content)

    def _apply(self, op: Op, below: Result, owned: Owned) -> Asking:
        """The result of ``op`` where the machine (or an earlier picture) says ``below``."""
        if isinstance(op, Stat | Read | List):
            return self._picture.merged(op, below) if isinstance(op, List) else below
        if isinstance(op, Glob):
            assert isinstance(below, Matches)
            return self._picture.glob(op, below)
        assert isinstance(below, Found)
        if isinstance(op, Remove):
            return (yield from self._remove(op, below))
        if isinstance(op, SetAttrs | SetTimes):
            return self._set(op, below, owned)
        self._require_parent(op.path)  # type: ignore[union-attr] # what is left makes something
        if isinstance(op, MakeLink | Write) and below.kind == FOLDER:
            raise OpError("folder", op.path, "is a folder, and is not replaced by a file")
        if isinstance(op, MakeLink | Write):
            self._mounts.refuse(op)
        if isinstance(op, MakeDir):
            if below.kind == FOLDER:
                return Done(False)
            if below.kind != ABSENT:
                raise OpError("not-folder", op.path, "is there already, and is no folder")
            self._mounts.refuse(op)
            fresh = not self._picture.changes(op.path)
            self._nodes[op.path] = Node(self._owners.made(FOLDER, op.mode, owned), b"", fresh=fresh)
        elif isinstance(op, MakeLink):
            self._nodes[op.path] = Node(self._owners.made(LINK, 0o777, owned, op.target))
        elif isinstance(op, Write):
            self._refuse_other(op, below)
            mode = op.mode if op.mode is not None else below.mode if below.kind == FILE else NEW
            old = below if below.kind == FILE else None
            found = self._owners.made(FILE, mode, owned, None, old)
            node = self._nodes.get(op.path)
            was = below if node is None else node.was
            self._nodes[op.path] = Node(found._replace(size=len(op.content)), op.content, was=was)
        return Done(True)

    def _require_parent(self, path: str) -> None:
        parent = posixpath.dirname(path)
        node = self._picture.covered(parent)
        if node is not None and node.found.kind == ABSENT:
            raise OpError("missing", parent, "there is no such file or folder")

    def _set(self, op: SetAttrs | SetTimes, below: Found, owned: Owned) -> Result:
        if below.kind == ABSENT:
            raise OpError("missing", op.path, "there is no such file or folder")
        if below.kind == LINK:
            raise OpError("link", op.path, "is neither a file nor a folder")
        if isinstance(op, SetTimes):
            found = below if op.modified is None else below._replace(modified=op.modified)
        else:
            mode = below.mode if op.mode is None else op.mode
            found = self._owners.made(below.kind, mode, owned, None, below)._replace(
                size=below.size, digest=below.digest, modified=below.modified
            )
        if found != below:
            self._mounts.refuse(op)
        node = self._nodes.get(op.path)
        self._nodes[op.path] = Node(found, was=below) if node is None else node._replace(found=found)
        return Done(found != below)

    def _remove(self, op: Remove, below: Found) -> Asking:
        if below.kind == ABSENT:
            return Done(False)
        self._mounts.refuse(op)
        self._refuse_other(op, below)
        if below.kind == FOLDER and not op.recursive and (yield from self._holds_something(op.path)):
            raise OpError("not-empty", op.path, "is a folder that is not empty")
        self._picture.forget(op.path)
        return Done(True)

    def _refuse_other(self, op: Write | Remove, below: Found) -> None:
        """What was to be replaced is what is there: other branches of the same plan may have rehearsed something."""
        node = self._picture.covered(op.path)
        made = None if node is None or node.content is None else sha256(node.content).hexdigest()
        there = "" if below.kind == ABSENT else made or below.digest
        if op.over not in (None, there) and (there is not None or below.kind != FILE):
            raise OpError("changed", op.path, "was changed by others meanwhile")

    def _holds_something(self, path: str) -> Generator[Op, Result, bool]:
        listed: Result = (yield List(path)) if self._picture.opens(path) else Listing(())
        names = listed.entries if isinstance(listed, Listing) else ()
        real = [name for name, _ in names if self._picture.covered(posixpath.join(path, name)) is None]
        return bool(real or self._picture.below(path))
