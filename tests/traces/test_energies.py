"""Energies of intervals and counters are told apart, or the user is asked; both give the joules that were used."""

import gzip
import json
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.assembler import Assembler
from wattshed.agent.traces.foreign.energy_kinds import COUNTER, INTERVAL, Steps, judge
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.rows import Rows

LAW = settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
STEADY = [100, 105, 102, 99, 104, 100, 103, 101, 105, 98]
TIMES = [1_700_000_000 + t for t in range(len(STEADY))]


@pytest.fixture
def replayed(wattshed, tmp_path):
    def run(*contents, flags=(), name="log"):
        paths = [tmp_path / f"{name}.{number}" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        code, out, err = wattshed("replay", *paths, "--format", "json", *flags)
        return (json.loads(out) if code == 0 else None), err

    return run


@st.composite
def uses(draw):
    """Stamps of rows, joules used since the row before each, and mean watts there."""
    steps = draw(st.lists(st.integers(1, 3), min_size=8, max_size=30))
    watts = draw(st.lists(st.integers(200, 700), min_size=len(steps), max_size=len(steps)))
    times = [1_700_000_000 + t for t in accumulate(steps)]
    noise = draw(st.lists(st.floats(0.9, 1.1), min_size=len(steps), max_size=len(steps)))
    return times, [round(w * dt * by, 2) for w, dt, by in zip(watts, steps, noise, strict=True)], watts


def table(columns):
    return (
        "\n".join([",".join(columns), *[",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]]) + "\n"
    )


def totals(answer):
    return [gpu["energy_j"] for gpu in answer["gpus"]]


def trapezoid(times, watts):
    pairs = pairwise(zip(times, watts, strict=True))
    return sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairs)


@given(uses(), st.sampled_from([0.0, 123_456.0, 9.1e8]))
@LAW
def test_a_counter_stays_one(replayed, used, start):
    times, joules, watts = used
    counter = [round(start + total, 2) for total in accumulate(joules)]
    for beside in ({}, {"power_w": watts}):
        answer, err = replayed(table({"time": times, "energy_j": counter} | beside))
        assert answer is not None, err
        assert totals(answer) == pytest.approx([sum(joules[1:])], abs=0.01 * len(times) + 1e-6)
        assert answer["gpus"][0]["method"] == "counter"


@given(uses())
@LAW
def test_energies_of_intervals_beside_power_are_summed(replayed, used):
    times, joules, watts = used
    answer, err = replayed(table({"time": times, "power_w": watts, "energy_j": joules}))
    assert answer is not None, err
    assert totals(answer)[0] in (pytest.approx(sum(joules)), pytest.approx(trapezoid(times, watts)))
    assert "energy_j is energy per interval" in err
    assert set(answer["gpus"][0]["flags"]) <= {"frozen_sensor"}  # made-up watts may stand still for a minute


@given(uses())
@LAW
def test_energies_of_intervals_alone_are_summed_or_asked_about(replayed, used):
    times, joules, _ = used
    text = table({"time": times, "energy_j": joules})
    answer, err = replayed(text)
    if answer is None:
        assert "energy_j:UNIT/total or energy=energy_j:UNIT/interval" in err
    elif answer["gpus"][0]["flags"] != ["energy_kind_unclear"] and sum(b < a for a, b in pairwise(joules)) > 1:
        assert totals(answer) == pytest.approx([sum(joules)])
        assert "energy_j is energy per interval" in err
    answer, _ = replayed(text, flags=("--columns", "energy=energy_j:J/interval"))
    assert totals(answer) == pytest.approx([sum(joules)])


def test_steady_energies_are_told_in_any_form(replayed, tmp_path):
    columns = {"time": TIMES, "gpu": [0] * 10, "energy_j": STEADY}
    rows = zip(TIMES, STEADY, strict=True)
    lined = "".join(json.dumps({"time": t, "gpu": 0, "energy_j": e}) + "\n" for t, e in rows)
    asked = {"text": table(columns), "gzip": gzip.compress(table(columns).encode()), "json": lined}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    asked["parquet"] = (tmp_path / "t.parquet").read_bytes()
    for name, content in asked.items():
        answer, err = replayed(content, name=name)
        assert answer is not None, f"{name}: {err}"
        assert totals(answer) == [sum(STEADY)], name
        assert "energy_j is energy per interval" in err


def test_a_wide_table_has_energies_per_interval_too(replayed):
    text = table({"time": TIMES, "e0": STEADY, "e1": [2 * e for e in STEADY]})
    answer, _ = replayed(text, flags=("--columns", "energy=e*:J"))
    assert totals(answer) == [sum(STEADY), 2 * sum(STEADY)]


def test_the_sum_goes_on_in_the_next_file_and_rows_count_once(replayed):
    head, rows = "time,gpu,energy_j\n", [f"{t},0,{e}\n" for t, e in zip(TIMES, STEADY, strict=True)]
    whole, _ = replayed(head + "".join(rows))
    split, _ = replayed(head + "".join(rows[:5]), head + "".join(rows[5:]))
    assert totals(split) == totals(whole) == [sum(STEADY)]
    assert split["gpus"] == whole["gpus"]
    shuffled, _ = replayed(head + "".join(rows[5:] + rows[:5]))
    assert shuffled["gpus"] == whole["gpus"]
    twice, err = replayed(head + "".join(rows + rows))
    assert twice["gpus"] == whole["gpus"]
    assert "10 rows of a stamp that was there before: energy_j counts once" in err


def test_a_row_after_a_gap_has_what_was_used_in_it(replayed):
    times = [*TIMES[:5], *(t + 100 for t in TIMES[5:])]
    answer, err = replayed(table({"time": times, "gpu": [0] * 10, "energy_j": STEADY}))
    assert totals(answer) == [sum(STEADY)]
    assert answer["gpus"][0]["gap_s"] == 101
    assert "1 row after a gap: energy_j is taken for all that was used in it" in err


def test_small_energies_are_rounded_in_their_sum_only(replayed):
    wh = [round(100 / 3600, 5)] * 10
    answer, _ = replayed(table({"time": TIMES, "e": wh}), flags=("--columns", "time=time,energy=e:Wh/interval"))
    assert totals(answer) == pytest.approx([10 * wh[0] * 3600], abs=2e-3)


def test_energies_made_of_power_are_no_measurement_of_their_own(replayed):
    watts = list(range(100, 110))
    answer, err = replayed(table({"time": TIMES, "gpu": [0] * 10, "power_w": watts, "energy_j": watts}))
    assert totals(answer) == [trapezoid(TIMES, watts)]
    assert answer["gpus"][0]["method"] == "power"
    assert "made of the power beside it" in err


def test_a_counter_that_contradicts_power_is_overruled_and_its_unit_asked_for(replayed):
    columns = {"time": TIMES, "power_w": STEADY, "energy_j": [1000 * total for total in accumulate(STEADY)]}
    answer, err = replayed(table(columns))
    (gpu,) = answer["gpus"]
    assert (gpu["method"], gpu["flags"]) == ("power", ["counter_contradicts_power"])
    assert totals(answer) == [trapezoid(TIMES, STEADY)]
    assert gpu["sigma_j"] >= gpu["energy_j"]
    assert "(is it in mJ?): power is used instead" in err
    answer, _ = replayed(table(columns), flags=("--columns", "power=power_w,energy=energy_j:mJ"))
    assert totals(answer) == [sum(STEADY[1:])]
    assert answer["gpus"][0]["flags"] == []


def test_one_counter_of_several_may_contradict(replayed):
    rows = [(t, g, 100, 100 * k if g else 3 * k) for k, t in enumerate(TIMES) for g in (0, 1)]
    answer, err = replayed(
        table(dict(zip(("time", "gpu", "power_w", "energy_j"), zip(*rows, strict=True), strict=True)))
    )
    assert totals(answer) == [900, 900]
    assert [gpu["flags"] for gpu in answer["gpus"]] == [["counter_contradicts_power"], []]
    assert "on 1 GPU" in err


def test_a_dead_sensor_overrules_no_counter(replayed):
    answer, _ = replayed(table({"time": TIMES, "power_w": [23.19] * 10, "energy_j": list(accumulate(STEADY))}))
    assert totals(answer) == [sum(STEADY[1:])]


def test_rising_energies_that_could_be_either_are_asked_about(replayed):
    text = table({"time": TIMES, "energy_j": [100 + k for k in range(10)]})
    answer, err = replayed(text)
    assert answer is None
    assert "energy_j says 1 W if it is a counter and 105 W if it is energy per interval; say --columns" in err
    assert totals(replayed(text, flags=("--columns", "energy=energy_j:J/total"))[0]) == [9]
    assert totals(replayed(text, flags=("--columns", "energy=energy_j:J/interval"))[0]) == [sum(range(100, 110))]


def test_a_doubt_is_flagged_and_in_the_sigma(replayed):
    text = table({"time": TIMES[:5], "energy_j": [1000, 1100, 1210, 1290, 1400]})
    answer, err = replayed(text)
    (gpu,) = answer["gpus"]
    assert (gpu["energy_j"], gpu["flags"]) == (400, ["energy_kind_unclear"])
    assert gpu["energy_j"] + gpu["sigma_j"] >= 1100 + 1210 + 1290 + 1400
    assert "say --columns energy=energy_j:UNIT/interval" in err


def test_a_counter_that_restarts_stays_one(replayed):
    counter = [*accumulate(STEADY), *accumulate(STEADY)]
    answer, _ = replayed(table({"time": [TIMES[0] + t for t in range(20)], "energy_j": counter}))
    assert answer["gpus"][0]["counter_resets"] == 1


def test_a_kind_that_there_is_not_is_refused(replayed):
    _, err = replayed("time,e\n1,2\n", flags=("--columns", "energy=e:J/day"))
    assert "energy has no unit 'J/day'" in err
    assert "and behind it /total or /interval" in err


CELLS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(0, 10**9)), min_size=2, max_size=40)


@given(CELLS, st.integers(1, 7), st.integers(4, 50))
def test_sums_are_those_of_a_loop(cells, window_rows, held_rows):
    """Law: whatever the order of rows, and however they are cut, the counter ends at the sum, each stamp once."""
    wanted: dict[int, dict[int, int]] = {}
    for gpu, time, energy in cells:
        wanted.setdefault(gpu, {}).setdefault(time, energy)
    gpus = Gpus("", 20_000_000, -1)
    numbers = [gpus.number(index=i) for i in range(3)]
    gpus.energy = ("e", INTERVAL)
    columns = np.array(cells, np.int64).T
    rows = Rows.of(columns[0], (columns[1] + 100) * 10**6, energy_uj=columns[2])
    report = SourceReport("x")
    last = {}
    for window in Assembler(gpus, report, window_rows=window_rows, held_rows=10**6).windows([rows]):
        for place, device in enumerate(window.devices):
            low, high = window.readings.offsets[place : place + 2]
            if high > low:
                mine = window.readings.counter_mj[low:high].tolist()
                assert mine == sorted(mine)
                assert mine[0] >= last.get(device.index, 0)
                last[device.index] = mine[-1]
    assert last == {gpu: sum(found.values()) // 1000 for gpu, found in wanted.items()}
    assert held_rows
    assert numbers == [0, 1, 2]


@pytest.mark.parametrize(
    ("energies", "watts", "kind"),
    [
        ([5e9, 5e9, 5e9], [0, 0, 0], COUNTER),  # it stands still, and is no energy of a second
        ([0, 100, 200, 300], [0, 0, 0, 0], COUNTER),
        ([100, 105, 100, 105], [0, 0, 0, 0], INTERVAL),
        ([100, 105, 110, 115], [104, 101, 107, 120], INTERVAL),
        ([0, 100, 200, 300], [100, 101, 100, 100], COUNTER),
        ([0, 90, 10, 95, 5, 80], [1000, 1001, 1000, 1003, 1000, 1000], ""),
    ],
)
def test_what_a_column_is(energies, watts, kind):
    n = len(energies)
    columns = np.array([np.zeros(n), np.arange(n) * 1e6, np.array(watts) * 1e3, np.array(energies) * 1e6]).astype(
        np.int64
    )
    rows = Rows.of(columns[0], columns[1], power_mw=columns[2], energy_uj=columns[3])
    assert judge(Steps.of(rows), "energy_j", "", 20_000_000).kind == kind
