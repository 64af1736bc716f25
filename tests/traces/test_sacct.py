"""Bills by Slurm's accounting, which counts GPUs and does not name them: right where the trace tells, else k/n."""

import json
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest

from tests.depth import deep
from tests.traces.windows_made_up import plain_window
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.replay.books import Part
from wattshed.agent.traces.jobs.sacct import Records, nodes_of
from wattshed.agent.traces.jobs.tres import AllocatedGpus, demand_of, spread
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.window import Owner, Usage

HOUR = 3600
START = 1_772_323_200  # 2026-03-01, midnight
BUSY, IDLE = 600, 75


@pytest.fixture
def bill(wattshed, tmp_path):
    """Replay a trace by a dump of sacct; returns the document and what was said."""

    def run(trace, dump, *flags):
        jobs = tmp_path / "sacct.txt"
        jobs.write_text(dump)
        code, out, err = wattshed("replay", *np.atleast_1d(trace), "--jobs", jobs, "--format", "json", *flags)
        assert code == 0, err
        answer = json.loads(out, parse_float=Decimal)
        gpus = sum(gpu["energy_j"] for gpu in answer["gpus"])
        mine = sum(job["energy_j"] for job in answer["jobs"])
        assert gpus == answer["total_j"] == mine + answer["idle_j"] + answer["unattributed_j"]
        for job in answer["jobs"]:
            assert job["mean_w"] <= job["peak_w"]
        return {job["job"]: job for job in answer["jobs"]}, answer, err

    return run


@pytest.fixture
def node(tmp_path):
    """Write a trace: watts by GPU, each a number or a function of the minute; a reading a minute for an hour."""

    def write(*watts, name="power.csv", util=None, host="n1", minutes=60, hole=()):
        path = tmp_path / name
        rows = ["timestamp,host,gpu,power_w" + (",util" if util else "")]
        for minute in range(minutes + 1):
            for gpu, power in enumerate(watts):
                watt = power(minute) if callable(power) else power
                if minute not in hole:
                    cells = f"{START + 60 * minute},{host},{gpu},{watt}"
                    rows.append(cells + (f",{util[gpu]}" if util else ""))
        path.write_text("\n".join(rows) + "\n")
        return path

    return write


def clock(minute):
    return f"2026-03-01T{minute // 60:02}:{minute % 60:02}:00"


def sacct(*rows, header="JobID|JobIDRaw|User|Account|Start|End|NodeList|AllocTRES"):
    """Make a dump; a row is (id, first minute, last minute, TRES)."""
    lines = [header]
    for number, first, last, tres, *node in rows:
        nodes = node[0] if node else "n1"
        lines.append(f"{number}|{number}|u{number}|a{int(number) % 2}|{clock(first)}|{clock(last)}|{nodes}|{tres}")
    return "\n".join(lines) + "\n"


def between(first, last, watts=BUSY):
    """Power that is drawn within some minutes: a reading tells of the minute before it."""
    return lambda minute: watts if first < minute <= last else IDLE


def energies(jobs):
    return {job: float(entry["energy_j"]) for job, entry in jobs.items()}


EIGHT = (BUSY, *[IDLE] * 7)
ONE = "cpu=8,gres/gpu:h100=1,gres/gpu=1,node=1"


def test_one_gpu_of_eight_is_not_eight(bill, node):
    jobs, answer, err = bill(node(*EIGHT), sacct(("10", 0, 60, ONE)))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR}
    assert jobs["slurm:10"]["gpus"] == ["n1/0"]
    assert (jobs["slurm:10"]["placement"], jobs["slurm:10"]["method"]) == ("inferred", "alone")
    assert "slurm:10" in err
    assert answer["per_user"] == {"u10": BUSY * HOUR}
    assert answer["per_account"] == {"a0": BUSY * HOUR}


def test_a_busy_job_beside_an_idle_one(bill, node):
    """Which of them was busy nothing tells: the first is taken, and it is said, shown, and doubted."""
    jobs, _, err = bill(node(*EIGHT), sacct(("11", 0, 60, "gres/gpu=1"), ("10", 0, 60, "gres/gpu=1")))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR, "slurm:11": IDLE * HOUR}
    assert "a guess" in err
    for job in jobs.values():
        assert (job["placement"], job["method"]) == ("guessed", "share")
        assert job["sigma_j"] > (BUSY - IDLE) * HOUR // 4


@pytest.mark.parametrize("alone", [True, False])
def test_a_requeued_job_is_billed_for_each_stretch(alone, bill, node):
    watts = (300, 300) if alone else (between(0, 20), between(40, 60), IDLE)
    dump = sacct(
        ("10", 0, 20, "gres/gpu=2" if alone else "gres/gpu=1"), ("10", 40, 60, "gres/gpu=2" if alone else "gres/gpu=1")
    )
    jobs, *_ = bill(node(*watts), dump)
    assert energies(jobs)["slurm:10"] == pytest.approx(1_440_000 if alone else 2 * 20 * 60 * BUSY, rel=0.03)
    assert jobs["slurm:10"]["gpu_s"] == (4_800 if alone else 2_400)
    # Of its own time, without what lies between.
    assert float(jobs["slurm:10"]["mean_w"]) == pytest.approx(600, rel=0.03)


def test_a_resized_job_is_billed_for_what_it_had(bill, node):
    jobs, *_ = bill(node(300, 300), sacct(("10", 0, 30, "gres/gpu=2"), ("10", 30, 60, "gres/gpu=1")))
    assert energies(jobs) == {"slurm:10": 1_620_000}
    assert jobs["slurm:10"]["gpu_s"] == 5_400
    assert jobs["slurm:10"]["mean_w"] == 450
    jobs, *_ = bill(node(*EIGHT), sacct(("10", 0, 30, "gres/gpu=2"), ("10", 30, 60, "gres/gpu=1")))
    assert energies(jobs)["slurm:10"] == pytest.approx((BUSY + IDLE) * HOUR / 2 + BUSY * HOUR / 2, rel=1e-6)


def test_shards_are_of_one_gpu(bill, node):
    jobs, *_ = bill(node(*EIGHT), sacct(("10", 0, 60, "billing=8,cpu=8,gres/shard=8,node=1")))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR}
    jobs, *_ = bill(node(*EIGHT), sacct(("10", 0, 60, "gres/shard=8"), ("11", 0, 60, "gres/shard=4")))
    assert energies(jobs) == pytest.approx({"slurm:10": BUSY * HOUR * 2 / 3, "slurm:11": BUSY * HOUR / 3}, rel=1e-5)


@pytest.mark.parametrize("watts", [BUSY, IDLE])
def test_shards_of_a_nodes_only_gpu(watts, bill, node):
    """Where they are needs no evidence; what part one is, the others there at the time tell."""
    both = sacct(("10", 0, 60, "gres/shard=6"), ("11", 0, 60, "gres/shard:gb10=2,gres/shard=2"))
    jobs, *_ = bill(node(watts), both)
    assert energies(jobs) == {"slurm:10": watts * HOUR * 3 / 4, "slurm:11": watts * HOUR / 4}
    # The first ends a second late by its row: that does not make the other's vanish.
    jobs, *_ = bill(node(watts), sacct(("10", 0, 31, "gres/gpu=1"), ("11", 30, 60, "gres/shard=2")))
    assert sum(energies(jobs).values()) == pytest.approx(watts * HOUR)
    assert energies(jobs)["slurm:11"] >= watts * HOUR * 29 / 60


def test_instances_of_a_nodes_only_gpu(bill, node):
    jobs, *_ = bill(node(700), sacct(("10", 0, 60, "gres/gpu:3g.40gb=1"), ("11", 0, 60, "gres/gpu:1g.10gb=2")))
    assert energies(jobs) == pytest.approx({"slurm:10": 300 * HOUR, "slurm:11": 200 * HOUR}, rel=1e-5)
    assert {job["placement"] for job in jobs.values()} == {"inferred"}


MIG = sacct(
    ("10", 0, 60, "cpu=8,gres/gpu:3g.40gb=1,gres/gpu=1,node=1"),
    ("11", 0, 60, "cpu=8,gres/gpu:1g.10gb=1,gres/gpu=1,node=1"),
)


@pytest.mark.parametrize("watts", [EIGHT, (300, 300), (300, 300, 300)])
def test_instances_of_mig_are_parts_of_one_gpu(watts, bill, node):
    jobs, answer, _ = bill(node(*watts, util=[90] * len(watts) if watts[1] == 300 else None), MIG)
    board = max(watts) * HOUR
    assert energies(jobs) == pytest.approx({"slurm:10": board * 3 / 7, "slurm:11": board / 7}, rel=1e-5)
    assert answer["unattributed_j"] == answer["total_j"] - sum(job["energy_j"] for job in jobs.values())


DIALECTS = {
    "windows": lambda text: text.replace("\n", "\r\n"),
    "a bar at the end": lambda text: text.replace("\n", "|\n"),
    "a delimiter of two": lambda text: text.replace("|", "|#"),
    "a mark in front": lambda text: "\ufeff" + text,
    "it still runs": lambda text: text.replace(clock(60), "Unknown"),
    "a whole name": lambda text: text.replace("|n1|", "|N1.cluster.org|"),
    "the older column": lambda text: text.replace("AllocTRES", "AllocGRES").replace(ONE, "gpu:h100:1"),
    "no raw id": lambda text: text.replace("JobIDRaw", "Comment"),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects(name, bill, node):
    jobs, *_ = bill(node(*EIGHT), DIALECTS[name](sacct(("10", 0, 60, ONE))))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR}


def test_times_are_the_clusters_own(bill, node):
    jobs, *_ = bill(node(*EIGHT), sacct(("10", 120, 180, ONE)), "--timezone", "Etc/GMT-2")
    assert energies(jobs) == {"slurm:10": BUSY * HOUR}


def test_keys_are_those_of_a_running_agent(bill, node):
    dump = (
        "JobID|JobIDRaw|Start|End|NodeList|AllocTRES\n"
        f"9_3|12|{clock(0)}|{clock(60)}|n1|gres/gpu=1\n"
        f"9_4|9|{clock(0)}|{clock(60)}|n1|gres/gpu=1\n"
        f"20+1|21|{clock(0)}|{clock(60)}|n1|gres/gpu=1\n"
    )
    jobs, *_ = bill(node(300, 300, 300, 300), dump)
    assert {key: (job.get("array"), job.get("het_job")) for key, job in jobs.items()} == {
        "slurm:12": ("9_3", None),
        "slurm:9": ("9_4", None),
        "slurm:21": (None, "20+1"),
    }


BAD = {
    "ends before it starts": (f"11|11|b|c|{clock(60)}|{clock(0)}|n1|gres/gpu=1", "it ends"),
    "no time": (f"11|11|b|c|soon|{clock(60)}|n1|gres/gpu=1", "not a valid time:  'soon'"),
    "no end": (f"11|11|b|c|{clock(0)}|later|n1|gres/gpu=1", "not a valid time:  'later'"),
    "no nodes": (f"11|11|b|c|{clock(0)}|{clock(60)}|n[1-|gres/gpu=1", "not a valid list of nodes"),
    "too few columns": ("11|11|b", "3 columns instead of 8"),
    "too many columns": (f"11|11|b|c|d|{clock(0)}|{clock(60)}|n1|gres/gpu=1", "9 columns instead of 8"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_bad_row_refuses_nothing_but_itself(name, bill, node, wattshed, tmp_path):
    row, said = BAD[name]
    good = sacct(("10", 0, 60, "gres/gpu=2"), ("12", 0, 60, "gres/gpu=1")).splitlines()
    trace = node(300, 300, 300)
    jobs, answer, err = bill(trace, "\n".join([*good[:2], row, *good[2:]]) + "\n")
    assert set(jobs) == {"slurm:10", "slurm:12"}
    (note,) = [line for line in err.splitlines() if f"{tmp_path}/sacct.txt:3:" in line]
    assert "sacct.txt: 1 of 3 rows are left out" in err
    assert note.endswith("the row is left out")
    assert said in note
    assert any(said in note for note in answer["notes"])
    bad = tmp_path / "bad.txt"
    bad.write_text("\n".join([good[0], row]) + "\n")
    code, _, err = wattshed("replay", trace, "--jobs", bad)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{bad}:2: no row can be used" in err


def test_one_id_in_two_clusters_is_two_jobs(bill, node):
    dump = (
        "JobID|Cluster|Start|End|NodeList|AllocTRES\n"
        f"10|c1|{clock(0)}|{clock(30)}|n1|gres/gpu=2\n"
        f"10|c2|{clock(30)}|{clock(60)}|n1|gres/gpu=2\n"
        f"11|c2|{clock(60)}|{clock(61)}|n1|gres/gpu=2\n"
    )
    jobs, *_ = bill(node(300, 300, minutes=61), dump)
    assert energies(jobs) == {"slurm:10@c1": 1_080_000, "slurm:10@c2": 1_080_000, "slurm:11": 36_000}
    assert jobs["slurm:10@c2"]["cluster"] == "c2"


def test_the_mean_is_of_its_own_energy_over_its_own_time(bill, node):
    jobs, *_ = bill(node(*[100] * 8), sacct(("7", 0, 60, "gres/gpu=1")))
    assert (jobs["slurm:7"]["energy_j"], jobs["slurm:7"]["mean_w"]) == (100 * HOUR, 100)
    jobs, *_ = bill(node(*[100] * 8), sacct(("7", 0, 60, "gres/gpu=1")), "--idle-watts", "40")
    assert (jobs["slurm:7"]["static_j"], jobs["slurm:7"]["dynamic_j"]) == (40 * HOUR, 60 * HOUR)
    jobs, *_ = bill(node(*[100] * 8), sacct(("7", 0, 60, "gres/gpu=8")))
    assert (jobs["slurm:7"]["energy_j"], jobs["slurm:7"]["mean_w"]) == (800 * HOUR, 800)


def test_nothing_tells_so_each_has_its_part_of_the_node_and_no_more(bill, node):
    """Three jobs and eight busy GPUs: somebody else is there, too."""
    watts = [500, 510, 520, 530, 540, 550, 560, 570]
    jobs, answer, err = bill(node(*watts, util=[90] * 8), sacct(*((str(i), 0, 60, "gres/gpu=1") for i in (1, 2, 3))))
    assert energies(jobs) == pytest.approx({f"slurm:{i}": sum(watts) * HOUR / 8 for i in (1, 2, 3)}, rel=1e-6)
    assert float(answer["unattributed_j"]) == pytest.approx(sum(watts) * HOUR * 5 / 8, rel=1e-6)
    assert "nothing shows" in err


def test_back_to_back_on_one_gpu(bill, node):
    jobs, *_ = bill(node(*EIGHT), sacct(("10", 0, 30, ONE), ("11", 30, 60, ONE)))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR / 2, "slurm:11": BUSY * HOUR / 2}
    assert {job["placement"] for job in jobs.values()} == {"inferred"}


def test_a_later_job_goes_where_work_begins_with_it(bill, node):
    jobs, *_ = bill(node(IDLE, IDLE, between(30, 60), IDLE), sacct(("10", 0, 60, ONE), ("11", 30, 60, ONE)))
    assert jobs["slurm:11"]["gpus"] == ["n1/2"]
    assert jobs["slurm:11"]["placement"] == "inferred"
    assert energies(jobs)["slurm:10"] == pytest.approx(IDLE * HOUR, rel=1e-5)  # one of the three others


def test_use_that_no_job_accounts_for_is_nobodys(bill, node):
    """A GPU that is busy before, while and after the job runs is another's, whom the table does not name."""
    jobs, *_ = bill(node(BUSY, IDLE, IDLE, between(20, 40, 400)), sacct(("10", 20, 40, ONE)))
    assert jobs["slurm:10"]["gpus"] == ["n1/3"]
    jobs, *_ = bill(node(BUSY, IDLE, IDLE, IDLE), sacct(("10", 20, 40, ONE)))
    share = (BUSY + 3 * IDLE) * 20 * 60 / 4
    assert energies(jobs)["slurm:10"] == pytest.approx(share, rel=1e-5)
    assert jobs["slurm:10"]["placement"] == "counted"


@pytest.mark.parametrize("util", [["90"] + ["0"] * 3, ["0.9"] + ["0"] * 3, ["90 %"] + ["0 %"] * 3])
def test_utilisation_tells_where_power_does_not(util, bill, node):
    jobs, *_ = bill(node(110, 100, 100, 100, util=util), sacct(("10", 0, 60, ONE)))
    assert energies(jobs) == {"slurm:10": 110 * HOUR}


def test_a_counter_alone_tells_as_well(bill, tmp_path):
    path = tmp_path / "counter.csv"
    rows = [f"{START + 60 * m},n1,{g},{60_000 * m * (BUSY if g == 1 else IDLE)}" for m in range(61) for g in range(4)]
    path.write_text("\n".join(["timestamp,host,gpu,energy_mj", *rows]) + "\n")
    jobs, *_ = bill(path, sacct(("10", 0, 60, ONE)))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR}


def test_an_idle_job_has_an_idle_gpu(bill, node):
    jobs, *_ = bill(node(*[IDLE] * 8), sacct(("10", 0, 60, ONE)))
    assert energies(jobs) == {"slurm:10": IDLE * HOUR}


def test_a_job_longer_than_the_trace_and_one_that_still_runs(bill, node):
    dump = sacct(("10", 0, 60, ONE)).replace("2026-03-01T00:00:00", "2026-02-27T00:00:00")
    jobs, *_ = bill(node(*EIGHT), dump.replace("2026-03-01T01:00:00", "Unknown"))
    assert energies(jobs) == {"slurm:10": BUSY * HOUR}


def test_gaps_are_no_evidence(bill, node):
    jobs, *_ = bill(node(*EIGHT, hole=range(20, 41)), sacct(("10", 0, 60, ONE)))
    assert jobs["slurm:10"]["gpus"] == ["n1/0"]


def test_two_nodes_with_different_numbers(bill, node):
    """Only the sum is accounted; the batch step says what the first node gave."""
    traces = [node(*[BUSY] * 4, name="a.csv", host="n1"), node(BUSY, *[IDLE] * 3, name="b.csv", host="n2")]
    job = ("77", 0, 60, "gres/gpu=5", "n[1-2]")
    batch = sacct(("77", 0, 60, "gres/gpu=4", "n1")).splitlines()[1].replace("77|77", "77.batch|77.batch")
    jobs, *_ = bill(traces, sacct(job) + batch + "\n")
    assert energies(jobs) == {"slurm:77": 5 * BUSY * HOUR}
    jobs, *_ = bill(traces, sacct(job))  # else two and a half on each, of which one is known on n2
    assert energies(jobs)["slurm:77"] <= 5 * BUSY * HOUR


def test_all_gpus_of_nodes_that_have_not_equally_many(bill, node):
    """Six GPUs, and the two nodes have four and two: whichever had how many, it had all of them."""
    traces = [node(*[BUSY] * 4, name="a.csv", host="n1"), node(IDLE, IDLE, name="b.csv", host="n2")]
    jobs, *_ = bill(traces, sacct(("77", 0, 60, "gres/gpu=6", "n[1-2]")))
    assert energies(jobs) == {"slurm:77": (4 * BUSY + 2 * IDLE) * HOUR}
    # One of seven is on neither: then it is not told how many each gave.
    jobs, *_ = bill(traces, sacct(("77", 0, 60, "gres/gpu=7", "n[1-2]")))
    assert energies(jobs)["slurm:77"] <= (4 * BUSY + 2 * IDLE) * HOUR


def test_more_is_asked_for_than_the_trace_has(bill, node):
    """Two jobs of four GPUs each, and a trace of two of the node's: each had at most half of these."""
    jobs, *_ = bill(node(300, 300), sacct(("1", 0, 60, "gres/gpu=4"), ("2", 0, 60, "gres/gpu=4")))
    assert energies(jobs) == {"slurm:1": 300 * HOUR, "slurm:2": 300 * HOUR}


def test_a_table_of_another_tool_that_counts(wattshed, node, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(f"id,node,n,from,to,project\na,n1,1,{START},{START + HOUR},moon\nb,,1,{START},{START + HOUR},\n")
    spec = "job=id,host=node,gpus=n,start=from,end=to"
    code, out, err = wattshed("replay", node(*EIGHT), "--jobs", jobs, "--job-columns", spec, "--format", "json")
    assert code == 0, err
    by_name = {job["job"]: job for job in json.loads(out)["jobs"]}
    assert by_name["a"]["project"] == "moon"
    assert sum(job["energy_j"] for job in by_name.values()) == pytest.approx((BUSY + IDLE) * HOUR, rel=1e-5)


@pytest.fixture
def recording(tmp_path):
    """A recording of two GPUs for 16 s, 300 W each; GPU 0 is known to be slurm:4002's for half of it."""
    recorder = Recorder(tmp_path / "rec", "n1")
    for i in range(40):
        window = plain_window(i, host="n1")
        if i < 20:
            row = [np.array([value]) for value in (0, 0, window.start_us, window.end_us, 400_000, -1, 1)]
            kinds = (np.int32, np.int32, np.int64, np.int64, np.int64, np.int32, np.int8)
            usage = Usage(*(column.astype(kind) for column, kind in zip(row, kinds, strict=True)))
            owners = (Owner("slurm:4002", {"manager": "slurm", "user": "grace", "array": "77_5"}),)
            window = type(window)(
                window.host, window.seq, window.start_us, window.end_us, window.devices, window.readings,
                window.busy_us, owners, usage,
            )  # fmt: skip
        recorder.append(window)
    recorder.close()
    return tmp_path / "rec"


@pytest.mark.parametrize(("number", "raw"), [("4002", "4002"), ("77_5", "4002"), ("77_5", "")])
def test_what_a_recording_knows_stands(number, raw, bill, recording, wattshed):
    known = json.loads(wattshed("replay", recording, "--format", "json")[1], parse_float=Decimal)["jobs"]
    when = "2023-11-14T22:13:00|2023-11-14T22:14:00|n1|gres/gpu"
    dump = (
        "JobID|JobIDRaw|User|Account|Start|End|NodeList|AllocTRES\n"
        f"{number}|{raw}|eve|bio|{when}=2\n"
        f"5000|5000|eve|chem|{when}=1\n"
    )
    jobs, answer, err = bill(recording, dump)
    same = {key: value for key, value in jobs["slurm:4002"].items() if key != "account"}
    assert [same] == known
    assert (same["user"], jobs["slurm:4002"]["account"]) == ("grace", "bio")
    assert "known to the recording" in err
    assert jobs["slurm:5000"]["gpus"] == ["n1/GPU-1"]  # the other is known to be slurm:4002's
    assert set(answer["per_user"]) == {"grace", "eve"}


def test_a_table_that_names_gpus_leaves_what_is_known_as_well(wattshed, recording, tmp_path):
    before = json.loads(wattshed("replay", recording, "--format", "json")[1])["jobs"][0]["energy_j"]
    jobs = tmp_path / "jobs.csv"
    jobs.write_text("job,host,gpu,start,end,user\nmine,n1,0,,,ann\n")
    code, out, err = wattshed("replay", recording, "--jobs", jobs, "--format", "json")
    assert code == 0, err
    by_name = {job["job"]: job["energy_j"] for job in json.loads(out)["jobs"]}
    assert by_name["slurm:4002"] == before
    assert by_name["mine"] == pytest.approx(300 * 8, rel=0.05)  # the time of which the recording knows nobody


def test_labels_come_back_in_every_format(wattshed, node, tmp_path):
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(
        "job,host,gpu,start,end,user,account,project,method\nx,n1,0,,,ann,bio,m[red]oon,slow\ny,n1,1,,,bob,,,\n"
    )
    trace = node(300, 300)
    jobs_ = json.loads(wattshed("replay", trace, "--jobs", jobs, "--format", "json")[1])
    first = next(job for job in jobs_["jobs"] if job["job"] == "x")
    assert (first["user"], first["account"], first["project"]) == ("ann", "bio", "m[red]oon")
    assert (first["method"], first["method_"]) == ("alone", "slow")
    assert jobs_["per_user"] == {"ann": 300 * HOUR, "bob": 300 * HOUR}
    assert jobs_["per_account"] == {"bio": 300 * HOUR}
    lines = wattshed("replay", trace, "--jobs", jobs, "--format", "csv")[1].splitlines()
    assert lines[0].endswith("flags,start_s,end_s,user,account,method_,project")
    assert any(line.startswith("job,x,") and line.endswith("ann,bio,slow,m[red]oon") for line in lines)
    table = wattshed("replay", trace, "--jobs", jobs)[1]
    assert all(text in table for text in ("ann", "bio", "m[red]oon", "bob"))


@pytest.mark.parametrize(
    ("tres", "nodes", "right"),
    [
        ("cpu=8,gres/gpu=1", 1, AllocatedGpus(1)),
        ("gres/gpu:h100=4,gres/gpu=4", 2, AllocatedGpus(2)),
        ("gres/gpu:a100=1,gres/gpu:v100=2", 1, AllocatedGpus(3)),
        ("gres/gpu:1g.10gb=2,gres/gpu=2", 1, AllocatedGpus(0, (142_857, 142_857))),
        ("gres/gpu:nvidia_a100_3g.20gb=1,gres/gpu:a100=1,gres/gpu=2", 1, AllocatedGpus(1, (428_571,))),
        ("gres/gpu:1g.6gb=1", 1, AllocatedGpus(0, (250_000,))),
        ("gres/shard=8", 1, AllocatedGpus(0, (), 8)),
        ("gres/shard:h100=8,gres/shard=8", 1, AllocatedGpus(0, (), 8)),
        ("gres/mps=50", 1, AllocatedGpus(0, (500_000,))),
        ("gres/mps=150", 1, AllocatedGpus(0, (1_000_000, 500_000))),
        ("gres/gpumem=10G,gres/gpuutil=90,cpu=1", 1, AllocatedGpus()),
        ("gres/gpu=3", 2, AllocatedGpus(1, (500_000,))),
        ("gres/gpu=1", 2, AllocatedGpus(0, (500_000,))),
        ("gres/gpu:3g.40gb=2", 2, AllocatedGpus(0, (428_571,))),
        ("", 1, AllocatedGpus()),
    ],
)
def test_what_a_job_had(tres, nodes, right):
    mine = spread(demand_of({"AllocTRES": tres}, nodes), nodes)
    assert (mine.count, mine.parts, mine.shards) == (right.count, right.parts, right.shards)


@pytest.mark.parametrize(
    ("profile", "sevenths", "quarters"),
    [
        *[(name, 1, 0) for name in ("1g.5gb", "1g.10gb+me", "1g.18gb", "1g.20gb", "1g.23gb", "1g.24gb", "a100_1g.5gb")],
        *[(name, 1, 0) for name in ("mig-1g.5gb", "1g_10gb", "1g10gb", "a100-1g-5gb", "1c.2g.20gb", "1c.7g.80gb")],
        ("nvidia_h100_80gb_hbm3_2g.20gb", 2, 0), ("3g.71gb", 3, 0), ("4g.40gb", 4, 0), ("7g.180gb", 7, 0),
        ("1g.6gb", 0, 1), ("1g.6gb+me", 0, 1), ("2g.12gb", 0, 2), ("4g.24gb", 0, 4), ("nvidia_a30_1g.6gb", 0, 1),
        ("nvidia_rtx_pro_6000_blackwell_server_edition_1g.24gb", 0, 1), ("2g.48gb", 0, 2), ("4g.96gb", 0, 4),
    ],
)  # fmt: skip
def test_an_instance_is_a_part(profile, sevenths, quarters):
    part = sevenths * 1_000_000 // 7 + quarters * 250_000
    for count in (f"gres/gpu:{profile}=2,gres/gpu=2", f"cpu=8,gres/gpu:{profile}:2"):
        assert demand_of({"AllocTRES": count}, 1) == AllocatedGpus(0, (part, part))


@pytest.mark.parametrize("name", ["nvidia_h100_80gb_hbm3", "rtx3050_4g", "gtx1650-4gb", "a100_40gb", "g4", "t4g"])
def test_a_board_is_no_instance(name):
    assert demand_of({"AllocTRES": f"gres/gpu:{name}=1,gres/gpu=1"}, 1) == AllocatedGpus(1)


def test_the_older_column_counts_one_node():
    assert spread(demand_of({"AllocGRES": "gpu:tesla:2,mps:0"}, 3), 3) == AllocatedGpus(2, dealt=6)
    assert demand_of({"AllocGRES": "gpu:1"}, 1) == AllocatedGpus(1)


def test_node_lists():
    assert nodes_of("n[1-2,05],gpu7") == ["n1", "n2", "n05", "gpu7"]
    assert nodes_of("r[1-2]n[08-09]") == ["r1n08", "r1n09", "r2n08", "r2n09"]
    for wrong in ("n[1-", "n[2-1x]", "n[5-2]"):
        with pytest.raises(ValueError, match="n"):
            nodes_of(wrong) or pytest.fail("it is none")


def records(text):
    header, *lines = text.split("\n")
    report = SourceReport("x")
    return list(Records(header, report).of(lines)), report


def test_records_over_several_lines():
    """Whoever names a job writes text into the dump, and with it no other's row."""
    found, report = records("JobID|JobName|Start\n1|a\nb|2\n2|c|3\n")
    assert [(n, row["JobID"], row["JobName"]) for n, row in found] == [(2, "1", "a\nb"), (4, "2", "c")]
    found, _ = records("JobID|JobName|Start\n1|a\n99|forged|0\nb|2\n3|d|4\n")
    assert [(n, row["JobID"], row["JobName"]) for n, row in found] == [(2, "1", "a\n99|forged|0\nb"), (5, "3", "d")]
    found, report = records("JobID|JobName|Start\n1|a\n2|c|3\n3|d|4\n")
    assert [row["JobID"] for _, row in found] == ["2", "3"]
    assert (report.rows_rejected, report.bad[0].line) == (1, 2)


def test_a_table_with_what_users_write_says_so(bill, node):
    """A name may hold whole rows, told from Slurm's own by nobody: job 99 is none, and Bob never ran."""
    trace = node(BUSY)
    assert "users write" not in bill(trace, sacct((10, 0, 30, "gres/gpu=1")))[2]
    row = f"{clock(0)}|{clock(30)}|n1|gres/gpu=1"
    name = f"x|bob|{row}\n99|99|y|bob|{row}\n10|10|z"
    dump = f"JobID|JobIDRaw|JobName|User|Start|End|NodeList|AllocTRES\n10|10|{name}|eve|{row}\n"
    assert "users write JobName themselves" in bill(trace, dump)[2]


@deep
def test_workers_give_the_same(wattshed, node, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the extra scale is not installed")
    monkeypatch.setenv("WATTSHED_JIT", "off")
    jobs = tmp_path / "sacct.txt"
    jobs.write_text(sacct(("10", 0, 30, "gres/gpu=2"), ("11", 10, 60, "gres/gpu=1"), ("12", 0, 60, "gres/gpu=1", "n2")))
    traces = [node(*EIGHT, name="a.csv"), node(IDLE, BUSY, name="b.csv", host="n2")]
    argv = ["replay", *traces, "--jobs", jobs, "--format", "json"]
    code, alone, _ = wattshed(*argv)
    assert code == 0
    # As a user starts it: a cluster's processes begin from a process that has run nothing else.
    command = [sys.executable, "-m", "wattshed", *map(str, argv), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == alone, done.stderr
    assert '"inferred"' in alone


def test_books_of_no_job_take_no_time():
    assert Part().times.of("nobody") == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("JobID|Start|NodeList|AllocTRES\n1|2026-03-01T12:00:00|n|gres/gpu=1\n", "1: there is no column End"),
        ("JobID|Start|End\n1|2026-03-01T12:00:00|Unknown\n", "1: there is no column NodeList, AllocTRES"),
        ("JobID        Start  End\n------------ ------ ------\n1 2026-03-01 Unknown\n", "1:1: this looks like sacct's"),
    ],
)
def test_a_table_that_lacks_what_a_bill_needs_is_refused(text, said, node, wattshed, tmp_path):
    jobs = tmp_path / "sacct.txt"
    jobs.write_text(text)
    code, out, err = wattshed("replay", node(100), "--jobs", jobs)
    assert (code, out) == (2, "")
    assert err.startswith(f"wattshed: {jobs}:{said}")
    assert "sacct -P" in err
    assert len(err.splitlines()) == 1
