"""Why: whether a service answers is asked from the machine that needs it.

Standard library only; runs on Python 3.8.
"""

from __future__ import annotations

import socket

from sloth_runner.ops import Reach, Reached


def reach(op: Reach) -> Reached:
    """Try to connect, and hang up."""
    try:
        socket.create_connection((op.host, op.port), op.timeout).close()
    except socket.timeout:
        return Reached(False, "no answer")
    except (OSError, UnicodeError) as error:
        return Reached(False, getattr(error, "strerror", None) or str(error))
    return Reached(True)
