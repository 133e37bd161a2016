"""Why: an S3 store is described by its URL and the variables of AWS's own tools; what they say is judged in one
place.

``s3://[ACCESS_KEY@]BUCKET[/PREFIX][?region=…&endpoint=…&…]``
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from sloth_runner.errors import BadConfig
from sloth_runner.names import did_you_mean
from sloth_runner.plain import Final, NamedTuple

PARAMETERS: Final = (
    "region", "endpoint", "path_style", "allow_http", "ca_file", "profile", "credentials_file", "unsigned", "sse",
    "kms_key", "checkpoint", "cache", "poll",
)  # fmt: skip
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SSE = ("AES256", "aws:kms", "aws:kms:dsse")


class Settings(NamedTuple):
    """What the URL says. ``checkpoint``: log objects from one to the next; ``cache``: bytes of checkpoints that
    are kept in memory; ``poll``: seconds between two looks of who watches. ``None``: not said."""

    bucket: str
    prefix: str
    access_key: str | None
    region: str | None
    endpoint: str | None
    path_style: bool | None
    allow_http: bool
    ca_file: str | None
    profile: str | None
    credentials_file: str | None
    unsigned: bool
    sse: str | None
    kms_key: str | None
    checkpoint: int
    cache: int
    poll: float


def read_url(url: str) -> Settings:
    """Take the URL apart. Raises BadConfig."""
    place, _, asked = url.partition("://")[2].partition("?")
    login, _, place = place.rpartition("@")
    bucket, _, prefix = place.partition("/")
    if ":" in login:
        raise _bad(
            "a secret key does not belong in the URL", "[state] password_env names the variable with it"
        )
    if not _BUCKET.fullmatch(bucket):
        raise _bad(f"{bucket!r} is not the name of a bucket", "s3://BUCKET/PREFIX?region=eu-central-1")
    if bucket.endswith("--x-s3"):
        raise _bad(
            "directory buckets (S3 Express One Zone) are not supported", "use a general purpose bucket"
        )
    parts = [unquote(part) for part in prefix.split("/") if part]
    if any(part in (".", "..") or not part.isprintable() for part in parts):
        raise _bad(f"{prefix!r} can't be the prefix of a store", "use letters, digits, '-', '_' and '/'")
    more = _parameters(asked)
    sse = more.get("sse")
    if sse is not None and sse not in _SSE:
        raise _bad(f"sse={sse} is not known", f"one of {', '.join(_SSE)}")
    if "kms_key" in more and sse in (None, "AES256"):
        raise _bad("kms_key needs sse=aws:kms")
    return Settings(
        bucket,
        "/".join(parts),
        unquote(login) or None,
        more.get("region"),
        more.get("endpoint"),
        _flag(more, "path_style"),
        bool(_flag(more, "allow_http")),
        more.get("ca_file"),
        more.get("profile"),
        more.get("credentials_file"),
        bool(_flag(more, "unsigned")),
        sse,
        more.get("kms_key"),
        int(_number(more, "checkpoint", 256, 2, 100_000)),
        int(_number(more, "cache", 64, 1, 65_536)) << 20,
        _number(more, "poll", 1.0, 0.05, 3600.0),
    )


def endpoint_of(settings: Settings, environ: Mapping[str, str], profile: Mapping[str, str]) -> str | None:
    """Where the server is, if not where AWS has it. Raises BadConfig."""
    found = (
        settings.endpoint
        or environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url")
    )
    if not found:
        return None
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise _bad(f"the endpoint {found!r} is no address of a server", "endpoint=https://HOST:PORT")
    if parts.scheme == "http" and not settings.allow_http and not _loopback(parts.hostname):
        raise _bad(
            f"{found} is not encrypted: anyone on the way could read the state and change it",
            "use https, or say allow_http=true",
        )
    return found.rstrip("/")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parameters(asked: str) -> dict[str, str]:
    more: dict[str, str] = {}
    for name, value in parse_qsl(asked, keep_blank_values=True):
        if name not in PARAMETERS:
            raise _bad(f"an S3 store has no parameter {name!r}", *did_you_mean(name, PARAMETERS))
        if name in more:
            raise _bad(f"{name} is given twice")
        more[name] = value
    return more


def _flag(more: Mapping[str, str], name: str) -> bool | None:
    value = more.get(name)
    if value is None:
        return None
    if value not in ("true", "false"):
        raise _bad(f"{name} is true or false, not {value!r}")
    return value == "true"


def _number(more: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = more.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise _bad(f"{name} is a number from {least:g} to {most:g}, not {text!r}")
    return value


def _bad(message: str, *advice: str) -> BadConfig:
    return BadConfig(message, unchanged=["nothing was read or written"], next=advice)
