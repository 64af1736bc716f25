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

from wattshed.agent.traces.foreign.intervals import Shape, Sums, verdict
from wattshed.agent.traces.foreign.rows import Rows

LAW = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


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
    """Seconds of rows, joules used in each since the row before, and mean watts there: never a straight line."""
    steps = draw(st.lists(st.integers(1, 3), min_size=8, max_size=30))
    watts = draw(st.lists(st.integers(40, 700), min_size=len(steps), max_size=len(steps)))
    times = [1_700_000_000 + t for t in accumulate(steps)]
    noise = draw(st.lists(st.floats(0.9, 1.1), min_size=len(steps), max_size=len(steps)))
    joules = [round(w * dt * by, 2) for w, dt, by in zip(watts, steps, noise, strict=True)]
    return times, joules, watts


def table(columns):
    names = ",".join(columns)
    return "\n".join([names, *[",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]]) + "\n"


def counted(joules, start=0.0):
    return [round(start + total, 2) for total in accumulate(joules)]


def totals(answer):
    return [gpu["energy_j"] for gpu in answer["gpus"]]


@given(uses(), st.sampled_from([0.0, 123_456.0, 9.1e8]))
@LAW
def test_a_counter_stays_one(replayed, used, start):
    times, joules, watts = used
    columns = {"time": times, "energy_j": counted(joules, start)}
    for more in ({}, {"power_w": watts}):
        answer, err = replayed(table(columns | more))
        assert answer is not None, err
        assert totals(answer) == pytest.approx([sum(joules[1:])], abs=0.01 * len(times) + 1e-6)
        assert answer["gpus"][0]["method"] == "counter"


@given(uses())
@LAW
def test_energies_of_intervals_beside_power_are_summed(replayed, used):
    times, joules, watts = used
    answer, err = replayed(table({"time": times, "power_w": watts, "energy_j": joules}))
    assert answer is not None, err
    pairs = list(pairwise(zip(times, watts, strict=True)))
    trapezoid = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairs)
    # Either the energies as they were logged, or, where they contradict a power that is read rarely, that power.
    assert totals(answer)[0] in (pytest.approx(sum(joules[1:])), pytest.approx(trapezoid))
    assert answer["gpus"][0]["method"] == "power" or "energy per row" in err


@given(uses())
@LAW
def test_energies_of_intervals_alone_are_summed_or_asked_about(replayed, used):
    times, joules, _ = used
    text = table({"time": times, "energy_j": joules})
    answer, err = replayed(text)
    falls = sum(b < a for a, b in pairwise(joules))
    if answer is None:
        assert "energy_j:J/total or energy=energy_j:J/interval" in err
    elif falls:
        assert "energy per row" in err or max(joules) > 10 * min(joules)
    for flags in (("--columns", "energy=energy_j:J/interval"),):
        answer, err = replayed(text, flags=flags)
        assert totals(answer) == pytest.approx([sum(joules[1:])])


STEADY = [100, 105, 102, 99, 104, 100, 103, 101, 105, 98]
TIMES = [1_700_000_000 + t for t in range(len(STEADY))]
TRUTH = sum(STEADY[1:])


def test_steady_energies_are_told_in_any_form(replayed, tmp_path):
    plain = table({"time": TIMES, "gpu": [0] * 10, "energy_j": STEADY})
    asked = {"text": plain.encode(), "gzip": gzip.compress(plain.encode())}
    asked["json"] = "".join(
        json.dumps({"time": t, "gpu": 0, "energy_j": e}) + "\n" for t, e in zip(TIMES, STEADY, strict=True)
    ).encode()
    pq.write_table(pa.table({"time": TIMES, "gpu": [0] * 10, "energy_j": STEADY}), tmp_path / "t.parquet")
    asked["parquet"] = (tmp_path / "t.parquet").read_bytes()
    for name, content in asked.items():
        answer, err = replayed(content, name=name)
        assert answer is not None, f"{name}: {err}"
        assert totals(answer) == [TRUTH], name
        assert "energy per row" in err


def test_the_sum_goes_on_in_the_next_file(replayed):
    head = "time,gpu,energy_j\n"
    rows = [f"{t},0,{e}\n" for t, e in zip(TIMES, STEADY, strict=True)]
    answer, _ = replayed(head + "".join(rows[:5]), head + "".join(rows[5:]))
    assert totals(answer) == [TRUTH]
    answer, _ = replayed(head + "".join(rows + rows))
    assert totals(answer) == [TRUTH]


def test_several_gpus_without_a_name_are_summed_apart(replayed):
    rows = [(t, e * g) for t, e in zip(TIMES, STEADY, strict=True) for g in (1, 3)]
    answer, err = replayed(
        table({"time": [t for t, _ in rows], "power_w": [e for _, e in rows], "energy_j": [e for _, e in rows]})
    )
    assert answer is not None, err
    pairs = list(pairwise(STEADY))
    assert totals(answer) == [sum((a + b) / 2 for a, b in pairs) * g for g in (1, 3)]


def test_small_energies_are_rounded_in_sum_only(replayed):
    wh = [round(100 / 3600, 5)] * 10
    flags = ("--columns", "time=time,energy=e:Wh/interval")
    answer, _ = replayed(table({"time": TIMES, "e": wh}), flags=flags)
    assert totals(answer) == pytest.approx([9 * wh[0] * 3600], abs=2e-3)


def test_a_counter_in_another_unit_is_left_out_and_said(replayed):
    millijoules = [1000 * total for total in accumulate(STEADY)]
    answer, err = replayed(table({"time": TIMES, "power_w": STEADY, "energy_j": millijoules}))
    assert answer["gpus"][0]["method"] == "power"
    assert "(is it in mJ?)" in err
    assert totals(answer) == [sum((a + b) / 2 for a, b in pairwise(STEADY))]
    flags = ("--columns", "energy=energy_j:mJ")
    answer, _ = replayed(table({"time": TIMES, "power_w": STEADY, "energy_j": millijoules}), flags=flags)
    assert totals(answer) == [TRUTH]


def test_a_dead_sensor_overrules_no_counter(replayed):
    answer, _ = replayed(table({"time": TIMES, "power_w": [46.19] * 10, "energy_j": list(accumulate(STEADY))}))
    assert totals(answer) == [TRUTH]


def test_rising_energies_of_intervals_are_asked_about(replayed):
    text = table({"time": TIMES, "energy_j": [100 + k for k in range(10)]})
    answer, err = replayed(text)
    assert answer is None
    assert "says 1 W if it is a counter, 104 W if it is energy per row" in err.replace("104.5", "104").replace(
        "105 W", "104 W"
    )
    assert totals(replayed(text, flags=("--columns", "energy=energy_j:J/total"))[0]) == [9]
    assert totals(replayed(text, flags=("--columns", "energy=energy_j:J/interval"))[0]) == [sum(range(101, 110))]


def test_a_counter_that_is_reset_stays_one(replayed):
    counter = [*accumulate(STEADY), *accumulate(STEADY)]
    times = [1_700_000_000 + t for t in range(20)]
    answer, _ = replayed(table({"time": times, "energy_j": counter}))
    assert answer["gpus"][0]["counter_resets"] == 1


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (Shape(1, 0, 0.0, 50.0, float("nan"), derived=False), "total"),
        (Shape(99, 0, 0.0, 5e5, float("nan"), derived=False), "total"),  # stuck
        (Shape(99, 40, 2.0, 3e4, float("nan"), derived=False), "ask"),
        (Shape(99, 40, 5.0, 400.0, 300.0, derived=False), "interval"),
        (Shape(99, 0, 300.0, 400.0, 300.0, derived=False), "total"),
        (Shape(99, 0, 3e6, 4e9, 300.0, derived=False), "power"),
    ],
)  # fmt: skip
def test_what_shapes_say(shape, wanted):
    assert verdict(shape) == wanted


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-1, 10**7)), max_size=30))
def test_sums_are_those_of_a_loop(cells):
    rows = sorted((gpu, k + step) for k, (gpu, step, _) in enumerate(cells))
    energy = [e for _, _, e in cells]
    total, last, wanted = {}, {}, []
    for (gpu, time), e in zip(rows, energy, strict=True):
        if e >= 0 and last.get(gpu) != time:
            total[gpu] = total.get(gpu, 0) + e
            last[gpu] = time
        wanted.append(total[gpu] // 1000 if e >= 0 else -1)
    sums, got = Sums.empty(), []
    gpus, times = (np.array(column, np.int64) for column in (zip(*rows, strict=True) if rows else ([], [])))
    if rows:
        got = (
            sums.count(Rows.of(gpus, times, interval_uj=np.array(energy, np.int64)), "n").filled("counter_mj").tolist()
        )
    assert got == wanted
