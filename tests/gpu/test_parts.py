"""What the kit's steps compute from what they saw, against series of which the answer is known."""

from types import SimpleNamespace

import pytest

from tests.gpu.kit.checking import decide
from tests.gpu.kit.launches import Stretch, against_neighbours, during_calls
from tests.gpu.kit.lifecycles import Life, lives_script
from tests.gpu.kit.listing import facts as listed
from tests.gpu.kit.reading import numbers, table
from tests.gpu.kit.s06_observer import within
from tests.gpu.kit.s09_decay import Seen, facts

MS = 1_000_000
S = 1_000_000_000


def stretch(watched, rate, *, doing="kernels", watts=None, calls=()):
    """A second of launches at a rate."""
    at = [round(i * S / rate) for i in range(rate + 1)]
    return Stretch(doing, watched, 0, S, watts, at, 0, list(calls))


def test_an_effect_is_against_the_stretches_before_and_after_it():
    """A rate that falls by 1 % from stretch to stretch, and by a further 10 % when somebody watches."""
    rates = {0: 10_000, 1: 8_910, 2: 9_800, 3: 9_700, 4: 9_600}
    rows = [stretch("somebody" if i == 1 else "nobody", rate) for i, rate in rates.items()]
    found = against_neighbours(rows, "rate")["somebody"]
    assert found["effect"] == pytest.approx(8_910 / 9_900 - 1, abs=1e-5)
    # Unwatched: 9,800 between 10,000 and 9,700 is 0.5 % below what they say; 9,700 between 9,800 and 9,600 is just it.
    assert found["error"] == pytest.approx((1 - 9_800 / 9_850) / 2**0.5, abs=1e-6)


def test_the_error_of_an_effect_is_what_unwatched_stretches_do_by_themselves():
    watts = [100, 104, 100, 104, 100]
    rows = [stretch("nobody", 10, watts=w) for w in watts] + [stretch("agent", 10, watts=110)] * 4
    found = against_neighbours(rows, "watts")["agent"]
    assert found["effect"] == 10  # the last unwatched one is all that it has beside it
    assert found["error"] == 2  # 4 W of noise, in the mean of four


def test_effects_smaller_than_their_error_are_not_judged():
    assert within({"effect": 0.001, "error": 0.0005}, 0.002) is True
    assert within({"effect": 0.001, "error": 0.01}, 0.002) is None
    assert within({"effect": -0.03, "error": 0.01}, 0.002) is False
    assert within({"effect": -0.001, "error": None}, 0.002) is None
    assert within(None, 0.002) is None


def test_launches_during_a_call_are_those_that_overlap_it():
    at = [0, 100, 200, 1_200, 1_300, 1_400, 1_500]  # us; the third launch waits for a call from 250 to 1,150
    row = Stretch("allocations", "counter", 0, 2 * MS, None, [t * 1_000 for t in at], 0, [[250_000, 1_150_000]])
    ((doing, watched, found),) = during_calls([row])  # beside it: a call from 1,250 on
    assert (doing, watched, found["launches"]) == ("allocations", "counter", 1)
    assert (found["median_us"], found["median_us_beside"], found["ratio"]) == (1_000, 100, 10)
    assert row.facts()["over_twice_the_median"] == 1


def test_long_launches_are_met_more_often_without_waiting_for_anybody():
    """Launches of 10 and of 190 us in turn: a call of no length meets the long ones, by day and by night."""
    at = [0]
    for i in range(20_000):
        at.append(at[-1] + (190_000 if i % 2 else 10_000))
    calls = [[t, t + 1] for t in range(37_000, at[-1], 14_000_321)]
    ((_, _, found),) = during_calls([Stretch("allocations", "power", 0, at[-1], None, at, 0, calls)])
    assert found["launches"] > 100
    assert (found["median_us"], found["ratio"]) == (190, 1)


def test_a_stretch_without_calls_tells_nothing_about_them():
    assert list(during_calls([stretch("nobody", 10)])) == []


def seen_life():
    """A job of 2 s: context 0.4 s before its first kernel, open for 0.5 s after its last, power up for 2.2 s more."""
    marks = {"asked": 1.0, "alive": 1.1, "opening": 1.2, "open": 1.5, "first kernel": 1.6, "last kernel": 3.6}
    marks |= {"told to end": 4.1, "gone": 4.2}

    def power_w(t):
        return 700 if 1.6 < t <= 3.6 else 125 if 1.2 < t <= 6.4 else 80

    times = [round(i * 0.02, 2) for i in range(1, 400)]
    samples = [(round(t * S), power_w(t) * 1_000) for t in times]
    rows, counter_mj = [], 0.0
    for i, t in enumerate(times):
        counter_mj += power_w(t) * 20
        mhz = 1_980 if 1.2 < t <= 6.4 else 345
        rows.append((round(t * S), round(counter_mj) if i % 5 == 4 else None, 0, 0, mhz))
    return Life(1.0, 2.0, 0.5, {name: round(t * S) for name, t in marks.items()}), Seen(samples, rows)


def test_the_time_after_a_process_has_its_seconds_and_joules():
    life, seen = seen_life()
    found = facts(life, 7_900 * MS, seen)
    assert found["idle_w"] == 80
    assert found["load_w"] == 700
    assert found["context_open_w"] == 125
    assert found["start_to_kernel_s"] == 0.6
    assert found["start_to_kernel_j"] == pytest.approx(45 * 0.4, abs=0.1)
    assert found["down_after_last_kernel_s"] == 0.02
    assert found["tail_s"] == pytest.approx(2.2, abs=0.02)
    assert found["tail_j"] == pytest.approx(45 * 2.2, abs=1)
    assert found["tail_above_idle_w"] == 45
    assert (found["clock_open_mhz"], found["clock_idle_mhz"]) == (1_980, 345)
    assert found["clock_up_after_gone_s"] == pytest.approx(2.2, abs=0.02)
    assert found["samples_against_counter"] == pytest.approx(1, abs=1e-3)


def test_lists_are_measured_from_the_marks_of_a_life():
    marks = {"asked": 0, "alive": 90, "opening": 100, "open": 400, "first kernel": 450, "last kernel": 900}
    marks = {name: t * MS for name, t in (marks | {"told to end": 1_000, "gone": 1_020}).items()}
    ours, other = frozenset({7}), frozenset({8})
    seen = [
        (t * MS, ours if 150 <= t <= 1_040 else frozenset(), ours if 160 <= t <= 1_025 else other)
        for t in range(0, 1_500, 5)
    ]
    rows = [(t * MS, pid, t * 1_000, 50) for pid, t in ((8, 500), (7, 700), (7, 900), (7, 1_100))]
    found = listed(marks, seen, rows)
    assert found["list: first, after it was open"] == -250
    assert found["list: last, after it was gone"] == 20
    assert found["details: first, after opening began"] == 60
    assert found["details: last, after it was gone"] == 5
    assert found["rows: first, after the first kernel"] == 250
    assert found["rows: last new, after it was gone"] == 80
    assert found["rows"] == 3


def test_lives_are_told_to_the_simulated_driver_second_by_second():
    script = lives_script([Life(1.0, 0.5, 0.25), Life(3.0, 0.5, 0.25)])
    assert script.count("[[job]]") == 2
    assert "start_s = 1.300000\nend_s = 2.050000" in script
    assert "load = [[0.5, 400, 100], [0.25, 0, 0]]" in script


def told(simulated, checks):
    said = []
    kit = SimpleNamespace(simulated=simulated, verdict=lambda as_predicted, line: said.append((as_predicted, line)))
    decide(kit, checks, "12 W")
    return said[0]


def test_a_prediction_is_true_when_every_part_is():
    assert told(False, {"a": True, "b": True}) == (True, "12 W")
    assert told(False, {"a": True, "b": None}) == (None, "cannot be told: b; 12 W")
    assert told(False, {"a": False, "b": None}) == (False, "not so: a; cannot be told: b; 12 W")
    assert told(True, {"a": False}) == (None, "not so: a; 12 W")


STEP = {
    "step": "02-rows",
    "state": "done",
    "prediction": "word " * 40,
    "verdict": "SURPRISE",
    "line": "several words " * 20,
    "seconds": 1.25,
    "errors": [f"error {i}" for i in range(9)],
    "watts": {"idle": 79.712345, "tail": None},
    "rows": [{"name": "a", "values": list(range(200))}, {"name": "b", "values": [1.5]}],
}


def test_a_step_is_one_row_that_wraps():
    lines = list(table([STEP], 100))
    assert lines[0].startswith("step")
    assert lines[1].startswith("02-rows      done       1.2 SURPRISE     several words")
    assert max(map(len, lines)) <= 100
    assert sum("! error" in line for line in lines) == 4
    assert lines[-1].endswith("! and 5 errors more")
    assert "SIMULATED" not in "".join(lines)


def test_numbers_are_short_where_they_fit_and_cut_where_they_never_end():
    lines = list(numbers(STEP, 100))
    assert "    watts: {idle 79.712, tail None}" in lines
    assert "      2: {name b, values [1.5]}" in lines
    assert any("lines more" in line for line in lines)
    assert max(map(len, lines)) <= 100
    assert not any("error 1" in line for line in lines)
