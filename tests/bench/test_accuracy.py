"""wattshed bench accuracy: others can add a tool and a scenario, and a tool that fails costs one row."""

import argparse
import io
import json
import os
import time
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from wattshed.agent.bench.accuracy import measuring, running, table, tools, worker
from wattshed.agent.bench.accuracy.measuring import ToolAnswer
from wattshed.agent.bench.accuracy.scenarios import SCENARIOS, of_file
from wattshed.agent.commands import bench
from wattshed.agent.errors import InputError
from wattshed.agent.printing.tables import Printer

EXAMPLES = Path(__file__).parents[2] / "examples" / "accuracy"
TOOL, SCENARIO = EXAMPLES / "power_times_time.py", EXAMPLES / "fine-tuning.toml"


def arguments(*words):
    top = argparse.ArgumentParser()
    bench.add_parser(top.add_subparsers())
    return top.parse_args(["bench", "accuracy", *words])


@pytest.fixture(scope="module")
def document():
    """The examples of a tool and a scenario, and wattshed: as a user runs them, in processes of their own."""
    found = [tools.ToolName("wattshed", "wattshed", "1"), *tools.of_file(TOOL)]
    return running.document(found, [of_file(SCENARIO)], ["Nobody"], 0.6, lambda _done, _what: None)


def test_a_tool_and_a_scenario_of_ones_own(document):
    row = document["scenarios"]["fine-tuning"]
    (true,) = row["true_j"].values()
    own, theirs = row["tools"]["wattshed"], row["tools"]["power x time"]
    assert own["joules"]["1"] == pytest.approx(true, rel=0.01)
    assert theirs["joules"]["1"] == pytest.approx(true, rel=0.05)
    assert theirs["joules"]["1"] != own["joules"]["1"]
    assert theirs["sigma_j"]["1"] == pytest.approx(0.05 * theirs["joules"]["1"], abs=0.1)
    # Initialisation, two handles, and a reading of both at 0, 0.5 .. 40 s.
    assert theirs["calls"] == pytest.approx(3 + 2 * 81, abs=2)
    assert document["versions"]["power x time"]


def test_cost_is_that_of_real_time(document):
    cost = document["cost"]["tools"]
    assert list(cost) == ["no tool", "wattshed", "power x time"]
    assert cost["no tool"]["calls_per_s"] == 0
    assert cost["power x time"]["calls_per_s"] > 0
    assert cost["wattshed"]["calls_per_s"] > 0
    assert cost["wattshed"]["core_percent"] > 0
    assert all(one["peak_mib"] >= cost["no tool"]["peak_mib"] * 0.9 for one in cost.values())


def test_a_table_that_fits(document):
    out = io.StringIO()
    table.show(document, Printer(out, 80))
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "SIMULATED" in shown
    assert "fine-tuning" in shown
    assert "pip install 'wattshed[peers]'" in shown
    assert "within two sigma for 1" in " ".join(shown.split())


def test_no_answer_is_no_number():
    row = {"title": "t", "true_j": {"1": 100.0, "2": 100.0}}
    said = {"joules": {"1": 101.0, "2": "gone"}, "sigma_j": {"1": 0.4}, "calls": 3}
    document = {"versions": {"a": "1"}, "scenarios": {"s": {**row, "tools": {"a": said}}}}
    assert "| t | 100 / 100 | no answer for 1 of 2 | 0.4 |" in table.markdown(document)
    assert table.within(document, "a", 2) == (0, 1)
    assert table.within(document, "a", 3) == (1, 1)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (lambda: os._exit(70), "its process ended with exit code 70"),
        (partial(time.sleep, 60), "no answer within 0.5 s"),
    ],
)
def test_a_tool_that_ends_its_process_or_hangs_costs_one_row(work, reason):
    assert worker.apart(work, ("1", "2"), 0.5) == ToolAnswer({"1": reason, "2": reason})
    assert worker.apart(lambda: ToolAnswer({"1": 5.0}, calls=2), ("1",)) == ToolAnswer({"1": 5.0}, calls=2)


def test_a_tool_that_raises_says_what_a_user_would_see():
    class Broken:
        def __init__(self, gpus):
            self.gpus = gpus

        def begin(self):
            raise ValueError(f"not these: {self.gpus}\nand more")

        def end(self):
            raise AssertionError("it never began")

        def joules(self):
            return 0.0

    scenario = next(one for one in SCENARIOS if one.name == "capped")
    assert measuring.peer(scenario, Broken).joules == {"1": "ValueError: not these: (0,)"}


def test_a_killed_job_takes_its_tool_along():
    scenario = next(one for one in SCENARIOS if one.name == "killed")
    (kind,) = (tools.kind_of(one) for one in tools.of_file(TOOL))
    assert measuring.peer(scenario, kind).joules == {"1": measuring.KILLED}


def test_an_entry_point_is_a_tool(monkeypatch, tmp_path):
    (tmp_path / "their_meter.py").write_text(TOOL.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("theirs", "their_meter:PowerTimesTime", tools.GROUP)
    monkeypatch.setattr(
        tools, "entry_points", lambda group, name="theirs": [entry] if (group, name) == (tools.GROUP, "theirs") else []
    )
    found, _ = tools.installed()
    assert found[-1].name == "power x time"
    assert tools.kind_of(found[-1]).__name__ == "PowerTimesTime"


def test_peers_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(tools, "_version", lambda package: "1" if package in {"wattshed", "zeus"} else "")
    found, absent = tools.installed()
    assert [one.name for one in found] == ["wattshed", "Zeus"]
    assert absent == ["CodeCarbon", "nvitop", "carbontracker"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "has no class with begin(), end() and joules()"),
        ("import no_such_module\n", "does not run: ModuleNotFoundError"),
    ],
)
def test_a_file_that_is_no_tool_is_refused(text, said, tmp_path):
    path = tmp_path / "tool.py"
    path.write_text(text)
    given = arguments("--tool", str(path))
    with pytest.raises(InputError, match=r"tool.py.*" + said.replace("(", r"\(").replace(")", r"\)")):
        given.run(given)


def test_two_tools_of_one_name_are_refused():
    given = arguments("--no-peers", "--tool", str(TOOL), "--tool", str(TOOL))
    with pytest.raises(InputError, match="two tools are called power x time"):
        given.run(given)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("start_s = 10.3", "start_s = 4", "job 1 begins before 5 s"),
        ("cycle_s = 100", "cycle_s = 60", "cycle_s must end 20 s or more after the last job"),
        ("cycle_s = 100", "cycle_s = 100\nbegin_s = 3", "begin_s must be 0"),
    ],
)
def test_a_scenario_of_which_tools_cannot_be_told_is_refused(old, new, said, tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(SCENARIO.read_text().replace(old, new))
    with pytest.raises(InputError, match=said):
        of_file(path)


def test_an_unknown_scenario_is_refused_with_the_known_ones():
    given = arguments("--only", "no such")
    with pytest.raises(InputError, match="steady, eight-seconds"):
        given.run(given)


def test_one_document_on_standard_output(monkeypatch, capsys):
    monkeypatch.setattr(running, "document", lambda found, *_: {"schema": running.SCHEMA, "tools": len(found)})
    given = arguments("--json", "--no-peers", "--only", "capped")
    assert given.run(given) == 0
    assert json.loads(capsys.readouterr().out) == {"schema": "wattshed.accuracy/1", "tools": 1}


def test_a_tool_that_cannot_be_made_ready_is_one_line(monkeypatch, capsys):
    def ends(*_):
        raise running.ToolProcessError("Zeus: ImportError: no such thing")

    monkeypatch.setattr(running, "document", ends)
    given = arguments("--no-peers", "--only", "capped")
    assert given.run(given) == 1
    assert capsys.readouterr().err.endswith("wattshed: Zeus: ImportError: no such thing\n")


def test_a_process_that_fails_says_its_last_line():
    nobody = tools.ToolName("x", "/nowhere/x.py")
    with pytest.raises(running.ToolProcessError, match=r"x: .*(FileNotFoundError|InputError)"):
        running.document([nobody], [SCENARIOS[0]], [], 0, lambda _done, _what: None)
