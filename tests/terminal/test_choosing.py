"""What is chosen, by keys and by clicks: exactly what is seen there is marked, and nothing beside it."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.terminal.made import answer, node, uuid
from wattshed.agent.terminal.arrangement import Panel, arrange
from wattshed.agent.terminal.choices import GPUS, INTERVALS_S, JOBS, SPANS_S, Choices
from wattshed.agent.terminal.following import AgentWatch
from wattshed.agent.terminal.jobs import SORTS


def grid_of(gpus, width, **choices):
    watch = AgentWatch()
    watch.take(answer(node(gpus, 1)), 0.0)
    return arrange(watch, Choices(compact=True, **choices), width, 40, now_s=0.0).gpus


@given(st.integers(2, 80), st.integers(60, 250))
def test_a_click_on_a_grid_chooses_the_gpu_that_is_seen_there(gpus, width):
    panel = grid_of(gpus, width)
    hit = set()
    for row in range(panel.count):
        text = panel.line(row).text
        for x in range(width):
            shown = text[x] if x < len(text) else ""
            key = panel.key_at(x, row)
            if not shown or (panel.pitch and text[max(0, x - 1) : x + 2].count("│")):
                assert not (key and panel.pitch and shown), f"{x} is between two columns"
                continue
            number = text[x - x % panel.pitch :].split()[0] if panel.pitch else text.split()[0]
            assert key == uuid(int(number))
            hit.add(key)
    assert hit == set(panel.keys)


@given(st.integers(2, 80), st.integers(60, 250), st.data())
def test_of_a_grid_only_the_chosen_gpu_is_marked(gpus, width, data):
    chosen = uuid(data.draw(st.integers(0, gpus - 1)))
    panel = grid_of(gpus, width, active=GPUS, chosen={GPUS: chosen})
    mark = panel.mark
    end = width if mark.end is None else mark.end
    marked = {panel.key_at(x, mark.line) for x in range(mark.start, end)}
    assert marked == {chosen}
    if panel.pitch:
        assert panel.key_at(end, mark.line) == ""
        assert mark.start == 0 or panel.key_at(mark.start - 1, mark.line) == ""


def test_an_empty_list_marks_nothing_and_has_nothing_to_click_at():
    assert Panel().mark is None
    assert Panel().key_at(0, 0) == ""


@given(st.lists(st.integers(-12, 12), max_size=20), st.integers(0, 6))
def test_moving_stays_within_the_list(moves, count):
    choices, keys = Choices(), [f"slurm:{i}" for i in range(count)]
    at = 0
    for rows in moves:
        choices.move(keys, rows)
        at = min(max(at + rows, 0), max(0, count - 1))
        assert choices.place(keys) == at
    choices.open(keys)
    assert choices.page == ((JOBS, keys[at]) if keys else None)


def test_what_is_gone_is_no_longer_chosen():
    choices = Choices(chosen={JOBS: "slurm:9"})
    assert choices.place(["slurm:1", "slurm:2"]) == 0


def test_keys_go_round_and_stop_at_the_ends():
    choices = Choices()
    for name in [*list(SORTS)[1:], next(iter(SORTS))]:
        choices.sort_by_next()
        assert (choices.sort, choices.reverse) == (name, False)
    choices.sort_by(choices.sort)
    assert choices.reverse
    assert [choices.change_interval(1) for _ in INTERVALS_S][-1] is False
    assert choices.interval_s == max(INTERVALS_S)
    assert [choices.change_interval(-1) for _ in INTERVALS_S][-1] is False
    assert choices.interval_s == min(INTERVALS_S)
    for _ in SPANS_S:
        choices.next_span()
    assert choices.span_s == Choices().span_s


def test_the_screen_marks_the_cells_of_the_gpu_that_was_clicked():
    pytest.importorskip("textual")
    from wattshed.agent.terminal.screen import Top

    document = answer(node(16, 3))

    async def look():
        top = Top(lambda: document, Choices(compact=True), document)
        async with top.run_test(size=(100, 30)) as pilot:
            await pilot.pause()
            pitch = top.query_one("#gpus").size.width // 3
            await pilot.click("#gpus", offset=(pitch + 8, 1))
            await pilot.pause()
            chosen = top.choices.chosen[GPUS]
            line = next(
                strip for strip in top.screen._compositor.render_strips() if " 1 " in strip.text and "│" in strip.text
            )
            backgrounds = [segment.style.bgcolor for segment in line for _ in segment.text]
            marked = "".join(char for char, colour in zip(line.text, backgrounds, strict=False) if colour == MARKED)
            assert str(int(chosen[4:12], 16)) == marked.split()[0]
            assert "│" not in marked

    from wattshed.agent.terminal.colours import DARK

    MARKED = DARK.chosen.bgcolor
    asyncio.run(look())
