"""Why: what was made for a resource goes with the last one that is in it, so prune must know which are left.

Folders above a file, and the file that a part was put into, are no resources of their own: the entry of what they
were made for tells of them, and hands them on when it goes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import ValuesView

    from sloth_runner.state.ledger_records import Entry


class Left:
    """The entries of one machine that are left, by address; those in a folder are found without looking at all."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {entry.address: entry for entry in entries}
        self._addresses = sorted(self._entries)

    def __getitem__(self, address: str) -> Entry:
        return self._entries[address]

    def get(self, address: str) -> Entry | None:
        """The entry, if it is left."""
        return self._entries.get(address)

    def values(self) -> ValuesView[Entry]:
        """All of them."""
        return self._entries.values()

    def put(self, entry: Entry) -> None:
        """It is left, as it is now."""
        if entry.address not in self._entries:
            insort(self._addresses, entry.address)
        self._entries[entry.address] = entry

    def take(self, address: str) -> Entry | None:
        """It goes. The entry that what was made for it goes with from now on, if any, as that is then: folders that
        hold other things of ours go with the last of these, one that is a resource of its own by now (as may be the
        file of a part) with that."""
        gone = self._entries.pop(address)
        del self._addresses[bisect_left(self._addresses, address)]
        folders = _brought(gone)
        for folder in reversed(folders):
            heir = self._heir(gone.kind, folder)
            if heir is None:
                continue
            above = [name for name in folders if heir.id.startswith(f"{name}/")]
            own = [name for name in heir.extra.get("missing", ()) if name not in above]
            heir = heir._replace(extra={**heir.extra, "missing": sorted([*above, *own], key=len)})
            self.put(heir)
            return heir
        return None

    def without_named(self, entry: Entry) -> Entry:
        """An entry without what was made for it and others want: that stays when it goes, and so does what it is
        in."""
        brought = _brought(entry)
        stays = next((path for path in reversed(brought) if self._named(path)), None)
        if stays is None:
            return entry
        own = [path for path in brought if path.startswith(f"{stays}/")]
        folders = [path for path in own if path in entry.extra.get("missing", ())]
        file = entry.extra.get("file") if stays != entry.params.get("path") else "empty"
        return entry._replace(extra={**entry.extra, "missing": folders, **({"file": file} if file else {})})

    def _heir(self, kind: str, folder: str) -> Entry | None:
        named = self._named(folder)
        if named is not None:
            return named._replace(before=None, touched=True)
        return next((one for one in self._inside(kind, folder) if one.touched and one.before is None), None)

    def _inside(self, kind: str, folder: str) -> Iterator[Entry]:
        start = f"{kind}:{folder}/"
        for number in range(bisect_left(self._addresses, start), len(self._addresses)):
            address = self._addresses[number]
            if not address.startswith(start):
                return
            yield self._entries[address]

    def _named(self, path: str) -> Entry | None:
        """The entry of a folder or a file that is wanted for itself."""
        entry = self._entries.get(f"file:{path}")
        return None if entry is None or entry.applied is None else entry


def _brought(entry: Entry) -> list[str]:
    """The folders that were made for it, and the file that it is a part of, if that was, the highest first."""
    folders: list[str] = entry.extra.get("missing") or []
    return [*folders, str(entry.params["path"])] if entry.extra.get("file") == "missing" else folders
