"""Why: one file must have one name in a rehearsal, whatever links lead to it: those of the machine, unless they would
be gone by then, and those that would be made.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Sequence

from sloth_runner.ops import LINK, Batch, Found, List, OpError, Read, Stat, Unpack
from sloth_runner.plain import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sloth_runner.engine.picture import Picture
    from sloth_runner.ops import Op, Result

MOST_LINKS = 40
"""Links that a path may lead through, as in Linux: path_resolution(7)."""


class Ways:
    """Where paths lead on a machine as it would be."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._links: dict[str, str | None] = {}
        """Where links of the machine lead; None: a path is no link. It stays true: a plan changes nothing."""

    def ask(self, ops: Sequence[Op]) -> Generator[Op, Result, None]:
        """Ask the machine for what ``straight`` has to know."""
        while True:
            asked = tuple(dict.fromkeys(path for op in ops for path in self._unknown(op)))
            if not asked:
                return
            stats = tuple(Stat(path, names=False) for path in asked)
            try:
                found: Any = (yield Batch(stats)) if len(stats) > 1 else ((yield stats[0]),)
            except OpError as error:  # the operation itself meets it again, and tells of it
                found = (*error.results, None)
            for path, one in zip(asked, found, strict=False):
                is_link = isinstance(one, Found) and one.kind == LINK
                self._links[path] = one.target if is_link else None

    def straight(self, op: Op) -> Op:
        """The same without links on the way; those that follow links also without one at its end. Raises OpError
        for links in a circle."""
        path = getattr(op, "path", "")
        if not path.startswith("/") or path == "/":
            return op
        folder, name = posixpath.split(path)
        real = posixpath.join(self._lead(folder)[0], name)
        if _follows(op):
            try:
                real = self._lead(real)[0]
            except OpError as error:
                if not isinstance(op, Stat):
                    raise
                return op._replace(path=error.path, follow=False)  # a link is what it comes to
        return op._replace(path=real) if real != path else op  # type: ignore[call-arg]

    def _unknown(self, op: Op) -> list[str]:
        path = getattr(op, "path", "")
        try:
            return self._lead(path if _follows(op) else posixpath.dirname(path))[1]
        except OpError:
            return []

    def _lead(self, path: str) -> tuple[str, list[str]]:
        """Where a path leads, as far as that is known; and what the machine has to be asked about."""
        real, links = "", 0
        names = path.split("/")[::-1]
        while names:
            name = names.pop()
            if name in ("", ".", ".."):
                real = posixpath.dirname(real).rstrip("/") if name == ".." else real
                continue
            at = f"{real}/{name}"
            node = self._picture.nodes.get(at)
            if node is not None and node.found.kind == LINK:
                target = node.found.target
            elif node is not None or self._picture.covered(at) is not None:
                target = None
            elif at in self._links:
                target = self._links[at]
            else:
                return real or "/", self._further(at, names)
            if target is None:
                real = at
                continue
            links += 1
            if links > MOST_LINKS:
                raise OpError("link", at, "symbolic links lead in a circle")
            real = "" if target.startswith("/") else real
            names.extend(target.split("/")[::-1])
        return real or "/", []

    def _further(self, at: str, names: Sequence[str]) -> list[str]:
        """A path that is not known, and those below it that come next if it is no link."""
        asked = [at]
        for name in reversed(names):
            if name == "..":
                break
            if name not in ("", "."):
                asked.append(f"{asked[-1]}/{name}")
        return [path for path in asked if path not in self._links and self._picture.covered(path) is None]


def _follows(op: Op) -> bool:
    return isinstance(op, Read | List | Unpack) or (isinstance(op, Stat) and op.follow)
