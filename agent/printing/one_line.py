"""A command line with examples in its help, whose errors are one line, with what was probably meant."""

# Imported where it is needed: most command lines are right.
# ruff: noqa: PLC0415

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import NoReturn


class ExamplesFormatter(argparse.HelpFormatter):
    """Leaves the lines of examples as they are, and folds every other text."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples"):
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


class OneLineParser(argparse.ArgumentParser):
    """Reports in one line what is wrong, and what was probably meant; the usage is shown only on request."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"formatter_class": ExamplesFormatter, **more})

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"{self.prog}: {self._told(message)} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is not known here, in the command that it was given to."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def _told(self, message: str) -> str:
        """Add the command, the flag or the value that was probably meant; a list of all commands is for --help."""
        from difflib import get_close_matches

        choice = re.match(r"argument (.*): invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            given, known = choice[2], {name: name for name in re.findall(r"[\w.-]+", choice[3])}
            if choice[1] in {"COMMAND", "WORD"}:
                message = f"unknown command '{given}'"
        elif flag := re.match(r"unrecognized arguments: (--?[^\s=]+)", message):
            given, known = flag[1], {name.lstrip("-"): name for name in self._option_string_actions}
        else:
            return message
        close = get_close_matches(given.strip("-"), known, 1)
        return f"{message}; did you mean {known[close[0]]}?" if close else message
