"""Why: whether a password is the one that PostgreSQL has is found out by computing what it stores of it.

SCRAM-SHA-256 as of RFC 5802 and RFC 7677; the stored form is PostgreSQL's:
``SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY``. Passwords are prepared by SASLprep (RFC 4013), or taken as they
are where that refuses them, as the server does.
"""

from __future__ import annotations

import re

ITERATIONS = 4096
"""PostgreSQL's own number."""
_FORM = re.compile(
    r"SCRAM-SHA-256\$([0-9]{1,9}):([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)"
)


def is_verifier(text: str) -> bool:
    """Whether this is a stored form rather than a password."""
    return _FORM.fullmatch(text) is not None


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """The stored form of a password."""
    import hashlib
    import hmac
    from base64 import b64encode

    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (b64encode(item).decode() for item in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


def matches(password: str, stored: str) -> bool:
    """Whether a stored form is that of this password (or is this very form)."""
    from base64 import b64decode
    from hmac import compare_digest

    if is_verifier(password):
        return compare_digest(password, stored)
    form = _FORM.fullmatch(stored)
    if form is None:
        return False
    return compare_digest(verifier(password, b64decode(form[2]), int(form[1])), stored)


def salt_for(password: str, *where: str) -> bytes:
    """A salt for a new stored form. It is made of what only the server and whoever knows the password have, so that a
    plan and the run after it speak of the same stored form."""
    import hmac

    return hmac.digest(_prepared(password), "\0".join(("sloth-runner scram", *where)).encode(), "sha256")[:16]


def _prepared(password: str) -> bytes:
    import stringprep
    import unicodedata

    raw = password.encode("utf-8", "surrogateescape")
    if password.isascii():
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    text = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    tables = (
        stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
        stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
        stringprep.in_table_c9, stringprep.in_table_a1,
    )  # fmt: skip
    if not text or any(table(c) for table in tables for c in text):
        return raw
    right = [stringprep.in_table_d1(c) for c in text]
    if any(right) and (any(map(stringprep.in_table_d2, text)) or not (right[0] and right[-1])):
        return raw
    return text.encode()
