"""How deep a run goes: a plain one takes fewer examples of each law; a whole one, as in CI, takes all of them.

``CI_REAL=1`` or ``WATTSHED_DEEP=1`` make a run whole. A plain run says at its end that it left tests out, and runs
each of them that is named on the command line.
"""

import os

import pytest

WHOLE = "1" in {os.environ.get("CI_REAL"), os.environ.get("WATTSHED_DEEP")}
PLAIN_SHARE, FEWEST = 6, 8

deep = pytest.mark.deep
"""A test that only a whole run takes: others show the same on less."""


def examples(whole):
    """How many examples of a property are drawn, of so many in a whole run."""
    return whole if WHOLE else min(whole, max(whole // PLAIN_SHARE, FEWEST))


def few(cases, *, plain=1):
    """Cases of a parametrised test, of which a plain run takes the first few; each is a value, or a tuple of values."""
    marks = [()] * plain + [deep] * (len(cases) - plain)
    return [pytest.param(*_values(case), marks=mark) for case, mark in zip(cases, marks, strict=True)]


def _values(case):
    return case if isinstance(case, tuple) else (case,)


def left_out(items, named):
    """Which of the collected tests this run leaves out; ``named`` are the arguments of the command line."""
    if WHOLE or any("::" in str(name) for name in named):
        return []
    return [item for item in items if item.get_closest_marker("deep")]
