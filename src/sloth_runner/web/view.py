"""Why: all HTML is made here, escaped by default, from the same documents that the API answers with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sloth_runner import __version__
from sloth_runner.documents import words
from sloth_runner.moments import parse_moment

if TYPE_CHECKING:
    from jinja2 import Environment

    from sloth_runner.web.options import Options

NAV = (
    ("overview", "/", "Overview", "o"),
    ("state", "/state", "State", "s"),
)
CLIP = 120
"""Characters of a value that a list shows."""


class View:
    """Templates with what all of them need. ``clock``: seconds since the epoch."""

    def __init__(self, options: Options, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._environment = _environment()
        self._environment.globals.update(
            read_only=options.read_only,
            version=__version__,
            nav=NAV,
            asset=asset,
            link=link,
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
            shown=shown,
            clip=clip,
            pretty=pretty,
        )

    def render(self, template: str, **context: Any) -> str:
        """The text of a template."""
        return self._environment.get_template(template).render(context)


def link(path: str, **query: object) -> str:
    """A path with a query; what is None or empty is left out."""
    given = {name: item for name, item in query.items() if item not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def shown(entry: Mapping[str, Any]) -> str:
    """An entry's value on one line: text as it is, everything else as JSON."""
    return words.pictures(plain(entry["value"]))


def plain(value: object) -> str:
    """A value's JSON form as people read it: text as it is, everything else as JSON on one line."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get("$float"), str):
        return str(value["$float"])
    return json.dumps(value, ensure_ascii=False)


def pretty(value: object) -> str:
    """A value's JSON form, spread out; text as it is."""
    if isinstance(value, dict | list):
        return words.pictures(json.dumps(value, ensure_ascii=False, indent=2), lines=True)
    return words.pictures(plain(value), lines=True)


def clip(text: str, most: int = CLIP) -> str:
    """At most so many characters; what is cut shows as …"""
    return text if len(text) <= most else text[: most - 1] + "…"


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
