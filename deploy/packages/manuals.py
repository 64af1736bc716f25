"""Write manual pages and shell completion into a tree, as packages install them below /.

wattshed(1), a page for every command, and wattshed-config(5), all from the command line and the keys themselves:
``python deploy/packages/manuals.py --out TREE``.
"""

import argparse
import gzip
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from argparse_manpage.compat import get_reproducible_date
from argparse_manpage.manpage import Manpage

from wattshed.agent.__main__ import own_version, parser
from wattshed.agent.commands.completion import script
from wattshed.agent.commands.config import open_tables, settings

COMPLETIONS = {
    "usr/share/bash-completion/completions/wattshed": "bash",
    "usr/share/zsh/vendor-completions/_wattshed": "zsh",  # where Debian's zsh looks
    "usr/share/zsh/site-functions/_wattshed": "zsh",  # where everybody else's does
    "usr/share/fish/vendor_completions.d/wattshed.fish": "fish",
}
EXIT_STATUS = {
    "0": "Done.",
    "1": "Failed while running.",
    "2": "Bad usage or bad input; one line on standard error names the file, the line and the column.",
    "128+N": "Ended by signal N: 130 after Ctrl-C, 141 when the reader of a pipe has gone.",
}
FILES = {
    "/etc/wattshed/config.toml": "The configuration of the service, see wattshed-config(5).",
    "/run/wattshed/api.sock": "Where everybody on the host may ask for their own jobs.",
    "/run/wattshed/agent.sock": "Where jobs ask for their own joules, and tell what work they did.",
    "/var/lib/wattshed": "Totals and the history of jobs, of the service.",
    "/usr/share/doc/wattshed": "The documentation; index.md is where to begin.",
}


def main() -> int:
    """Write everything into the folder that is named."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--out", type=Path, required=True, metavar="TREE")
    write(command.parse_args().out)
    return 0


def write(tree: Path) -> None:
    """Write pages and scripts below a folder that stands for /.

    Parameters
    ----------
    tree : Path
        Made where it is missing; files of the same names are overwritten.
    """
    for name, text in pages().items():
        _put(tree / f"usr/share/man/man{name[-1]}/{name}.gz", gzip.compress(text.encode(), mtime=0))
    for place, shell in COMPLETIONS.items():
        _put(tree / place, script(shell, parser()).encode())


def pages() -> dict[str, str]:
    """Return the source of every page by its name, such as ``wattshed-jobs.1``."""
    made = {f"{command.prog.replace(' ', '-')}.1": text for command, text in _commands(parser(), "")}
    return {**made, "wattshed-config.5": _configuration()}


def _commands(command: argparse.ArgumentParser, purpose: str) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield a command with its page, then those below it."""
    inner = next((action for action in command._actions if isinstance(action.choices, dict)), None)  # noqa: SLF001
    purposes = {choice.dest: choice.help or "" for choice in inner._get_subactions()} if inner else {}  # noqa: SLF001
    yield command, _page(command, purpose or "measure GPU power, and attribute every joule to its job", purposes)
    for word, child in inner.choices.items() if inner else ():
        yield from _commands(child, purposes[word])


def _page(command: argparse.ArgumentParser, purpose: str, inner: dict[str, str]) -> str:
    """Return a page in roff; commands below have pages of their own, and are named here."""
    extra, command.epilog = command.epilog or "", None
    command.description = command.description or f"{purpose[0].upper()}{purpose[1:]}."
    name = command.prog.replace(" ", "-")
    data = {"project_name": "wattshed", "version": own_version(), "manual_title": "wattshed", "description": purpose}
    page = Manpage(command, _data=data)
    page.prog = name
    page.synopsis = [command.prog, *map(_roff, page.synopsis[command.prog.count(" ") + 1 :])]
    command._action_groups = [  # noqa: SLF001 - the library would put all of their pages into this one
        group
        for group in command._action_groups  # noqa: SLF001
        if not any(isinstance(action.choices, dict) for action in group._group_actions)  # noqa: SLF001
    ]
    for group in command._action_groups:  # noqa: SLF001
        group.title = "arguments" if group.title == "positional arguments" else group.title
    if inner:
        page.add_section("commands", ">", _listed({f"{name}-{word}(1)": text for word, text in inner.items()}))
    for block in extra.strip().split("\n\n") if extra else ():
        title, _, lines = block.partition(":\n")
        page.add_section(title.partition(" (")[0], ">", f".nf\n{_literal(textwrap.dedent(lines))}\n.fi")
    page.add_section("exit status", ">", _listed(EXIT_STATUS))
    if name == "wattshed":
        page.add_section("files", ">", _listed(FILES))
    parents = {f"{'-'.join(command.prog.split()[:depth])}(1)" for depth in range(1, command.prog.count(" ") + 1)}
    others = [*sorted(parents), "wattshed-config(5)"]
    page.add_section("see also", ">", ",\n".join(map(_roff, others)))
    text = str(page).replace(page.date.replace("-", "\\-"), page.date, 1).replace("\n\n", "\n")
    return re.sub(r"\bdocs/((?:[\w/]|\\-)+\.md)", r"/usr/share/doc/wattshed/\1", text)


def _configuration() -> str:
    """Return wattshed-config(5)."""
    lines = [
        f'.TH WATTSHED\\-CONFIG "5" "{get_reproducible_date()}" "wattshed {_roff(own_version())}" "wattshed"',
        ".SH NAME",
        "wattshed\\-config \\- configuration of wattshed",
        ".SH SYNOPSIS",
        "/etc/wattshed/config.toml",
        ".SH DESCRIPTION",
        "TOML. Flags go before the environment, and the environment goes before the file. The file is the one that",
        "\\-\\-config names, else the one that $WATTSHED_CONFIG names, else /etc/wattshed/config.toml where it exists.",
        "An unknown key, a wrong type or a value out of range is an error; nothing is started then.",
        ".PP",
        "\\fBwattshed config \\-\\-example\\fR prints a file with every key at its default,",
        "\\fBwattshed config \\-\\-check\\fR \\fIFILE\\fR checks one.",
    ]
    table, purposes = None, open_tables()
    for key in settings():
        if key.table != table:
            table = key.table
            if table == ("calibration",):
                lines += [".SH [idle_watts]", _roff(purposes["idle_watts"][0])]
            lines += [f".SH [{_roff('.'.join(table))}]" if table else ".SH TOP OF THE FILE"]
            lines += [_roff(purposes[table[0]][0])] if table and table[0] in purposes else []
        lines += [".TP", f"\\fB{_roff(key.name)}\\fR = {_roff(key.default)}", _roff(key.text)]
        lines += [f"({_roff(key.facts)})"] if key.facts else []
        lines += [".br", f"Environment: {_roff(key.variable)}"] if key.variable else []
    return "\n".join([*lines, ".SH SEE ALSO", _roff("wattshed(1)"), ""])


def _listed(items: dict[str, str]) -> str:
    """Return a list of words, each with what it means."""
    return "\n".join(f".TP\n\\fB{_roff(word)}\\fR\n{_roff(text)}" for word, text in items.items())


def _literal(lines: str) -> str:
    """Return lines that are shown as they are."""
    return "\n".join(_roff(line) for line in lines.splitlines())


def _roff(text: str) -> str:
    """Escape what roff would read as a command."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


if __name__ == "__main__":
    sys.exit(main())
