"""README's section on what a job used shows what the commands print."""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.history.made_up import HOUR_US, MARCH_US, MODELS, job, opened, part
from tests.reports.documents import Terminal
from wattshed.agent.__main__ import main

README = Path(__file__).parents[2] / "README.md"
TRAIN, NOTEBOOK, BIG = "slurm:4001", "slurm:4002", "slurm:4003"
JOBS = {
    (TRAIN, MARCH_US): job(TRAIN, end_us=MARCH_US + 6 * HOUR_US, user="ada", account="physics", name="train-7b"),
    (NOTEBOOK, MARCH_US): job(NOTEBOOK, end_us=MARCH_US + 5 * HOUR_US, user="bob", account="physics", name="lab"),
    (BIG, MARCH_US): job(BIG, end_us=MARCH_US + HOUR_US, user="cy", account="chem", name="sweep"),
}
WATTS = {TRAIN: (320, 610, 650, 648, 652, 300), NOTEBOOK: (74, 180, 76, 74, 75), BIG: (655,)}
IDLE = {TRAIN: 0.05, NOTEBOOK: 0.9, BIG: 0.0}
PEAK_MW = {TRAIN: 701_300, NOTEBOOK: 295_000, BIG: 698_800}
GPUS = {TRAIN: ("GPU-0", "GPU-1"), NOTEBOOK: ("GPU-2",), BIG: ("GPU-0",)}


def used(owner, gpu, hour, watts):
    """What one owner used of a GPU in an hour: 70 W of it the GPU's at rest."""
    held_us = round(IDLE[owner] * HOUR_US)
    times = {
        "active_us": HOUR_US - held_us,
        "held_us": held_us,
        "peak_mw": PEAK_MW[owner],
        "method": 1,
        "covered_us": HOUR_US,
    }
    one = part(1, owner, begin_us=MARCH_US + hour * HOUR_US, joules=watts * 3600, gpu=gpu, **times)
    static_hnj = 70 * 3600 * 2_000_000_000
    return replace(one, static_hnj=static_hnj, dynamic_hnj=one.dynamic_hnj - static_hnj)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the history that README asks, and a terminal of 100 columns in UTC."""
    parts = [
        used(owner, gpu, hour, watts)
        for owner, powers in WATTS.items()
        for hour, watts in enumerate(powers)
        for gpu in GPUS[owner]
    ]
    parts = [replace(one, seq=number) for number, one in enumerate(parts, 1)]
    opened(tmp_path / "history.db").add(parts, JOBS, MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "time", lambda: MARCH_US / 1e6 + 86_400)
    for name, value in {"TZ": "UTC", "TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    time.tzset()
    yield monkeypatch
    monkeypatch.undo()
    time.tzset()


def test_what_did_my_job_use(here):
    section = README.read_text(encoding="utf-8").partition("## What did my job use?")[2].partition("\n## ")[0]
    examples = re.findall(r"```console\n\$ wattshed (.*?)\n(.*?)```", section, re.DOTALL)
    assert len(examples) == 2
    for command, shown in examples:
        terminal = Terminal()
        here.setattr(sys, "stdout", terminal)
        assert main([*command.split(), "--store", "history.db"]) == 0  # on the host itself nobody needs to say where
        assert [line.rstrip() for line in terminal.lines()] == shown.splitlines()
