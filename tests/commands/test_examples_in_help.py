"""Examples in the help of commands: they fit 80 columns, can be typed, and work where they end by themselves."""

import argparse
import os
import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from tests.fleet.example_fleet import FLEET
from tests.history.made_up import MARCH_US, MODELS, job, part
from tests.reports import example
from wattshed.agent.__main__ import main, parser
from wattshed.agent.fleet.claims.scenario import shipped
from wattshed.agent.history.answering import Question, open_or_empty
from wattshed.agent.history.database import Database
from wattshed.agent.history.store import Store
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access

HAVE_EXAMPLES = {
    "run",
    "record",
    "replay",
    "jobs",
    "job",
    "report",
    "collect",
    "convert",
    "fleet",
    "top",
    "measure",
    "work",
    "release",
    "meters",
}
STAY = {"run", "record", "collect", "top", "measure", "work", "release", "meters", "fleet serve", "fleet simulate"}
"""These run until they are ended, or need other programs, or an agent; their own tests run them."""
POWER = "timestamp, index, power.draw [W]\n" + "".join(f"2026/03/01 12:00:{s:02}, 0, {300 + s} W\n" for s in range(60))
JOBS = "job,gpu,start,end\ntrain,0,2026-03-01T12:00:05,2026-03-01T12:00:50\n"
SITE = "ts,id,board\n" + "".join(f"{1_772_366_400_000 + s * 1000},0,{300_000 + s}\n" for s in range(60))


def commands(command):
    yield command
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from commands(inner)


ALL = {command.prog.removeprefix("wattshed").strip(): command for command in commands(parser())}
TOLD = {name: command.epilog for name, command in ALL.items() if command.epilog}


def typed(epilog):
    """The commands of an epilog, without what is said beside them."""
    joined = epilog.replace("\\\n", " ")
    lines = re.findall(r"^  (wattshed .*)$", joined, re.MULTILINE)
    return [re.split(r"\s{2,}(?![\s-])", line)[0] for line in lines]


EXAMPLES = [(name, line) for name, epilog in TOLD.items() for line in typed(epilog)]


def test_who_has_examples():
    assert {name for name in TOLD if " " not in name} - {"", "completion"} == HAVE_EXAMPLES
    assert {name for name in ALL if name.startswith("fleet")} <= set(TOLD)
    assert all(len(typed(epilog)) >= 2 for name, epilog in TOLD.items() if name != "completion")


@pytest.mark.parametrize("name", TOLD)
def test_examples_fit_and_are_shown_as_they_are(name):
    assert max(map(len, TOLD[name].splitlines())) <= 80
    assert TOLD[name].strip() in ALL[name].format_help()


@pytest.mark.parametrize(("name", "line"), EXAMPLES)
def test_an_example_can_be_typed(name, line):
    words = shlex.split(re.split(r" [|>] ", line)[0])
    assert "run" in parser().parse_args(words[1:])


@pytest.fixture
def here(tmp_path, monkeypatch, serve):
    """A folder with every file that the examples name, and an agent with a history."""
    monkeypatch.chdir(tmp_path)
    example.write(tmp_path)
    database = Database(tmp_path / "history.db")
    found = {
        ("slurm:1843009", MARCH_US): job("slurm:1843009", user="ada", uid=1),
        ("k8s:demo/train-0", MARCH_US): job("k8s:demo/train-0", namespace="demo", uid=-1),
    }
    Store(database, "two", "n2").add([part(n, key) for n, (key, _) in enumerate(found, 1)], found, MODELS)
    database.close()
    api = JobsApi(Access(frozenset({os.geteuid()})))
    api.open(lambda: Question(lambda: open_or_empty(tmp_path / "history.db"), "n1"))
    serve(jobs=api, jobs_socket=str(tmp_path / "api.sock"))
    monkeypatch.setenv("WATTSHED_URL", f"unix:{tmp_path}/api.sock")
    hours = [datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=h) for h in range(9)]
    steps = [f"{a:%d/%m/%Y %H:%M:%S} - {a + timedelta(hours=1):%d/%m/%Y %H:%M:%S}" for a in hours]
    for file, text in {
        "power.csv": POWER,
        "jobs.csv": JOBS,
        "site.csv": SITE,
        **dict.fromkeys(("sample.csv", "now.csv"), "stratum,host,value\na,x,9\na,y,8\nb,z,5\nb,u,4\n"),
        "old.csv": "stratum,host,value\na,x,8\na,y,8\nb,z,6\nb,u,4\n",
        "racks.csv": "stratum,host,value,rack\na,x,9,1\na,y,8,2\nb,z,5,1\nb,u,4,2\n",
        **dict.fromkeys(("fleet.csv", "p.csv"), "stratum,hosts\na,40\nb,25\n"),
        "hours.csv": "time,value\n"
        + "".join(f"2026-10-{d}T{h:02}:00,{d + h}\n" for d in (11, 14, 27) for h in range(24)),
        "running.csv": "job,hosts\n" + "".join(f"{n},{n % 9 + 1}\n" for n in range(60)),
        "FLEET.toml": FLEET,
        "own.toml": shipped()["ai-pc"].read_text(),
        "load.csv": "time,power\n" + "".join(f"{s},{9e6 if s % 60 < 50 else 2e6}\n" for s in range(600)),
        "node.toml": "node = { level_w = 5223, slope = 1.34, pivot_w = 3215 }\n",
        "plan.toml": 'begin = "2026-01"\ngpus = [9, 99]\nwatts = 1807\nboundary = "facility"\n'
        '[[supply]]\nname = "a"\nmw = 0.1\nsince = "2026-01"\n',
        "limits.toml": '[[ramp]]\nwindow_s = 60\nup_w = 10e6\nsource = "assumed"\n',
        "sites.toml": "".join(
            f'[[site]]\nname = "{n}"\nhourly = "grid.csv"\ncolumns = {{ price = "load_mw" }}\npue = 1.{n}\n'
            for n in (1, 2)
        ),
        "it.csv": "time,load_w\n" + "".join(f"2026-03-01 {h:02}:00,{9e6}\n" for h in range(24)),
        "classes.toml": '[[class]]\nname = "a"\ntraces = ["gpus.csv"]\nhosts = 9\nmode = "pause"\nidle_w = 60\n',
        "grid.csv": "time,load_mw\n" + "".join(f"2026-03-01 {h:02}:00,{500 + h}\n" for h in range(24)),
        "transformer.toml": "rated_va = 10e6\n",
        "gpus.csv": "time,gpu,power\n" + "".join(f"{s},0,{300 + s % 97}\n" for s in range(600)),
        "bmc.csv": "time,power\n" + "".join(f"{s},{500 + 1.1 * (s % 97)}\n" for s in range(600)),
        "day-ahead.csv": '"MTU (UTC)","Area","Sequence","Day-ahead Price (EUR/MWh)"\n'
        + "".join(f'"{step}","BZN|DE","Sequence 1","80.4"\n' for step in steps),
        "DE_2026_hourly.csv": "Datetime (UTC),Country,Zone name,Zone id,Carbon intensity gCO2eq/kWh (Life cycle)\n"
        + "".join(f"{hour:%Y-%m-%d %H:%M:%S},Germany,Germany,DE,350\n" for hour in hours),
    }.items():
        (tmp_path / file).write_text(text)
    assert main(["convert", "power.csv", "trace"]) == 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", [name for name in TOLD if name and name != "completion" and name not in STAY])
def test_examples_that_end_by_themselves_work(name, capsys):
    for line in typed(TOLD[name]):
        words = shlex.split(re.sub(r" --url \S+", "", re.split(r" [|>] ", line)[0]))[1:]
        if "--prometheus" not in words:
            assert main(words) == 0, (line, capsys.readouterr().err)
