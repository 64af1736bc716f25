"""Where the answer goes: closed, full and broken outputs end in one line or in silence, never in a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANSWERS = [
    ["replay", "LOG", "--format", "table"],
    ["replay", "LOG", "--format", "json"],
    ["fleet", "scenario"],
    ["config", "--markdown"],
    ["check", "--json"],
    ["--help"],
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("timestamp,gpu,power_w\n1700000000,0,100\n1700000001,0,100\n")
    return path


def run(argv, log, redirection="", **more):
    words = [sys.executable, "-m", "wattshed", *(str(log) if word == "LOG" else word for word in argv)]
    command = ["bash", "-c", f'"$@" {redirection}', "bash", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, **more)


@pytest.mark.parametrize("argv", ANSWERS, ids=" ".join)
def test_a_closed_standard_output_is_one_line(argv, log):
    done = run(argv, log, ">&-")
    assert (done.returncode, done.stderr) == (1, "wattshed: standard output is closed; the output is lost\n")


@pytest.mark.parametrize("argv", ANSWERS[:2], ids=" ".join)
def test_a_full_disk_below_it_is_one_line(argv, log):
    done = run(argv, log, ">/dev/full")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("argv", ANSWERS, ids=" ".join)
def test_a_reader_who_has_seen_enough_ends_it_silently(argv, log):
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "wattshed", *(str(log) if word == "LOG" else word for word in argv)]
    with os.fdopen(writer) as pipe:
        done = subprocess.run(words, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + 13, "")


def test_who_has_no_answer_needs_no_standard_output(log, tmp_path):
    done = run(["convert", "LOG", str(tmp_path / "out.parquet")], log, "<&- >&-")
    assert done.returncode == 0, done.stderr
    assert run(["replay", str(tmp_path / "out.parquet")], log).returncode == 0


def test_what_is_wrong_is_not_told_in_the_place_of_the_answer(log):
    done = run(["replay", "nowhere.csv"], log, "2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "")


def test_an_encoding_without_a_sign_of_ours_still_gets_the_answer(log):
    done = run(["replay", "LOG", "--format", "table"], log, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert "\\xb1 J" in done.stdout
    assert done.stderr == ""
