"""Why: people come from other tools, and use their words: each is answered with what does it here.

Nothing of this is needed to run a task: it is asked for by errors.
"""

from __future__ import annotations

from collections.abc import Mapping

_PACKAGES = ("apt", "apt_get", "aptitude", "yum", "dnf", "apk", "zypper", "pacman", "package", "packages")
_COMMANDS = ("command", "shell", "raw", "script", "bash", "sh", "exec", "execute", "system")
CALLS: Mapping[str, str] = {
    **dict.fromkeys(_PACKAGES, "pkg"),
    **dict.fromkeys(_COMMANDS, "cmd"),
    "apt_repository": "pkg.repository", "deb822_repository": "pkg.repository", "apt_key": "pkg.key",
    "dpkg_selections": "pkg.hold",
    "copy": "file.copy", "synchronize": "file.copy", "lineinfile": "file.line", "blockinfile": "file.block",
    "replace": "file.replace", "ini_file": "file.set_key", "slurp": "file.fetch", "fetch": "file.fetch",
    "stat": "file.stat", "mkdir": "file.directory", "directory": "file.directory", "symlink": "file.link",
    "link": "file.link", "acl": "file.attributes", "template": "file.template",
    "file.exists": "file.stat", "file.read": "file.fetch", "file.slurp": "file.fetch", "file.remove": "file.absent",
    "file.delete": "file.absent", "file.append": "file.line", "file.create": "file.write", "file.put": "file.write",
    "file.managed": "file.copy", "file.mkdir": "file.directory", "file.folder": "file.directory",
    "file.symlink": "file.link", "file.chmod": "file.attributes", "file.chown": "file.attributes",
    "unarchive": "archive", "get_url": "http.download", "download": "http.download", "uri": "http.request",
    "http.get": "http.request", "http.post": "http.request",
    "authorized_key": "ssh_key.authorized", "known_hosts": "ssh_key.known_host",
    "systemd": "service", "systemd_service": "service", "sysvinit": "service",
    "postgresql_db": "postgresql.database", "postgresql_user": "postgresql.user",
    "postgresql_privs": "postgresql.grant", "mysql_db": "mysql.database", "mysql_user": "mysql.user",
    "openssl_privatekey": "certificate.key", "openssl_csr": "certificate.csr",
    "x509_certificate": "certificate.self_signed",
    "debug": "print", "echo": "print", "console": "print", "set_fact": "state.set", "pause": "sleep",
    "include": "require", "include_tasks": "require", "import_tasks": "require", "import": "require",
    "include_role": "require", "lookup": "secret", "vault": "secret", "setup": "facts", "grains": "facts",
    "ansible_facts": "facts", "pillar": "values", "vars": "values", "var": "values", "getenv": "env",
    "resource": "task", "rule": "task", "target": "task", "job": "task", "step": "task", "play": "task",
    "state.put": "state.set", "state.remove": "state.delete", "state.has": "state.exists",
    "state.incr": "state.increment", "log.warning": "log.warn", "log.print": "print",
    "json.parse": "json.decode", "json.loads": "json.decode", "json.stringify": "json.encode",
    "json.dumps": "json.encode", "yaml.parse": "yaml.decode", "yaml.load": "yaml.decode",
    "yaml.dump": "yaml.encode",
}  # fmt: skip
"""What is called by other names elsewhere."""
_VARIABLES = ("values", "facts", "env")

_ROOT = 'say user = "root" (or another name)'
_LOOP = "write a loop of Lua: for _, item in ipairs({ … }) do … end"
_RESULT = "a call returns its result: local result = …"
_TASK = "it stands in the task"
ARGUMENTS: Mapping[str, str] = {
    "become": _ROOT, "become_user": _ROOT, "sudo": _ROOT, "sudo_user": _ROOT, "run_as": _ROOT, "runas": _ROOT,
    "register": _RESULT,
    "loop": _LOOP, "with_items": _LOOP, "with_list": _LOOP, "with_dict": _LOOP, "for_each": _LOOP,
    "no_log": "say sensitive = true",
    "tags": _TASK, "depends_on": _TASK, "run_if": "say when = true or false; run_if stands in the task",
    "retries": f"{_TASK}, with retry_delay", "retry": f"{_TASK}: retries, retry_delay",
    "environment": "env = {…} is cmd's and the task's",
    "async": "parallel({ … }) runs functions side by side", "poll": "wait_for waits",
    "delegate": "say delegate_to = …", "lifecycle": "say prevent_destroy = true",
    "handler": "say notify = …", "handlers": "say notify = …",
}  # fmt: skip
"""Arguments of calls that other tools have for all of theirs."""

_RUN = "say what to do in a function: run = function() cmd({ command = … }) end"
_CALL = "it stands in the calls of run"
FIELDS: Mapping[str, str] = {
    "become": _ROOT, "become_user": _ROOT, "sudo": _ROOT, "sudo_user": _ROOT, "run_as": _ROOT,
    "when": "say run_if = …: true, false, a shell line or a function", "only_if": "say run_if = …",
    "condition": "say run_if = …", "if": "say run_if = …",
    "hosts": "say delegate_to = …", "host": "say delegate_to = …", "agent": "say delegate_to = …",
    "agents": "say delegate_to = …", "on": "say delegate_to = …", "runs_on": "say delegate_to = …",
    "notify": f'{_CALL}: file.copy({{ …, notify = "NAME" }})',
    "register": "what run returns is deps.NAME in tasks that depend on it",
    "loop": _LOOP, "with_items": _LOOP, "for_each": _LOOP,
    "needs": "say depends_on = …", "requires": "say depends_on = …", "require": "say depends_on = …",
    "after": "say depends_on = …", "deps": "say depends_on = …", "dependencies": "say depends_on = …",
    "desc": "say description = …", "title": "say description = …",
    "command": _RUN, "cmd": _RUN, "shell": _RUN, "script": _RUN, "exec": _RUN, "action": _RUN, "steps": _RUN,
    "vars": "say params = {…}: run gets them as its second argument", "environment": "say env = {…}",
    "delay": "say retry_delay = …", "cwd": "say workdir = …", "chdir": "say workdir = …", "dir": "say workdir = …",
    "lock": "say locks = {…}", "ignore_errors": _CALL, "changed_when": _CALL, "failed_when": _CALL,
    "creates": _CALL, "sensitive": _CALL, "no_log": f"{_CALL}: sensitive = true",
    "handlers": 'handler({ name = "NAME", run = function() … end }) defines one',
    "parallel": "run FILE -j N runs independent tasks side by side", "async": "run FILE -j N runs them side by side",
}  # fmt: skip
"""Fields of tasks that other tools have."""


def called(name: str, *, variables: bool = False) -> list[str]:
    """What is called instead of ``name``, as the ``next`` of an error: one line, or none. ``variables``: only if
    that is a table that can be read."""
    ours = CALLS.get(name)
    if ours is None or (variables and ours not in _VARIABLES):
        return []
    return [f"here that is {ours}: sloth-runner modules {ours}"]
