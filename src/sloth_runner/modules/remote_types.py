"""Why: what modules take that speak with servers and package managers is checked like every other argument; this
table is loaded when one of them is called."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from sloth_runner.plain import Any

CHECKSUMS = {"sha256": 64, "sha512": 128}
"""Algorithms of checksums, and how many hex digits each has."""


def _say(value: object) -> str:
    from sloth_runner.modules.arguments import shown

    return shown(value)


def _url(value: object) -> str:
    from sloth_runner.modules.urls import web_url

    return web_url(value)


def _duration(value: object) -> float:
    from sloth_runner.durations import seconds

    try:
        number = seconds(value, "it")
    except ValueError as error:  # the argument is named before it
        raise ValueError(str(error).removeprefix("it ")) from None
    if number <= 0:
        raise ValueError(f"is more than 0, not {_say(value)}")
    return float(number)


def _port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise ValueError(f"is a port, 1 to 65535, not {_say(value)}")
    return value


def _method(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{1,20}", value):
        raise ValueError(f'is a method such as "GET" or "POST", not {_say(value)}')
    return value.upper()


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise ValueError(f"is a table of names and texts, not {_say(value)}")
    for name, text in value.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"holds {_say(name)}, which can't name a header")
        if not isinstance(text, str) or not text.isascii() or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text):
            raise ValueError(f"holds a {name} that is no text of one line in ASCII")
    return tuple(value.items())


def _statuses(value: object) -> tuple[int, ...]:
    codes = value if isinstance(value, list) else [value]
    for code in codes:
        if isinstance(code, bool) or not isinstance(code, int) or not 100 <= code < 600:
            raise ValueError(f"is a status such as 200, or a list of them, not {_say(value)}")
    if not codes:
        raise ValueError("names no status")
    return tuple(codes)


def _checksum(value: object) -> tuple[str, str]:
    text = value.strip().lower() if isinstance(value, str) else ""
    algorithm, _, digest = text.rpartition(":")
    if not algorithm:
        algorithm = next((name for name, length in CHECKSUMS.items() if length == len(digest)), "sha256")
    if algorithm not in CHECKSUMS or not re.fullmatch(r"[0-9a-f]+", digest):
        names = " or ".join(f'"{name}:…"' for name in CHECKSUMS)
        raise ValueError(f"is {names} with hex digits, not {_say(value)}")
    if len(digest) != CHECKSUMS[algorithm]:
        raise ValueError(f"has {len(digest)} hex digits; a {algorithm} has {CHECKSUMS[algorithm]}")
    return algorithm, digest


def _state(*names: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in names:
            raise ValueError(f"is {', '.join(map(repr, names[:-1]))} or {names[-1]!r}, not {_say(value)}")
        return str(value)

    return check


def _any(value: object) -> object:
    return value


def _conditions(value: object) -> tuple[bool | str, ...]:
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, bool) and not (isinstance(item, str) and item.strip() and "\0" not in item):
            raise ValueError(f"is true, false, a line for the shell, or a list of these, not {_say(item)}")
    return tuple(items)


def _package(value: object) -> tuple[str, str | None]:
    """A package's name, with an architecture perhaps, and the wanted version (Debian Policy 5.6.1, 5.6.12)."""
    text = value if isinstance(value, str) else ""
    name, pinned, version = text.partition("=")
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9-]+)?", name):
        raise ValueError(f'is the name of a package such as "nginx" or "nginx=1.22.1-9", not {_say(value)}')
    if pinned and not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+:~-]*", version):
        raise ValueError(f"names a version that none can have: {_say(value)}")
    return name, version if pinned else None


def _packages(value: object) -> tuple[tuple[str, str | None], ...]:
    items = [] if value == {} else value if isinstance(value, list) else [value]
    return tuple(_package(item) for item in items)


def _file_name(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,100}", value):
        raise ValueError(f"is a name of letters, digits, _, - and ., not {_say(value)}")
    return value


def _source_words(value: object) -> tuple[str, ...]:
    items = [] if value == {} else value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str) or not re.fullmatch(r"[A-Za-z0-9./][A-Za-z0-9./_+~-]*", item):
            raise ValueError(f'is a word such as "bookworm", or a list of them, not {_say(item)}')
    return tuple(items)


def _source_uris(value: object) -> tuple[str, ...]:
    from sloth_runner.modules.urls import take_apart

    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str) or not re.fullmatch(r"(https?://[^\s/]|file:/|copy:/)[!-~]*", item):
            raise ValueError("is an address that begins with https://, http:// or file:/, or a list of them")
        if item.startswith("http") and take_apart(item).user is not None:
            raise ValueError(
                "holds no user and password: they belong in /etc/apt/auth.conf.d, which only root reads"
            )
    return tuple(items)


def _fingerprint(value: object) -> str:
    text = "".join(value.split()).upper().removeprefix("0X") if isinstance(value, str) else ""
    if not re.fullmatch(r"[0-9A-F]{40}", text):
        raise ValueError(f"has 40 hex digits, a short key id is not enough; not {_say(value)}")
    return text


def _repository(value: object) -> str:
    """Where a git repository is; helpers of git that run programs (``ext::``) are refused, and so are options."""
    from sloth_runner.modules.urls import take_apart, web_url

    hint = "is a https://, ssh://, git:// or file:// URL, user@host:path, or an absolute path"
    if not isinstance(value, str) or not value or any(c.isspace() or ord(c) < 32 for c in value):
        raise ValueError(f"{hint}, without blanks")
    if value.startswith(("http://", "https://")):
        return web_url(value)
    if re.match(r"(ssh|git)://", value):
        if (
            not re.match(r"\w+://([A-Za-z0-9_][A-Za-z0-9._~-]*@)?[A-Za-z0-9\[][^/]*/", value)
            or take_apart(value).password
        ):
            raise ValueError(f"{hint}; over ssh without a password in it")
        return value
    scp = re.match(r"[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:]", value)
    if value.startswith(("/", "file:///")) or scp is not None:
        return value
    raise ValueError(f"{hint}, not {_say(value)}")


def _git_version(value: object) -> str:
    """A name that git takes for a ref (git-check-ref-format), or a commit."""
    text = value if isinstance(value, str) else ""
    bad = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/$|\.$|\.lock$|^[-/.]|/\.", text)
    if not text or bad or text == "@":
        raise ValueError(f"is a branch, a tag or a commit, not {_say(value)}")
    return text


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"is a whole number from 1, not {_say(value)}")
    return value


def _python_package(value: object) -> tuple[str, str, str | None]:
    """Name, extras with their brackets, and version of a requirement (PEP 508, 440), of which only == is known."""
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(
        r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(\[[A-Za-z0-9._, -]+\])?(?:==([0-9A-Za-z][0-9A-Za-z.!+_-]*))?",
        text,
    )
    if found is None:
        raise ValueError(
            f'is a package such as "requests" or "requests==2.32.3", not {_say(value)}; ranges of versions belong'
            " in a requirements file"
        )
    return found[1], (found[2] or "").replace(" ", ""), found[3]


def _python_packages(value: object) -> tuple[tuple[str, str, str | None], ...]:
    items = [] if value == {} else value if isinstance(value, list) else [value]
    return tuple(_python_package(item) for item in items)


def _paths(value: object) -> tuple[str, ...]:
    items = [] if value == {} else value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str) or not item.startswith("/") or "\0" in item:
            raise ValueError(f"is an absolute path on the target, or a list of them, not {_say(item)}")
    return tuple(items)


def _npm_package(value: object) -> tuple[str, str | None]:
    """Name, with its scope perhaps, and exact version."""
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(
        r"((?:@[a-z0-9_~-][a-z0-9._~-]*/)?[a-z0-9_~][a-z0-9._~-]*)(?:@(\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?))?",
        text,
    )
    if found is None:
        raise ValueError(f'is a package such as "typescript" or "@scope/name@1.2.3", not {_say(value)}')
    return found[1], found[2]


def _npm_packages(value: object) -> tuple[tuple[str, str | None], ...]:
    items = [] if value == {} else value if isinstance(value, list) else [value]
    return tuple(_npm_package(item) for item in items)


TYPES: Mapping[str, Callable[[object], Any]] = {
    "url": _url,
    "duration": _duration,
    "port": _port,
    "method": _method,
    "headers": _headers,
    "statuses": _statuses,
    "checksum": _checksum,
    "any": _any,
    "conditions": _conditions,
    "packages": _packages,
    "npm packages": _npm_packages,
    "python packages": _python_packages,
    "paths": _paths,
    "repository": _repository,
    "git version": _git_version,
    "depth": _count,
    "file name": _file_name,
    "source words": _source_words,
    "source uris": _source_uris,
    "fingerprint": _fingerprint,
    "present, absent or latest": _state("present", "absent", "latest"),
}
"""``duration`` is in seconds. ``checksum`` is an algorithm and hex digits. ``conditions`` are booleans and lines for
the shell."""
