"""Why: people bring the files that they have: of a text that Lua can't compile it is told what it is."""

from __future__ import annotations

import re

from sloth_runner.plain import NamedTuple

SMALLEST = 'task({ name = "hello", run = function() print("hello") end })'
"""A whole task file."""
NO_TASK = f"the file defines no task, so there is nothing to run; the smallest one: {SMALLEST}"


class Foreign(NamedTuple):
    """What a text is ("YAML"), and what its owner may have wanted to do with it."""

    what: str
    next: tuple[str, ...] = ()


_VALUES = "values for a task file are given beside it: sloth-runner run FILE --values VALUES"
_GUIDE = "docs/coming-from.md says what became of {words}"
_KINDS: dict[str, tuple[str, ...]] = {
    "an Ansible playbook (YAML)": (_GUIDE.format(words="hosts, tasks, become, notify, when and loop"),),
    "tasks of Ansible (YAML)": (_GUIDE.format(words="tasks, become, notify, when and loop"),),
    "a GitHub workflow (YAML)": ("one of its steps can call: sloth-runner run FILE",),
    "a Compose file (YAML)": ('a task can call it: cmd({{ command = "docker compose -f {name} up -d" }})',),
    "a Kubernetes manifest (YAML)": ('a task can call: cmd({{ command = "kubectl apply -f {name}" }})',),
    "a file of Salt's (YAML)": (_GUIDE.format(words="the modules of other tools"),),
    "YAML": (_VALUES,),
    "JSON": (_VALUES,),
    "TOML": (_VALUES, "settings are read from a file of the name sloth.toml"),
    "an INI file": (
        "machines stand under [agents] in sloth.toml: sloth-runner agent add NAME ssh://USER@HOST",
    ),
    "a Makefile": (_GUIDE.format(words="targets, prerequisites and recipes"),),
    "Terraform (HCL)": (_GUIDE.format(words="resources, variables, plan and destroy"),),
    "a shell script": ('a task can call it: cmd({{ command = "./{name}" }})',),
    "a Python program": ('a task can call it: cmd({{ command = "python3 {name}" }})',),
    "a file of Puppet's": (_GUIDE.format(words="the modules of other tools"),),
    "a Dockerfile": ('a task can call: cmd({{ command = "docker build ." }})',),
    "Ruby": (),
    "JavaScript": (),
    "a page of the web (HTML) or XML": ("was it downloaded? then look at what the server sent",),
    "UTF-16 text": ("save it as UTF-8: iconv -f UTF-16 -t UTF-8 {name} > NEW",),
    "no text": (),
}
_SUFFIXES = {
    "yml": "YAML", "yaml": "YAML", "sls": "a file of Salt's (YAML)", "json": "JSON", "toml": "TOML",
    "ini": "an INI file", "cfg": "an INI file", "mk": "a Makefile", "tf": "Terraform (HCL)",
    "tfvars": "Terraform (HCL)", "hcl": "Terraform (HCL)", "sh": "a shell script", "bash": "a shell script",
    "py": "a Python program", "pp": "a file of Puppet's", "rb": "Ruby", "js": "JavaScript",
}  # fmt: skip
_NAMES = {
    "makefile": "a Makefile", "gnumakefile": "a Makefile", "dockerfile": "a Dockerfile",
    "containerfile": "a Dockerfile", "vagrantfile": "Ruby", "rakefile": "Ruby",
}  # fmt: skip
_TEXTS = (
    (r"\A(\udcff\udcfe|\udcfe\udcff|(\0[^\0]|[^\0]\0){4})", "UTF-16 text"),
    (r"\A[^\0-\x08\x0e-\x1a]{0,8000}[\0-\x08\x0e-\x1a]", "no text"),
    (r"\A#![^\n]*\b(ba|da|z|k)?sh\b", "a shell script"),
    (r"\A#![^\n]*\bpython", "a Python program"),
    (r"\A#![^\n]*\bruby", "Ruby"),
    (r"\A#![^\n]*\bnode\b", "JavaScript"),
    (r"\A\s*<(!DOCTYPE|html|\?xml|[a-z]+>)", "a page of the web (HTML) or XML"),
    (r"\A\s*\{\s*[\"}]|\A\s*\[\s*[\[{\"]", "JSON"),
    (r"\A(terraform|resource|provider|variable|module|data|output|locals)\b[^\n=(]*\{ *$", "Terraform (HCL)"),
    (r"\AFROM [\w./:@-]+( AS \w+)?$", "a Dockerfile"),
    (r"(?m)^[^\s#:=(){}]+ *:(?![:=])[^\n]*\n\t", "a Makefile"),
    (r"\A\[[\w.\"' -]+\]$", "TOML"),
    (r"\A(---[^\n]*\n\s*)?(- +\S|[\w./\"'-]+:( |$))", "YAML"),
)
"""How texts begin whose names tell nothing, lone bytes as surrogates; comments before are left out."""
_LUA = r"(?m)^[ \t]*(task|handler)[ \t]*(\(\s*)?\{"
_YAML = (
    ((r"^[ \t]*(- +)?hosts:",), "an Ansible playbook (YAML)"),
    ((r"^(on|true):", "^jobs:"), "a GitHub workflow (YAML)"),
    (("^services:",), "a Compose file (YAML)"),
    (("^apiVersion:",), "a Kubernetes manifest (YAML)"),
    (("^- +(name|become|register|block|include_tasks|import_tasks):",), "tasks of Ansible (YAML)"),
)
"""What is in each kind of it: all of the patterns."""


def what_else(name: str, text: str) -> Foreign | None:
    """What a text is that Lua could not compile, by its file's name and by how it begins; None: Lua, it seems."""
    text = text[:100_000]
    kind = _first(_TEXTS[:2], text)
    if kind is None and re.search(_LUA, text):
        return None
    if kind is None:
        first, _, suffix = name.lower().partition(".")
        kind = _SUFFIXES.get(suffix.rpartition(".")[2]) or _NAMES.get(first)
    if kind is None:
        kind = _first(_TEXTS, text) or _first(_TEXTS, _beginning(text))
    if kind is None:
        return None
    if kind == "YAML":
        kind = next(
            (one for parts, one in _YAML if all(re.search(p, text, re.MULTILINE) for p in parts)), kind
        )
    shown = name if re.fullmatch(r"\w[\w.+-]*", name, re.ASCII) else "FILE"  # it stands in lines to be copied
    return Foreign(kind, tuple([line.format(name=shown) for line in _KINDS[kind]]))


def _first(patterns: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((kind for pattern, kind in patterns if re.search(pattern, text, re.MULTILINE)), None)


def _beginning(text: str) -> str:
    """The text from its first line that says something; a line with # before it is a comment in most languages."""
    return re.sub(r"\A(\s*(#[^\n]*)?(\n|\Z))*", "", text)
