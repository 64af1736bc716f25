"""What meters of the host said is kept by recordings to the last bit, and what says something else is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces.windows_made_up import plain_window
from wattshed.agent.cutting import cut
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.native.host_rows import (
    id_in_readings,
    meters_from_text,
    readings_from_text,
    text_of_meters,
    text_of_readings,
)
from wattshed.agent.traces.native.parquet import parquet_chunks, parquet_windows, write_parquet
from wattshed.agent.traces.native.reader import segment_chunks, segment_windows
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.window import Window
from wattshed.agent.window.host_meters import COUNTER, GAUGE, HostMeter, HostReadings

NAMES = st.text(st.characters(codec="utf-8"), max_size=6)
AMOUNTS = st.integers(0, 2**61)
METERS = st.builds(
    HostMeter,
    source=NAMES,
    domain=NAMES,
    kind=st.sampled_from([COUNTER, GAUGE]),
    boundary=NAMES,
    part_of=NAMES,
    window_us=st.integers(-1, 10**9),
    period_us=AMOUNTS,
    wrap_uj=AMOUNTS,
    ceiling_mw=AMOUNTS,
    gain_ppm=st.integers(-(10**6), 10**6),
    sigma_ppm=st.integers(0, 10**6),
    flags=st.lists(NAMES, max_size=2).map(tuple),
)


@st.composite
def beside(draw, start_us):
    """Draw any readings of any meters, about a time."""
    meters = tuple(draw(st.lists(METERS, max_size=3)))
    rows = st.tuples(st.integers(0, max(len(meters) - 1, 0)), st.integers(start_us - 10**7, start_us + 10**7), AMOUNTS)
    found = sorted(draw(st.lists(rows, max_size=5))) if meters else []
    rejected = draw(st.lists(st.tuples(NAMES, NAMES, st.integers(0, 9)), max_size=2)) if meters else []
    return HostReadings.of(meters, found, tuple(rejected))


def same(one, two):
    """Compare what two windows say of the host's meters; those of a window that says nothing are not kept."""
    if not len(one.time_us) and not one.rejected:
        return not len(two.time_us) and not two.rejected
    columns = all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("offsets", "time_us", "value"))
    return columns and (one.meters, one.rejected) == (two.meters, two.rejected)


WINDOW = plain_window(0)


@given(beside(WINDOW.start_us))
@settings(max_examples=examples(40), deadline=None)
def test_readings_come_back(said):
    meters = meters_from_text(text_of_meters(said.meters))
    text = text_of_readings(replace(WINDOW, beside=said), 7)
    if text is None:
        assert not len(said.time_us)
        return
    assert id_in_readings(text) == 7
    assert same(said, readings_from_text(text, meters, WINDOW.start_us))


def recorded(count=6):
    """Windows of which every second says something, and the last two know one meter more."""
    meters = (HostMeter("rapl", "package-0", COUNTER, "cpu", wrap_uj=10**9), HostMeter("ipmi", "node", GAUGE, "ac"))
    for i in range(count):
        window = replace(plain_window(i), readings=replace(plain_window(i).readings, counter_mj=np.full(8, -1)))
        some = meters if i < count - 2 else (*meters, HostMeter("redfish", "node", GAUGE, "ac"))
        rows = [(0, window.start_us + 5, 10**6 * i), (1, window.start_us + 7, 10**5)] if i % 2 else []
        yield replace(window, beside=HostReadings.of(some, rows, (("ipmi/node", "zero", 1),) if i == 3 else ()))


@pytest.mark.parametrize("form", ["segment", "parquet"])
def test_a_recording_keeps_them_and_never_batches_them_away(tmp_path, form):
    windows = list(recorded())
    recorder = Recorder(tmp_path, "node")
    assert all(map(recorder.append, windows))
    recorder.close()
    (path,) = tmp_path.rglob("*.arrows")
    read, chunks = segment_windows, segment_chunks
    if form == "parquet":
        path, read, chunks = tmp_path / "x.parquet", parquet_windows, parquet_chunks
        write_parquet(windows, path)
    back = list(read(path, SourceReport("x")))
    assert [window.seq for window in back] == [0, 1, 2, 3, 4, 5]
    assert all(same(one.beside, two.beside) for one, two in zip(windows, back, strict=True))
    items = [item for chunk in chunks(path, SourceReport("x")) for item in chunk(batched=True)]
    assert [item.seq for item in items if isinstance(item, Window)] == [1, 3, 5]
    assert sum(len(item.seq) for item in items if not isinstance(item, Window)) == 3


@given(beside(WINDOW.start_us), st.lists(st.integers(1, 399_999), max_size=3, unique=True))
@settings(max_examples=examples(30), deadline=None)
def test_cut_windows_hold_together_what_the_window_held(said, places):
    parts = list(cut(replace(WINDOW, beside=said), [WINDOW.start_us + place for place in sorted(places)]))
    rows = [
        [
            (int(part.beside.time_us[i]), int(part.beside.value[i]))
            for part in parts
            for i in range(part.beside.offsets[place], part.beside.offsets[place + 1])
        ]
        for place in range(len(said.meters))
    ]
    bounds = said.offsets.tolist()
    assert rows == [
        list(zip(said.time_us[a:b].tolist(), said.value[a:b].tolist(), strict=True)) for a, b in pairwise(bounds)
    ]
    assert sum((part.beside.rejected for part in parts), ()) == said.rejected


@pytest.mark.parametrize(
    "text",
    [
        "[7,[[0,1]],[]]", "[7,[[1,1,1]],[]]", "[7,[[-1,1,1]],[]]", "[7,[[0,1,1.5]],[]]", "[7,[[0,1,true]],[]]",
        "[7,[[0,2,1,1,1]],[]]", "[7,[[0,1,1],[0,2,2]],[]]", '[7,[],[["a","b",1.5]]]', "[7,[]]", "[7,{}", "7",
        "[7,[[0,1,99999999999999999999]],[]]",
    ],
)  # fmt: skip
def test_what_is_no_reading_is_refused(text):
    with pytest.raises((ValueError, TypeError)):
        readings_from_text(text, (HostMeter("a", "b", GAUGE, "ac"),), 0)


@pytest.mark.parametrize(
    "change",
    ['"kind":"x"', '"source":1', '"ceiling_mw":1.5', '"period_us":-1', '"wrap_uj":1e30', '"part_of":null', '"x":1,'],
)
def test_what_is_no_meter_is_refused(change):
    with pytest.raises((ValueError, TypeError)):
        meters_from_text('[{"source":"a","domain":"b","kind":"gauge","boundary":"ac",' + change + "}]")


def test_keys_of_a_later_version_are_passed_over():
    (meter,) = meters_from_text('[{"source":"a","domain":"b","kind":"gauge","boundary":"ac","colour":"red"}]')
    assert meter == HostMeter("a", "b", GAUGE, "ac")
