"""Names that users chose, made fit for a label: printable, and short."""

from __future__ import annotations

LONGEST_NAME = 120
"""Characters of a user's own text that are published."""


def printable(text: str, longest: int = LONGEST_NAME) -> str:
    r"""Escape what is not printable (newlines, terminal escapes, broken UTF-8) and cut at ``longest`` characters.

    Examples
    --------
    >>> printable("train\x1b[31m")
    'train\\x1b[31m'
    """
    kept = text[:longest]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else repr(c)[1:-1] for c in kept)
    return kept[:longest]


def for_key(text: str) -> str:
    """Escape a name that root or a manager gave, and cut nothing: names that begin alike are different owners'."""
    return printable(text, 4 * len(text) + LONGEST_NAME)
