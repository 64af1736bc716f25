"""The trapezoid sum against Python integers: any cut, any thread, any layout."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.kernels import naive
from tests.kernels.recordings import columns, node, recordings
from wattshed.kernels import energy
from wattshed.kernels.threads import use_threads

GAP = 5_000_000
MANY = settings(max_examples=examples(150), deadline=None)


def as_lists(answer):
    return [part.tolist() for part in answer]


@MANY
@given(recordings(), st.one_of(st.integers(0, 2**42), st.just(GAP), st.just(2**63 - 1), st.just(2**70)))
def test_equals_python_integers(recording, gap):
    assert as_lists(energy.integrate(*recording, gap)) == list(naive.integrate(*recording, gap))


@MANY
@given(recordings(), st.integers(1, 9), st.booleans())
def test_chunks_and_threads_change_nothing(recording, chunk, many):
    with pytest.MonkeyPatch.context() as patch, use_threads(2 if many else 1):
        patch.setattr(energy, "CHUNK", chunk)
        expected = list(naive.integrate(*recording, GAP))
        assert as_lists(energy.integrate(*recording, GAP)) == expected


@MANY
@given(recordings(gpus=2), st.lists(st.integers(0, 80), max_size=5))
def test_a_stream_may_be_cut_anywhere(recording, cuts):
    time_us, power_mw, offsets = recording
    state = energy.new_state(len(offsets) - 1)
    for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 1_000], strict=True):
        blocks = [slice(min(lo + a, hi), min(lo + b, hi)) for lo, hi in itertools.pairwise(offsets)]
        bounds = np.cumsum([0, *(s.stop - s.start for s in blocks)]).astype(np.int64)
        pick = np.concatenate([np.arange(s.start, s.stop) for s in blocks] or [np.empty(0, int)]).astype(int)
        energy.extend(state, time_us[pick], power_mw[pick], bounds, GAP)
    assert as_lists(energy.read(state)) == list(naive.integrate(*recording, GAP))


def test_a_long_recording_on_one_and_on_all_threads():
    recording = node(7, 300_000)
    expected = list(naive.integrate(*recording, GAP))
    with use_threads(1):
        assert as_lists(energy.integrate(*recording, GAP)) == expected
    assert as_lists(energy.integrate(*recording, GAP)) == expected


@pytest.mark.parametrize("step_us", [60_000_000, 300_000_000, 86_400_000_000])
def test_a_decade_at_two_kilowatts_does_not_wrap(step_us):
    n = 315_576_000_000_000 // step_us + 1
    time_us = np.arange(n, dtype=np.int64) * step_us
    power_mw = np.full(n, 2_000_000, np.int32)
    offsets = np.array([0, n], np.int64)
    expected = [[2_000 * int(time_us[-1])], [int(time_us[-1])]]  # 2 kW is 2000 uJ a microsecond
    assert as_lists(energy.integrate(time_us, power_mw, offsets, step_us)) == expected


def test_halves_round_to_even():
    per_gpu = [[(0, 500), (1, 500)], [(0, 1500), (1, 1500)], [(0, 2500), (1, 2500)], [(0, 501), (1, 500)]]
    assert energy.integrate(*columns(per_gpu), GAP)[0].tolist() == [0, 2, 2, 1]


def test_times_further_apart_than_int64_are_a_hole():
    recording = columns([[(-(2**63), 5), (2**63 - 11, 5), (2**63 - 1, 5)]])
    assert as_lists(energy.integrate(*recording, 2**63 - 1)) == [[0], [10]]


def test_a_broken_reading_is_skipped_but_a_hole_is_not_bridged():
    recording = columns([[(0, 100_000), (3_000_000, 0), (5_000_000, 200_000), (9_000_000, -1), (11_000_000, 200_000)]])
    assert as_lists(energy.integrate(*recording, GAP)) == [[750_000_000], [5_000_000]]


def test_energy_beyond_the_result_type_is_an_error_not_a_number():
    big = 2**31 - 1
    recording = columns([[(0, big), (2**62, big)]])
    with pytest.raises(OverflowError, match="GPU 0"):
        energy.integrate(*recording, 2**63 - 1)


def test_energy_up_to_the_end_of_the_result_type():
    big = 2**31 - 1
    most = (2**63 - 1) * 1000 // big  # us; 2 * big * most half-nanojoules
    recording = columns([[(0, big), (most, big)], [(0, big), (most * 3 // 4, big)]])
    expected = [round(Fraction(big * span, 1000)) for span in (most, most * 3 // 4)]
    assert expected[0] > 2**63 - 2**32
    assert energy.integrate(*recording, 2**63 - 1)[0].tolist() == expected


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"time_us": np.zeros(3)}, "time_us must be a one-dimensional int64"),
        ({"power_mw": np.zeros(3, np.int64)}, "power_mw must be a one-dimensional int32"),
        ({"power_mw": np.zeros((3, 1), np.int32)}, "power_mw must be a one-dimensional"),
        ({"offsets": [0, 3]}, "offsets must be a one-dimensional int64"),
        ({"time_us": np.zeros(2, np.int64)}, "2 rows and power_mw 3"),
        ({"offsets": np.array([], np.int64)}, "offsets must rise"),
        ({"offsets": np.array([1, 3])}, "offsets must rise"),
        ({"offsets": np.array([0, 4])}, "offsets must rise"),
        ({"offsets": np.array([0, 3, 2, 3])}, "offsets must rise"),
        ({"time_us": np.array([0, 2, 1])}, "row 2 of GPU 0"),
        ({"max_gap_us": -1}, "max_gap_us must not be negative"),
        ({"device": "tpu"}, "device must be"),
    ],
)
def test_unusable_arrays_are_refused_with_a_sentence(change, complaint):
    good = {
        "time_us": np.arange(3),
        "power_mw": np.ones(3, np.int32),
        "offsets": np.array([0, 3]),
        "max_gap_us": GAP,
    }
    with pytest.raises(ValueError, match=complaint):
        energy.integrate(**{**good, **change})


def test_time_that_falls_between_two_chunks_is_found(monkeypatch):
    monkeypatch.setattr(energy, "CHUNK", 2)
    time_us = np.array([0, 5, 4, 6, 9, 1, 2])
    power_mw = np.array([0, 7, -1, 7, 7, 7, 7], np.int32)
    with pytest.raises(ValueError, match="row 2 of GPU 0"):
        energy.integrate(time_us, power_mw, np.array([0, 5, 7]), GAP)
    time_us[2] = 5
    assert energy.integrate(time_us, power_mw, np.array([0, 5, 7]), GAP)[1].tolist() == [4, 1]


def test_rows_before_those_already_added_are_refused():
    state = energy.new_state(1)
    energy.extend(state, *columns([[(10, 5), (20, 5)]]), GAP)
    with pytest.raises(ValueError, match="before rows already added"):
        energy.extend(state, *columns([[(15, 5)]]), GAP)


def test_a_state_that_is_none_is_refused():
    """Compiled code would write beside it, or into what may not be written to."""
    recording = columns([[(0, 5), (7, 5)]])
    shut = energy.new_state(1)
    shut.flags.writeable = False
    for state in (np.zeros((1, 3), np.int64), np.zeros(1, np.int64), shut):
        with pytest.raises(ValueError, match="new_state"):
            energy.extend(state, *recording, GAP)
