"""Why: names that reach programs run as root are checked before anything happens; errors show the form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sloth_runner.plain import Any, NamedTuple

_ACCOUNT = r"[A-Za-z_][A-Za-z0-9_.-]{0,30}[A-Za-z0-9_$-]|[A-Za-z_]"
_HASH = r"\$[0-9a-z]{1,8}\$[!-9;-~]+|[*!]"
_HOST = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*"
_ZONE = r"[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z0-9+_-]+)*"
_SYSCTL = r"[a-z0-9_]+([./][A-Za-z0-9_:@*-]+(\.[0-9]+)?)+"
_UNIT_END = r"\.(service|socket|device|mount|automount|swap|target|path|timer|slice|scope)"
_UNIT = rf"[A-Za-z0-9_][A-Za-z0-9:_.\\@-]*{_UNIT_END}"
_SUDOERS = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}"


KEY_TYPES = frozenset({
    "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
})  # fmt: skip


class PublicKey(NamedTuple):
    """A public key as OpenSSH writes it; ``blob`` is base64."""

    type: str
    blob: str
    comment: str


def one_line(value: object) -> str:
    """A text without line breaks and other control characters, not blank."""
    if not isinstance(value, str):
        raise ValueError(f"is a string, not {_shown(value)}")
    if not value.strip():
        raise ValueError("is empty")
    if any((ord(char) < 32 and char != "\t") or char == "\x7f" for char in value):
        raise ValueError(f"is one line without control characters, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    from sloth_runner.modules.arguments import shown

    return shown(value)


def _matching(pattern: str, what: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        text = one_line(value)
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"is {what}, not {_shown(text)}")
        return text

    return convert


_account = _matching(
    _ACCOUNT, "the name of an account (letters, digits, _ . -, up to 32, no digit or - at first)"
)


def _accounts(value: object) -> tuple[str, ...]:
    if value == {}:
        return ()
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError(f"is a list of names, not {_shown(value)}")
    return tuple(sorted({_account(item) for item in items}))


def _account_or_number(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(_identity(value))
    return (
        one_line(value) if isinstance(value, str) and value.isascii() and value.isdigit() else _account(value)
    )


def _identity(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError(f"is a whole number, not {_shown(value)}")
    if not 0 <= value < 2**32 - 1:
        raise ValueError(f"is a number from 0 to 4294967294, not {_shown(value)}")
    return int(value)


def _hash(value: object) -> str:
    """Never shown: it may be a password that was put here by mistake."""
    if not isinstance(value, str) or re.fullmatch(_HASH, value) is None:
        raise ValueError(
            "is a hash as in /etc/shadow ($y$… or $6$…; `openssl passwd -6` makes one), not a password; "
            '"*" lets nobody in with one'
        )
    return value


def _field(value: object) -> str:
    text = value if value == "" else one_line(value)
    if ":" in str(text):
        raise ValueError(f"can't hold a colon: {_shown(text)}")
    return str(text)


def _program(value: object) -> str:
    text = _field(value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError(f"is an absolute path without '..', not {_shown(text)}")
    return text.rstrip("/") or "/"


def _date(value: object) -> str:
    from datetime import date

    text = one_line(value)
    if text == "never":
        return text
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text) is None or not text >= "1970-01-02":
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(
            f'is a day such as "2027-03-31" (from 1970-01-02 on), or "never", not {_shown(text)}'
        ) from None


def unit(value: object) -> str:
    """A unit's full name; without an ending it is a service."""
    text = one_line(value)
    if re.search(rf"{_UNIT_END}$", text) is None:
        text += ".service"
    if re.fullmatch(_UNIT, text) is None or len(text) > 255:
        raise ValueError(f"is the name of a unit such as nginx or backup.timer, not {_shown(value)}")
    return text


def _units(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise ValueError(f"is the name of a unit, or a list of them, not {_shown(value)}")
    return tuple(unit(item) for item in items)


def _choice(*names: str) -> Callable[[object], str]:
    def convert(value: object) -> str:
        if value not in names:
            raise ValueError(f"is {', '.join(map(repr, names[:-1]))} or {names[-1]!r}, not {_shown(value)}")
        return str(value)

    return convert


def _address(value: object) -> str:
    from ipaddress import ip_address

    try:
        return str(ip_address(one_line(value)))
    except ValueError:
        raise ValueError(f"is an IP address such as 10.0.0.5 or fd00::5, not {_shown(value)}") from None


def _hosts(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise ValueError(f"is a host name, or a list of them, not {_shown(value)}")
    return tuple(dict.fromkeys(_host(item).lower() for item in items))


_host = _matching(_HOST, "a host name (letters, digits, - inside, dots between)")


def _setting(value: object) -> str:
    """The kernel knows no difference between tabs and spaces in its lists of numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value) if value == value // 1 else value)
    return " ".join(one_line(value).split())


def _public_key(value: object) -> PublicKey:
    """A key's line; its data are texts with their lengths before them, the first its type (RFC 4253, section 6.6)."""
    import base64

    words = one_line(value).split(None, 2)
    if len(words) < 2 or words[0] not in KEY_TYPES:
        raise ValueError(f"is a public key such as 'ssh-ed25519 AAAA… name', not {_shown(value)}")
    try:
        fields = _fields(base64.b64decode(words[1], validate=True))
    except ValueError:
        raise ValueError(f"is a public key, but {_shown(words[1])} is cut off or damaged") from None
    if len(fields) < 2 or fields[0] != words[0].encode():
        raise ValueError(f"is a public key, but {_shown(words[1])} is of another type than {words[0]}")
    return PublicKey(words[0], words[1], words[2].strip() if len(words) > 2 else "")


def _fields(data: bytes) -> list[bytes]:
    fields = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        if len(data) < max(end, 4):
            raise ValueError
        fields.append(data[4:end])
        data = data[end:]
    return fields


def _public_keys(value: object) -> tuple[PublicKey, ...]:
    items = [value] if isinstance(value, str) else value
    if items == {}:
        return ()
    if not isinstance(items, list):
        raise ValueError(f"is a public key, or a list of them, not {_shown(value)}")
    lines = (line for item in items for line in _key_lines(item))
    keys = {(key.type, key.blob): key for key in map(_public_key, lines)}
    return tuple(keys.values())


def _key_lines(item: object) -> Sequence[object]:
    """The lines of a text that name keys; the text itself if there are none."""
    if not isinstance(item, str):
        return (item,)
    lines = [line.strip() for line in item.split("\n")]
    return [line for line in lines if line and not line.startswith("#")] or (item,)


def _ssh_host(value: object) -> str:
    text = one_line(value).lower()
    if re.fullmatch(r"[a-z0-9:.-]+|\[[a-z0-9:.-]+\]:\d{1,5}", text) is None or text.startswith("-"):
        raise ValueError(f"is a name or an address, or [name]:port, not {_shown(value)}")
    return text


def _key_options(value: object) -> str:
    """One text with commas between; blanks only within quotes, as sshd(8) has it."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise ValueError(f"is a text such as 'restrict', or a list of them, not {_shown(value)}")
    text = ",".join(one_line(item).strip() for item in items)
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", text)
    if re.search(r'[\s"]', outside) is not None or text.split(",", 1)[0] in KEY_TYPES:
        raise ValueError(f"holds blanks only within quotes: {_shown(text)}")
    return text


def _cron_field(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return str(int(value))
    text = one_line(value)
    if re.fullmatch(r"[\w*/,-]+", text, re.ASCII) is None:
        raise ValueError(f"is a field of a crontab such as 5, 1-5, */10 or 1,15, not {_shown(value)}")
    return text


def _words(value: object) -> str:
    """Options with commas between, as one text or a list."""
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not items:
        raise ValueError(f"is a text such as 'ro,nosuid', or a list, not {_shown(value)}")
    text = ",".join(one_line(item).strip() for item in items)
    if text.startswith("-") or "" in text.split(","):
        raise ValueError(f"is options with commas between, not {_shown(text)}")
    return text


def _file_system(value: object) -> str:
    text = one_line(value)
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", text) is None:
        raise ValueError(f"is a type such as ext4, tmpfs or none, not {_shown(text)}")
    return text


TYPES: Mapping[str, Callable[[object], Any]] = {
    "one line": one_line,
    "account": _account,
    "accounts": _accounts,
    "account or number": _account_or_number,
    "identity": _identity,
    "password hash": _hash,
    "account field": _field,
    "program": _program,
    "day": _date,
    "unit": unit,
    "units": _units,
    "address": _address,
    "host": _host,
    "hosts": _hosts,
    "zone": _matching(_ZONE, "a time zone such as Europe/Berlin or Etc/UTC"),
    "sysctl": _matching(_SYSCTL, "a kernel setting such as vm.swappiness or net.ipv4.ip_forward"),
    "setting": _setting,
    "mount options": _words,
    "file system": _file_system,
    "sudoers name": _matching(
        _SUDOERS, "letters, digits, - and _ (files with a dot, or a ~ at the end, are ignored there)"
    ),
    "public keys": _public_keys,
    "key options": _key_options,
    "ssh host": _ssh_host,
    "cron field": _cron_field,
    "special time": _choice(
        "reboot", "hourly", "daily", "weekly", "monthly", "yearly", "annually", "midnight"
    ),
    "present or absent": _choice("present", "absent"),
    "running or stopped": _choice("running", "stopped"),
    "mount state": _choice("mounted", "unmounted", "present", "absent"),
}
