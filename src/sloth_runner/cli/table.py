"""Why: the help lists every command without loading one; this is the list, in the order of the help."""

from __future__ import annotations

from collections.abc import Mapping

from sloth_runner.plain import Any, Final, TypeAlias

NAME: Final = "sloth-runner"

Entries: TypeAlias = Mapping[str, tuple[Any, ...]]
"""name -> (``module:attribute``, help), or (Entries, help, epilog) for a group."""

STATE: Final[Entries] = {
    "list": ("state_read:list_keys", "List keys, all or those below a prefix."),
    "show": ("state_read:show", "Show a key: its value, and who changed it when."),
    "get": ("state_read:get", "Print a value and nothing else."),
    "search": ("state_search:search", "Find keys by a part of their name or value."),
    "exists": ("state_read:exists", "Say whether there is a key (exit status 0 or 1)."),
    "history": ("state_history:history", "List what a key held before, or all changes."),
    "watch": ("state_watch:watch", "Show changes as they are made."),
    "diff": ("state_history:diff", "Compare two revisions, or two moments."),
    "stats": ("state_read:stats", "Count keys, revisions, locks and bytes."),
    "set": ("state_write:set_value", "Set a key."),
    "increment": ("state_write:increment", "Add to a number."),
    "delete": ("state_write:delete", "Delete keys."),
    "clear": ("state_write:clear", "Delete all keys of a namespace."),
    "rollback": ("state_rollback:rollback", "Go back to an earlier revision, run, time or tag."),
    "tag": ("state_tag:tag", "Keep a checkpoint of all keys, list or delete them."),
    "verify": ("state_verify:verify", "Find records that were changed, lost or put back."),
    "doctor": ("state_doctor:doctor", "Check that the state is in order, and say what to do."),
    "export": ("state_export:export", "Write state to a file, to carry it or to keep it."),
    "import": ("state_import:import_state", "Bring exported state in."),
    "migrate": ("state_migrate:migrate", "Move the state to another store."),
    "encrypt": ("state_seal:encrypt", "Seal a state that is in plaintext."),
    "decrypt": ("state_seal:decrypt", "Put a sealed state back into plaintext."),
    "rekey": ("state_seal:rekey", "Seal everything under a new key, or change what unlocks it."),
}
LOCK: Final[Entries] = {
    "list": ("lock:list_locks", "List the locks that are held."),
    "show": ("lock:show", "Show who holds a lock."),
    "break": ("lock:break_held", "Take a lock away from its holder."),
    "run": ("lock:run", "Run a command under a lock."),
}
RUNS: Final[Entries] = {
    "list": ("runs:list_runs", "List runs, the newest first."),
    "show": ("runs:show", "Show what a run did."),
    "logs": ("runs:logs", "Print the log of a run."),
}
STACK: Final[Entries] = {
    "list": ("stack:list_stacks", "List stacks."),
    "graph": ("stack:graph", "Show what the tasks of a stack made."),
    "rename": ("stack:rename", "Give a stack another name; its runs go with it."),
    "forget": ("stack:forget", "Forget a stack; the records of its runs stay."),
}
CONFIG: Final[Entries] = {
    "show": ("config:show", "Show every setting and where it comes from."),
    "trust": ("config:trust", "Let a repository's command print the key of the state."),
}

RESOURCE: Final[Entries] = {
    "list": ("resource:list_resources", "List what was converged on a machine."),
    "show": ("resource:show", "Show what is known of a resource."),
    "forget": ("resource:forget", "Forget resources; the machine stays as it is."),
}

AGENT: Final[Entries] = {
    "list": ("agent:list_agents", "List agents; with --check, whether they can be reached."),
    "show": ("agent_file:show", "Show how an agent is reached, and its values."),
    "add": ("agent_file:add", "Add an agent: a name and an address."),
    "remove": ("agent_file:remove", "Take an agent out of agents.toml."),
    "ping": ("agent_ask:ping", "Reach agents, and say how it went."),
    "facts": ("agent_ask:facts", "Show what a machine is like."),
    "ca": (
        {
            "init": ("agent_ca:init", "Make the authority that signs agents' certificates."),
            "show": ("agent_ca:show", "Show the authority."),
        },
        "The authority that says which machines are ours.",
        None,
    ),
    "enroll": ("agent_enroll:enroll", "Make a machine an agent, over SSH."),
    "keygen": ("agent_serve:keygen", "Make this machine's key, and a request to sign."),
    "sign": ("agent_ca:sign", "Sign a machine's request."),
    "serve": ("agent_serve:serve", "Serve controllers on this machine."),
    "revoke": ("agent_ca:revoke", "Take an agent's name away."),
}

ROOT: Final[Entries] = {
    "run": ("run:run", "Run a task file."),
    "plan": ("plan:plan", "Show what a run would do; do nothing."),
    "drift": ("drift:drift", "Show what differs on machines from what was applied."),
    "prune": ("prune:prune", "Take away what a file no longer names."),
    "validate": ("run:validate", "Check a task file; run nothing."),
    "list": ("run:list_tasks", "List the tasks of a file."),
    "state": (STATE, "Read and change what is remembered.", "KEY is a whole key; prefixes are literal."),
    "lock": (LOCK, "See, take and break locks.", None),
    "runs": (RUNS, "Look at earlier runs.", "RUN is a run's id, the start of one, or last."),
    "stack": (STACK, "Manage the names that runs are kept under.", None),
    "resource": (
        RESOURCE,
        "Look at what was converged on machines.",
        "ADDRESS is type:id, e.g. file:/etc/motd.",
    ),
    "ui": ("ui:ui", "Serve the web UI on this machine."),
    "agent": (AGENT, "Manage the machines that tasks run on.", None),
    "config": (CONFIG, "Look at the configuration.", None),
    "init": ("init:init", "Begin a project: settings, values, a first task file."),
    "modules": ("modules:modules", "Show what task files may call."),
    "types": ("types:types", "Write the types of task files for editors."),
    "explain": ("explain:explain", "Explain an error code or a module."),
    "completion": ("completion:completion", "Print the completion script for a shell."),
    "version": ("version:version", "Print the version."),
}

ELSEWHERE: Final[Mapping[str, str]] = {
    "apply": "run FILE", "exec": "run FILE", "play": "run FILE", "playbook": "run FILE", "up": "run FILE",
    "check": "plan FILE", "preview": "plan FILE", "dry-run": "plan FILE", "lint": "validate FILE",
    "test": "validate FILE", "destroy": "prune FILE", "down": "prune FILE", "refresh": "drift",
    "get": "state get KEY", "set": "state set KEY VALUE", "show": "state show KEY", "export": "state export",
    "import": "state import FILE", "doctor": "state doctor", "history": "state history", "unlock": "lock break NAME",
    "force-unlock": "lock break NAME", "inventory": "agent list", "ping": "agent ping", "facts": "agent facts NAME",
    "logs": "runs logs", "log": "runs logs", "status": "runs show", "resume": "run FILE --resume RUN",
    "rm": "delete", "remove": "delete", "del": "delete", "put": "set", "ls": "list", "incr": "increment",
    "doc": "modules NAME", "docs": "modules NAME", "new": "init",
}  # fmt: skip
"""What other tools call our commands."""

_SET = "--set NAME=VALUE sets a value; --values FILE gives many"
_USER = 'user = "root" stands in a task or a call'
FLAGS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("-e", "--extra-vars", "-var", "--var", "-D"), _SET),
    **dict.fromkeys(("-var-file", "--var-file", "--vars-file"), "--values FILE gives values"),
    **dict.fromkeys(("-b", "--become", "--become-user", "--sudo", "-u", "--user"), _USER),
    **dict.fromkeys(
        ("-K", "--ask-become-pass"), "sudo_password_env stands in an agent's table in sloth.toml"
    ),
    **dict.fromkeys(
        ("--ask-vault-pass", "--vault-password-file"), "secret({ … }) in a task file finds secrets"
    ),
    **dict.fromkeys(("-l", "--subset", "--hosts", "--host"), "--limit AGENTS leaves the others out"),
    **dict.fromkeys(("-t", "--tag"), "--tags TAGS chooses tasks"),
    **dict.fromkeys(("-target", "--target"), "--task NAME chooses a task and what it needs"),
    **dict.fromkeys(("-n", "--noop", "--just-print", "--preview"), "--check only shows what would be done"),
    **dict.fromkeys(("-parallelism", "--parallelism", "--parallel"), "-j N runs independent tasks at once"),
    **dict.fromkeys(("-auto-approve", "--auto-approve"), "a run never asks; what does takes --yes"),
    "-i": "machines stand under [agents] in sloth.toml: sloth-runner agent add NAME ssh://USER@HOST",
    "--inventory": "machines stand under [agents] in sloth.toml: sloth-runner agent add NAME ssh://USER@HOST",
    "--start-at-task": "--resume RUN goes on where a run stopped",
    "--force": "what asks takes --yes",
}
"""What other tools call options of ``run`` and its kin."""
SIBLINGS: Final[Mapping[str, str]] = {
    "--report": "plan FILE --report md prints one",
    "--diff": "a plan shows what differs anyway, run --diff what it has changed",
    **dict.fromkeys(("-q", "--quiet"), "run --check -q shows what would fail, and the summary"),
}
"""Options of ours that stand in another command of that kin."""
