"""``wattshed bench``: what can be measured of wattshed itself, a word each; without a word, the kernels."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from wattshed.agent.bench import agent_cost, growth, history, kernels, log_files
from wattshed.agent.bench.accuracy import command as accuracy
from wattshed.agent.bench.split import command as split
from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

MEASURED = (kernels, accuracy, agent_cost, log_files, growth, history, split)
"""Modules that offer ``add_parser(subparsers)``; none imports numpy or numba before its word is given."""
_BARE = "bare_"
"""Options of ``bench`` itself are kept apart from those of a word behind it."""


def add_parser(subparsers: Any) -> None:
    """Add the ``bench`` command to a command line."""
    parser = subparsers.add_parser(
        "bench",
        help="measure wattshed itself: its kernels, its accuracy, the agent's cost, reading files, how it grows",
        description=kernels.DESCRIPTION + " With a word, it measures something else.",
    )
    kernels.add_options(parser, dest=_BARE)
    parser.set_defaults(run=_run_kernels)
    words = parser.add_subparsers(title="what to measure", metavar="WORD")
    for module in MEASURED:
        module.add_parser(words)
    for child in words.choices.values():
        child.set_defaults(run=partial(_run_word, child.get_default("run"), parser))


def _run_kernels(arguments: argparse.Namespace) -> int:
    """Run ``bench`` alone."""
    own = {name.removeprefix(_BARE): value for name, value in vars(arguments).items() if name.startswith(_BARE)}
    return kernels.run(argparse.Namespace(**own))


def _run_word(
    run: Callable[[argparse.Namespace], int], parser: argparse.ArgumentParser, arguments: argparse.Namespace
) -> int:
    """Run a word of ``bench``; an option before it would be of no effect."""
    for name, value in vars(arguments).items():
        if name.startswith(_BARE) and value != parser.get_default(name):
            option = f"--{name.removeprefix(_BARE).replace('_', '-')}"
            raise InputError(f"bench: {option} belongs behind the word that says what to measure")
    return run(arguments)
