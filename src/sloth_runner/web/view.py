"""Why: all HTML is made here, escaped by default, from the same documents that the API answers with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from sloth_runner import __version__
from sloth_runner.documents import words
from sloth_runner.moments import iso, parse_moment
from sloth_runner.plain import TYPE_CHECKING, Any
from sloth_runner.web.diffs import tones

if TYPE_CHECKING:
    from jinja2 import Environment

    from sloth_runner.web.options import Options

NAV = (
    ("overview", "/", "Overview", "o"),
    ("state", "/state", "State", "s"),
    ("timeline", "/timeline", "Timeline", "t"),
    ("compare", "/compare", "Compare", "c"),
    ("locks", "/locks", "Locks", "l"),
    ("runs", "/runs", "Runs", "r"),
    ("graph", "/graph", "Graph", "h"),
    ("drift", "/drift", "Drift", "d"),
    ("agents", "/agents", "Agents", "a"),
)
NODE = ("kind", "name", "where")
CLIP = 120
"""Characters of a value that a list shows."""
OPEN, OPEN_TEXT = 40, 8192
"""Branches of the tree that may be open at once, and the characters of their names in the address."""


class View:
    """Templates with what all of them need. ``clock``: seconds since the epoch."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._environment = _environment()
        self._environment.globals.update(
            read_only=options.read_only,
            release=__version__,
            nav=NAV,
            asset=asset,
            link=link,
            row_id=row_id,
            now=clock,
        )
        self._environment.filters.update(
            ago=lambda text: words.ago(parse_moment(text), clock()),
            ago_at=lambda at: words.ago(at, clock()),
            size=words.size,
            took=words.took,
            number=lambda n: f"{n:,}",
            pictures=words.pictures,
            lines=lambda text: words.pictures(text, lines=True),
            plain=plain,
            one_line=one_line,
            clip=clip,
            tones=tones,
            pretty=pretty,
            counts=counts,
            clock=clock_of,
            crumbs=crumbs,
            toggled=toggled,
            marked=marked,
            around=around,
            node_link=node_link,
            left=lambda lock: max(0.0, parse_moment(lock["expires"]) - clock()),
        )

    def render(self, template: str, **context: Any) -> str:
        """The text of a template."""
        return self._environment.get_template(template).render(context)


def link(path: str, **query: object) -> str:
    """A path with a query; what is None or empty is left out."""
    given = {name: item for name, item in query.items() if item not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def row_id(*parts: object) -> str:
    """What tells a row from others when a page is made anew: it keeps its place under the hands of its reader."""
    return "row:" + "/".join(quote(str(part), safe="", errors="backslashreplace") for part in parts)


def plain(value: object) -> str:
    """A value's JSON form as people read it: text as it is, everything else as JSON on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("$float"), str):
        return str(value["$float"])
    return json.dumps(value, ensure_ascii=False)


def one_line(value: object) -> str:
    """A value's JSON form in a list: line breaks show as ↵."""
    return words.pictures(plain(value).replace("\n", " ↵ ").replace("\t", " "))


def pretty(value: object) -> str:
    """A value's JSON form, spread out; text as it is."""
    if isinstance(value, dict | list):
        return words.pictures(json.dumps(value, ensure_ascii=False, indent=2), lines=True)
    return words.pictures(plain(value), lines=True)


def clip(text: str, most: int = CLIP) -> str:
    """At most so many characters; what is cut shows as …"""
    return text if len(text) <= most else text[: most - 1] + "…"


def counts(summary: Mapping[str, int]) -> str:
    """``3 ok, 1 changed``: what there is none of is left out."""
    found = [f"{summary[name]} {name}" for name in ("ok", "changed", "failed", "skipped") if summary[name]]
    return ", ".join(found) or "none"


def clock_of(at: float) -> str:
    """The time of day of a moment, in UTC."""
    return iso(at)[11:16]


def crumbs(key: str) -> list[tuple[str, str]]:
    """The steps down to a key or prefix: each one's whole name, and what it adds."""
    out: list[tuple[str, str]] = []
    start = 0
    for at, char in enumerate(key):
        if char in ":/" or at == len(key) - 1:
            out.append((key[: at + 1], key[start : at + 1]))
            start = at + 1
    return out


def toggled(name: str, given: Mapping[str, Any], opened: frozenset[str]) -> str:
    """The address of the tree with one branch opened, or closed with all below it."""
    if name in opened:
        kept = [one for one in opened if not one.startswith(name)]
    else:
        kept = [*opened, name]
        if len(kept) > OPEN or len("\n".join(kept)) > OPEN_TEXT:  # others close, so that this one can open
            kept = [one for one in kept if name.startswith(one)]
    query = {key: given[key] for key in ("namespace", "prefix", "after")}
    return link("/state", **query, open="\n".join(sorted(kept)))


def marked(text: str, wanted: str) -> Markup:
    """``text`` with what was looked for set off."""
    out: list[str | Markup] = []
    low, needle, start = text.lower(), wanted.lower(), 0
    if len(low) != len(text):  # some letters have longer lower ones: places would not fit
        return escape(words.pictures(text))
    while needle and (at := low.find(needle, start)) >= 0:
        end = at + len(needle)
        out += [
            escape(words.pictures(text[start:at])),
            Markup("<mark>{}</mark>").format(words.pictures(text[at:end])),
        ]
        start = end
    return Markup("").join([*out, escape(words.pictures(text[start:]))])


def around(text: str, wanted: str) -> str:
    """A part of a long text, with what was looked for in it."""
    at = text.lower().find(wanted.lower())
    begin = 0 if at < CLIP - len(wanted) else max(0, at - CLIP // 3)
    part = text[begin : begin + CLIP]
    return ("…" if begin else "") + part + ("…" if begin + CLIP < len(text) else "")


def node_link(node: Any, run: str | None) -> str:
    """Where a node of the graph leads: a key's page, a resource's, or the run of a task."""
    kind, name, where = (node[field] if isinstance(node, dict) else getattr(node, field) for field in NODE)
    if kind == "key":
        return link("/state/key", namespace=where, key=name)
    if kind == "resource":
        return link("/resource", agent=where, address=name)
    return f"/runs/{run}" if run else "/runs"


@cache
def asset(name: str) -> str:
    """The address of a file of ``static``, which changes with its content."""
    data = files("sloth_runner.web").joinpath("static", *name.split("/")).read_bytes()
    return f"/static/{name}?{hashlib.sha256(data).hexdigest()[:12]}"


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("sloth_runner.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
