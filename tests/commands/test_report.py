"""`wattshed report` on a history's own file: tables that add up, files to hand on, and what is refused."""

import argparse
import csv
import io
import json
import shlex
from decimal import Decimal

import pytest

from tests.history.made_up import HOUR_US, JOBS, MARCH_US, MODELS, job, opened, part
from wattshed.agent.__main__ import main
from wattshed.agent.commands import report
from wattshed.agent.wire.parts import hnj_of

KWH_J = 3_600_000
DAY_US = 24 * HOUR_US
JOBS = {
    **JOBS,
    ("slurm:3", MARCH_US): job(
        "slurm:3", user="=eve|\n", account="physics", partition="gpu", end_us=MARCH_US + HOUR_US
    ),
}
PARTS = [
    part(1, "slurm:1", joules=3 * KWH_J, held_us=HOUR_US // 4, active_us=HOUR_US * 3 // 4),
    part(2, "slurm:2", joules=2 * KWH_J, begin_us=MARCH_US + HOUR_US, active_us=HOUR_US),
    part(3, "slurm:3", joules=KWH_J, gpu="GPU-2", held_us=2 * HOUR_US),
    part(4, "k8s:a/b", joules=KWH_J, begin_us=MARCH_US + DAY_US, held_us=HOUR_US),
    part(5, "_idle", joules=2 * KWH_J, begin_us=MARCH_US + DAY_US),
    part(6, "_unattributed", joules=KWH_J),
]
PRICES = (
    "start,end,price\n2026-03-01T00:00:00Z,2026-03-01T01:00:00Z,0.30\n2026-03-01T01:00:00Z,2026-03-02T00:00:00Z,-0.10\n"
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A history with six parts; the current folder is its own."""
    made = opened(tmp_path / "history.db")
    made.add(PARTS, JOBS, MODELS)
    (tmp_path / "prices.csv").write_text(PRICES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def say(store, capsys):
    """Run the command; returns what it printed, which is nothing on standard error."""

    def run(words, code=0, error=""):
        assert main(["report", *shlex.split(words), "--store", "history.db"]) == code
        done = capsys.readouterr()
        assert error in done.err if error else done.err == ""
        return done.out

    return run


def rows(text):
    return {one.pop(next(iter(one))): one for one in csv.DictReader(io.StringIO(text))}


TABLE = r"""
user jobs kWh ± kWh wall kWh ± wall EUR ± EUR kg CO2e ± CO2e GPU h idle
ada 1 3.000 0.240 4.500 0.360 1.13 0.09 1.3500 0.1080 1.0 25%
bob 1 2.000 0.160 3.000 0.240 0.75 0.06 0.9000 0.0720 1.0 0%
(unknown) 1 1.000 0.080 1.500 0.120 0.38 0.03 0.4500 0.0360 1.0 100%
=eve|\n 1 1.000 0.080 1.500 0.120 0.37 0.03 0.4500 0.0360 2.0 100%
_idle 2.000 0.160 3.000 0.240 0.75 0.06 0.9000 0.0720 0.0
_unattributed 1.000 0.080 1.500 0.120 0.37 0.03 0.4500 0.0360 0.0
total 4 10.000 0.800 15.000 1.200 3.75 0.30 4.5000 0.3600 5.0 65%
"""


def test_a_table_adds_up_and_explains_what_is_nobodys(say):
    table, _, notes = say("--by user --price 0.25 --currency EUR --pue 1.5 --carbon 300").partition("\n\n")
    assert [" ".join(line.split()) for line in table.splitlines()] == TABLE.strip().splitlines()
    assert "_idle: what GPUs drew at rest while no job held them." in notes
    assert "EUR: 0.25 EUR/kWh, of energy at the wall." in notes


def test_every_hour_at_its_price_and_a_day_without_one_told(say):
    document = json.loads(say("--by user --price prices.csv --currency EUR --json"))
    costs = {one["name"]: (one["cost"], one["unpriced_j"]) for one in document["rows"]}
    assert costs == {
        "ada": ("0.9", "0"), "bob": ("-0.2", "0"), "": (None, str(KWH_J)), "=eve|\n": ("0.3", "0"),
        "_idle": (None, str(2 * KWH_J)), "_unattributed": ("0.3", "0"),
    }  # fmt: skip
    assert (document["schema"], document["currency"], document["step_s"]) == ("wattshed.report/1", "EUR", 3600)
    assert document["total"]["cost"] == "1.3"
    assert "* 3.0000 kWh (30 %) were used when the price is unknown, and are not in the cost." in document["notes"]
    text = say("--by user --price prices.csv --currency EUR")
    assert "0.90 " in text
    assert "1.30*" in text


@pytest.mark.parametrize("by", report.BY)
@pytest.mark.parametrize("more", ["", "--idle spread"])
def test_rows_add_up_whatever_the_report_goes_by(say, by, more):
    document = json.loads(say(f"--by {by} --price prices.csv --carbon 350 --pue 1.31 --json {more}"))
    for key in ("energy_j", "unpriced_j", "no_carbon_j"):
        assert sum(hnj_of(one[key]) for one in document["rows"]) == hnj_of(document["total"][key])
    for key in ("cost", "co2e_g", "wall_kwh"):
        assert sum(Decimal(one[key] or 0) for one in document["rows"]) == Decimal(document["total"][key])
    assert document["total"]["energy_j"] == str(10 * KWH_J)
    assert document["total"]["cost"] == "1.703"


def test_filters_and_times_choose(say):
    assert list(rows(say("--by user --account physics --csv"))) == ["ada", "bob", r"'=eve|\n"]
    day = rows(say("--by day --since 2026-03-01 --until 2026-03-02 --csv"))
    assert {name: one["energy_j"] for name, one in day.items()} == {"2026-03-01": str(7 * KWH_J)}
    assert "No usage matches" in say("--by user --user nobody")
    assert list(rows(say("--by model --csv"))) == ["H100", "L40S"]


def test_fields_for_scripts(say):
    head, *lines = (line.split("|") for line in say("--by user --price 0.1 -P").splitlines())
    assert head[:4] == ["user", "jobs", "energy_j", "static_j"]
    assert {"cost", "cost_sigma", "unpriced_j", "priced_kwh"} <= set(head)
    assert {len(line) for line in lines} == {len(head)}
    assert lines[3][0] == r"=eve\x7c\n"
    assert (lines[-2][0], lines[-2][1]) == ("_idle", "")


def test_gpu_hours_at_a_rate_of_their_model(say):
    found = rows(say("--by user --gpu-hour h100=2 --gpu-hour L40S=0.5 --currency EUR --csv"))
    costs = {name: one["gpu_hours_cost"] for name, one in found.items()}
    assert costs == {"ada": "2", "bob": "2", "": "2", r"'=eve|\n": "1", "_idle": "0", "_unattributed": "0"}
    half = rows(say("--by user --gpu-hour H100=2 --csv"))
    assert half[r"'=eve|\n"]["gpu_hours_unrated"] == "2.0"
    assert "GPU h EUR" in say("--by user --gpu-hour H100=2 --currency EUR")
    say("--by user --gpu-hour B200=2", error="no model in this report is a 'B200' (it has H100, L40S)")
    say("--by user --gpu-hour H=2 --gpu-hour H100=3", code=2, error="'H100' has two rates")


OPENCOST = {
    "demo/b": ("demo", "2026-03-01T23:00:00Z", "2026-03-02T01:00:00Z", 1.5),
    "demo/c": ("demo", "2026-03-02T00:00:00Z", "2026-03-02T00:10:00Z", 0.25),
    "other/d": ("other", "2026-03-02T00:00:00Z", "2026-03-02T01:00:00Z", 7),
    "__idle__": (None, "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z", 43.5),
}


def test_opencosts_gpu_cost_stands_beside(say, store):
    window = {
        name: {"properties": {"namespace": namespace}, "start": start, "end": end, "gpuCost": cost}
        for name, (namespace, start, end, cost) in OPENCOST.items()
    }
    (store / "cost.json").write_text(json.dumps({"code": 200, "data": [window, None]}))
    words = "--by namespace --opencost cost.json --price 0.1"
    document = json.loads(say(f"{words} --json"))
    costs = {one["name"]: (one["opencost_gpu_cost"], one["cost"]) for one in document["rows"]}
    assert costs == {
        "": (None, "0.6"),
        "demo": ("1.75", "0.1"),
        "_idle": ("43.5", "0.2"),
        "_unattributed": (None, "0.1"),
    }
    assert "7 of OpenCost's GPU cost is of namespaces without energy here." in document["notes"]
    half = rows(say(f"{words} --csv --since 2026-03-02T00:00Z --until 2026-03-02T12:00Z"))
    assert {name: one["opencost_gpu_cost"] for name, one in half.items()} == {"demo": "1", "_idle": "21.75"}
    assert "OpenCost GPU" in say(words)
    say("--by user --opencost cost.json", code=2, error="use --by namespace")
    for text, error in (
        ("{", "cost.json:1:2: is not JSON"),
        ("[]", "is not an answer"),
        ('{"data": [{"a": 1}]}', "'a' has no"),
    ):
        (store / "cost.json").write_text(text)
        say(words, code=2, error=error)


def test_files_to_hand_on(say, store):
    say("--by account --price prices.csv --currency EUR --html page.html --focus focus.csv", error="3.000 kWh on days")
    assert "<title>GPU energy by account" in (store / "page.html").read_text()
    charged = list(csv.DictReader((store / "focus.csv").open()))
    assert sum(Decimal(one["BilledCost"]) for one in charged) == Decimal("1.3")
    assert {one["ResourceId"] for one in charged} == {"slurm:1", "slurm:2", "slurm:3", "_unattributed"}
    words = "--by account --price 0.2 --currency EUR --focus focus.csv --focus-version 1.4 --idle spread"
    say(f"{words} --focus-names provider=Site,issuer=HPC,region=hall-a")
    spread = list(csv.DictReader((store / "focus.csv").open()))
    assert sum(Decimal(one["BilledCost"]) for one in spread) == Decimal(2)
    assert {one["ServiceProviderName"] for one in spread} == {"Site"}
    assert {(one["InvoiceIssuerName"], one["RegionId"]) for one in spread} == {("HPC", "hall-a")}
    assert not any(one["ResourceId"].startswith("_") for one in spread)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("--by user --price prices.csv --currency eur", "--currency: 'eur' is not a currency's code"),
        ("--by user --price 0.2 --focus f.csv", "--focus: the currency is unknown; give --currency too"),
        ("--by user --focus f.csv --currency EUR", "--focus: is a file of costs; give --price too"),
        ("--by user --price 0.2 --currency EUR --focus f.csv --focus-names owner=me", "--focus-names: 'owner=me'"),
        ("--by user --gpu-hour H100", "--gpu-hour: 'H100' is not MODEL=RATE"),
        ("--by user --gpu-hour H100=-1", "--gpu-hour: 'H100=-1' is not MODEL=RATE"),
        ("--by user --pue 0.9", "--pue: 0.9 is below 1"),
        ("--by user --carbon prices.csv", "prices.csv:1: holds price, not carbon; hand it to --price"),
        ("--by user --price nothing.csv", "nothing.csv"),
        ("--by user --columns time=ts", "--columns: names no column"),
        ("--by user --since never", "--since: 'never' is not a time"),
        ("--by user --html no/such/page.html", "no/such/page.html: cannot be written"),
    ],
)
def test_what_cannot_be_used_is_one_line(say, words, error):
    assert say(words, code=2, error=error) == ""


def test_columns_of_another_table(say, store):
    (store / "other.csv").write_text("ts,day ahead (EUR/MWh)\n2026-03-01T00:00Z,100\n2026-03-02T00:00Z,200\n")
    words = "--by user --price other.csv --columns 'time=ts,price=day ahead (EUR/MWh)' --json"
    document = json.loads(say(words))
    assert (document["total"]["cost"], document["currency"]) == ("1.3", "EUR")
    say(words + " --currency USD", code=2, error="prices are in EUR, not USD")


def test_the_examples_of_the_help_are_commands():
    parser = argparse.ArgumentParser()
    report.add_parser(parser.add_subparsers())
    (command,) = parser._subparsers._group_actions[0].choices.values()
    lines = command.epilog.replace("\\\n", "").splitlines()
    examples = [line for line in lines if line.startswith("  wattshed ")]
    assert len(examples) >= 5
    for example in examples:
        words = shlex.split(example)
        assert words[:2] == ["wattshed", "report"]
        assert parser.parse_args(words[1:]).by in report.BY
