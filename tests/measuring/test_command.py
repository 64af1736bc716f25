"""``wattshed measure -- COMMAND``: one line, the exit code, and signals."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

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
        process_group=0,
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
    assert told.startswith("wattshed: not measured in ")
    assert told.count("\n") == 1
    assert "no agent of wattshed runs here; " in told
    assert " 0 J" not in told


@pytest.mark.parametrize(("command", "code"), [("/no/such/command", 127), ("/etc", 126)])
def test_a_command_that_cannot_be_run(command, code):
    run = measure("--", command, WATTSHED_METER="")
    _, told = run.communicate(timeout=60)
    assert run.returncode == code
    assert told.startswith(f"wattshed: {command}: ")


@pytest.mark.parametrize("name", ["SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK"])
def test_of_the_tasks_of_a_node_one_measures(name):
    runs = [measure("--", "sh", "-c", f"exit {k}", WATTSHED_METER="", **{name: str(k)}) for k in range(2)]
    told = [run.communicate(timeout=60)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 1]
    assert [bool(text) for text in told] == [True, False]


def test_each_of_several_nodes_has_its_line_and_its_file(tmp_path):
    file = tmp_path / "energy.json"
    run = measure("--json", str(file), "--", "true", SLURM_LOCALID="0", SLURM_PROCID="4", SLURM_STEP_NUM_NODES="2")
    host = socket.gethostname()
    assert run.communicate(timeout=60)[1].startswith(f"wattshed: {host}: ")
    assert json.loads((tmp_path / f"energy.{host}.json").read_text())["host"] == host
    assert not file.exists()


def state_of(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(true):
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_stop_is_the_commands_and_a_shell_sees_it():
    run = measure("--", "sh", "-c", "echo $$; exec sleep 60", WATTSHED_METER="")
    child = int(run.stdout.readline())
    for _ in range(2):
        run.send_signal(signal.SIGTSTP)
        until(lambda: state_of(child) == state_of(run.pid) == "T")
        run.send_signal(signal.SIGCONT)
        until(lambda: "T" not in state_of(child) + state_of(run.pid))
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == -signal.SIGINT


def test_what_goes_into_the_background_is_awaited_no_longer_than_the_command():
    run = measure(
        "--", "sh", "-c", "(sh -c 'sleep 0.1' &) ; (sleep 60 & echo $!) ; sleep 0.3; exit 5", WATTSHED_METER=""
    )
    left = int(run.stdout.readline())
    assert run.wait(60) == 5
    assert state_of(left) == "S"
    os.kill(left, signal.SIGKILL)


def test_a_terminals_signal_comes_once_and_the_shell_is_told_128_and_its_number():
    """Everybody in front of a terminal gets its signals: they are not passed on once more."""
    child = (
        "import signal, time; n = []; signal.signal(signal.SIGINT, lambda *_: n.append(1)); print('on', flush=True); "
        "time.sleep(0.3); time.sleep(0.2); print('got', len(n), flush=True); import os; os.kill(os.getpid(), 15)"
    )
    script = f'{sys.executable} -m wattshed measure -- {sys.executable} -c "$CHILD"; echo code $?'
    pid, terminal = pty.fork()
    if not pid:
        os.execvpe("bash", ["bash", "-c", f"trap : INT; {script}"], {**ENVIRON, "WATTSHED_METER": "", "CHILD": child})
    said = b""
    while b"code" not in said:
        before, said = said, said + os.read(terminal, 1000)
        if b"on\r\n" in said and b"on\r\n" not in before:
            os.write(terminal, b"\x03")
    os.close(terminal)
    os.waitpid(pid, 0)
    assert b"got 1\r\n" in said
    assert b"code 143" in said
