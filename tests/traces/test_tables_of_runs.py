"""Tables of runs: each joule once, by run, to the microjoule; what cannot be known is said."""

import gzip
import json
import math
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.foreign.registry import runs_of
from wattshed.agent.traces.foreign.runs import RunTable, TabledRun
from wattshed.agent.traces.foreign.settled_runs import overlap_uj, settled
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CODECARBON = ("timestamp", "project_name", "run_id", "duration", "emissions", "gpu_power", "gpu_energy", "gpu_model")


def line(end_s, run, duration, kwh, *, model="1 x NVIDIA A40", watts=None):
    stamp = (NOON + timedelta(seconds=end_s)).strftime("%Y-%m-%dT%H:%M:%S")
    power = kwh * 3.6e6 / duration if watts is None else watts
    return f"{stamp},demo,{run},{duration},1e-6,{power!r},{kwh!r},{model}\n"


def table(*lines, columns=CODECARBON):
    return ",".join(columns) + "\n" + "".join(lines)


def replay_json(wattshed, *argv):
    code, out, err = wattshed("replay", *argv, "--format", "json")
    assert code == 0, err
    return json.loads(out), err


def by_job(answer):
    return {job["job"]: job["energy_j"] for job in answer["jobs"]}


def test_a_row_of_codecarbon_is_a_run_and_not_a_sample(wattshed, tmp_path):
    log = tmp_path / "emissions.csv"
    log.write_text(table(line(100, "a", 60.5, 0.002), line(1000, "b", 30, 0.0005), line(9000, "c", 10, 1.5e-7)))
    answer, err = replay_json(wattshed, log)
    assert by_job(answer) == {"a": 7200, "b": 1800, "c": 0.54}
    (gpu,) = answer["gpus"]
    assert (gpu["model"], gpu["energy_j"], gpu["covered_s"], gpu["span_s"]) == (
        "1 x NVIDIA A40",
        9000.54,
        100.5,
        8960.5,
    )
    assert (gpu["power_w"]["mean"], gpu["flags"]) == (pytest.approx(9000.54 / 100.5), [])
    assert answer["sources"][0]["format"] == "codecarbon"
    assert "3 runs with the energy that the table says" in err
    first = answer["jobs"][0]
    assert (first["name"], first["mean_w"], first["gpu_s"]) == ("demo", pytest.approx(7200 / 60.5, abs=1e-3), 60.5)


def test_rows_of_flush_hold_the_run_so_far(wattshed, tmp_path):
    log = tmp_path / "emissions.csv"
    states = [line(10, "a", 9.7, 0.001), line(20, "a", 19.9, 0.002), line(30, "a", 30.1, 0.003)]
    log.write_text(table(states[0], line(25, "b", 5, 0.5, model="2 x NVIDIA L4"), *states[1:]))
    answer, err = replay_json(wattshed, log)
    assert by_job(answer) == {"a": 10800, "b": 1_800_000}
    assert "2 rows of a run before its last one (flush) not added to it" in err
    log.write_text(log.read_text() * 2)
    assert by_job(replay_json(wattshed, log)[0]) == {"a": 10800, "b": 1_800_000}


def test_parts_of_a_run_that_follow_each_other_add_up(wattshed, tmp_path):
    log = tmp_path / "emissions.csv"
    log.write_text(table(*(line(10 * n, "a", 10, 0.001) for n in (1, 2, 3))))
    assert by_job(replay_json(wattshed, log)[0]) == {"a": 10800}


def test_tasks_of_a_run_that_is_there_as_a_whole_are_not_added(wattshed, tmp_path):
    tasks = ("task_name", *CODECARBON)
    (tmp_path / "emissions_base_a.csv").write_text(
        table("load," + line(10, "a", 5, 0.001), "train," + line(30, "a", 20, 0.002), columns=tasks)
    )
    answer, _ = replay_json(wattshed, tmp_path)
    assert by_job(answer) == {"a/load": 3600, "a/train": 7200}
    (tmp_path / "emissions.csv").write_text(table(line(31, "a", 31, 0.0035)))
    answer, err = replay_json(wattshed, tmp_path)
    assert by_job(answer) == {"a": 12600}
    assert "2 tasks of runs that are read as a whole not added to them" in err


def test_trackers_at_one_time_may_have_measured_the_same(wattshed, tmp_path):
    paths = [tmp_path / f"emissions_{rank}.csv" for rank in range(4)]
    for rank, path in enumerate(paths):
        path.write_text(table(line(600, f"rank{rank}", 600, 0.1, model="8 x NVIDIA A40")))
    answer, err = replay_json(wattshed, *paths)
    (gpu,) = answer["gpus"]
    assert (gpu["energy_j"], gpu["flags"]) == (4 * 360_000, ["overlapping_runs"])
    assert gpu["sigma_j"] >= 3 * 360_000
    assert "runs took place at the same time" in err
    hosts = [f"{path}@n{rank}" for rank, path in enumerate(paths)]
    answer, err = replay_json(wattshed, *hosts)
    assert [gpu["flags"] for gpu in answer["gpus"]] == [[]] * 4
    assert "at the same time" not in err


UNUSABLE = "no row of it has an energy that can be used"
REFUSED = {
    "no energy": (
        table(line(9, "a", 9, 0.0), line(19, "b", 9, 0.0)),
        f"2:7: {UNUSABLE}: gpu_energy is '0.0'; 0 and empty stand for GPUs that were not measured",
    ),
    "no energy of GPUs": (
        table(line(9, "a", 9, 1.0)).replace("gpu_energy", "energy_consumed"),
        "1: it is a table of CodeCarbon without gpu_energy: energy_consumed includes processors and memory; for that",
    ),
    "no row": (table(), "it has a header and no rows"),
    "no unit": (
        "job,start,end,energy\na,1700000000,1700000010,5\n",
        "1: it has a row for each run, and the unit of energy is not known; say --columns start=start,end=end,",
    ),
    "no time": ("job,start,end,energy_j\na,soon,later,5\n", f"2:3: {UNUSABLE}: end is 'later'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(name, wattshed, tmp_path):
    text, said = REFUSED[name]
    log = tmp_path / "emissions.csv"
    log.write_text(text)
    code, out, err = wattshed("replay", log)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_the_energy_of_all_that_codecarbon_knows_is_read_where_it_is_asked_for(wattshed, tmp_path):
    log = tmp_path / "emissions.csv"
    log.write_text(table(line(9, "a", 9, 1.0)).replace("gpu_energy", "energy_consumed"))
    spec = "job=run_id,end=timestamp,duration=duration,energy=energy_consumed:kWh"
    assert by_job(replay_json(wattshed, log, "--columns", spec)[0]) == {"a": 3_600_000}


def test_a_unit_that_power_contradicts_is_said(wattshed, tmp_path):
    log = tmp_path / "emissions.csv"
    log.write_text(table(line(60, "a", 60, 0.002, watts=0.12), line(160, "b", 60, 0.002, watts=0.12)))
    assert "energy is 1e+03 times power times duration: is its unit kWh?" in replay_json(wattshed, log)[1]


ZEUS = "start_time,window_name,elapsed_time,gpu0_energy,gpu3_energy\n"


def test_windows_of_zeus_within_each_other_count_once(wattshed, tmp_path):
    log = tmp_path / "zeus.csv"
    log.write_text(
        ZEUS + "1700000002.5,step,1.5,300,30\n1700000005,step,1,200.5,20\n1700000000,epoch,10,2000,200\n"
        "1700000020,eval,5,500,50\n1700000022,late,6,600,60\n"
    )
    answer, err = replay_json(wattshed, log)
    assert by_job(answer) == {"epoch": 2200, "eval": 550, "late": 330}
    assert [(gpu["gpu"], gpu["energy_j"]) for gpu in answer["gpus"]] == [(0, 2800), (3, 280)]
    assert "4 windows within another one of the same GPU not added to it" in err
    assert "2 windows that began within another one: what lies after that, by its mean power" in err


FORMS = {
    "comma": lambda text: text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "semicolon and decimal comma": lambda text: text.replace(",", ";").replace(".", ",").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "an irrelevant column": lambda text: text.replace("\n", ",x\n").encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_table_of_jobs_with_their_energy_in_any_writing(form, wattshed, tmp_path):
    log = tmp_path / "jobs.csv"
    text = "job_id,user,gpu,start_time,end_time,energy_wh\n"
    text += "7,ann,2,1700000000,1700003600,250.5\n8,bob,2,1700001800,1700003600,1\n"
    log.write_bytes(FORMS[form](text))
    answer, _ = replay_json(wattshed, log)
    assert by_job(answer) == {"7": 901_800, "8": 3600}
    (gpu,) = answer["gpus"]
    assert (gpu["gpu"], gpu["energy_j"], gpu["flags"], gpu["covered_s"]) == (2, 905_400, [], 3600)
    assert answer["per_user"] == {"ann": 901_800, "bob": 3600}


def test_parquet_and_text_of_the_same_runs_agree(wattshed, tmp_path):
    start = [NOON + timedelta(seconds=s) for s in (0, 60)]
    columns = {"run": ["a", "b"], "start": start, "elapsed_s": [30.5, 9.25], "gpu_energy_kwh": [0.001, 2.5e-7]}
    pq.write_table(pa.table(columns), tmp_path / "runs.parquet")
    answer, _ = replay_json(wattshed, tmp_path / "runs.parquet")
    lines = [f"{r},{s.isoformat()},{d},{e}\n" for r, s, d, e in zip(*columns.values(), strict=True)]
    (tmp_path / "runs.csv").write_text(",".join(columns) + "\n" + "".join(lines))
    beside, _ = replay_json(wattshed, tmp_path / "runs.csv")
    assert by_job(answer) == {"a": 3600, "b": 0.9}
    assert answer["jobs"] == beside["jobs"]


def test_durations_may_be_written_as_a_clock(wattshed, tmp_path):
    log = tmp_path / "jobs.csv"
    log.write_text("name,start,elapsed,energy_kj\na,1700000000,1-01:00:00,90\nb,1700000000,00:01:40,1\n")
    jobs = {job["job"]: job["gpu_s"] for job in replay_json(wattshed, log)[0]["jobs"]}
    assert jobs == {"a": 90_000, "b": 100}


def test_rows_that_cannot_be_used_are_counted(wattshed, tmp_path):
    log = tmp_path / "jobs.csv"
    log.write_text("job,start,end,energy_j\na,100,200,5\nb,x,200,5\nc,300,200,5\nd,100,200,[N/A]\na,100,200,5\n")
    answer, err = replay_json(wattshed, log)
    assert by_job(answer) == {"a": 5}
    assert answer["sources"][0]["rejected"] == {"no_time": 2, "not_available": 1}
    assert "1 row that another row repeats in full counted once" in err
    assert "first at line 3" in err


def test_what_needs_power_over_time_is_refused(wattshed, tmp_path):
    log, power = tmp_path / "jobs.csv", tmp_path / "power.csv"
    log.write_text("job,start,end,energy_j\na,100,200,5\n")
    power.write_text("timestamp,gpu,power_w\n1700000000,0,100\n1700000001,0,100\n")
    code, _, err = wattshed("replay", log, "--openmetrics", tmp_path / "out")
    assert (code, err) == (
        2,
        "wattshed: --openmetrics needs power over time, and a table of runs has none; leave it out\n",
    )
    code, _, err = wattshed("replay", log, power)
    assert code == 2
    assert "replay it by itself" in err


RUNS = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(1, 900), st.integers(1, 10**9), st.integers(0, 3), st.integers(0, 2)),
    min_size=1, max_size=30,
)  # fmt: skip


@settings(max_examples=examples(50))
@given(RUNS)
def test_any_table_sums_to_its_column(tmp_path_factory, rows):
    """Law: jobs, GPUs and the column have the same sum, each to the last microjoule, whatever overlaps."""
    log = tmp_path_factory.mktemp("runs") / "runs.csv"
    cells = [
        f"j{n}.{job},{gpu},{start},{start + long},{uj / 1e6:.6f}\n"
        for n, (start, long, uj, job, gpu) in enumerate(rows)
    ]
    log.write_text("job,gpu,start,end,energy_j\n" + "".join(cells))
    options = Options()
    (chain,) = find([str(log)], options)
    runs = chain.runs(options)
    assert sum(run.energy_uj for run in runs) == sum(uj for _, _, uj, _, _ in rows)
    assert sorted((run.job, run.energy_uj) for run in runs) == sorted(
        (f"j{n}.{job}", uj) for n, (_, _, uj, job, _) in enumerate(rows)
    )


@given(st.decimals(min_value="1e-9", max_value="9999", allow_nan=False, places=9))
def test_kilowatt_hours_are_read_to_the_microjoule(tmp_path_factory, kwh):
    log = tmp_path_factory.mktemp("runs") / "runs.csv"
    log.write_text(f"job,start,end,energy_kwh\na,100,200,{kwh}\n")
    (source,) = find([str(log)], Options())[0].sources
    (run,) = runs_of(source, SourceReport(str(log)), Options()).runs
    exact = Fraction(kwh) * 3_600_000_000_000
    assert abs(run.energy_uj - exact) <= max(Fraction(1, 2), exact * Fraction(1, 2**51))
    assert run.energy_uj == int((kwh * 3_600_000_000_000).to_integral_value(ROUND_HALF_EVEN)) or kwh > 1000


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 20)), min_size=1, max_size=12))
def test_outermost_windows_cover_the_time_of_all_of_them_once(spans):
    """Law, of windows that all draw one watt: each second that any of them covers counts once."""
    windows = [TabledRun(f"w{n}", "", "0", "", s * 10**6, (s + d) * 10**6, d * 10**6) for n, (s, d) in enumerate(spans)]
    kept, _ = settled([RunTable("zeus", windows)])
    seconds = {second for start, long in spans for second in range(start, start + long)}
    assert sum(run.energy_uj for run in kept) == len(seconds) * 10**6
    assert overlap_uj(kept) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.randoms())
def test_states_of_a_run_are_the_last_one_in_any_order(steps, random):
    ends, total = [], 0
    for step in steps:
        total += step
        ends.append(total)
    states = [TabledRun("a", "", "", "", 0, end * 10**6, end) for end in ends]
    random.shuffle(states)
    (run,), _ = settled([RunTable("codecarbon", states)])
    assert run.energy_uj == total
    assert math.isclose(run.end_us / 1e6, total)
    assert Decimal(run.energy_uj) == total
