"""Tables in any width: columns go by their rank, names are cut to what they may be cut to, numbers never."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wattshed.agent.printing.tables import Column, Printer, print_rows

NARROW, WIDE = 20, 10_000


@st.composite
def tables(draw):
    """Columns of ranks and least widths, and rows of words without a space."""
    flag, least = st.booleans(), st.sampled_from([0, 4, 9])
    columns = [
        Column(f"c{i}", right=draw(flag), least=draw(least), leaves=draw(st.integers(0, 14)), middle=draw(flag))
        for i in range(draw(st.integers(1, 7)))
    ]
    word = st.integers(0, 25).map(lambda n: "".join(chr(97 + i) for i in range(n)))
    rows = [{column.name: draw(word) for column in columns} for _ in range(draw(st.integers(1, 3)))]
    return [Column("of"), *columns], [{"of": f"r{i}", **row} for i, row in enumerate(rows)]


def printed(columns, rows, width):
    """The lines, the columns shown, and those that had to go."""
    out = io.StringIO()
    gone = print_rows(Printer(out, width), columns, rows)
    lines = out.getvalue().splitlines()
    by_name = {column.name: column for column in columns}
    return lines, [by_name[name] for name in lines[0].split() if name in by_name], [by_name[name] for name in gone]


@given(tables(), st.integers(NARROW, 120))
def test_what_goes_and_what_is_cut(table, width):
    columns, rows = table
    lines, shown, gone = printed(columns, rows, width)
    if len(lines) > len(rows) + 1:
        assert not any(c.leaves for c in shown), "texts are folded only where nothing more can go"
        return
    used = [column for column in columns if any(row[column.name] for row in rows)]
    assert sorted(c.name for c in [*shown, *gone]) == sorted(c.name for c in used), "what is empty is neither"
    assert [c for c in used if c in shown] == shown
    assert min([c.leaves for c in gone], default=99) >= max([c.leaves for c in shown], default=0)
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


PATH = "/var/lib/kubelet/pod-resources/kubelet.sock"


def test_a_path_is_whole_where_its_column_can_have_it_and_in_paragraphs_anywhere():
    columns = [Column("what"), Column("why", least=16, folds=True), Column("remedy", least=16, folds=True)]
    row = {"what": "kubernetes", "why": "there is no socket of a kubelet here", "remedy": f"mount {PATH} into the pod"}
    narrowest = len("kubernetes") + 16 + len(PATH) + 2
    for width in range(narrowest, 120):
        out = io.StringIO()
        assert print_rows(Printer(out, width), columns, [row]) == []
        assert max(map(len, out.getvalue().splitlines())) <= width
        assert PATH in out.getvalue()
    for width in (30, 80):
        out = io.StringIO()
        Printer(out, width).folded(f"It is read from {PATH}, once.")
        assert f"{PATH}," in out.getvalue()


NUMBERS = st.decimals(0, 10**9, places=1).map(lambda n: f"{n:,f}")
TEXTS = st.text(alphabet="ab語 -", max_size=30)


@st.composite
def tables_of_a_command(draw):
    """A key, a number that stays, and columns that may go: texts that are cut or folded, and numbers."""
    columns = [Column("key", least=draw(st.sampled_from([0, 14]))), Column("number", right=True)]
    for i in range(draw(st.integers(0, 8))):
        right, leaves = draw(st.booleans()), draw(st.integers(1, 14))
        least = 0 if right else draw(st.sampled_from([0, 6, 12]))
        columns.append(Column(f"c{i}", right, least, leaves, draw(st.booleans()), draw(st.booleans())))
    rows = [
        {column.name: draw(NUMBERS if column.right else TEXTS) for column in columns}
        for _ in range(draw(st.integers(1, 4)))
    ]
    return columns, [{**row, "key": f"r{i}{row['key']}"} for i, row in enumerate(rows)]


@given(tables_of_a_command(), st.integers(30, 200))
def test_numbers_are_whole_lines_fit_and_what_is_not_shown_is_named(table, width):
    columns, rows = table
    out = io.StringIO()
    gone = print_rows(Printer(out, width), columns, rows)
    head, *lines = out.getvalue().splitlines()
    assert max(map(cell_len, [head, *lines])) <= width
    used = [column for column in columns if any(row[column.name] for row in rows)]
    assert sorted([*head.split(), *gone]) == sorted(column.name for column in used)
    shown = [column for column in used if column.name not in gone]
    for column in shown:
        if column.right:
            found = [line for line in lines for word in line.split() if word in {row[column.name] for row in rows}]
            assert len(found) >= len(rows)
    for column in shown:
        if column.folds and not column.least:
            text = "".join(out.getvalue().split())
            assert all(set(row[column.name]) - {" "} <= set(text) for row in rows)
