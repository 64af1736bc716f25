"""A process that answers every line with one of JSON: the observer and the worker are such."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from .clock import now_ns
from .results import child_environment, module

if TYPE_CHECKING:
    from collections.abc import Callable

    from .results import Kit


class Child:
    """A process of the kit that is told what to do over its standard input.

    Parameters
    ----------
    kit : Kit
    name : str
        A module of the kit that calls :func:`serve`; what it says on its standard error is kept under this name.
    arguments : str
        Its command line.

    Attributes
    ----------
    asked_ns : int
        When its start was asked for.
    alive_ns : int
        When its first own line of code ran.
    """

    def __init__(self, kit: Kit, name: str, *arguments: str) -> None:
        self._errors = kit.raw / f"{name}.err"
        self.asked_ns = now_ns()
        with self._errors.open("a") as log:
            self._process = subprocess.Popen(
                [*module(name), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment(),
            )
        self.alive_ns = self.hear()["alive_ns"]

    def tell(self, *words: object) -> None:
        """Tell it what to do, without waiting."""
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict:
        """Wait for its answer; one that hangs is ended with the step."""
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"a child ended with {code}: {self._errors.read_text()[-300:].strip()}")
        return json.loads(line)

    def ask(self, *words: object) -> dict:
        """Tell it, and wait for the answer."""
        self.tell(*words)
        return self.hear()

    def end(self) -> tuple[int, int]:
        """Let it go: (when it was told, when it was gone), ns."""
        told_ns = now_ns()
        self._process.stdin.close()
        self._process.wait()
        return told_ns, now_ns()


def serve(words: dict[str, Callable[..., dict]]) -> None:
    """Answer lines until there are no more: the first word of each names what is called with the rest of them."""
    print(json.dumps({"alive_ns": now_ns()}), flush=True)
    for line in sys.stdin:
        word, *rest = line.split()
        print(json.dumps(words[word](*rest)), flush=True)
