"""What is printed in a terminal's cells: letters of one and of two of them, folded and cut where there is no room."""

import io
import os
import pty
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.reports.documents import Terminal
from wattshed.agent.printing.tables import EXTRA, Column, Printer, print_facts, print_notes, print_rows, printer_for

WIDE = "語"
WORDS = st.lists(st.text(alphabet="abc" + WIDE, min_size=1, max_size=9), min_size=1, max_size=12)


def lines_of(width, show, *args):
    out = io.StringIO()
    show(Printer(out, width), *args)
    return out.getvalue().splitlines()


def folded(words, width):
    """The oracle: as many words on a line as there is room for."""
    lines = [words[0]]
    for word in words[1:]:
        if cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


@given(st.lists(WORDS, max_size=3), st.integers(18, 60))
def test_notes_stand_below_an_empty_line_and_fill_the_width(notes, width):
    expected = [line for words in notes for line in folded(words, width)]
    assert lines_of(width, print_notes, [" ".join(words) for words in notes]) == ["", *expected]


@given(st.text(alphabet="ab" + WIDE, min_size=30, max_size=60))
def test_a_word_longer_than_the_line_goes_on_in_the_next(word):
    _, *lines = lines_of(20, print_notes, [word])
    assert "".join(lines) == word
    assert all(19 <= cell_len(line) <= 20 for line in lines[:-1])


@given(st.dictionaries(st.text(alphabet="xyz", min_size=1, max_size=8), st.just([]) | WORDS, min_size=1), st.data())
def test_facts_stand_under_each_other_behind_their_names(facts, data):
    indent = max(map(len, facts)) + 2
    width = data.draw(st.integers(indent + 1, 70))
    room = max(width - indent, indent)
    if max((cell_len(word) for words in facts.values() for word in words), default=0) > room:
        return
    expected = []
    for name, words in facts.items():
        for number, line in enumerate(folded(words, room) if words else []):
            expected.append(("" if number else name).ljust(indent) + line)
    assert lines_of(width, print_facts, {name: " ".join(words) for name, words in facts.items()}) == expected


@given(st.text(alphabet="ab" + WIDE, min_size=1, max_size=30), st.integers(9, 64), st.booleans())
def test_a_name_is_cut_only_where_it_does_not_fit_and_fills_the_room(name, width, middle):
    columns = [Column("of"), Column("name", least=4, middle=middle), Column("n", right=True)]
    _, line = lines_of(width, print_rows, columns, [{"of": "r", "name": name, "n": "7"}])
    room = width - 5
    assert cell_len(line) == min(width, max(cell_len(name), 4) + 5), "no narrower than there is room for"
    cell = line[3:-2]
    begin, cut, end = cell.partition("…")
    assert bool(cut) == (cell_len(name) > room)
    if not cut:
        assert cell == name.ljust(len(name) + max(4 - cell_len(name), 0))
        return
    begin, end = begin.rstrip(), end.strip()
    assert name.startswith(begin)
    assert name.endswith(end)
    assert (room - 2 if middle else room - 1) - 1 <= cell_len(begin) + cell_len(end) + middle <= room
    assert abs(cell_len(begin) - cell_len(end)) <= 2 if middle else not end


@given(st.integers(1, 30), st.integers(1, 30), st.integers(16, 70))
def test_the_widest_name_is_cut_first(one, other, width):
    columns = [Column("a", least=5), Column("b", least=5), Column("z", right=True)]
    _, line = lines_of(width, print_rows, columns, [{"a": "a" * one, "b": "b" * other, "z": "7"}])
    first, second, _ = line.split()
    assert len(line) == min(width, one + other + 3)
    for mine, whole, others in ((first, one, second), (second, other, first)):
        assert len(mine) == whole or len(mine) >= max(len(others) - 1, 5), "who is cut is no narrower than the other"


@pytest.mark.parametrize(("leaves", "kept"), [(1, 4), (EXTRA - 1, 4), (EXTRA, 14), (EXTRA + 3, 14)])
def test_an_extra_column_is_there_while_names_keep_fourteen_letters(leaves, kept):
    columns = [Column("job", least=4), Column("more", leaves=leaves)]
    row = {"job": "j" * 30, "more": "abcd"}
    for width in range(6, 40):
        out = io.StringIO()
        gone = print_rows(Printer(out, width), columns, [row])
        assert gone == ([] if kept + 1 + 4 <= width else ["more"])
        assert max(map(len, out.getvalue().splitlines())) <= width
        assert ("abcd" in out.getvalue()) == (not gone)


def test_of_columns_of_one_rank_the_first_goes_first():
    columns = [Column("a"), Column("b", leaves=2), Column("c", leaves=2), Column("d", leaves=1)]
    row = dict.fromkeys("abcd", "1234")
    out = io.StringIO()
    assert print_rows(Printer(out, 9), columns, [row]) == ["b", "c"]
    assert out.getvalue().splitlines() == ["a    d", "1234 1234"]


def test_headings_are_bold_names_and_notes_dim_and_figures_plain():
    out = Terminal()
    printer = printer_for(out, {"TERM": "xterm", "COLUMNS": "40"})
    print_rows(printer, [Column("user"), Column("kWh", right=True)], [{"user": "[b]ada :fire:", "kWh": "12.5"}])
    print_facts(printer, {"state": "complete 2/4"})
    print_notes(printer, ["of 12 GPUs"])
    assert out.getvalue().splitlines() == [
        "\x1b[1muser           kWh\x1b[0m", "[b]ada :fire: 12.5", "\x1b[2mstate  \x1b[0mcomplete 2/4", "",
        "\x1b[2mof 12 GPUs\x1b[0m",
    ]  # fmt: skip


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_styles_gets_none(environ):
    out = Terminal()
    print_notes(printer_for(out, environ), ["of 12 GPUs"])
    assert out.getvalue() == "\nof 12 GPUs\n"


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_the_width_is_what_columns_says_before_the_terminal(out):
    assert printer_for(out, {"COLUMNS": "61"}).width == 61
    for nonsense in ("", "0", "-5", "wide", "8\N{SUPERSCRIPT TWO}"):
        width = printer_for(out, {"COLUMNS": nonsense}).width
        assert width == 80 if out.isatty() else width > 100_000
    assert printer_for(out, {}).styled == out.isatty()


def test_a_terminal_is_as_wide_as_it_is():
    main, far = pty.openpty()
    with os.fdopen(main), os.fdopen(far, "w") as out:
        assert printer_for(out, {}).width == 80, "nobody has said"
        termios.tcsetwinsize(out, (24, 57))
        assert printer_for(out, {}).width == 57
