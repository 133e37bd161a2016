"""Why: the functions of ``state`` are described here, for people and for editors; the engine performs them."""

from __future__ import annotations

from sloth_runner.modules.described import Function, Param, Record
from sloth_runner.plain import Final

_KEY = Param("key", "string", "1 to 512 bytes of UTF-8 without control characters")
_VALUE = Param("value", "sloth.Value", "what to store; comes back as the type it is")
_SET = Param("opts", "sloth.SetOptions|sloth.Duration", "options, or only the ttl", optional=True)
_NAME = Param(
    "name", "string", "the lock's name; one that begins with a shared prefix is shared by all agents"
)
_HOLDER = Param("holder", "string", "who holds it; the task's name if not given", optional=True)
_TTL = Param(
    "ttl", "sloth.Duration", "how long the lease lasts without renewal; 60 s if not given", optional=True
)
_LOCK = Param("opts", "sloth.LockOptions", "how long to wait, whether to keep it", optional=True)
_PREFIX = Param("prefix", "string", "literal; all keys if not given", optional=True)
_CHANGED = (Param("changed", "boolean", "whether anything changed"),)
_NUMBER = (Param("number", "number", "the new number"),)
_LENGTH = (Param("length", "integer", "the new length"),)
_TOKEN = (Param("token", "integer", "the fencing token"),)
_BODY = "sloth.Locked"

RECORDS: Final = (
    Record(
        "sloth.SetOptions",
        "Options of state.set and state.set_if_absent.",
        (
            Param("ttl", "sloth.Duration", "the key vanishes after it", optional=True),
            Param(
                "keep_ttl",
                "boolean",
                "keep the expiry that the key has (not with ttl, not set_if_absent)",
                optional=True,
            ),
            Param(
                "sensitive",
                "boolean",
                "shown nowhere in clear; stays until it is set to false; not given, a value that holds a secret of "
                "the run is so",
                optional=True,
            ),
        ),
    ),
    Record(
        "sloth.GetOptions",
        "Which revision state.get reads: give one of them.",
        (
            Param("rev", "integer", "the number of a revision", optional=True),
            Param("at", "string", "a time, or how long ago: 2026-01-31T12:00:00Z, 2h30m", optional=True),
        ),
    ),
    Record(
        "sloth.HistoryOptions",
        "Which revisions state.history gives.",
        (
            Param("limit", "integer", "at most so many", optional=True),
            Param(
                "since",
                "number|string",
                "those from this time on: seconds since 1970, or as for state.get",
                optional=True,
            ),
            Param("until", "number|string", "those up to this time", optional=True),
            Param("by", "string", "those of this user", optional=True),
        ),
    ),
    Record(
        "sloth.Difference",
        "Two revisions of a key, compared.",
        (
            Param("differ", "boolean", "whether the values differ"),
            Param("diff", "string", "how, line by line; not there for sensitive values", optional=True),
            Param("old", "sloth.Value", "the first value; not there if there was none", optional=True),
            Param("new", "sloth.Value", "the second value", optional=True),
        ),
    ),
    Record(
        "sloth.Verified",
        "What state.verify found in order.",
        (
            Param("head", "string", "the digest that stands for all of it"),
            Param("keys", "integer", "how many keys"),
            Param("revisions", "integer", "how many revisions"),
        ),
    ),
    Record(
        "sloth.LockOptions",
        "Options of state.lock and state.with_lock.",
        (
            Param("wait", "sloth.Duration", "how long to wait while somebody else has it", optional=True),
            Param("keep", "boolean", "keep it when the task ends, until its ttl is over", optional=True),
        ),
    ),
    Record(
        "sloth.Revision",
        "One change of a key.",
        (
            Param("rev", "integer", "its number: 1, 2, 3 … for each key"),
            Param("time", "number", "when, in seconds since 1970"),
            Param("op", '"set"|"delete"|"expire"|"rollback"|"import"', "what was done"),
            Param("old", "sloth.Value", "the value before", optional=True),
            Param("new", "sloth.Value", "the value after", optional=True),
            Param("run", "string", "the run that did it; empty if none"),
            Param("task", "string", "the task that did it; empty if none"),
            Param("user", "string", "user@host"),
        ),
    ),
    Record(
        "sloth.WatchOptions",
        "Options of state.watch.",
        (
            Param("timeout", "sloth.Duration", "how long to wait; 60 s if not given", optional=True),
            Param("prefix", "boolean", "all keys that begin with key are meant", optional=True),
        ),
    ),
    Record(
        "sloth.Change",
        "The change that brought about what state.watch waits for.",
        (
            Param("key", "string", "which key"),
            Param(
                "op",
                '"set"|"delete"|"expire"|"rollback"|"import"|"purge"',
                "what was done; expire: its ttl was over, purge: it was erased with its past",
            ),
            Param("time", "number", "when, in seconds since 1970"),
            Param("rev", "integer", "the number of the revision; not there if none was made", optional=True),
            Param("old", "sloth.Value", "the value before", optional=True),
            Param("new", "sloth.Value", "the value after", optional=True),
            Param("run", "string", "the run that did it; empty if none", optional=True),
            Param("task", "string", "the task that did it; empty if none", optional=True),
            Param("user", "string", "user@host", optional=True),
        ),
    ),
    Record(
        "sloth.StateStats",
        "Figures of a namespace.",
        (
            Param("keys", "integer", "how many keys there are"),
            Param("bytes", "integer", "of their values"),
            Param("revisions", "integer", "that are kept"),
            Param(
                "oldest",
                "number",
                "when the oldest key was changed last, in seconds since 1970",
                optional=True,
            ),
            Param("newest", "number", "when the newest key was changed last", optional=True),
        ),
    ),
)

_KEYS = (
    Function("state.set", "Sets a key. Without a ttl an expiry is removed.", (_KEY, _VALUE, _SET), _CHANGED),
    Function(
        "state.get",
        "The value of a key. A stored false comes back as false: prefer get(key, default) to get(key) or default.",
        (
            _KEY,
            Param("default", "any", "what comes back if there is no such key; nil if not given", optional=True),
            Param("opts", "sloth.GetOptions", "an earlier revision", optional=True),
        ),
        (Param("value", "any", "the value, or the default"),),
    ),
    Function("state.exists", "Whether there is a key.", (_KEY,), (Param("exists", "boolean", ""),)),
    Function(
        "state.delete", "Deletes a key.", (_KEY,), (Param("deleted", "boolean", "whether there was one"),)
    ),
    Function(
        "state.list",
        "Keys and values, as they were at one moment; pairs walks them in order.",
        (_PREFIX,),
        (Param("values", "table<string, sloth.Value>", "by key"),),
    ),
    Function("state.keys", "Keys, in order.", (_PREFIX,), (Param("keys", "string[]", ""),)),
    Function(
        "state.increment",
        "Adds to a number; a missing key counts as 0. The ttl is kept.",
        (_KEY, Param("delta", "number", "1 if not given", optional=True)),
        _NUMBER,
    ),
    Function(
        "state.decrement",
        "Subtracts from a number; a missing key counts as 0.",
        (_KEY, Param("delta", "number", "1 if not given", optional=True)),
        _NUMBER,
    ),
    Function(
        "state.set_if_absent",
        "Sets a key that is not there.",
        (_KEY, _VALUE, _SET),
        (Param("set", "boolean", "whether it was absent"),),
    ),
    Function(
        "state.compare_and_swap",
        "Sets a key if it holds what is expected. nil stands for no key.",
        (
            _KEY,
            Param("old", "sloth.Value?", "what it must hold"),
            Param("new", "sloth.Value?", "what it should hold"),
        ),
        (Param("swapped", "boolean", "whether it held old"),),
    ),
    Function(
        "state.append",
        "Appends to a string; a missing key counts as empty.",
        (_KEY, Param("text", "string", "")),
        _LENGTH,
    ),
    Function(
        "state.list_push", "Appends to a list; a missing key counts as empty.", (_KEY, _VALUE), _LENGTH
    ),
    Function(
        "state.list_pop",
        "Takes an item from a list.",
        (_KEY, Param("from", '"last"|"first"', "last if not given", optional=True)),
        (Param("value", "sloth.Value?", "nil if there was none"),),
    ),
    Function(
        "state.list_length", "How many items a list has.", (_KEY,), (Param("length", "integer", "0 if no key"),)
    ),
    Function(
        "state.get_ttl",
        "When a key vanishes.",
        (_KEY,),
        (Param("seconds", "number", "left; -1: it does not vanish, -2: there is no such key"),),
    ),
    Function(
        "state.set_ttl",
        "Sets or (nil) removes a key's expiry.",
        (_KEY, Param("ttl", "sloth.Duration", "nil: it does not vanish", optional=True)),
        (Param("set", "boolean", "false: there is no such key"),),
    ),
    Function(
        "state.history",
        "What a key held, the newest first.",
        (_KEY, Param("opts", "sloth.HistoryOptions", "which of them", optional=True)),
        (Param("revisions", "sloth.Revision[]", ""),),
    ),
    Function(
        "state.watch",
        "Waits for a key, while other tasks go on: until it holds a value, until a function says so of its value (it"
        " is asked at once, then after each change, and none is left out), or, without a condition, until it is"
        " changed. Raises E-TIMEOUT if that takes too long. In a plan nothing is waited for: a value is taken for"
        " granted, and of anything else nothing is known.",
        (
            Param("key", "string", "which key; with prefix = true what keys begin with"),
            Param(
                "condition",
                "sloth.Value|fun(value: sloth.Value?, change: sloth.Change?): any",
                "a value, or a function that returns true; nil: any change",
                optional=True,
            ),
            Param("opts", "sloth.WatchOptions", "how long to wait; whether a prefix is meant", optional=True),
        ),
        (
            Param("value", "sloth.Value?", "the value for which it is so; nil: there is none"),
            Param("change", "sloth.Change?", "what brought it about; nil: nobody ever set the key"),
        ),
    ),
    Function(
        "state.rollback",
        "Makes an earlier revision the current one, as a new revision.",
        (_KEY, Param("rev", "integer", "the number of a revision")),
        (Param("rev", "integer", "the new revision"),),
    ),
    Function(
        "state.diff",
        "Compares two revisions of a key.",
        (
            _KEY,
            Param("first", "integer", "the number of a revision"),
            Param("second", "integer", "the number of another; the last one if not given", optional=True),
        ),
        (Param("difference", "sloth.Difference", ""),),
    ),
    Function(
        "state.tag",
        "Gives what this namespace holds now a name, to come back to it.",
        (Param("name", "string", "the tag"),),
        (Param("digest", "string", "what stands for all of it"),),
    ),
    Function(
        "state.verify",
        "Checks that nothing in this namespace was tampered with; raises E-CORRUPT if something was.",
        (Param("opts", "{head?: string}", "head: the digest that it should have", optional=True),),
        (Param("report", "sloth.Verified", ""),),
    ),
    Function(
        "state.stats", "Figures of this namespace.", (), (Param("stats", "sloth.StateStats", ""),)
    ),
    Function(
        "state.transaction",
        "Runs fn so that all its state calls hold together or not at all; it may run more than once. It holds only"
        " state calls of one namespace and pure Lua. What it prints is shown once it counts: when it was written, or"
        " when its error is raised.",
        (Param("fn", "sloth.Body", "what to do"),),
        (Param("...", "any", "what fn returned"),),
    ),
    Function(
        "state.agent",
        "The state of another agent, with the same functions.",
        (Param("name", "string", "the agent"),),
        (Param("state", "sloth.state", ""),),
    ),
)  # fmt: skip

_LOCKS = (
    Function(
        "state.lock",
        "Takes a lock, waiting for opts.wait; raises if it is held. It is not renewed: see with_lock.",
        (_NAME, _HOLDER, _TTL, _LOCK),
        _TOKEN,
        overloads=("fun(name: string, ttl: number, opts?: sloth.LockOptions): integer",),
    ),
    Function(
        "state.try_lock",
        "Takes a lock if it is free.",
        (_NAME, _HOLDER, _TTL),
        (Param("token", "integer|false", "the fencing token; false: somebody else has it"),),
        overloads=("fun(name: string, ttl: number): integer|false",),
    ),
    Function(
        "state.unlock",
        "Gives a lock back. Raises if somebody else has it.",
        (_NAME, _HOLDER),
        (Param("released", "boolean", "false, and a warning: it had ended"),),
    ),
    Function(
        "state.with_lock",
        "Runs fn under a lock that is renewed meanwhile and given back however fn ends. The second argument decides:"
        " a string is the holder, a number the ttl, a function the body. Waits up to its ttl for the lock. If it is"
        " lost all the same, the task ends, inside pcall, too.",
        (
            _NAME,
            Param("holder", "string", "who holds it"),
            Param("ttl", "sloth.Duration", "how long the lease lasts without renewal"),
            Param("fn", _BODY, "what to do; gets the fencing token"),
            _LOCK,
        ),
        (Param("...", "any", "what fn returned"),),
        overloads=(
            f"fun(name: string, holder: string, fn: {_BODY}, opts?: sloth.LockOptions): ...any",
            f"fun(name: string, ttl: number, fn: {_BODY}, opts?: sloth.LockOptions): ...any",
            f"fun(name: string, fn: {_BODY}, ttl?: sloth.Duration, opts?: sloth.LockOptions): ...any",
        ),
    ),
    Function(
        "state.is_locked",
        "Whether somebody holds a lock.",
        (_NAME,),
        (
            Param("locked", "boolean", "false also when its ttl is over"),
            Param("holder", "string?", "who"),
        ),
    ),
)

FUNCTIONS: Final = (*_KEYS, *_LOCKS)
VARIABLES: Final = (Param("state.shared", "sloth.state", "the state that all agents share"),)
