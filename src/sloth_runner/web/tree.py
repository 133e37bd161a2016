"""Why: keys are seen as a tree that folds; which branches are open stands in the address, so a page can be shared."""

from __future__ import annotations

from collections.abc import Iterator

from sloth_runner import documents
from sloth_runner.documents import Document, keys
from sloth_runner.plain import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sloth_runner.app import App
    from sloth_runner.web.house import House

PAGE, INSIDE, DEEPEST = 100, 30, 6


class Row(NamedTuple):
    """A line of the tree. ``label``: the name without what stands above it; ``entry``: a key's ENTRY; ``keys``: how
    many a branch holds; ``more``: instead of a branch's further rows, how many there are."""

    depth: int
    name: str
    label: str
    keys: int = 0
    entry: Document | None = None
    is_open: bool = False
    more: int = 0


class Tree(NamedTuple):
    """The rows of one page, and the name to go on after (None: that was all)."""

    rows: list[Row]
    next: str | None
    total: int


def tree(app: App, house: House, namespace: str, prefix: str, after: str, opened: frozenset[str]) -> Tree:
    """The tree below ``prefix``, with the branches that are ``opened``. Raises AgentUnknown, BadName."""
    view = keys.view_of(app, namespace)
    groups = house.index.level(namespace, prefix, after, PAGE + 1)
    rows = list(_rows(app, house, namespace, prefix, after, opened, 0, PAGE))
    total = house.index.count(view.namespace, prefix)
    return Tree(rows, groups[PAGE - 1].name if len(groups) > PAGE else None, total)


def _rows(
    app: App,
    house: House,
    namespace: str,
    prefix: str,
    after: str,
    opened: frozenset[str],
    depth: int,
    limit: int,
) -> Iterator[Row]:
    view = keys.view_of(app, namespace)
    shown = 0
    for group in house.index.level(namespace, prefix, after, limit):
        label = group.name[len(prefix) :] or group.name
        shown += group.keys
        if not group.folded:
            found = view.row(group.name)
            if found is not None:
                yield Row(depth, group.name, label, 1, documents.entry(found, reveal=False))
            continue
        is_open = group.name in opened and depth < DEEPEST
        yield Row(depth, group.name, label, group.keys, None, is_open)
        if is_open:
            yield from _rows(app, house, namespace, group.name, "", opened, depth + 1, INSIDE)
    if depth:
        left = house.index.count(namespace, prefix) - shown
        if left > 0:
            yield Row(depth, prefix, "", more=left)
