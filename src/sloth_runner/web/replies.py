"""Why: what goes back to a browser or a program has few forms: a document, a page, an error in either of them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from sloth_runner.documents import dumped
from sloth_runner.errors import (
    BadValue,
    Compacted,
    Conflict,
    Declined,
    Denied,
    FileProblem,
    LockHeld,
    Lost,
    Missing,
    NotANumber,
    Outdated,
    SlothError,
    TaskProblem,
    TooLarge,
    UsageError,
)
from sloth_runner.plain import Any, NamedTuple

JSON = "application/json"
_STATUS: tuple[tuple[type[SlothError], int], ...] = (
    (Denied, 403),
    (UsageError, 400),
    (TooLarge, 413),
    (BadValue, 422),
    (NotANumber, 422),
    (LockHeld, 409),
    (FileProblem, 422),
    (TaskProblem, 422),
    (Compacted, 410),
    (Missing, 404),
    (Lost, 503),
    (Conflict, 409),
    (Declined, 409),
)
"""The first that fits counts; everything else is 500."""


class Answer(NamedTuple):
    """A document, and the version that it shows (for ETag), if it has one."""

    name: str
    body: Mapping[str, Any]
    version: str | None = None
    status: int = 200


class Answered(SlothError):
    """A request that is not let through, with the HTTP status that says how."""

    def __init__(self, status: int, message: str, *next_steps: str) -> None:
        super().__init__(message, unchanged=["nothing was read or changed"], next=next_steps)
        self.status = status


class Refusal(Answered, Denied):
    """Whoever asks may not."""


class Misuse(Answered, UsageError):
    """It can't be asked so."""


class Nowhere(Answered, Missing):
    """There is nothing under this address."""


def document(answer: Answer) -> Response:
    """The very bytes that the command line prints for it."""
    text = dumped(answer.name, answer.body) + "\n"
    headers = {} if answer.version is None else {"ETag": etag(answer.version)}
    return Response(text.encode("utf-8", "backslashreplace"), answer.status, headers, JSON)


def error_document(error: SlothError) -> Response:
    """An error as the command line prints it with ``--output json``."""
    text = dumped("error", {"error": error.document()}) + "\n"
    return Response(text.encode("utf-8", "backslashreplace"), status_of(error), media_type=JSON)


def status_of(error: SlothError) -> int:
    """The HTTP status that says what an error says."""
    if isinstance(error, Answered):
        return error.status
    if isinstance(error, Outdated):
        return 412
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def etag(version: str) -> str:
    """A version as an entity tag."""
    return f'"{version}"'
