"""Why: what a task file finds beside modules (tasks, logs, values, Lua's own with limits) is described here."""

from __future__ import annotations

from sloth_runner.modules.described import Function, Param, Record
from sloth_runner.plain import Final

_RUN = "sloth.Run"
_CONDITION = "sloth.Condition"
_NAMES = "string|string[]"
_SHARE = "integer|string"
_SHARES = "integer|string|(integer|string)[]"

ALIASES: Final = (
    Param("sloth.Value", "string|number|boolean|table", "What state can hold: strings, numbers, booleans, tables."),
    Param("sloth.Duration", "number|string", 'Seconds, or text such as "30s", "5m", "1h30m".'),
    Param(
        "sloth.Run",
        "fun(this: sloth.This, params: table, deps: table<string, any>): ...any",
        "What a task does: params are the task's own, deps what the tasks before it returned, by name: the table of"
        ' `return true, "message", {…}` (the message goes to the log), else the first value, true included.',
    ),
    Param(
        "sloth.Condition",
        "boolean|string|fun(this: sloth.This, params: table, deps: table<string, any>): boolean",
        "A constant, a shell line on the target (true: it succeeds), or a function.",
    ),
    Param("sloth.OnSuccess", "fun(this: sloth.This, result: any)", "Gets what the task returned."),
    Param(
        "sloth.OnFailure",
        "fun(this: sloth.This, err: {code: string, message: string})",
        "Gets the last attempt's error.",
    ),
    Param(
        "sloth.OnComplete",
        "fun(ok: boolean, results: table<string, string|table<string, string>>)",
        "Gets whether all went well, and how each task ended, by name; one on several agents by name and agent.",
    ),
    Param("sloth.Locked", "fun(token: integer): ...any", "What is done under a lock: gets the fencing token."),
    Param("sloth.Body", "fun(): ...any", "A function that takes nothing."),
)  # fmt: skip

_COMMON = (
    Param("name", "string", "unique in the file: a letter or digit, then letters, digits, dot, dash, underscore"),
    Param(
        "run",
        _RUN,
        "what it does; nothing, true or a table is success; false or nil with a reason, or an error, is failure",
    ),
    Param("description", "string", "for people", optional=True),
)  # fmt: skip
_RUNNING = (
    Param(
        "retries",
        "integer",
        "further attempts after a failure, from the first line on; 0 if not given. What a lost connection left"
        " unknown (E-INDETERMINATE) is a failure, too: a command may be done twice then",
        optional=True,
    ),
    Param("retry_delay", "sloth.Duration", "the pause between attempts", optional=True),
    Param("timeout", "sloth.Duration", "how long one attempt may take", optional=True),
    Param("env", "table<string, string>", "environment variables for the commands of its modules", optional=True),
    Param("workdir", "string", "the folder that its commands start in", optional=True),
    Param("user", "string", "the user that its commands run as (sudo)", optional=True),
    Param("locks", _NAMES, "locks that are held while it runs: taken in order, renewed, fenced", optional=True),
)  # fmt: skip
TASK: Final = Record(
    "sloth.Task",
    "A task. Unknown fields are refused.",
    (
        *_COMMON,
        Param("depends_on", _NAMES, "tasks that must have succeeded before", optional=True),
        Param("delegate_to", _NAMES, "where to run: agents, @groups, patterns; here if not given", optional=True),
        *_RUNNING,
        Param("run_if", _CONDITION, "run only if it holds; a string is a shell line on the target", optional=True),
        Param("unless", _CONDITION, "run only if it does not hold", optional=True),
        Param("on_success", "sloth.OnSuccess", "called after success", optional=True),
        Param("on_failure", "sloth.OnFailure", "called after the last attempt failed", optional=True),
        Param("tags", _NAMES, "for --tags and --skip-tags", optional=True),
        Param("params", "table", "handed to run as its second argument", optional=True),
        Param("prune", "boolean", "false: prune keeps what it made; true if not given", optional=True),
        Param("serial", _SHARES, 'how many machines at once: 2, "25%", or sizes one after the other', optional=True),
        Param(
            "max_failures", _SHARE, "after how many failures no other machine begins; 0 with serial", optional=True
        ),
    ),
)  # fmt: skip
HANDLER: Final = Record(
    "sloth.Handler",
    "Work that is done once, at the end of the run, if something that names it (notify) changed.",
    (*_COMMON, *_RUNNING),
)
WORKFLOW: Final = Record(
    "sloth.Workflow",
    "The tasks of a file that belong together, and the name that runs are kept under.",
    (
        Param("description", "string", "for people", optional=True),
        Param(
            "tasks",
            "(sloth.Task|sloth.TaskHandle|sloth.TaskBuilder|string)[]",
            "the tasks that are run, or their names, with what they need; all of the file, if not given",
            optional=True,
        ),
        Param("delegate_to", _NAMES, "where tasks run that say nothing else", optional=True),
        Param("serial", _SHARES, "the same for tasks that say nothing else", optional=True),
        Param("max_failures", _SHARE, "the same for tasks that say nothing else", optional=True),
        Param(
            "on_complete",
            "sloth.OnComplete",
            "called at the end, with how each task ended",
            optional=True,
        ),
    ),
)


def _builder(name: str, what: Record, more: tuple[Param, ...]) -> Record:
    """The builder form: a method for each field, which returns the builder."""
    methods = [
        Param(field.name, f"fun(self: {name}, value: {field.type}): {name}", field.doc)
        for field in what.fields
        if field.name != "name"
    ]
    return Record(name, f"Describes a {what.name} step by step.", (*methods, *more))


_TASK_BUILDER = "sloth.TaskBuilder"
_WORKFLOW_BUILDER = "sloth.WorkflowBuilder"
RECORDS: Final = (
    TASK,
    HANDLER,
    WORKFLOW,
    Record(
        "sloth.This",
        "What a function of a task learns about it.",
        (
            Param("name", "string", "the task's name"),
            Param("agent", "string", "the agent it runs on; local is this machine"),
            Param(
                "workdir",
                "string",
                "the folder that its commands start in: the task's, else its file's; elsewhere \".\", the home",
            ),
        ),
    ),
    Record(
        "sloth.TaskHandle",
        "What task({…}) returns, to be named in a workflow.",
        (Param("name", "string", "the task's name"),),
    ),
    _builder(
        _TASK_BUILDER,
        TASK,
        (
            Param("command", f"fun(self: {_TASK_BUILDER}, fn: {_RUN}): {_TASK_BUILDER}", "the same as run"),
            Param("build", f"fun(self: {_TASK_BUILDER}): sloth.TaskHandle", "ends the description"),
        ),
    ),
    _builder(
        _WORKFLOW_BUILDER,
        WORKFLOW,
        (Param("build", f"fun(self: {_WORKFLOW_BUILDER}): {{name: string}}", "ends the description"),),
    ),
    Record(
        "sloth.Env",
        "The environment of the machine that sloth-runner runs on: env.NAME, env(name, default).",
        (Param("get", "fun(name: string, default?: any): any", "a variable, or the default"),),
        ("field [string] string?", "overload fun(name: string, default?: any): any"),
    ),
)

_PATH = Param("path", "string", "relative to the task file")
_WORDS = Param("...", "any", "written one after the other, with tabs between them")
FUNCTIONS: Final = (
    Function(
        "task",
        "Defines a task; with a name alone, begins the builder form, which :build() ends.",
        (Param("def", "sloth.Task", "its fields"),),
        (Param("task", "sloth.TaskHandle", ""),),
        overloads=(f"fun(name: string): {_TASK_BUILDER}",),
    ),
    Function(
        "handler",
        "Defines work that notify = \"name\" calls for.",
        (Param("def", "sloth.Handler", "its fields"),),
        (Param("handler", "{name: string}", ""),),
    ),
    Function(
        "workflow.define",
        "Defines the file's workflow; with a name alone, begins the builder form.",
        (Param("name", "string", "as of a task"), Param("def", "sloth.Workflow", "its fields")),
        (Param("workflow", "{name: string}", ""),),
        overloads=(f"fun(name: string): {_WORKFLOW_BUILDER}",),
    ),
    Function("print", "Writes a line to the task's log.", (_WORDS,)),
    Function("log.debug", "Writes a line to the task's log, seen with -v.", (_WORDS,)),
    Function("log.info", "Writes a line to the task's log.", (_WORDS,)),
    Function("log.warn", "Writes a warning to the log; the task goes on.", (_WORDS,)),
    Function("log.error", "Writes an error to the log; the task goes on.", (_WORDS,)),
    Function(
        "sleep",
        "Waits; other tasks go on meanwhile. In a plan it returns at once.",
        (Param("time", "sloth.Duration", "how long"),),
    ),
    Function(
        "parallel",
        "Runs functions side by side and waits for all; an error in one is raised when all have ended.",
        (Param("fns", "table<integer|string, sloth.Body>", "a list, or functions by name"),),
        (Param("results", "table<integer|string, any>", "what each returned, by the same keys"),),
    ),
    Function(
        "secret",
        "Finds a secret where its owner keeps it; it is covered in everything that a run shows.",
        (
            Param(
                "where",
                "string|{env: string}|{file: string}|{command: string|string[]}",
                "a variable's name; or a variable, a file (relative to the task file), or a program on this machine",
            ),
        ),
        (Param("secret", "string", "its text, without a newline at the end"),),
    ),
    Function(
        "require",
        "Loads a Lua file below the task file's folder once: a.b is a/b.lua or a/b/init.lua.",
        (Param("name", "string", "letters, digits, _ and -, with dots for folders"),),
        (Param("module", "any", "what the file returned"),),
    ),
    Function(
        "io.open",
        "Opens a file of this machine for reading; other modes are refused.",
        (_PATH, Param("mode", '"r"|"rb"', "r if not given", optional=True)),
        (Param("file", "file*?", "nil and a reason if it can't be read"), Param("reason", "string?", "")),
    ),
    Function(
        "io.lines",
        "Reads a file of this machine line by line.",
        (_PATH,),
        (Param("next", "fun(): string?", "the next line"),),
    ),
    Function(
        "os.getenv",
        "A variable of the environment that sloth-runner runs in.",
        (Param("name", "string", "its name"),),
        (Param("value", "string?", "nil if it is not set"),),
    ),
)  # fmt: skip
VARIABLES: Final = (
    Param(
        "values",
        "table<string, any>",
        "What groups, agents, --values and --set give. Reading what is missing gives nil, and a warning.",
    ),
    Param("env", "sloth.Env", "The environment here."),
    Param(
        "facts",
        "sloth.Facts",
        "What the task's target is like. A section is gathered when it is first read, once in a run.",
    ),
)  # fmt: skip

PAGES: Final = {
    "task": "A task file defines tasks; nothing runs while it is loaded.",
    "state": "What is remembered from run to run, for each agent, with history, counters, transactions and locks.",
    "facts": "What the task's target is like. Nothing is gathered before it is read, and each section once in a run."
    " What a run changes does not show in it.",
    "log": "Lines for people, kept with the run.",
    "lua": "Lua 5.4 as usual, but for what would act behind the plan's back: a name that is gone says what to use"
    " instead. Task bodies run on the machine that sloth-runner was started on.",
    "cmd": "Commands.",
    "file": "Files, folders and links on the target.",
    "postgresql": "Roles, databases and privileges of a PostgreSQL server, through psql on the target.",
    "mysql": "Users, databases and privileges of a MariaDB server, through its client on the target.",
    "certificate": "Keys, signing requests and self-signed certificates, made by openssl on the target.",
    "template": "Text with holes, filled by Jinja2 on this machine.",
    "crypto": "Digests and encodings of strings, byte for byte.",
    "json": "JSON and values.",
    "yaml": "YAML and values.",
}  # fmt: skip
"""What stands at the top of a page."""

PAGE_OF: Final = {
    "task": "task", "handler": "task", "workflow": "task", "print": "log", "require": "lua", "io": "lua", "os": "lua",
    "sleep": "lua", "parallel": "lua", "values": "lua", "env": "lua",
}  # fmt: skip
"""The page of a name's first part, where it has none of its own."""
