"""How far long work is: shown on a terminal, wiped at the end; in a pipe nothing. Ctrl-C ends it in one line."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from wattshed.agent.printing.progress import in_sight


class Screen:
    """Standard error that says that it is a terminal, and keeps what was written."""

    def __init__(self, *, terminal):
        self.text, self._terminal = "", terminal

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return self._terminal


@pytest.mark.parametrize("total", [None, 10.0])
def test_nothing_in_a_pipe(monkeypatch, total):
    screen = Screen(terminal=False)
    monkeypatch.setattr(sys, "stderr", screen)
    with in_sight("reading", total) as line:
        assert not line.shown
        line.at(3.0, "reading more")
        line.say("reading [red]names[/red]")
    assert not screen.text


def test_on_a_terminal_what_how_far_and_the_time_left(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    screen = Screen(terminal=True)
    monkeypatch.setattr(sys, "stderr", screen)
    with in_sight("reading", 10.0) as line:
        assert line.shown
        for done in range(8):
            line.at(done, "reading [red]node[/red]")
            time.sleep(0.15)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.text)
    assert "reading [red]node[/red]" in shown, "a name is no markup"
    assert "70%" in shown
    assert re.search(r"0:00:0[01] left", shown), "the time left"
    assert "\x1b[2K" in screen.text, "the line is wiped"


def on_a_terminal(*command):
    """What a command writes to standard error where that is a terminal, without what steers it."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, "-m", "wattshed", *command], env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 4096):
                said += part
        except OSError:  # it has closed its end
            pass
    os.close(ours)
    assert process.returncode == 0, said
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode())


def test_a_recording_and_a_benchmark_show_how_far_they_are(tmp_path):
    said = on_a_terminal("record", str(tmp_path / "trace"), "--meter", "simulated", "--for", "2")
    assert re.search(r"recording .* \d+% .* left", said)
    assert "found 8 GPUs" in said, "what is logged stands above it"
    said = on_a_terminal("bench", "history", "--jobs", "400", "--hosts", "2", "--rounds", "1")
    assert re.search(r"SQLite: taking in|report by \w+ .* \d+% .* left", said)


def a_log(path, gpus, rows):
    times = np.arange(rows)
    with path.open("w") as file:
        file.write("time,gpu,power_w\n")
        for block in np.array_split(times, max(rows // 20_000, 1)):
            file.write("".join(f"{t},{gpu},{100 + t % 7}.5\n" for t in block for gpu in range(gpus)))
    return str(path)


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A log that takes seconds to read, and one of a few jobs for a demand."""
    folder = tmp_path_factory.mktemp("logs")
    return {"long": a_log(folder / "long.csv", 4, 1_000_000), "short": a_log(folder / "short.csv", 4, 2_000)}


COMMANDS = {
    "replay": lambda logs, out: ("replay", logs["long"]),
    "convert": lambda logs, out: ("convert", logs["long"], str(out / "all.parquet")),
    "fleet demand": lambda logs, out: (
        "fleet", "demand", logs["short"], "--scale", "5000", "--replicates", "1000000",
    ),
    "bench": lambda logs, out: ("bench", "--samples", "3_000_000", "--rounds", "500", "--only", "a energy"),
}  # fmt: skip


def started(command, temporary, **streams):
    """Start a command, with its temporary files in a folder."""
    environment = {**os.environ, "TMPDIR": str(temporary), "TERM": "xterm", "COLUMNS": "120"}
    if command[0] != "bench":  # which measures nothing else; the others need not wait for a compiler
        environment["WATTSHED_JIT"] = "off"
    return subprocess.Popen([sys.executable, "-m", "wattshed", *command], env=environment, **streams)


@pytest.fixture
def interruptible():
    """Let commands that are started here be interrupted: in a suite in the background they would ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_ends_in_one_line_and_leaves_nothing_behind(name, logs, tmp_path):
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    out.mkdir()
    temporary.mkdir()
    # Its standard error is a terminal: when the line appears that says how far it is, the work has begun.
    ours, theirs = pty.openpty()
    command = COMMANDS[name](logs, out)
    with started(command, temporary, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        said = ""
        while "left" not in said:
            said += os.read(ours, 4096).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        try:
            while part := os.read(ours, 4096):
                said += part.decode(errors="replace")
        except OSError:  # it has closed its end
            pass
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert process.returncode == 130, plain
    assert "Traceback" not in plain
    assert plain.count("interrupted") == 1
    assert plain.rstrip().endswith("wattshed: interrupted")
    assert not list(out.iterdir())
    assert not list(temporary.iterdir())
