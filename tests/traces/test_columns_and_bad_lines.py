"""What a table's columns are taken for, and that nothing is left out in silence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def replay_json(wattshed, *argv):
    code, out, err = wattshed("replay", *argv, "--format", "json")
    assert code == 0, err
    return json.loads(out), err


def test_a_star_leaves_out_columns_that_are_something_else(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("t,GPU0,GPU1\n" + "".join(f"{1700000000 + i},100,200\n" for i in range(11)))
    answer, err = replay_json(wattshed, log, "--columns", "time=t,power=*")
    assert [gpu["energy_j"] for gpu in answer["gpus"]] == [1000.0, 2000.0]
    assert not err


def test_plain_names_give_the_limit_and_the_uuid(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    rows = "".join(f"{1700000000 + i},0,GPU-a,{power},200\n" for i, power in enumerate((100, 601, 100)))
    log.write_text("timestamp,gpu,uuid,power_w,power_limit_w\n" + rows)
    (gpu,) = replay_json(wattshed, log)[0]["gpus"]
    assert (gpu["gpu"], gpu["uuid"], gpu["energy_j"], gpu["samples"]) == (0, "GPU-a", 200.0, 2)


def test_a_key_given_twice_is_refused(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("t,p\n1,2\n")
    code, _, err = wattshed("replay", log, "--columns", "time=t,power=p,power=t")
    assert (code, err) == (2, "wattshed: --columns: power is given twice\n")


def test_a_table_of_which_no_row_fits_its_header_is_refused(wattshed, tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("timestamp,gpu,power_w\n1,2\n3,4\n")
    code, out, err = wattshed("replay", log)
    assert (code, out) == (2, "")
    assert err == f"wattshed: {log}:2: no row has as many columns as the header\n"


def test_jobs_that_held_nothing_are_named(wattshed, tmp_path):
    log, jobs = tmp_path / "log.csv", tmp_path / "jobs.csv"
    log.write_text("timestamp,gpu,power_w\n" + "".join(f"{1700000000 + i},0,100\n" for i in range(11)))
    jobs.write_text("job,host,gpu,start,end\nhere,,0,,\nelsewhere,,7,,\nlater,,0,1800000000,\n")
    _, err = replay_json(wattshed, log, "--jobs", jobs)
    assert err == "wattshed: 2 jobs of the jobs file held no GPU of the traces in their time: elsewhere, later\n"
    jobs.write_text("job,host,gpu,start,end\nhere,n1,0,,\nthere,n2,0,,\n")
    _, err = replay_json(wattshed, log, "--jobs", jobs)
    assert err.splitlines()[0] == (
        "wattshed: the jobs file names hosts that are not in the traces: n1, n2; "
        "for a trace that names no host, write FILE@HOST"
    )
    _, err = replay_json(wattshed, f"{log}@n1", "--jobs", jobs)
    assert err == (
        "wattshed: the jobs file names hosts that are not in the traces: n2\n"
        "wattshed: 1 job of the jobs file held no GPU of the traces in their time: there\n"
    )


@pytest.mark.parametrize("cell", ["[N/A]", "", "0", "[Unknown Error]"])
def test_a_gpu_without_any_reading_is_in_the_answer(cell, wattshed, tmp_path):
    log = tmp_path / "log.csv"
    rows = "".join(f"2024/05/01 10:00:{s:02d}.000, 3, {cell}\n" for s in range(5))
    log.write_text("timestamp, index, power.draw [W]\n" + rows)
    (gpu,) = replay_json(wattshed, log)[0]["gpus"]
    assert (gpu["gpu"], gpu["samples"], gpu["energy_j"], gpu["power_j"], gpu["gap_s"]) == (3, 0, 0.0, None, 0.0)


@pytest.mark.parametrize("flag", [["--format", "xml"], ["--max-gap", "soon"], ["--nonsense"]])
def test_bad_usage_is_one_line(flag):
    done = subprocess.run(
        [sys.executable, "-m", "wattshed", "replay", "x.csv", *flag], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.count("\n") == 1, done.stderr


def test_a_full_disk_below_the_answer_is_one_line(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("timestamp,gpu,power_w\n1700000000,0,100\n1700000001,0,100\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "wattshed", "replay", log, "--format", "csv"], stdout=full, stderr=subprocess.PIPE,
            text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
