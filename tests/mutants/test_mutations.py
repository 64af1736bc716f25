"""The mutator itself: what it changes, what it leaves alone, and that a test which looks kills."""

import ast

import pytest

from tests.mutants.mutations import differs, mutations

SOURCE = b'''"""A docstring with 1 < 2."""
from __future__ import annotations

LIMIT: int = 3


def f(a, b=2, *, c=-1):
    """Say 1 + 1."""
    log.info("%d", a + b)
    LOG.info("%d", a + b)
    if a < b and not c:
        raise ValueError(f"{a + b}")
    for x in a:
        if x is None:
            continue
        total += x * (b
                      - 1)
    g(a, b)
    h = max(a, b)
    return min(a, "\xc3\xa9", key=b)
'''


def made(source=SOURCE):
    return {(m.kind, m.line, m.apply(source).decode().splitlines()[m.line - 1].strip()) for m in mutations(source)}


@pytest.mark.parametrize(
    "expected",
    [
        ("constant", 4, "LIMIT: int = 4"),
        ("constant", 4, "LIMIT: int = 2"),
        ("constant", 7, "def f(a, b=3, *, c=-1):"),
        ("sign dropped", 7, "def f(a, b=2, *, c=1):"),
        ("comparison", 11, "if a <= b and not c:"),
        ("comparison", 11, "if a >= b and not c:"),
        ("boolean", 11, "if a < b or not c:"),
        ("not dropped", 11, "if a < b and (c):"),
        ("condition negated", 11, "if not (a < b and not c):"),
        ("statement dropped", 12, "pass"),
        ("comparison", 14, "if x is not None:"),
        ("loop", 15, "break"),
        ("arithmetic", 16, "total += x // (b"),
        ("statement dropped", 16, "pass"),
        ("arguments swapped", 18, "g(b, a)"),
        ("statement dropped", 18, "pass"),
        ("twin function", 19, "h = min(a, b)"),
        ("twin function", 20, 'return max(a, "\u00e9", key=b)'),
        ("arguments swapped", 20, 'return min("\u00e9", a, key=b)'),
        ("nothing returned", 20, "return None"),
    ],
)
def test_each_kind_of_mutation(expected):
    assert expected in made()


def test_a_mutation_over_lines_keeps_them():
    (one,) = [m for m in mutations(SOURCE) if m.kind == "arithmetic" and "+ 1" in m.apply(SOURCE).decode()[-80:]]
    assert b"x * (b\n                      + 1)" in one.apply(SOURCE)


def test_text_for_people_is_left_alone():
    touched = {m.line for m in mutations(SOURCE)}
    assert not touched & {1, 2, 8, 9, 10}
    assert all('f"{a - b}"' not in m.apply(SOURCE).decode() for m in mutations(SOURCE))


def test_arguments_are_not_swapped_where_their_order_says_nothing():
    assert ("arguments swapped", 19, "h = max(b, a)") not in made()


def test_every_mutation_parses_and_differs():
    for one in mutations(SOURCE):
        assert differs(one, SOURCE), one
        assert ast.parse(one.apply(SOURCE))
