"""Why: what each error code means stands in one table, and a test holds it against the tree of errors."""

from __future__ import annotations

from sloth_runner.plain import Final

Entry = tuple[str, str, str, tuple[str, ...]]

_IN_RUN = "1 in a run, else 5"

CODES: Final[dict[str, Entry]] = {
    "E-USAGE": (
        "64",
        "the command line was not understood",
        "An option, a command or an argument is unknown, missing, or contradicts another one. Nothing was done.",
        ("Look at the command's --help.",),
    ),
    "E-NAME": (
        "64",
        "a name can't be used",
        "Names of agents have 1 to 63 of a-z, 0-9, '.', '_', '-', and start with a letter or digit; 'local' is this "
        "machine. Keys and locks have 1 to 512 bytes of UTF-8 without control characters.",
        ("Choose another name.",),
    ),
    "E-STACK": (
        "64",
        "the stack's name is not usable or not clear",
        "A stack is the name that runs are kept under. It is implied by the workflow or the file; if that name was "
        "last used from another file, you are asked to say which is meant, so that two files never share a memory.",
        ("Name it: sloth-runner run -f FILE STACK.", "See what there is: sloth-runner stack list."),
    ),
    "E-SYNTAX": (
        "5",
        "a task file is not Lua",
        "The file could not be parsed. Nothing was run. The error shows the line and what Lua stumbled over.",
        (
            "Look at that line and the one before it: a missing 'end', comma or bracket is often there.",
            "The file of another tool (YAML, a Makefile, HCL) is not run: docs/coming-from.md says how to go over.",
        ),
    ),
    "E-FIELD": (
        "5",
        "a field has an unknown name",
        "A task, a workflow or a call has a field that nothing reads. Unknown fields are refused so that a misspelt "
        "one is never ignored.",
        ("Correct the name; the error suggests the nearest one.",),
    ),
    "E-ARGUMENT": (
        "5",
        "a field or an argument has the wrong type or value",
        "Something in the file has a value that can't be meant, such as text where a list is needed.",
        ("Correct it at the place that the error shows.",),
    ),
    "E-CYCLE": (
        "5",
        "tasks depend on each other in a circle",
        "None of the tasks named could ever start. Nothing was run.",
        ("Take one of the dependencies out.",),
    ),
    "E-DEPENDS": (
        "5",
        "a task depends on one that is not there",
        "depends_on names a task that the file does not define.",
        ("Correct the name, or define the task.",),
    ),
    "E-DUPLICATE": (
        "5",
        "a name is defined twice",
        "Two tasks of a file have one name, or a file has two workflows. Names identify what is remembered.",
        ("Rename one of them.",),
    ),
    "E-CONFIG": (
        "5",
        "the configuration is wrong",
        "A configuration file or a variable SLOTH_RUNNER_… holds an unknown key or a value that can't be used. "
        "Nothing was done.",
        ("Correct it at the place that the error shows.", "See what counts: sloth-runner config show."),
    ),
    "E-VALUES": (
        "5",
        "the values can't be used",
        "A file given with --values can't be read or is not YAML, TOML or JSON; or, with --strict-values, a task "
        "read a value that is not there; or a secret can't be had.",
        ("Correct the file, or give the value with --set KEY=VALUE.",),
    ),
    "E-TASK": (
        _IN_RUN,
        "a task failed",
        "A task raised an error, or returned false or success = false. Tasks that depend on it were skipped.",
        (
            "Look at the line that the error shows.",
            "When it is fixed, go on: sloth-runner run FILE --resume RUN.",
        ),
    ),
    "E-CMD-EXIT": (
        _IN_RUN,
        "a command ended with an error",
        "A command that a task ran had an exit status other than 0.",
        (
            "If that is no failure, say so: check = false.",
            "If it was done before: unless, only_if, creates, or a module that looks first.",
        ),
    ),
    "E-TIMEOUT": (
        _IN_RUN,
        "something took too long",
        "A task, a call or the whole run reached its time limit, or Lua computed for longer than [run] lua_time "
        "without calling anything. What was running has been stopped.",
        ("Raise the timeout, or find out what it waits for.",),
    ),
    "E-TEMPLATE": (
        _IN_RUN,
        "a template can't be rendered",
        "A template has a fault, or names a variable that it was not given.",
        ("Correct the line that the error shows, or pass the variable in vars.",),
    ),
    "E-VALUE-TYPE": (
        _IN_RUN,
        "a value can't be stored",
        "State holds strings, numbers, booleans and tables of them; not nil, functions or userdata. The key keeps "
        "what it had.",
        ("To remove a key, delete it.",),
    ),
    "E-VALUE-SIZE": (
        _IN_RUN,
        "a value is too large",
        "A value may have 1 MiB, unless the store takes less. Nothing was stored.",
        ("Store a digest, or the path of a file.",),
    ),
    "E-NOT-NUMBER": (
        _IN_RUN,
        "a number was needed",
        "increment works on numbers and on text that is one. A sum beyond 64 bits, infinity or NaN is refused, too. "
        "The key keeps what it had.",
        ("See what the key holds: sloth-runner state show KEY.",),
    ),
    "E-TXN-SPAN": (
        _IN_RUN,
        "a transaction touched two namespaces",
        "A transaction is atomic in one namespace. Nothing of it was written.",
        ("Split it, or keep what belongs together under one prefix.",),
    ),
    "E-LOCK-HELD": (
        "3 from the command line, else 1",
        "somebody else holds the lock",
        "A lock was not free in the time given for waiting. The error says who holds it.",
        ("Wait longer: --wait, or wait = in Lua.", "Look: sloth-runner lock show NAME."),
    ),
    "E-LOCK-LOST": (
        _IN_RUN,
        "a lock was lost",
        "A lease ended (the process was stopped for too long, or the lock was broken) while work under it was going "
        "on. Writes under it were refused from then on, so no later holder was disturbed.",
        (
            "Use with_lock, which renews the lease, or a longer ttl.",
            "See who has it: sloth-runner lock list.",
        ),
    ),
    "E-LOCK-OWNER": (
        _IN_RUN,
        "the lock belongs to somebody else",
        "unlock was called for a lock that another holder has. Nothing was changed.",
        ("Unlock with the holder that locked, or use with_lock.",),
    ),
    "E-UNPREDICTABLE": (
        _IN_RUN,
        "a plan ends here: the rest depends on what only a run can tell",
        "In a plan nothing is run, so what a command prints, returns or changes isn't known. Where a task looks at "
        "it, its plan ends; what was found until then is shown.",
        ("creates, unless, only_if, once or inputs make a command predictable.",),
    ),
    "E-STACK-LOCKED": (
        "3",
        "the stack is being run",
        "One stack is run, renamed or forgotten by one at a time. Nothing was started. The error says who has it, "
        "and whether that process still lives.",
        ("Wait for it: --lock-timeout 5m.", "If it is stale: sloth-runner lock break --shared stack:NAME."),
    ),
    "E-KEY-MISSING": (
        "4",
        "there is no such key",
        "The key, revision, run, lock or page asked for does not exist, or has expired.",
        (
            "Look at what there is: sloth-runner state list.",
            "Is it another agent's? --agent NAME, --all-agents.",
        ),
    ),
    "E-AGENT-UNKNOWN": (
        "4, in a task file 5",
        "there is no such agent",
        "An agent is known if it is configured or has state. To run something on it, it must be configured.",
        ('Add it to sloth.toml: [agents] NAME = "local://".',),
    ),
    "E-FILE-MISSING": (
        "4",
        "there is no such file",
        "A task file, a values file, a source or a configuration file that was named does not exist.",
        ("Check the path; relative ones start from the current folder, src from the task file's.",),
    ),
    "E-COMPACTED": (
        "4",
        "that revision is no longer kept",
        "Of each key the last 50 revisions are kept, others for 90 days, up to 1,000 of them and 64 MiB "
        "([state.history] says otherwise). What a tag names is kept, too.",
        ("See what is kept: sloth-runner state history KEY.", "Keep a moment: sloth-runner state tag NAME."),
    ),
    "E-UNREACHABLE": (
        "6",
        "a target can't be reached",
        "The machine that a task was meant for does not answer.",
        ("Check that it is up, then go on: --resume RUN.",),
    ),
    "E-STORE-DOWN": (
        "6",
        "the store can't be used",
        "State could not be read or written: no permission, no space, a file system that is read-only or not fit, or "
        "another process that holds the file for too long.",
        (
            "The error names the file and what the system said.",
            "Nothing was changed by the call that failed.",
        ),
    ),
    "E-INDETERMINATE": (
        "6",
        "whether a write was made is not known",
        "The reply to a commit was lost, and it could not be found out whether it was applied. It was applied whole "
        "or not at all. Or the connection to a machine was lost while something was changed there: it may be done, "
        "in part, or still going on, and is not done again by itself (the retries of a task do begin anew).",
        (
            "Of a commit, look: sloth-runner state show KEY, state history KEY.",
            "Of a machine, run again: modules look first; a command runs again, but for creates, unless or once.",
        ),
    ),
    "E-OUTPUT": (
        "6",
        "the output can't be written",
        "Standard output could not be written, for example because a disk is full. What the command did stands.",
        ("Make room, or send the output elsewhere.",),
    ),
    "E-CONFLICT": (
        "7",
        "others changed the same at the same time",
        "At each of several tries somebody else had changed what was read. Nothing of this change was applied. Of an "
        "import: what is there is newer than the bundle, or has gone another way.",
        (
            "Try again, or put the work under a lock.",
            "Of an import: look at what would be lost; --force takes the bundle's values, as new revisions.",
        ),
    ),
    "E-CORRUPT": (
        "7",
        "stored data is damaged",
        "A file or a record does not hold what was written, or lies in a place that it was not written for. "
        "Nothing was changed.",
        (
            "Keep a copy of the file, then restore it from a backup.",
            "See all of it: sloth-runner state verify.",
            "Check the disk.",
        ),
    ),
    "E-FOREIGN": (
        "7",
        "a file belongs to another program or version",
        "A database in the state folder was not made by sloth-runner, or by a version that this one can't read; or a "
        "bundle is of another state than the namespace it should go into; or sealed data is from another store; or "
        "encryption is configured, and the state is in plaintext. Nothing was touched.",
        (
            "Move the file away, or use the version that wrote it.",
            "To take another state's keys: state import --prefix-map OLD=NEW, or --force.",
            "Seal a state that is in plaintext: sloth-runner state encrypt.",
        ),
    ),
    "E-KEY-WRONG": (
        "7",
        "the encryption key does not fit",
        "The state is sealed with another key than the one given, or no key is configured, or its keyring is "
        "missing. Nothing was changed.",
        (
            "Give the key that it was sealed with: [state.encryption] in sloth.toml.",
            "See what is sealed under which key: sloth-runner state rekey --status.",
        ),
    ),
    "E-UNFIT": (
        "7",
        "the store does not do what state relies on",
        "Before the first write to a store on a server, the server is tried: that a second conditional create fails, "
        "that compare-and-set excludes, that a refused commit leaves nothing, and more. This one failed, so two runs "
        "could both believe that they are alone. Nothing was stored.",
        (
            "See all that was tried: sloth-runner state doctor.",
            "Look for a proxy or a gateway between here and the server, and for the server's version.",
            "Choose another store: [state] store in sloth.toml.",
        ),
    ),
    "E-MOVED": (
        "7",
        "the state is in another store now",
        "The store that is configured here was moved elsewhere by state migrate, or is being moved, or a state is "
        "being copied into it and is not complete. Nothing was written.",
        (
            "Name the new store in sloth.toml, as the message says.",
            "Of a migration that broke off: the same command again finishes it, with --abort it is undone.",
        ),
    ),
    "E-DECLINED": (
        "8",
        "it was not confirmed",
        "Commands that take something away ask first. The answer was no, or there was no terminal to ask on. Nothing "
        "was changed.",
        ("In scripts, add --yes.",),
    ),
    "E-DENIED": (
        "8",
        "whoever asked may not do that",
        "A request to the web UI came without the session that its link opens, from another page or under another "
        "name, or wants to change something while the UI is read-only. Nothing was done.",
        (
            "Open the link that sloth-runner ui prints (Enter prints another one).",
            "Start it without --read-only, or under the name that browsers use: --name NAME.",
        ),
    ),
    "E-INTERRUPTED": (
        "130, 143 or 129, by the signal",
        "it was interrupted",
        "Someone asked it to stop: Ctrl-C (130), SIGTERM (143), a closed terminal (129). In a run, running commands "
        "were given time to end, locks were released, and what was done is recorded.",
        ("Go on where it stopped: sloth-runner run FILE --resume RUN.",),
    ),
    "E-BUG": (
        "70",
        "sloth-runner has a fault",
        "Something happened that its authors did not think possible.",
        ("Run the command again as sloth-runner --debug …, and report what it prints.",),
    ),
}
