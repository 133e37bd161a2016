"""Why: a URL may hold a password, which belongs in no message, no argument list and no record."""

from __future__ import annotations

import re

from sloth_runner.plain import NamedTuple

DOTS = "••••••"


class Url(NamedTuple):
    """A URL taken apart: ``public`` is without user and password; ``user`` and ``password`` are decoded (None: there
    is none); ``shown`` is what messages call it, without password and query."""

    public: str
    user: str | None
    password: str | None
    shown: str


def take_apart(url: str) -> Url:
    """A URL with ``//`` after its scheme, in parts. Raises ValueError for one that is malformed."""
    from urllib.parse import unquote, urlsplit

    split = urlsplit(url)
    port = split.port  # raises ValueError for one that is no number
    host = split.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    place = host + (f":{port}" if port is not None else "")
    public = split._replace(netloc=place).geturl()
    user = None if split.username is None else unquote(split.username)
    password = None if split.password is None else unquote(split.password)
    who = (
        "" if user is None else f"{split.username}:{DOTS}@" if password is not None else f"{split.username}@"
    )
    query = "?…" if split.query else ""
    return Url(public, user, password, f"{split.scheme}://{who}{place}{split.path}{query}")


def web_url(value: object) -> str:
    """A http or https URL, with a host, without blanks and control characters. Raises ValueError, which does not
    repeat it: it may hold a password."""
    if not isinstance(value, str):
        raise ValueError("is a URL such as https://host/path")
    if not value.isascii() or any(c <= " " or c == "\x7f" for c in value):
        raise ValueError("is a URL in ASCII without blanks: write others as %XX")
    if not re.match(r"https?://[^/?#]", value, re.I):
        raise ValueError("is a URL that begins with http:// or https://")
    try:
        parts = take_apart(value)
    except ValueError:
        raise ValueError("is a URL whose port is a number below 65536") from None
    if not re.match(r"https?://(\[|[^/:?#])", parts.public, re.I):
        raise ValueError("is a URL with the name of a host")
    return value


def basic(user: str, password: str) -> str:
    """The value of an Authorization header (RFC 7617)."""
    from base64 import b64encode

    return "Basic " + b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()
