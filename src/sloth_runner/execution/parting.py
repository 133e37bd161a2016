"""Why: a resource may be about many paths (what an archive has brought) of which others want some: these stay."""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Mapping

from sloth_runner.engine.recording import covered
from sloth_runner.modules.places import paths
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.execution.judging import Evaluation
    from sloth_runner.execution.left import Left
    from sloth_runner.modules.base import Kind, Part
    from sloth_runner.state.ledger_records import Entry


class Parting:
    """Divides the entries of one machine: by what the file names there, and by the entries that are ``left`` and not
    among those (addresses) that are ``taken``."""

    def __init__(
        self,
        evaluation: Evaluation,
        agent: str,
        left: Left,
        taken: Container[str],
        kinds: Mapping[str, Kind],
    ) -> None:
        self._evaluation = evaluation
        self._agent = agent
        self._left = left
        self._taken = taken
        self._kinds = kinds
        self._known: set[str] | None = None

    def parts(self, entry: Entry) -> tuple[Entry | None, Entry | None]:
        """What of an entry may be undone, and what others want of it."""
        kind = self._kinds.get(entry.kind)
        if kind is None or kind.split is None or entry.applied is None:
            return entry, None
        goes, stays = kind.split(entry.params, self._wanted().__contains__)
        return (entry, None) if stays is None else (_part(entry, goes), _part(entry, stays))

    def _wanted(self) -> set[str]:
        """The paths that others want, and the folders above."""
        if self._known is None:
            found = self._evaluation.paths(self._agent)
            for entry in self._left.values():
                if entry.address not in self._taken and entry.applied is not None:
                    found |= paths(entry.kind, entry.id, entry.params, entry.wanted)
            self._known = _with_above(found)
        return self._known


def _with_above(found: Iterable[str]) -> set[str]:
    out: set[str] = set()
    for path in found:
        while path not in out and path != "/":
            out.add(path)
            path = posixpath.dirname(path)
    return out


def _part(entry: Entry, part: Part | None) -> Entry | None:
    if part is None:
        return None
    attributes = covered(part.attributes, entry.salt)
    return entry._replace(params=part.params, wanted=attributes, applied=attributes)
