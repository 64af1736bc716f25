"""Several powers of one GPU at one stamp: their mean counts, whatever their order, and it is said."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.assembler import Assembler
from wattshed.agent.traces.foreign.gpus import Gpus
from wattshed.agent.traces.foreign.rows import Rows

SAMPLES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 6), st.integers(-1, 5), st.integers(-1, 40)), min_size=1, max_size=40
)


def assembled(samples, window_rows):
    """All readings as (gpu, time, power, counter), and the notes."""
    report, gpus = SourceReport("x"), Gpus("", 4, 10**9)
    for index in range(3):
        gpus.number(index=index)
    columns = np.array(samples, np.int64).T
    rows = Rows.of(columns[0], columns[1], power_mw=columns[2], counter_mj=columns[3])
    out = []
    for window in Assembler(gpus, report, window_rows=window_rows).windows([rows]):
        r = window.readings
        numbers = np.repeat(np.arange(len(window.devices)), np.diff(r.offsets))
        index = [window.devices[n].index for n in numbers]
        out += zip(index, r.time_us.tolist(), r.power_mw.tolist(), r.counter_mj.tolist(), strict=True)
    return out, report.notes


@settings(max_examples=examples(200), deadline=None)
@given(SAMPLES, st.integers(1, 8), st.randoms(use_true_random=False))
def test_one_power_a_gpu_and_stamp_whatever_the_order(samples, window_rows, random):
    """Powers that are none (0, above the ceiling of 4 mW) stay as they are, to be counted as such."""
    found, notes = assembled(samples, window_rows)
    wanted, differ, repeat = {}, 0, 0
    for key, group in itertools.groupby(sorted(samples), key=lambda row: row[:2]):
        powers = [power for *_, power, _ in group if 1 <= power <= 4]
        if powers:
            wanted[key] = round(Fraction(sum(powers), len(powers)))
            differ += len(set(powers)) > 1
            repeat += (len(powers) - 1) * (len(set(powers)) == 1)
    assert {(gpu, time): power for gpu, time, power, _ in found if 1 <= power <= 4} == wanted
    assert sum(1 <= power <= 4 for _, _, power, _ in found) == len(wanted)
    odd = [row for row in samples if row[2] in {0, 5}]
    assert sum(power in {0, 5} for _, _, power, _ in found) == len(odd)
    assert max((c for *_, c in found), default=-1) == max((c for _, _, _, c in samples), default=-1)
    assert sum(note.startswith(f"{differ} stamp") for note in notes) == bool(differ)
    assert sum(note.startswith(f"{repeat} row") for note in notes) == bool(repeat)
    shuffled = random.sample(samples, len(samples))
    again, _ = assembled(shuffled, window_rows)
    assert sorted(again) == sorted(found)


def test_the_first_stamp_is_named(wattshed, tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"{1_700_000_000 + k},0,{watts}" for k in range(4) for watts in ((100,) if k == 0 else (100, 300))]
    path.write_text("\n".join(["timestamp,gpu,power_w", *rows]) + "\n")
    code, out, err = wattshed("replay", path, "--format", "json")
    assert code == 0
    assert json.loads(out)["total_j"] == pytest.approx(150 + 200 + 200)
    assert "3 stamps with several powers of one GPU, first GPU 0 at 2023-11-14 22:13:21 UTC; their mean counts" in err


def test_a_row_a_process_repeats_no_power(wattshed, tmp_path):
    path = tmp_path / "x.csv"
    rows = [f"{1_700_000_000 + k},0,100,{pid}" for k in range(4) for pid in (11, 12)]
    path.write_text("\n".join(["timestamp,gpu,power_w,pid", *rows]) + "\n")
    columns = "time=timestamp,gpu=gpu,power=power_w,pid=pid"
    code, out, err = wattshed("replay", path, "--columns", columns, "--format", "json")
    assert code == 0
    assert json.loads(out)["total_j"] == pytest.approx(300)
    assert "same GPU, time and power" not in err
