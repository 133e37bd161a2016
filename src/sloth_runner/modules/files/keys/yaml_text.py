"""Why: a YAML text is edited where the value stands, so that comments, quotes, order and layout of all else stay.

PyYAML's parser tells where each node stands; no writer ever sees the whole document. Tables and lists that are put in
are written in flow style (``{a: 1}``), tables around a new key in block style.
"""

from __future__ import annotations

from collections.abc import Sequence

from sloth_runner.modules.files.keys import Literal, Unfit
from sloth_runner.plain import Any, NamedTuple


class _Step(NamedTuple):
    """One table on the way to a key: its node, and number and nodes of the member (None: it has none)."""

    table: Any
    number: int
    name: Any
    value: Any


def values(text: str) -> Any:
    """The data; a table for a text with nothing in it."""
    import yaml

    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unfit(f"it is no YAML that can be edited: {error}") from error
    if _holds_itself(data, set(), set()):
        raise Unfit("it is no YAML that can be edited: something in it holds itself")
    return {} if data is None else data


def _holds_itself(value: Any, above: set[int], seen: set[int]) -> bool:
    """Whether an alias leads to something around it. ``above`` are the ids of what is around, ``seen`` of what is not
    worth a second look."""
    if not isinstance(value, dict | list | set | tuple) or id(value) in seen:
        return False
    if id(value) in above:
        return True
    inner = value.values() if isinstance(value, dict) else value
    above.add(id(value))
    found = any(_holds_itself(one, above, seen) for one in inner)
    above.discard(id(value))
    seen.add(id(value))
    return found


def is_empty(text: str) -> bool:
    """Whether there is nothing, not even a comment."""
    return "".join(text.split()) in ("", "{}")


def _root(text: str) -> Any:
    values(text)
    loader = _loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _loader(text: str) -> Any:
    """A loader whose nodes say where they stand, aliases too: PyYAML says where that stands which they refer to."""
    from copy import copy

    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if not self.check_event(yaml.AliasEvent):
                return super().compose_node(parent, index)
            here = self.peek_event()  # type: ignore[no-untyped-call]
            node: Any = copy(super().compose_node(parent, index))
            node.start_mark, node.end_mark = here.start_mark, here.end_mark
            if isinstance(node, yaml.CollectionNode):
                node.flow_style = True  # its end is its own, not that of what it refers to
            return node

    return Loader(text)


def _walk(text: str, key: Sequence[str]) -> list[_Step]:
    """The tables on the way to a key, as far as they are there."""
    import yaml

    node, steps = _root(text), list[_Step]()
    for number, name in enumerate(key):
        if node is None and not number:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise Unfit(f"{'.'.join(key[:number]) or 'what it holds'} is no table")
        step = _Step(node, -1, None, None)
        for place, (own, value) in enumerate(node.value):
            if isinstance(own, yaml.ScalarNode) and own.tag == "tag:yaml.org,2002:str" and own.value == name:
                if step.number != -1:
                    raise Unfit(f"{name} stands there twice")
                step = _Step(node, place, own, value)
        steps.append(step)
        if step.number == -1:
            return steps
        node = step.value
    return steps


def find(text: str, key: Sequence[str]) -> tuple[Any, ...]:
    """The value, in a tuple."""
    steps = _walk(text, key)
    if len(steps) < len(key) or steps[-1].number == -1:
        return ()
    data = values(text)
    for name in key:
        data = data[name]
    return (data,)


def depth(text: str, key: Sequence[str]) -> int:
    """How many of the names are there."""
    return sum(step.number != -1 for step in _walk(text, key))


def put(text: str, key: Sequence[str], value: Any) -> str:
    """The value in its place, or a new member after the last one of its table."""
    steps = _walk(text, key)
    if not steps:
        end = "" if not text or text.endswith("\n") else _newline(text)
        return text + end + _block(key, value, "", _newline(text)) + _newline(text)
    last = steps[-1]
    if last.number != -1:
        return _replaced(text, last, _flow(value))
    missing = key[len(steps) - 1 :]
    if last.table.flow_style or not last.table.value:
        for name in reversed(missing[1:]):
            value = {name: value}
        return _into_flow(text, last.table, f"{_flow(missing[0])}: {_flow(value)}")
    at = _line_end(text, _end(text, last.table.value[-1][1]))
    margin = " " * last.table.value[0][0].start_mark.column
    return text[:at] + _newline(text) + _block(missing, value, margin, _newline(text)) + text[at:]


def _replaced(text: str, step: _Step, words: str) -> str:
    """Another value behind a name; a comment behind the name or behind the old value stays."""
    colon = _colon(text, step.name.end_mark.index)
    start, end = step.value.start_mark.index, _end(text, step.value)
    if start >= end:  # nothing stands there
        return f"{text[:colon]} {words}{text[colon:]}"
    if "\n" in text[colon:start]:
        rest = _line_end(text, colon)
        return f"{text[:colon]} {words}{text[colon:rest]}{text[end:]}"
    return text[:start] + words + text[end:]


def drop(text: str, key: Sequence[str]) -> str:
    """The member taken away; the last one of a table leaves an empty one."""
    step = _walk(text, key)[-1]
    members = step.table.value
    if step.table.flow_style:
        return _out_of_flow(text, step)
    if len(members) == 1 and len(key) > 1:
        return put(text, key[:-1], {})
    start = text.rfind("\n", 0, step.name.start_mark.index) + 1
    if text[start : step.name.start_mark.index].strip():
        raise Unfit("the key stands behind something else in its line")
    end = _line_end(text, _end(text, step.value))
    if end < len(text):
        return text[:start] + text[end:].removeprefix("\r").removeprefix("\n")
    return text[:start].removesuffix("\n").removesuffix("\r")


def _into_flow(text: str, table: Any, words: str) -> str:
    if table.value:
        end = _end(text, table.value[-1][1])
        return f"{text[:end]}, {words}{text[end:]}"
    start, end = table.start_mark.index, table.end_mark.index
    return f"{text[:start]}{{{words}}}{text[end:]}"


def _out_of_flow(text: str, step: _Step) -> str:
    members, number = step.table.value, step.number
    start, end = step.name.start_mark.index, _end(text, step.value)
    if number:
        return text[: _end(text, members[number - 1][1])] + text[end:]
    return text[:start] + (text[members[1][0].start_mark.index :] if len(members) > 1 else text[end:])


def _end(text: str, node: Any) -> int:
    """Where a node ends, without the space, comments and empty lines that the parser counts to it."""
    import yaml

    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(start + len(text[start:end].rstrip("\r\n")))
    return int(end)


def _colon(text: str, at: int) -> int:
    """The place behind the colon that follows a name."""
    rest = text[at:]
    if not rest.lstrip(" \t").startswith(":"):
        raise Unfit("the key is not written as name: value")
    return at + rest.index(":") + 1


def _line_end(text: str, at: int) -> int:
    """Where the line ends in which ``at`` stands, before its newline."""
    end = text.find("\n", at)
    end = len(text) if end == -1 else end
    return end - 1 if end > at and text[end - 1] == "\r" else end


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _flow(value: Any) -> str:
    """A value in one line."""
    import yaml

    if isinstance(value, Literal):
        return value.text
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _block(names: Sequence[str], value: Any, margin: str, newline: str) -> str:
    """Tables in tables, one line each, and the value in the last one."""
    lines = [f"{margin}{'  ' * number}{_flow(name)}:" for number, name in enumerate(names)]
    return newline.join(lines) + " " + _flow(value)
