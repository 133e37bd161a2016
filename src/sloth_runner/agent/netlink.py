"""Why: a network interface may have many addresses, and only the kernel's netlink tells all of them.

Standard library only. rtnetlink(7): one RTM_GETADDR dump, answered with messages of ifaddrmsg and attributes.
"""

from __future__ import annotations

import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

GETADDR, NEWADDR, DONE, ERROR = 22, 20, 3, 2
REQUEST_DUMP = 0x301
ADDRESS, LOCAL = 1, 2
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
_HEADER = struct.Struct("=IHHII")
_BODY = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")


def addresses() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every address of every interface: its name; address, prefix, family (ipv4 or ipv6) and scope. None where
    there is no netlink."""
    if not hasattr(socket, "AF_NETLINK"):
        return
    try:
        raw = _dump()
    except OSError:
        return
    for index, row in _parsed(raw):
        try:
            yield socket.if_indextoname(index), row
        except OSError:
            continue  # it went away meanwhile


def _dump() -> list[bytes]:
    """The messages of the kernel's answer."""
    messages: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.settimeout(5)
        link.send(
            _HEADER.pack(_HEADER.size + _BODY.size, GETADDR, REQUEST_DUMP, 1, 0) + _BODY.pack(0, 0, 0, 0, 0)
        )
        while True:
            piece = link.recv(1 << 16)
            while len(piece) >= _HEADER.size:
                length, kind = _HEADER.unpack_from(piece)[:2]
                if kind == DONE or length < _HEADER.size:
                    return messages
                if kind == ERROR:
                    raise OSError("the kernel refused to list addresses")
                if kind == NEWADDR:
                    messages.append(piece[_HEADER.size : length])
                piece = piece[_aligned(length) :]


def _parsed(messages: list[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for message in messages:
        family, prefix, _, scope, index = _BODY.unpack_from(message)
        if family not in (socket.AF_INET, socket.AF_INET6):
            continue
        found = dict(_attributes(message[_BODY.size :]))
        packed = found.get(LOCAL, found.get(ADDRESS))  # of a point-to-point link, ADDRESS is the other end's
        if packed is None:
            continue
        yield (
            index,
            {
                "address": socket.inet_ntop(family, packed),
                "prefix": prefix,
                "family": "ipv4" if family == socket.AF_INET else "ipv6",
                "scope": SCOPES.get(scope, str(scope)),
            },
        )


def _attributes(rest: bytes) -> Iterator[tuple[int, bytes]]:
    while len(rest) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(rest)
        if length < _ATTRIBUTE.size:
            return
        yield kind, rest[_ATTRIBUTE.size : length]
        rest = rest[_aligned(length) :]


def _aligned(length: int) -> int:
    return (length + 3) & ~3
