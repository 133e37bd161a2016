"""Why: to load OpenSSL takes a twentieth of a short run; where only sameness counts, Python's own BLAKE2 does."""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import blake2b


def blake(text: str) -> blake2b:
    """A hash object (128 bits) that has seen ``text``."""
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)
