"""Tables in any width: columns go by their rank, names are cut to what they may be cut to, numbers never."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from wattshed.agent.reports.tables import Column, print_rows

NARROW, WIDE = 20, 10_000


@st.composite
def tables(draw):
    """Columns of ranks and least widths, and rows of words without a space."""
    flag, least = st.booleans(), st.sampled_from([0, 4, 9])
    columns = [
        Column(f"c{i}", right=draw(flag), least=draw(least), leaves=draw(st.integers(0, 8)), middle=draw(flag))
        for i in range(draw(st.integers(1, 7)))
    ]
    word = st.integers(0, 25).map(lambda n: "".join(chr(97 + i) for i in range(n)))
    rows = [{column.name: draw(word) for column in columns} for _ in range(draw(st.integers(1, 3)))]
    return [Column("of"), *columns], [{"of": f"r{i}", **row} for i, row in enumerate(rows)]


def printed(columns, rows, width):
    """The lines, the columns shown, and those that had to go."""
    out = io.StringIO()
    gone = print_rows(Console(file=out, width=width, highlight=False, markup=False, emoji=False), columns, rows)
    lines = out.getvalue().splitlines()
    by_name = {column.name: column for column in columns}
    return lines, [by_name[name] for name in lines[0].split()], [by_name[name] for name in gone]


@given(tables(), st.integers(NARROW, 120))
def test_what_goes_and_what_is_cut(table, width):
    columns, rows = table
    lines, shown, gone = printed(columns, rows, width)
    used = [column for column in columns if any(row[column.name] for row in rows)]
    assert sorted(c.name for c in [*shown, *gone]) == sorted(c.name for c in used), "what is empty is neither"
    assert [c for c in used if c in shown] == shown
    assert min([c.leaves for c in gone], default=9) >= max([c.leaves for c in shown], default=0)
    assert all(c.leaves > 0 for c in gone)
    assert max(map(len, lines)) <= width or not any(c.leaves for c in shown), "no wider, unless none may go"
    for line, row in zip(lines[1:], rows, strict=True):
        cells = iter(line.split())
        for column in shown:
            if text := row[column.name]:
                cell = next(cells)
                begin, cut, end = cell.partition("…")
                assert cell == text if not cut else len(cell) >= column.least > 0
                assert text.startswith(begin)
                assert text.endswith(end)
                assert bool(end) <= column.middle
    _, more, _ = printed(columns, rows, width + 7)
    assert {c.name for c in shown} <= {c.name for c in more}, "where there is more room nothing else goes"


@given(tables())
def test_without_an_end_all_is_shown_whole(table):
    columns, rows = table
    lines, shown, gone = printed(columns, rows, WIDE)
    assert not gone
    for line, row in zip(lines[1:], rows, strict=True):
        assert line.split() == [row[column.name] for column in shown if row[column.name]]
    at = 0
    for column in shown:  # they stand under each other, numbers to the right
        size = max(len(column.name), *(len(row[column.name]) for row in rows))
        for line, text in zip(lines, [column.name, *(row[column.name] for row in rows)], strict=True):
            assert line.ljust(at + size)[at : at + size] == (text.rjust(size) if column.right else text.ljust(size))
        at += size + 1
