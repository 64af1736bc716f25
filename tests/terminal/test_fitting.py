"""At every width: no line is longer, and every number that is there is there whole."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.depth import examples
from tests.terminal.made import answer, any_snapshots, node, uuid
from wattshed.agent.terminal.arrangement import arrange
from wattshed.agent.terminal.choices import GPUS, JOBS, Choices
from wattshed.agent.terminal.drawing import bar, chart, shorten
from wattshed.agent.terminal.fitting import Cell, FittedTable, TopColumn, wrapped
from wattshed.agent.terminal.following import AgentWatch
from wattshed.agent.terminal.gpus import gpu_table, grid
from wattshed.agent.terminal.head import total_lines
from wattshed.agent.terminal.jobs import arranged, job_table
from wattshed.agent.terminal.once import lines_once
from wattshed.agent.terminal.pages import job_page
from wattshed.exporters.split_facts import SplitFacts, WattsOfJob

WIDTHS = st.integers(40, 200)
NUMBER = re.compile(r"\d[\d.,:e+-]*")


def watching(*snapshots):
    watch = AgentWatch()
    for snapshot in snapshots:
        watch.take(answer(snapshot), snapshot.time_us / 1e6)
    return watch


def tables(watch, width):
    known = watch.known
    jobs = arranged(known.scene, known.job_w, "power", reverse=False, needle="")
    return [gpu_table(known, width, 900.0), job_table(jobs, known, width, 900.0)]


def of_cells(line, start, width):
    """What stands in some cells of a line: a wide character takes two."""
    at, found = 0, ""
    for char in line.text:
        if start <= at < start + width:
            found += char
        at += cell_len(char)
    return found


@settings(max_examples=examples(25))
@given(any_snapshots(), WIDTHS)
def test_every_number_of_a_table_is_whole(snapshot, width):
    for table in tables(watching(snapshot), width):
        for row in range(len(table.rows)):
            line = table.line(row)
            assert line.width <= width
            for one in table.placed:
                if one.column.kind == "number":
                    assert of_cells(line, one.start, one.width).strip() == table.rows[row][one.number].content.strip()
        assert table.titles("power", "▼").width <= width


def test_learned_watts_have_two_sigma_beside_them_where_there_is_room():
    learned = SplitFacts(jobs=(WattsOfJob("slurm:1000", uuid(0), 741.3, 30.2, 0),))
    watch = watching(node(split=learned))
    narrow, wide = tables(watch, 80)[1], tables(watch, 160)[1]
    assert "W@100   ± W" in wide.titles("power", "▼").text
    assert "  741    60 " in next(
        line for line in (wide.line(row).text for row in range(5)) if line.startswith("slurm:1000")
    )
    assert "± W" not in narrow.titles("power", "▼").text
    assert "W@100" not in tables(watching(node()), 160)[1].titles("power", "▼").text
    page = job_page(next(job for job in watch.known.scene.jobs if job.watts), watch.known, str, 80, 900.0)
    assert any("741 ± 60 W above idle" in line.text for line in page)


@settings(max_examples=examples(25))
@given(any_snapshots(), WIDTHS)
def test_the_first_lines_hold_whole_numbers(snapshot, width):
    known = watching(snapshot).known
    whole = {number for line in total_lines(known, 10_000, 900.0) for number in NUMBER.findall(line.text)}
    for line in total_lines(known, width, 900.0):
        assert line.width <= width
        assert set(NUMBER.findall(line.text)) <= whole
    lines, _ = grid(known, width) if snapshot.gpus else ([], 1)
    every, _ = grid(known, 10_000) if snapshot.gpus else ([], 1)
    there = {number for line in every for number in NUMBER.findall(line.text)}
    assert {number for line in lines for number in NUMBER.findall(line.text)} == there


@settings(max_examples=examples(25))
@given(any_snapshots(), WIDTHS, st.integers(10, 70), st.sampled_from([None, JOBS, GPUS, "help"]), st.booleans())
def test_no_screen_is_wider_or_higher_than_the_terminal(snapshot, width, height, page, silent):
    watch = watching(snapshot)
    if silent:
        watch.failed("http://127.0.0.1:9961 does not answer (Connection refused)", snapshot.time_us / 1e6 + 7)
    key = {JOBS: "slurm:1000", GPUS: watch.known.scene.gpus[0].uuid if snapshot.gpus else "gone"}.get(page, "")
    choices = Choices(page=(page, key) if page else None)
    made = arrange(watch, choices, width, height, now_s=snapshot.time_us / 1e6 + 10)
    lines = [*made.head, *made.gpus.titles, *made.jobs.titles, *(made.page or ())]
    lines += [panel.line(i) for panel in (made.gpus, made.jobs) for i in range(panel.count)]
    assert max(line.width for line in lines) <= width
    assert all(line.text.isprintable() for line in lines)
    if page is None and len(made.head) < height - 6:
        standing = len(made.head) + len(made.gpus.titles) + made.gpus.height + len(made.jobs.titles)
        assert standing + made.jobs.height + 1 <= height


@settings(max_examples=examples(15))
@given(any_snapshots(), st.one_of(st.none(), WIDTHS))
def test_one_view_as_text(snapshot, width):
    lines = lines_once(answer(snapshot), width)
    if width is not None:
        assert max(line.width for line in lines) <= width
        return
    text = "\n".join(line.text for line in lines)
    assert "…" not in text or any("…" in name for job in snapshot.jobs for name in (*job.labels.values(), job.job))
    for job in snapshot.jobs:
        assert job.job in text


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_what_matters_stays(width):
    """Power, energy and what is wrong fit everywhere."""
    gpus, jobs = tables(watching(node()), width)
    assert {one.column.title for one in gpus.placed} >= {"GPU", "WATTS", "DATA"}
    assert {one.column.title for one in jobs.placed} >= {"JOBS 5", "WATTS", "kWh"}


def test_at_80_columns_there_is_what_an_operator_looks_for():
    gpus, jobs = tables(watching(node()), 80)
    assert {one.column.title for one in gpus.placed} >= {"UTIL", "MEMORY GiB", "TEMP", "kWh", "OF LIMIT"}
    assert {one.column.title for one in jobs.placed} >= {"USER", "NAME", "GPUS", "TIME"}


def test_the_bar_takes_the_width_that_there_is():
    wide, narrow = (
        {one.column.title: one.width for one in tables(watching(node()), width)[0].placed} for width in (200, 60)
    )
    assert wide["OF LIMIT"] > narrow["OF LIMIT"]


@given(st.text(max_size=60), st.integers(0, 30), st.booleans())
def test_shortened_text_fits(text, width, middle):
    short = shorten(text, width, middle=middle)
    assert cell_len(short) <= width
    assert short == text or cell_len(text) > width


@given(st.text(alphabet="ab 训", max_size=80), st.integers(2, 30))
def test_wrapped_text_is_all_there(text, width):
    lines = wrapped(text, width)
    assert all(line.width <= width for line in lines)
    assert "".join(line.text for line in lines).replace(" ", "") == text.replace(" ", "")


@given(st.one_of(st.none(), st.floats(-1, 2)), st.integers(1, 60))
def test_a_bar_is_as_wide_as_asked(share, width):
    drawn = "".join(piece.text for piece in bar(share, width))
    assert len(drawn) == width
    if share is not None and share >= 1:
        assert drawn == "█" * width


def test_what_is_not_known_leaves_a_hole_and_0_does_not():
    assert chart([0.0, None, 2.0], 2, 2.0) == ["  █", "▁ █"]


def test_a_column_of_which_nothing_is_known_is_left_out():
    columns = (TopColumn("A", 0), TopColumn("B", 1), TopColumn("C", 2, "text"))
    table = FittedTable(columns, [[Cell("1"), Cell(""), Cell("x")]], 40)
    assert [one.column.title for one in table.placed] == ["A", "C"]
