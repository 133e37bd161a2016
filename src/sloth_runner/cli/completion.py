"""Why: shells complete commands, options, keys and agents; click has the scripts, we have the answers."""

from __future__ import annotations

from click.core import Command
from click.shell_completion import ShellComplete, get_completion_class, split_arg_string

from sloth_runner.cli.shell import Shell
from sloth_runner.cli.table import NAME
from sloth_runner.cli.words import argument, choice, command
from sloth_runner.plain import TYPE_CHECKING

if TYPE_CHECKING:
    from sloth_runner.cli.clicked import LazyGroup

VARIABLE = "_SLOTH_RUNNER_COMPLETE"
_EVAL = {
    "bash": f'eval "$({NAME} completion bash)"    # in ~/.bashrc',
    "zsh": f'eval "$({NAME} completion zsh)"    # in ~/.zshrc, after compinit',
    "fish": f"{NAME} completion fish | source    # in ~/.config/fish/config.fish",
}


@command("completion")
@argument("shell_name", metavar="SHELL", type=choice(*_EVAL))
def completion(shell: Shell, shell_name: str) -> None:
    """Print the completion script for SHELL: bash, zsh or fish.

    \b
    bash: eval "$(sloth-runner completion bash)" in ~/.bashrc
    zsh:  eval "$(sloth-runner completion zsh)" in ~/.zshrc, after compinit
    fish: sloth-runner completion fish | source in config.fish
    """
    complete = _class(shell_name)(Command(NAME), {}, NAME, VARIABLE)
    # Not complete.source(): for bash that starts a bash to ask for its version.
    shell.print(complete.source_template % complete.source_vars())
    if shell.human:
        shell.say(f"to use it: {_EVAL[shell_name]}")


def answer(shell: Shell, tree: LazyGroup, instruction: str) -> int:
    """Answer a shell that asks what may stand at its cursor (``bash_complete`` and so on)."""
    name, _, what = instruction.partition("_")
    if name not in _EVAL or what != "complete":
        return 64
    complete = _class(name)(tree, {"obj": shell}, NAME, VARIABLE)
    args, incomplete = _words(shell, name)
    # bash takes a word after a colon for a word of its own: it wants that part alone.
    cut = incomplete.rfind(":") + 1 if name == "bash" else 0
    for item in complete.get_completions(args, incomplete):
        item.value = item.value[cut:]
        shell.print(complete.format_completion(item))
    return 0


def _class(name: str) -> type[ShellComplete]:
    found = get_completion_class(name)
    assert found is not None
    return found


def _words(shell: Shell, name: str) -> tuple[list[str], str]:
    """The words before the cursor, and the one at it; as click's scripts hand them over."""
    environ = shell.world.environ
    words = split_arg_string(environ.get("COMP_WORDS", ""))
    at = environ.get("COMP_CWORD", "")
    if name == "fish":
        args, incomplete = words[1:], next(iter(split_arg_string(at)), "")
        return (args[:-1] if incomplete and args and args[-1] == incomplete else args), incomplete
    index = int(at) if at.isdigit() else len(words)
    words = words[: index + 1] + [""] * (index + 1 - len(words))
    if name == "bash":
        words = _joined(words)
    return words[1:-1], words[-1]


def _joined(words: list[str]) -> list[str]:
    """bash splits at colons; keys have many."""
    out: list[str] = []
    for word in words:
        if out and (out[-1].endswith(":") or (word and not word.strip(":"))):
            out[-1] += word
        else:
            out.append(word)
    return out
