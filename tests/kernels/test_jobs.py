"""Energy per job: the same integers as the live split, in any chunks; whole months; nothing lost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels import naive
from tests.kernels.recordings import columns, node, recordings
from wattshed.kernels import jobs
from wattshed.kernels.billing.split import split
from wattshed.kernels.energy import integrate
from wattshed.kernels.jobs import job_energy

GAP = 5_000_000


def in_hnj(energy):
    return [int(joules) * jobs.HNJ_PER_JOULE + int(rest) for joules, rest in energy]


@st.composite
def usages(draw, recording, most=6):
    """Usage rows around the recording's times, of every kind, ends before starts too."""
    time_us, _, offsets = recording
    gpus = len(offsets) - 1
    table = []
    for gpu in range(gpus):
        own = time_us[offsets[gpu] : offsets[gpu + 1]]
        moments = [st.integers(-100, 100), *([st.sampled_from(own.tolist())] if len(own) else [])]
        near = (
            st.one_of(moments) if not len(own) else st.one_of(*moments, st.integers(int(own[0]) - 9, int(own[-1]) + 9))
        )
        ppm = st.one_of(st.just(-1), st.integers(0, 1_000_000))
        row = st.tuples(near, near, ppm, ppm, ppm, st.integers(0, 1))
        table.append(draw(st.lists(row, max_size=most)))
    idle = np.array([draw(st.sampled_from([-1, 0, 60_000, 300_000])) for _ in range(gpus)], np.int64)
    rows = np.cumsum([0, *map(len, table)]).astype(np.int64)
    flat = [row for own in table for row in own]
    start, end, activity, busy, share = (np.array([row[i] for row in flat], np.int64) for i in range(5))
    live = np.array([row[5] for row in flat], np.int8)
    return idle, rows, start, end, activity, busy, share, live


def split_pieces(recording, gap, usage):
    """The live split, given the oracle's pieces."""
    time_us, power_mw, offsets = recording
    own = [naive.lines(time_us, power_mw, int(a), int(b), gap) for a, b in itertools.pairwise(offsets)]
    counts = np.array([len(pieces) for pieces in own], np.int64)
    starts = np.cumsum(counts) - counts
    flat = [piece for pieces in own for piece in pieces]
    t0, t1, begin, end = (np.array([piece[i] for piece in flat], np.int64) for i in range(4))
    return split(starts, counts, t0, t1, (begin + end) * (t1 - t0), *usage, begin_mw=begin, end_mw=end)


@settings(max_examples=examples(150), deadline=None)
@given(st.data(), st.booleans())
def test_equals_the_live_split(data, small):
    recording = data.draw(recordings(highest=2_000_000, longest=2**31, rows=20, gpus=3))
    gap = data.draw(st.sampled_from([0, GAP, 2_000_000_000]))
    usage = data.draw(usages(recording))
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(jobs, "CHUNK", 3)
        found = job_energy(*recording, gap, *usage)
    expected = split_pieces(recording, gap, usage)
    assert in_hnj(found.static) == expected.static_hnj.tolist()
    assert in_hnj(found.dynamic) == expected.dynamic_hnj.tolist()
    assert in_hnj(found.idle) == expected.idle_hnj.tolist()
    assert in_hnj(found.unattributed) == expected.unattributed_hnj.tolist()
    assert found.method.tolist() == expected.method.tolist()


def plain_usage(gpus, rows, start, end):
    m = len(start)
    unknown = np.full(m, -1, np.int64)
    return np.full(gpus, 70_000, np.int64), rows, start, end, unknown, unknown, unknown, np.ones(m, np.int8)


def test_a_long_recording_with_many_jobs_loses_nothing():
    recording = node(11, 300_000)
    rng = np.random.default_rng(2)
    rows = np.array([0, 200, 400, 600])
    start = recording[0][0] + rng.integers(0, 300_000_000_000, 600)
    usage = plain_usage(3, rows, start, start + rng.integers(0, 8_000_000_000, 600))
    found = job_energy(*recording, GAP, *usage)
    energy, _ = integrate(*recording, GAP)
    static, dynamic, idle, other = (
        in_hnj(part) for part in (found.static, found.dynamic, found.idle, found.unattributed)
    )
    for gpu in range(3):
        own = slice(rows[gpu], rows[gpu + 1])
        assert round((sum(static[own]) + sum(dynamic[own]) + idle[gpu] + other[gpu]) / 2000) == energy[gpu]


def test_a_job_of_ten_years_at_two_kilowatts_does_not_wrap():
    minutes = 5_259_600
    time_us = np.arange(minutes + 1, dtype=np.int64) * 60_000_000
    power_mw = np.full(minutes + 1, 2_000_000, np.int32)
    usage = plain_usage(1, np.array([0, 1]), np.array([0]), np.array([time_us[-1]]))
    found = job_energy(time_us, power_mw, np.array([0, minutes + 1]), 60_000_000, *usage)
    assert found.static.tolist() == [[70 * minutes * 60, 0]]
    assert found.dynamic.tolist() == [[1_930 * minutes * 60, 0]]


def test_what_cannot_be_is_refused():
    usage = plain_usage(1, np.array([0, 1]), np.array([0]), np.array([9]))
    with pytest.raises(ValueError, match="row 1 of GPU 0"):
        job_energy(*columns([[(5, 7), (4, 7), (6, 7)]]), GAP, *usage)
    with pytest.raises(ValueError, match="above 20 kW"):
        job_energy(*columns([[(5, 7), (6, 20_000_001)]]), GAP, *usage)
    with pytest.raises(ValueError, match="12 hours"):
        job_energy(*columns([[(5, 7)]]), 2**40, *usage)
    with pytest.raises(ValueError, match="rows must rise"):
        job_energy(*columns([[(5, 7)], []]), GAP, *usage)
    with pytest.raises(ValueError, match="every usage column"):
        job_energy(*columns([[(5, 7)]]), GAP, *usage[:3], usage[3][:0], *usage[4:])
