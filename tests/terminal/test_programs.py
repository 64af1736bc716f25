"""What a process runs is shown for the process that the agent means, and for no other that has its number now."""

import os
import sys
import time
from pathlib import Path

import pytest

from tests.jobs.fake_proc import BOOT, FakeProc
from wattshed.agent.terminal.facts import ShownProcess
from wattshed.agent.terminal.programs import Programs


def process(pid, started_s):
    return ShownProcess(pid, "GPU-1", "", None, started_s)


def test_the_own_process_is_shown_and_another_start_time_is_not():
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    began_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    programs = Programs()
    shown = programs.command(process(os.getpid(), began_s))
    assert Path(sys.orig_argv[0]).name in shown
    assert programs.command(process(os.getpid(), began_s - 60)) == ""
    assert programs.command(process(os.getpid(), began_s + 60)) == ""


@pytest.mark.parametrize(("off_s", "shown"), [(0.0, True), (-1.5, True), (1.5, True), (-2.5, False), (2.5, False)])
def test_a_start_time_may_be_two_seconds_off(tmp_path, off_s, shown):
    proc = FakeProc(tmp_path)
    proc.start(7, argv=("python3", "train.py"), ticks=50_000)
    programs = Programs(str(tmp_path), wall=lambda: BOOT + 900.0, uptime=lambda: 900.0)
    began_s = BOOT + 50_000 / os.sysconf("SC_CLK_TCK")
    assert programs.command(process(7, began_s + off_s)) == ("python3 train.py" if shown else "")


def test_what_is_not_known_or_gone_is_empty(tmp_path):
    proc = FakeProc(tmp_path)
    programs = Programs(str(tmp_path), wall=lambda: BOOT + 900.0, uptime=lambda: 900.0)
    proc.start(7, ticks=50_000)
    assert programs.command(process(7, None)) == ""
    proc.end(7)
    assert programs.command(process(7, BOOT + 500.0)) == ""


def test_a_command_line_cannot_steer_the_terminal(tmp_path):
    proc = FakeProc(tmp_path)
    proc.start(7, argv=("python3", "\x1b[2Jx\n"), ticks=50_000)
    programs = Programs(str(tmp_path), wall=lambda: BOOT + 900.0, uptime=lambda: 900.0)
    shown = programs.command(process(7, BOOT + 50_000 / os.sysconf("SC_CLK_TCK")))
    assert "\x1b" not in shown
    assert "\n" not in shown
    assert shown.startswith("python3 ")
