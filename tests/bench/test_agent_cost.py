"""``wattshed bench agent``: each exporter runs in a process of its own and is really scraped; the arithmetic of it."""

import json

import pytest

from wattshed.agent.__main__ import main
from wattshed.agent.bench import exporting
from wattshed.agent.bench.agent_cost import costs
from wattshed.agent.bench.exporting import EVERYTHING, NOBODY, names, unevenness

MS = 1_000_000
LOOP = "a loop of pynvml, 1 Hz"


def test_lateness_is_how_much_longer_than_usual_an_interval_was():
    assert unevenness({}) == {"readings_per_s": None, "late_p99_ms": None}
    even = [n * 500 * MS for n in range(101)]
    assert unevenness({0: even, 1: [5]}) == {"readings_per_s": 2.0, "late_p99_ms": 0.0}
    late = [*even[:50], *(time + 30 * MS for time in even[50:])]  # one of a hundred is 30 ms longer
    assert unevenness({0: late})["late_p99_ms"] == 0.0
    twice = [*late[:70], *(time + 40 * MS for time in late[70:])]
    assert unevenness({0: twice})["late_p99_ms"] == 30.0


def test_what_a_scrape_costs_is_told_apart():
    scrapes = [(3.0, 10), (9.0, 30), (4.0, 20)]
    assert costs(1.0, 1.5, scrapes, 6) == {
        "core_percent": 1.0, "scraped_core_percent": 1.5, "scrape_cpu_ms": 10.0, "scrape_ms": 4.0, "series": 20,
    }  # fmt: skip
    assert costs(1.5, 1.0, scrapes, 6)["scrape_cpu_ms"] == 0.0, "noise"
    assert costs(None, 1.5, scrapes, 6)["scrape_cpu_ms"] is None
    assert costs(1.0, 1.0, [], 6)["scraped_core_percent"] is None


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", "86401"])
def test_a_pause_between_scrapes_is_a_time(text, capsys):
    with pytest.raises(SystemExit):
        main(["bench", "agent", "--scrape-every", text])
    assert "is not a number of seconds above 0" in capsys.readouterr().err


@pytest.mark.skipif(EVERYTHING not in names(), reason="nothing can be compiled without numba")
def test_everything_at_once_is_measured(monkeypatch, capsys):
    """It is scraped, and asked for reports, beside a build."""
    monkeypatch.setattr(exporting, "names", lambda: (NOBODY, EVERYTHING))
    assert main(["bench", "agent", "--seconds", "1", "--json"]) == 0
    everything = json.loads(capsys.readouterr().out)["exporters"][1]
    assert everything["core_percent"] is None
    assert everything["scraped_core_percent"] > 0
    assert everything["series"] > 100


def test_an_exporter_is_measured_while_it_is_scraped(monkeypatch, capsys):
    monkeypatch.setattr(exporting, "names", lambda: (NOBODY, LOOP))
    assert main(["bench", "agent", "--seconds", "2", "--scrape-every", "0.5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "SIMULATED" in document["driver"]
    assert document["scrape_every_s"] == 0.5
    nobody, loop = document["exporters"]
    assert (nobody["name"], nobody["calls_per_s"], nobody["series"]) == (NOBODY, 0.0, None)
    assert loop["name"] == LOOP
    assert loop["calls_per_s"] > 8
    assert loop["series"] >= 4 * 8
    assert nobody["scraped_core_percent"] is None
    assert loop["scraped_core_percent"] >= 0
    assert loop["resident_mib"] > nobody["resident_mib"] > 10


def test_what_fails_is_a_row_that_says_why(monkeypatch, capsys):
    monkeypatch.setattr(exporting, "names", lambda: (NOBODY, "nvitop-exporter"))
    if "nvitop-exporter" in names():
        pytest.skip("it is installed")
    monkeypatch.setattr("wattshed.agent.bench.exporting.SETTLES_S", 0.0)
    assert main(["bench", "agent", "--seconds", "1"]) == 1
    out = capsys.readouterr().out
    assert "SIMULATED" in out
    assert "failed" in out
