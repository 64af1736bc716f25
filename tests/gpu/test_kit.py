"""The kit for a real GPU from end to end, on the simulated one: every step runs as it would, with shorter stretches."""

import json
import shutil
import socket
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import pytest

from tests.depth import deep
from tests.gpu.kit.plan import STEPS

HERE = Path(__file__).parent
AT_ONCE = 4  # steps mostly wait


def run(out, *arguments):
    command = [sys.executable, str(HERE / "run"), str(out), "--simulated", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """One folder of results of all steps, each of which ran alone."""
    folder = tmp_path_factory.mktemp("gpu")

    def one(number):
        return run(folder / str(number), "--only", str(number), "--scale", "0.05", "--loose")

    longest_first = sorted(STEPS, key=lambda number: -STEPS[number][2])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ended = dict(zip(longest_first, pool.map(one, longest_first), strict=True))
    assert {number: done.stdout + done.stderr for number, done in ended.items() if done.returncode} == {}
    for number in STEPS:
        for file in (folder / str(number)).glob("[0-9][0-9]-*.json"):
            shutil.copy(file, folder / file.name)
    return folder


@pytest.fixture(scope="module")
def steps(out):
    found = [json.loads(file.read_text()) for file in sorted(out.glob("[0-9][0-9]-*.json"))]
    return {int(step["step"][:2]): step for step in found}


@deep
def test_every_step_goes_to_its_end(steps):
    assert set(steps) == set(STEPS)
    for number, step in steps.items():
        assert step["step"] == f"{number:02d}-{STEPS[number][0]}"
        assert (step["state"], step["errors"]) == ("done", [])
        assert step["simulated"] is True
        assert len(step["prediction"]) > 100
        assert step["line"]


@deep
def test_what_watching_costs_is_measured_for_every_watcher(steps):
    step = steps[6]
    watchers = {f"{what} 50 Hz" for what in ("counter", "power", "rows", "everything")}
    watchers |= {"agent", *(f"everything {hz} Hz" for hz in (1, 2, 10))}
    for loop in ("kernels of 1 ms", "kernels of 10 us"):
        assert set(step["effects"][loop]) == watchers
        assert all(found["error"] > 0 for found in step["effects"][loop].values())
    idle = step["effects"]["nothing"]["everything 50 Hz"]["effect"]
    assert abs(idle) < 10  # nobody's reading makes the simulated card warmer than its noise
    long, short = (
        [s["rate"] for s in step["stretches"] if s["doing"] == loop] for loop in ("kernels of 1 ms", "kernels of 10 us")
    )
    assert max(long) <= 1_000
    assert median(long) < median(short)


@deep
def test_the_simulated_card_answers_as_its_own_rules_say(steps):
    step = steps[8]
    assert step["samples"]["total power"]["ascending"] is True
    assert step["accounting"]["mode"] == 0
    assert step["accounting"]["stats of nobody"] == "refused: Not Found (6)"
    assert set(step["events"]["registered"].values()) == {"yes"}
    lives = step["lives"]["each"]
    assert [life["rows"] > 0 for life in lives] == [True] * 3
    # The lists are true at once; a poll of a busy machine may be late.
    assert all(abs(life["list: first, after it was open"]) < 300 for life in lives)
    assert all(abs(life["list: last, after it was gone"]) < 300 for life in lives)


@deep
def test_samples_and_counter_agree_over_whole_lives(steps):
    lives = steps[9]["lives"]
    assert len(lives) == 6
    # A poll that comes late sees the counter late; of six lives not half have one at their begin or end.
    told = [life for life in lives if "samples_against_counter" in life]
    assert len(told) >= 3, "a life that no poll saw before its begin tells nothing; of six not half"
    assert median(life["samples_against_counter"] for life in told) == pytest.approx(1, abs=0.02)
    # The simulated card rests as soon as it can, and its clock stays up while a context is open.
    assert all(life["tail_s"] < 0.3 for life in told)
    assert lives[-1]["clock_open_mhz"] > lives[-1]["clock_idle_mhz"]
    assert lives[-1]["context_open_w"] < 100 < lives[-1]["load_w"]


@deep
def test_the_recording_replays_to_the_same_joules_from_both_forms(steps, out):
    step = steps[10]
    assert step["identifying"] == []
    assert step["replay"]["total_j"] == step["parquet"]["replay"]["total_j"] > 0
    assert {job.rpartition("/")[2] for job in step["replay"]["jobs"]} >= {"kit-train", "kit-serve"}
    with tarfile.open(out / "10" / "sample.tar.gz") as packed:
        assert {Path(name).name for name in packed.getnames()} == {"sample.parquet", "trace.tar.gz"}


@deep
def test_what_leaves_the_machine_names_nobody(out):
    host, seen = socket.gethostname().encode(), 0
    for archive in out.glob("*/*.tar.gz"):
        with tarfile.open(archive) as packed:
            for entry in packed.getmembers():
                assert (entry.uid, entry.gid, entry.uname, entry.gname) == (0, 0, "", "")
                assert not entry.name.startswith(("/", ".."))
                if len(host) >= 6:
                    assert host not in packed.extractfile(entry).read(), entry.name
                seen += 1
    assert seen > 30


@deep
def test_results_are_read_as_a_table_and_with_every_number(out):
    command = [sys.executable, str(HERE / "read_results"), str(out)]
    short = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert short.startswith("SIMULATED")
    for number, (name, *_) in STEPS.items():
        assert f"\n{number:02d}-{name}" in short
    more = [*command, "--numbers", "--only", "9,10", "--width", "100"]
    long = subprocess.run(more, capture_output=True, text=True, check=True).stdout
    assert long.count("predicted: ") == 2
    assert "06-observer" not in long
    assert "samples_against_counter" in long
    assert max(map(len, long.splitlines())) <= 100


def test_a_run_without_time_leaves_steps_out_and_says_so(tmp_path):
    done = run(tmp_path, "--only", "3,8", "--budget", "4", "--scale", "1")
    assert done.returncode == 1
    assert done.stdout.count("left out") == 2
    read = subprocess.run(
        [sys.executable, str(HERE / "read_results"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert read.returncode == 1
    assert read.stdout.count("left out") == 2


def test_steps_that_do_not_exist_are_refused(tmp_path):
    done = run(tmp_path, "--only", "3,12")
    assert done.returncode == 2
    assert "1 to 11" in done.stderr
