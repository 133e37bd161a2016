"""Why: every failure a user can meet has one stable code, one exit status, and says what to do next.

The tree (code, exit status)::

    SlothError
    ├── UsageError            E-USAGE 64        ├── BadName      E-NAME 64
    │                                           └── BadStack     E-STACK 64
    ├── FileProblem           5, wrong in a task or configuration file
    │   ├── SyntaxProblem     E-SYNTAX          ├── BadField     E-FIELD
    │   ├── BadArgument       E-ARGUMENT        ├── Cycle        E-CYCLE
    │   ├── BadDependency     E-DEPENDS         ├── Duplicate    E-DUPLICATE
    │   ├── BadConfig         E-CONFIG          └── BadValues    E-VALUES
    ├── TaskProblem           1 in a run, 5 from the command line alone
    │   ├── TaskFailed        E-TASK            ├── CommandFailed E-CMD-EXIT
    │   ├── TimedOut          E-TIMEOUT         ├── TemplateProblem E-TEMPLATE
    │   ├── BadValue          E-VALUE-TYPE      ├── TooLarge     E-VALUE-SIZE
    │   ├── NotANumber        E-NOT-NUMBER      ├── TransactionSpan E-TXN-SPAN
    │   ├── LockHeld          E-LOCK-HELD       ├── LockLost     E-LOCK-LOST
    │   ├── LockOwner         E-LOCK-OWNER      └── Unpredictable E-UNPREDICTABLE (ends a task's plan)
    ├── StackLocked           E-STACK-LOCKED 3
    ├── Missing               4
    │   ├── KeyMissing        E-KEY-MISSING     ├── AgentUnknown E-AGENT-UNKNOWN
    │   ├── FileMissing       E-FILE-MISSING    └── Compacted    E-COMPACTED
    ├── Lost                  6
    │   ├── Unreachable       E-UNREACHABLE     ├── StoreDown    E-STORE-DOWN
    │   │                                       │   ├── Busy     (another process holds the store just now)
    │   │                                       │   └── Forbidden (it answers, and does not let us)
    │   ├── Indeterminate     E-INDETERMINATE
    │   └── OutputLost        E-OUTPUT
    ├── Distrust              7
    │   ├── Conflict          E-CONFLICT        ├── Corrupt      E-CORRUPT
    │   │   └── Outdated      (what a change was based on is no longer there)
    │   ├── Foreign           E-FOREIGN         ├── KeyWrong     E-KEY-WRONG
    │   ├── Moved             E-MOVED           └── Unfit        E-UNFIT
    ├── Declined              E-DECLINED 8
    ├── Denied                E-DENIED 8
    ├── Interrupted           E-INTERRUPTED 130 (SIGINT), 143 (SIGTERM) or 129 (SIGHUP)
    └── Bug                   E-BUG 70
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from errno import EMFILE
from os import strerror

from sloth_runner.names import with_bytes


class SlothError(Exception):
    """The root of all errors this project raises on purpose.

    ``message`` says what went wrong; the other attributes say where (``file``, ``line``, ``column``, the
    ``source`` text of that line), on which ``target``, during which ``operation``, what the operating
    system said, what was changed and what was not, and what to do next. Lines and columns start at 1.
    """

    code = "E-BUG"
    exit_code = 70
    final = False
    """Set on an error that asks a task body to stop (a deadline, a lost lock): its pcall can't swallow that."""

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        source: str | None = None,
        target: str | None = None,
        operation: str | None = None,
        system: str | None = None,
        changed: Sequence[str] = (),
        unchanged: Sequence[str] = (),
        next: Sequence[str] = (),  # noqa: A002 - the field's public name in every JSON document
    ) -> None:
        if "\\udc" in message:
            message = with_bytes(message)
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.source = source
        self.target = target
        self.operation = operation
        self.system = system
        self.changed = list(changed)
        self.unchanged = list(unchanged)
        self.next = list(next)

    def again(self) -> SlothError:
        """Another one like it, for another who meets it: where that was is written into each."""
        kind = type(self)
        other = kind.__new__(kind, *self.args)
        own = {"changed": list(self.changed), "unchanged": list(self.unchanged), "next": list(self.next)}
        vars(other).update(vars(self), **own)
        other.__cause__ = self
        return other

    def document(self, exit_code: int | None = None) -> dict[str, object]:
        """The error as the value of ``error`` in a JSON document."""
        return {
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "source": self.source,
            "target": self.target,
            "operation": self.operation,
            "system": self.system,
            "changed": self.changed,
            "unchanged": self.unchanged,
            "next": self.next,
            "exit_code": self.exit_code if exit_code is None else exit_code,
        }


FILES_LACK = "this process has as many files open as the system allows"
MORE_FILES = "allow more: ulimit -n 1024 (up to what ulimit -Hn says), LimitNOFILE= in a unit of systemd"


def lacks_files(error: BaseException) -> bool:
    """Whether something failed since no more files may be open. (A library that is loaded says so only in words.)"""
    if isinstance(error, OSError):
        return error.errno == EMFILE
    return isinstance(error, ImportError) and strerror(EMFILE) in str(error)


class UsageError(SlothError):
    code, exit_code = "E-USAGE", 64


class BadName(UsageError):
    code = "E-NAME"


class BadStack(UsageError):
    code = "E-STACK"


class FileProblem(SlothError):
    """Something is wrong in a file the user wrote; nothing has been run."""

    code, exit_code = "E-SYNTAX", 5


class SyntaxProblem(FileProblem):
    code = "E-SYNTAX"


class BadField(FileProblem):
    code = "E-FIELD"


class BadArgument(FileProblem):
    code = "E-ARGUMENT"


class Cycle(FileProblem):
    code = "E-CYCLE"


class BadDependency(FileProblem):
    code = "E-DEPENDS"


class Duplicate(FileProblem):
    code = "E-DUPLICATE"


class BadConfig(FileProblem):
    code = "E-CONFIG"


class BadValues(FileProblem):
    code = "E-VALUES"


class TaskProblem(SlothError):
    """Something failed while a task ran. The same error from the command line alone exits with 5."""

    code, exit_code = "E-TASK", 1


class TaskFailed(TaskProblem):
    code = "E-TASK"


class CommandFailed(TaskProblem):
    code = "E-CMD-EXIT"


class TimedOut(TaskProblem):
    code = "E-TIMEOUT"


class TemplateProblem(TaskProblem):
    code = "E-TEMPLATE"


class BadValue(TaskProblem):
    code = "E-VALUE-TYPE"


class TooLarge(TaskProblem):
    code = "E-VALUE-SIZE"


class NotANumber(TaskProblem):
    code = "E-NOT-NUMBER"


class TransactionSpan(TaskProblem):
    code = "E-TXN-SPAN"


class LockHeld(TaskProblem):
    code = "E-LOCK-HELD"


class LockLost(TaskProblem):
    code = "E-LOCK-LOST"


class LockOwner(TaskProblem):
    code = "E-LOCK-OWNER"


class Unpredictable(TaskProblem):
    """In check mode: what follows depends on something that only doing it would tell."""

    code = "E-UNPREDICTABLE"
    final = True


class StackLocked(SlothError):
    code, exit_code = "E-STACK-LOCKED", 3


class Missing(SlothError):
    code, exit_code = "E-KEY-MISSING", 4


class KeyMissing(Missing):
    code = "E-KEY-MISSING"


class AgentUnknown(Missing):
    code = "E-AGENT-UNKNOWN"


class FileMissing(Missing):
    code = "E-FILE-MISSING"


class Compacted(Missing):
    code = "E-COMPACTED"


class Lost(SlothError):
    """A store or a target can't be reached, or did not answer."""

    code, exit_code = "E-UNREACHABLE", 6


class Unreachable(Lost):
    code = "E-UNREACHABLE"


class StoreDown(Lost):
    code = "E-STORE-DOWN"


class Busy(StoreDown):
    """Another process holds the store and did not let go within the time this handle waits."""


class Forbidden(StoreDown):
    """The store answers, and does not let us do this: waiting does not help."""


class Indeterminate(Lost):
    """A commit may or may not have been applied: its reply was lost."""

    code = "E-INDETERMINATE"


class OutputLost(Lost):
    """Standard output can't be written: a full disk, say. What the command did before stands."""

    code = "E-OUTPUT"


class Distrust(SlothError):
    code, exit_code = "E-CONFLICT", 7


class Conflict(Distrust):
    """A commit's expectation did not hold; nothing of that commit was applied.

    ``keys`` names the store keys whose expectation failed, so that a caller can tell a lost lock from a
    value that someone else changed.
    """

    code = "E-CONFLICT"

    def __init__(self, message: str, *, keys: Iterable[str] = (), next: Sequence[str] = ()) -> None:  # noqa: A002
        super().__init__(message, next=next)
        self.keys = frozenset(keys)


class Outdated(Conflict):
    """What a change was based on is no longer there: somebody else changed it meanwhile."""


class Corrupt(Distrust):
    code = "E-CORRUPT"


class Foreign(Distrust):
    code = "E-FOREIGN"


class KeyWrong(Distrust):
    code = "E-KEY-WRONG"


class Unfit(Distrust):
    """A store's server was tried, and does not do what state relies on."""

    code = "E-UNFIT"


class Moved(Distrust):
    """The state was moved to another store, or is on its way there: this one takes no writes any more."""

    code = "E-MOVED"


class Declined(SlothError):
    code, exit_code = "E-DECLINED", 8


class Denied(SlothError):
    """Whoever asks may not: not known, or not allowed to do that, or asking from somewhere else."""

    code, exit_code = "E-DENIED", 8


class Interrupted(SlothError):
    """The user (or the system) asked the run to stop."""

    code, exit_code = "E-INTERRUPTED", 130

    def __init__(self, message: str, *, exit_code: int = 130, next: Sequence[str] = ()) -> None:  # noqa: A002
        super().__init__(message, next=next)
        self.exit_code = exit_code


class Bug(SlothError):
    """The program contradicts itself; please report it."""

    @classmethod
    def of(cls, error: BaseException) -> SlothError:
        """``error`` itself if it is one of ours, else as one: nobody expected it, unless files ran out, which may
        happen wherever something is loaded."""
        if isinstance(error, SlothError):
            return error
        known: SlothError = cls(f"{type(error).__name__}: {error}")
        if lacks_files(error):
            known = TaskFailed(FILES_LACK, system=str(error), next=[MORE_FILES])
        known.__cause__ = error
        return known
