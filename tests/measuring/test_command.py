"""``wattshed measure -- COMMAND``: one line, the exit code, and signals."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

ENVIRON = {**os.environ, "WATTSHED_METER": "simulated", "WATTSHED_SOCKET": ""}


def measure(*words, **more):
    environ = {**ENVIRON, **more}
    return subprocess.Popen(
        [sys.executable, "-m", "wattshed", "measure", *words],
        env=environ,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def test_it_tells_one_line_and_passes_the_exit_code_on(tmp_path):
    file = tmp_path / "energy.json"
    run = measure("--json", str(file), "--", "sh", "-c", "echo out; sleep 0.3; exit 7")
    out, told = run.communicate(timeout=60)
    assert (run.returncode, out) == (7, "out\n")
    assert told.count("\n") == 1
    assert told.startswith("wattshed: ")
    answer = json.loads(file.read_text())
    assert answer["schema"] == "wattshed.measure/1"
    assert (answer["exit_code"], answer["signal"], answer["reason"]) == (7, None, "")
    assert answer["joules"] > 4 * 60 * answer["seconds"] > 4 * 60 * 0.3
    assert len(answer["gpus"]) == 8


def test_signals_are_passed_on_and_it_ends_by_the_same_one():
    child = (
        "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: print('got', flush=True)); "
        "print('on', flush=True); time.sleep(60)"
    )
    run = measure("--json", "--", sys.executable, "-c", child)
    assert run.stdout.readline() == "on\n"
    run.send_signal(signal.SIGUSR1)
    assert run.stdout.readline() == "got\n"
    run.send_signal(signal.SIGTERM)
    _, told = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGTERM
    assert json.loads(told)["signal"] == signal.SIGTERM


def test_the_command_has_the_signals_as_they_were():
    told = (
        "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), signal.getsignal(signal.SIGPIPE))"
    )
    run = measure("--", sys.executable, "-c", told)
    assert run.communicate(timeout=60)[0] == "[] 1\n"  # Python ignores SIGPIPE itself


def test_where_nothing_can_be_measured_it_says_why_and_runs_the_command():
    run = measure("--", "sh", "-c", "exit 3", WATTSHED_METER="")
    _, told = run.communicate(timeout=60)
    assert run.returncode == 3
    assert "not measured" in told
    assert " 0 J" not in told


@pytest.mark.parametrize(("command", "code"), [("/no/such/command", 127), ("/etc", 126)])
def test_a_command_that_cannot_be_run(command, code):
    run = measure("--", command, WATTSHED_METER="")
    _, told = run.communicate(timeout=60)
    assert run.returncode == code
    assert told.startswith(f"wattshed: {command}: ")


def test_of_the_tasks_of_a_node_one_measures():
    begun = time.monotonic()
    runs = [measure("--", "sh", "-c", f"exit {k}", SLURM_LOCALID=str(k), WATTSHED_METER="") for k in range(2)]
    told = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 1]
    assert [bool(text) for text in told] == [True, False]
    assert time.monotonic() - begun < 60
