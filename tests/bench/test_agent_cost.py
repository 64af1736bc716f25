"""``wattshed bench agent``: each exporter runs in a process of its own and is really scraped; the arithmetic of it."""

import json

import pytest

from wattshed.agent.__main__ import main
from wattshed.agent.bench import exporting
from wattshed.agent.bench.exporting import NOBODY, names, unevenness

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


def test_an_exporter_is_measured_while_it_is_scraped(monkeypatch, capsys):
    monkeypatch.setattr(exporting, "names", lambda: (NOBODY, LOOP))
    assert main(["bench", "agent", "--seconds", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert "SIMULATED" in document["driver"]
    nobody, loop = document["exporters"]
    assert (nobody["name"], nobody["calls_per_s"], nobody["series"]) == (NOBODY, 0.0, None)
    assert loop["name"] == LOOP
    assert loop["calls_per_s"] > 8
    assert loop["series"] >= 4 * 8
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
