"""``wattshed completion SHELL``: print what has a shell complete commands, flags, files and jobs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    Hint = dict[str, str | dict[str, str]]

SHELLS = ("bash", "zsh", "fish", "tcsh")
_EXAMPLES = """examples (packages install these scripts, except for tcsh):
  eval "$(wattshed completion bash)"      in ~/.bashrc
  eval "$(wattshed completion zsh)"       in ~/.zshrc, after compinit
  wattshed completion fish | source       in ~/.config/fish/config.fish
  wattshed completion tcsh > ~/.wattshed  then `source ~/.wattshed` in ~/.tcshrc
"""
_FILE = re.compile(r"F|OUT|PATH|TRACE|.*\bFILE\b.*|.*\.(csv|toml|py)")
"""Metavariables of files; numbers are called F, too, but have a type of their own."""
_WORDS = re.compile(r"[a-z]+(\|[a-z]+)+")
# The newest jobs that whoever asks may see, without the manager before the colon, at which bash would end the word.
_LISTED = "wattshed jobs -P --limit 50 2>/dev/null | sed -n '2,$s/^[^:|]*:\\([^|]*\\)|.*/\\1/p'"
_JOBS: Hint = {
    "bash": "_wattshed_jobs",
    "zsh": "_wattshed_jobs",
    "fish": "(__wattshed_jobs)",
    "tcsh": "",
    "preamble": {
        "bash": f'_wattshed_jobs() {{\n  compgen -W "$({_LISTED})" -- "$1"\n}}\n',
        "zsh": f'_wattshed_jobs() {{\n  compadd -- ${{(f)"$({_LISTED})"}}\n}}\n',
        "fish": f"function __wattshed_jobs\n    {_LISTED}\nend\n",
    },
}


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], *, parser: Callable[[], argparse.ArgumentParser]
) -> None:
    """Add the command to the command line; ``parser`` builds all of it."""
    command = commands.add_parser(
        "completion",
        help="print a script that completes commands in a shell",
        description="Print a script that completes commands, flags, files and, except in tcsh, the "
        "ids of your newest jobs.",
        epilog=_EXAMPLES,
    )
    command.add_argument("shell", choices=SHELLS)
    command.set_defaults(run=lambda arguments: _run(arguments.shell, parser()))


def _run(shell: str, parser: argparse.ArgumentParser) -> int:
    sys.stdout.write(script(shell, parser))
    return 0


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the completion script for a shell.

    Parameters
    ----------
    shell : str
        One of `SHELLS`.
    parser : argparse.ArgumentParser
        The whole command line; hints for shtab are left on its actions.
    """
    import shtab  # noqa: PLC0415

    for action in _valued(parser):
        if hint := _hint(action, shtab.FILE, shtab.DIRECTORY):
            action.complete = hint  # type: ignore[attr-defined]
    return shtab.complete(parser, shell).rstrip("\n") + "\n"


def _valued(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield everything that takes a value, of all commands."""
    for action in parser._actions:  # noqa: SLF001 - shtab itself walks there
        if isinstance(action.choices, dict):
            for inner in action.choices.values():
                inner.description = None  # of which shtab would show the first line instead of the help
                yield from _valued(inner)
        elif action.nargs != 0 and not action.choices:
            yield action


def _hint(action: argparse.Action, file: Hint, folder: Hint) -> Hint | None:
    """Say what a value may be, by what the help calls it; None where nothing is known."""
    name = action.metavar if isinstance(action.metavar, str) else ""
    if action.dest == "id":
        return _JOBS
    if action.dest == "meter":
        from wattshed.agent.config.settings import METERS  # noqa: PLC0415

        return _one_of(*METERS)
    if name == "NAME|FILE.toml":
        from wattshed.agent.fleet.claims.scenario import shipped  # noqa: PLC0415

        return _one_of(*shipped())
    if _WORDS.fullmatch(name):
        return _one_of(*name.split("|"))
    if name == "DIR":
        return folder
    return file if action.type in {None, Path} and _FILE.fullmatch(name) else None


def _one_of(*words: str) -> Hint:
    """Complete to one of these; where none fits, shells offer files."""
    line = " ".join(words)
    function = f"_wattshed_{'_'.join(re.sub(r'[^a-z0-9]', '', word) for word in words[:2])}"
    bash = f'{function}() {{\n  compgen -W "{line}" -- "$1"\n}}\n'
    return {"bash": function, "zsh": f"({line})", "fish": line, "tcsh": f"({line})", "preamble": {"bash": bash}}
