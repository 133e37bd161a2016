"""Why: what is told to gRPC once, before it is imported, is told in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def load(environ: Mapping[str, str]) -> Any:
    """gRPC, kept from writing to standard error what errors say anyway (unless the user wants its log): it reads that
    from the process's environment while it is imported. Raises ImportError."""
    name = "GRPC_VERBOSITY"
    quiet = name not in environ and name not in os.environ
    if quiet:
        os.environ[name] = "NONE"
    try:
        import grpc
    finally:
        if quiet:
            del os.environ[name]
    return grpc
