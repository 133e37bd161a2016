"""Why: what a machine would be like is a picture that agents share which are one machine under several names."""

from __future__ import annotations

import posixpath
from hashlib import sha256

from sloth_runner.errors import Unpredictable
from sloth_runner.ops import ABSENT, FILE, FOLDER, Found, Glob, List, Listing, Matches, OpError
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterator

    from sloth_runner.modules.base import Observed
    from sloth_runner.ops import Result, Stat

ATTRIBUTES = ("mode", "uid", "gid", "owner", "group", "target")
"""What a file is like, beside its content, by the names that both ledger and looks have for it."""
ACCOUNTS = ("user:", "group:", "group.member:")
"""Resources whose programs make no other accounts than those that are in the picture."""
SLIGHT = ("hostname:", "timezone:", "sysctl", "cron:", "ssh_key.", "group.member:")
"""Resources on which no later call depends: what fails behind them fails without them."""
BRINGING = ("pkg:", "packages:", "package-lists:")
"""Changes that bring more than anything else."""


class Node(NamedTuple):
    """What the rehearsal has put at a path: like Found, with the content of a file. ``unknown`` says by whom it
    would be made, if nothing else is known of it; ``packed``: the content is in an archive, only its digest known;
    ``fresh``: a folder where the machine has nothing, so that nothing in it has been changed by its being made;
    ``was``: what the machine has there, where that is known."""

    found: Found
    content: bytes | None = None
    unknown: str = ""
    packed: bool = False
    fresh: bool = False
    was: Found | None = None

    @property
    def opens(self) -> bool:
        """Whether what is in it is what the machine has there: a folder of which only attributes change."""
        return self.found.kind == FOLDER and self.content is None and not self.unknown

    def stat(self, op: Stat) -> Found:
        """What a look at it would find."""
        found = self.found
        digest = sha256(self.content).hexdigest() if op.digest and self.content is not None else found.digest
        real_path = op.path if op.follow else None
        return found._replace(digest=digest if found.kind == FILE else None, real=real_path)


class Nodes:
    """Nodes by path. What is below a path is found without going through all others: there may be thousands."""

    __slots__ = ("_at", "_in")

    def __init__(self) -> None:
        self._at: dict[str, Node] = {}
        self._in: dict[str, set[str]] = {}
        """The paths in a folder that are nodes or on the way to one; a folder that is here is in its own, too."""

    def __bool__(self) -> bool:
        return bool(self._at)

    def __setitem__(self, path: str, node: Node) -> None:
        self._at[path] = node
        while path not in ("/", ""):
            above = posixpath.dirname(path)
            known = self._in.get(above)
            if known is not None:
                known.add(path)
                return
            self._in[above] = {path}
            path = above

    def get(self, path: str) -> Node | None:
        """What is at a path, if anything is known of it."""
        return self._at.get(path)

    def items(self) -> ItemsView[str, Node]:
        """All of them."""
        return self._at.items()

    def below(self, path: str) -> Iterator[tuple[str, Node]]:
        """Those below a path."""
        waiting = [path]
        while waiting:
            for one in self._in.get(waiting.pop(), ()):
                waiting.append(one)
                node = self._at.get(one)
                if node is not None:
                    yield one, node

    def clear(self, path: str) -> None:
        """None is below a path any more."""
        waiting = [path]
        while waiting:
            for one in self._in.pop(waiting.pop(), ()):
                waiting.append(one)
                self._at.pop(one, None)

    def put_back(self, nodes: dict[str, Node]) -> None:
        """All is as it was when ``items`` were these."""
        self._at, self._in = {}, {}
        for path, node in nodes.items():
            self[path] = node


class Picture:
    """What one machine would be like."""

    __slots__ = ("assumed", "nodes", "obscured", "predicted")

    def __init__(self) -> None:
        self.nodes = Nodes()
        self.predicted: dict[str, Observed] = {}
        self.obscured: dict[str, str] = {}
        """The changes that could not be rehearsed, or not all of them: in words, by address."""
        self.assumed: list[str] = []
        """What the call that is being rehearsed can't do without, and one of these changes may bring."""

    @property
    def opaque(self) -> str | None:
        """The change that could not be rehearsed on which a later call most likely depends."""
        some = [one for one in self.obscured.items() if not one[0].startswith(SLIGHT)]
        some.sort(key=lambda one: not one[0].startswith(BRINGING))
        return some[0][1] if some else None

    @property
    def brings_accounts(self) -> str | None:
        """The first change by a program that may make users and groups, of which nothing is known."""
        others = (words for address, words in self.obscured.items() if not address.startswith(ACCOUNTS))
        return next(others, None)

    def covered(self, path: str) -> Node | None:
        """What the rehearsal says of a path: its own node, or nothing below a path that is gone or new."""
        node = self.nodes.get(path)
        if node is not None:
            return node
        node = self._above(path)
        if node is None or node.opens:
            return None
        return Node(Found(FILE), None, node.unknown) if node.unknown else Node(Found(ABSENT))

    def changes(self, path: str) -> bool:
        """Whether something would be done to a path. What is not on the machine, because its folder is not, stays
        as it is when that is made."""
        if self.nodes.get(path) is not None:
            return True
        node = self._above(path)
        return node is not None and not node.opens and not node.fresh

    def untouched(self, path: str) -> frozenset[str]:
        """The attributes of a path, which something would be done to, that would stay as the machine has them."""
        node = self.nodes.get(path)
        if node is None or node.was is None or node.found.kind != node.was.kind:
            return frozenset()
        same = {name for name in ATTRIBUTES if getattr(node.found, name) == getattr(node.was, name)}
        content = {"content"} if node.content is None and not node.packed and not node.unknown else set()
        return frozenset(same | content)

    def _above(self, path: str) -> Node | None:
        """The nearest node above a path."""
        above = posixpath.dirname(path)
        while above != "/":
            node = self.nodes.get(above)
            if node is not None:
                return node
            above = posixpath.dirname(above)
        return None

    def forget(self, path: str) -> None:
        """Nothing is there any more, nor below it."""
        self.nodes.clear(path)
        self.nodes[path] = Node(Found(ABSENT))

    def below(self, path: str) -> tuple[tuple[str, str], ...]:
        """What the rehearsal has put below a path, by the way there from it: names and kinds."""
        start = len(path.rstrip("/") + "/")
        here = sorted(self.nodes.below(path.rstrip("/") or "/"))
        return tuple((name[start:], node.found.kind) for name, node in here if node.found.kind != ABSENT)

    def opens(self, path: str) -> bool:
        """Whether the machine has to be asked what is in a folder."""
        node = self.covered(path)
        return node is None or node.opens

    def listing(self, op: List, node: Node) -> Listing:
        """What would be in a folder, which is this node. Raises OpError if it is none."""
        if node.found.kind != FOLDER:
            missing = node.found.kind == ABSENT
            words = "there is no such file or folder" if missing else "a part of the path is no folder"
            raise OpError("missing" if missing else "not-folder", op.path, words)
        inner = self.below(op.path)
        return Listing(tuple((name, kind) for name, kind in inner if op.recursive or "/" not in name))

    def merged(self, op: List, below: Result) -> Listing:
        """What would be in a folder, of which the machine says ``below``."""
        assert isinstance(below, Listing)
        kept = {
            name: kind for name, kind in below.entries if self.covered(posixpath.join(op.path, name)) is None
        }
        own = {name: kind for name, kind in self.below(op.path) if op.recursive or "/" not in name}
        return Listing(tuple(sorted({**kept, **own}.items())))

    def glob(self, op: Glob, below: Matches) -> Matches:
        """The files that patterns name, of those that are there and of those that would be. Raises Unpredictable."""
        from sloth_runner.agent.matching import compiled, fits

        files = {path: digest for path, digest in below.files if self.covered(path) is None}
        patterns = {name: compiled(name, op.base) for name in op.patterns}
        for path, node in self.nodes.items():
            if node.found.kind == FILE and any(fits(one, path) for one in patterns.values()):
                if node.unknown or node.content is None:
                    raise Unpredictable(f"what {path} will be is not known")
                files[path] = sha256(node.content).hexdigest()
        empty = [name for name, one in patterns.items() if not any(fits(one, path) for path in files)]
        return Matches(tuple(sorted(files.items())), tuple(empty))
