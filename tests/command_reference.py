"""Writes docs/cli.md from the command line itself: ``python -m tests.command_reference``; a test compares."""

import argparse
import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/cli.md"
HEAD = """# Command reference

Generated from the command line itself by `make docs`; a test compares. Exit codes: 0 done; 1 failed while running; 2
bad usage or bad input, with one line on standard error that names the file, the line and the column; 128 and the number
of a signal: ended by it (Ctrl-C 130, a reader such as `head` that has seen enough 141).

"""


def page(parser):
    """The whole reference, in the order of the commands' own help."""
    return HEAD + "".join(_sections(parser, "wattshed", "##"))


def _sections(parser, name, mark):
    yield f"{mark} `{name}`\n\n```text\n{_help(parser)}\n```\n\n"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, child in action.choices.items():
                yield from _sections(child, f"{name} {word}", "##")


def _help(parser):
    """The help text, as it reads on a terminal of 100 columns whatever Python wrote it."""
    parser.formatter_class = _wide(parser.formatter_class)
    text = parser.format_help().rstrip()
    # Python 3.13 writes "-x, --long METAVAR" where 3.12 wrote "-x METAVAR, --long METAVAR".
    return re.sub(r"(-\w) ([A-Z][\w:]*), (--[\w.-]+) \2", r"\1, \3 \2", text)


def _wide(base):
    def make(prog):
        return base(prog, width=100, max_help_position=32)

    return make


if __name__ == "__main__":
    from wattshed.agent.__main__ import parser

    PAGE.write_text(page(parser()), encoding="utf-8")
