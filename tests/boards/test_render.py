"""The boards as pictures, from a Prometheus that has scraped simulated nodes only; what is not known is an error."""

import json
from pathlib import Path

import pytest

from tests.boards import panels, units, variables
from tests.boards.data import rows
from tests.boards.filled import filled
from tests.boards.render import render
from tests.promql.expressions import DASHBOARDS

EMPTY = ("No data", "unknown", "not running")
"""What a panel shows of which nothing is known."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with filled(tmp_path_factory.mktemp("filled"), minutes=12) as (url, end_s):
        yield url, end_s


@pytest.mark.real
@pytest.mark.parametrize("board", DASHBOARDS, ids=[path.stem for path in DASHBOARDS])
def test_every_panel_of_a_board_is_drawn_with_data(store, tmp_path, board):
    url, end_s = store
    drawn = render(board, url, tmp_path / "board.png", end_s=end_s, hours=0.2, width=1280)
    titles = {one["title"] for one in json.loads(Path(board).read_text(encoding="utf-8"))["panels"]}
    assert len(drawn) > 8
    assert {title.replace("EUR", "$currency") for title in drawn} <= titles
    assert {title for title, inside in drawn.items() if any(text in inside for text in EMPTY)} == set()
    if board.stem != "wattshed-fleet":
        assert "SIMULATED DATA" in drawn[""]
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "board.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (4210.0, "watt", "4.21 kW"),
        (0.0, "watt", "0 W"),
        (2890.0, "watth", "2.89 kWh"),
        (0.269, "kwatth", "0.269 kWh"),
        (0.372, "percentunit", "37.2%"),
        (0.00004, "s", "40 µs"),
        (489.0, "si:W/s", "489 W/s"),
        (float("nan"), "watt", "unknown"),
    ],
)
def test_numbers_are_written_as_grafana_does(value, unit, text):
    assert units.shown(value, unit) == text


def test_what_is_not_known_is_an_error():
    span = variables.Span(0, 3600)
    with pytest.raises(ValueError, match="unit furlong"):
        units.shown(1.0, "furlong")
    with pytest.raises(ValueError, match="type news"):
        panels.drawn({"type": "news", "targets": ()}, None, {}, span, (), 100, 100)
    with pytest.raises(ValueError, match="transformation sortBy"):
        rows({"transformations": [{"id": "sortBy"}]}, [("A", [({}, 1.0)])])
    with pytest.raises(ValueError, match="no variable who"):
        variables.put("up{user=~'$who'}", {}, span)
    assert variables.put('label_replace(up, "a", "$1", "b", "(.*)")', {}, span).count("$1") == 1


def test_neighbouring_samples_of_an_annotation_are_one_event():
    mark = {"textFormat": "XID {{xid}}", "useValueForTime": False}
    series = [({"xid": "31"}, [(0.0, 1.0), (60.0, 1.0), (120.0, 0.0), (300.0, 2.0)])]
    assert variables.events(mark, series, 60) == [(0.0, 60.0, "XID 31"), (300.0, 300.0, "XID 31")]
    started = {"textFormat": "", "useValueForTime": True}
    assert [one[:2] for one in variables.events(started, [({}, [(0.0, 5000.0), (60.0, 5000.0)])], 60)] == [(5.0, 5.0)]
