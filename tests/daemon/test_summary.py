"""What a run measured, when it ends: of this run alone, and the parts are the whole."""

import logging
import re

from tests.virtual import agent, simulated
from wattshed.agent.daemon.summary import RunSummary


def test_only_what_this_run_measured_is_told(tmp_path):
    node, clock = simulated(tmp_path)
    lives = []
    for seconds in (4, 9):
        one = agent(node, clock, state=tmp_path / "state", seconds=seconds)
        one.daemon.restore()
        summary = RunSummary(one.accounts, simulated=True)
        assert summary.text() == "", "nothing was measured yet"
        before_j = sum(gpu.energy_hnj for gpu in one.accounts.gpus.values()) / 2e9
        one.daemon.run()
        one.close()
        measured_j = sum(gpu.energy_hnj for gpu in one.accounts.gpus.values()) / 2e9 - before_j
        lives.append((summary.text(), measured_j))
    assert len({text for text, _ in lives}) == 2
    for text, measured_j in lives:
        found = re.fullmatch(
            r"SIMULATED: measured 8 GPUs for (\d+) s: (\S+ k?J) "
            r"\(jobs (\S+ k?J), idle (\S+ k?J), unattributed (\S+ k?J)\), mean (\S+) W",
            text,
        )
        assert found, text
        seconds, watts = float(found[1]), float(found[6].replace(",", ""))
        whole, *parts = (_joules(found[n]) for n in range(2, 6))
        assert abs(whole - measured_j) <= 0.5 + 50 * ("k" in found[2])
        assert abs(sum(parts) - whole) <= 4 * (0.5 + 50 * ("k" in text))
        assert abs(watts * seconds - whole) <= 0.15 * whole


def _joules(text):
    number, unit = text.split()
    return float(number.replace(",", "")) * (1e3 if unit == "kJ" else 1)


def test_it_is_one_line_at_the_end(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("wattshed"), "propagate", True)
    node, clock = simulated(tmp_path)
    one = agent(node, clock, seconds=2)
    summary = RunSummary(one.accounts)
    summary.log()
    one.daemon.run()
    one.close()
    caplog.clear()
    with caplog.at_level(logging.INFO):
        summary.log()
    (line,) = caplog.messages
    assert line.startswith("measured 8 GPUs for ")
