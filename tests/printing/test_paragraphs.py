"""Paragraphs and tables of any command at any width: lines fit, numbers are whole, what is not shown is named."""

import io
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wattshed.agent.printing.paragraphs import print_parts, table, text_of
from wattshed.agent.printing.tables import Printer

WORDS = st.lists(st.text(alphabet="ab語", min_size=1, max_size=12), min_size=1, max_size=8).map(" ".join)
NUMBERS = st.decimals(0, 10**7, places=1).map(lambda n: f"{n:,f}")
HEADS = ("host", "energy J", "mean W", "why", "max W")


@given(
    st.lists(st.tuples(WORDS, NUMBERS, NUMBERS, WORDS, NUMBERS), min_size=1, max_size=4), WORDS, st.integers(30, 200)
)
def test_lines_fit_numbers_are_whole_and_what_is_not_shown_is_named(rows, words, width):
    out = io.StringIO()
    print_parts(Printer(out, width), [words, "", table(HEADS, rows, left=(0, 3))])
    text = out.getvalue()
    assert max(map(cell_len, text.splitlines())) <= width
    named = re.search(r"Not shown in \d+ columns: (.*?) \(--json has all\)\.", " ".join(text.split()))
    gone = named[1].split(", ") if named else []
    assert not {"host", "energy J"} & set(gone)
    for place in (1, 2, 4):
        if HEADS[place] not in gone:
            assert HEADS[place] in text
            assert {row[place] for row in rows} <= set(text.split())
    if "why" not in gone:
        letters = "".join(text.split())
        assert all(letter in letters for row in rows for letter in row[3].replace(" ", ""))


@given(st.lists(st.tuples(WORDS, NUMBERS), min_size=1, max_size=4))
def test_a_pipe_has_each_row_on_one_line(rows):
    head, *lines = text_of([table(("host", "energy J"), rows)]).splitlines()
    assert head.split(None, 1) == ["host", "energy J"]
    assert [re.split("  +", line) for line in lines] == [list(row) for row in rows]


def test_indented_paragraphs_are_folded_below_their_beginning():
    out = io.StringIO()
    print_parts(Printer(out, 12), ["ab cd ef gh ij", "    ab cd ef", ""])
    assert out.getvalue() == "ab cd ef gh\nij\n    ab cd ef\n\n"
    out = io.StringIO()
    print_parts(Printer(out, 10), ["    ab cd ef"])
    assert out.getvalue() == "    ab cd\n    ef\n"
