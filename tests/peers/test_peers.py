"""Beside other tools (docs/accuracy.md): wattshed's own rows within their bounds, and nothing in the table is stale."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.depth import deep
from tests.peers.renew import NUMBERS, PAGE, ROOT
from wattshed.agent.bench.accuracy import measuring, peers, running, table, tools
from wattshed.agent.bench.accuracy.scenarios import SCENARIOS

COMMITTED = json.loads(NUMBERS.read_text(encoding="utf-8"))
EXACT_J = 0.25  # numbers are rounded to 0.1 J
FOLDER = Path(os.environ.get("WATTSHED_PEERS", Path(sys.prefix) / "peers"))
SMALL = ("driver-reload", "capped", "mig", "killed")
"""What the peers measure in each run of the tests; `make peers` has them measure all."""
PEERS = [kind.name for kind in peers.PEERS]


@pytest.fixture(scope="module")
def found():
    """wattshed's rows, measured now."""
    return {one.name: measuring.wattshed(one) for one in SCENARIOS}


@deep
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_every_job_is_billed_within_the_bound_or_sigma_says_so(scenario, found):
    row, true_j = found[scenario.name], measuring.truth(scenario)
    assert true_j.keys() == row.joules.keys()
    for job, true in true_j.items():
        assert row.joules[job] != measuring.SILENT, "the job was not seen"
        error, sigma = abs(row.joules[job] - true), row.sigma_j[job]
        assert error <= (max(scenario.bound * true, 2 * sigma) if scenario.told else scenario.bound * true)


@deep
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_committed_rows_are_todays(scenario, found):
    committed, row = COMMITTED["scenarios"][scenario.name], found[scenario.name]
    assert committed["title"] == scenario.title
    assert measuring.truth(scenario) == pytest.approx(committed["true_j"], abs=EXACT_J)
    own = committed["tools"]["wattshed"]
    assert row.joules == pytest.approx(own["joules"], abs=EXACT_J), "run: make peers"
    assert row.sigma_j == pytest.approx(own["sigma_j"], abs=EXACT_J), "run: make peers"


def test_the_page_shows_the_committed_numbers():
    page = PAGE.read_text(encoding="utf-8")
    assert table.markdown(COMMITTED) in page, "run: make peers"
    assert table.generated(page, COMMITTED) == page
    assert list(COMMITTED["scenarios"]) == [one.name for one in SCENARIOS]
    assert list(COMMITTED["cost"]["tools"]) == ["no tool", "wattshed", *PEERS]
    assert COMMITTED["simulated"]


def test_the_versions_are_those_that_are_locked():
    lock = (ROOT / "requirements" / "peers.lock").read_text()
    assert list(COMMITTED["versions"]) == ["wattshed", *PEERS]
    for kind in peers.PEERS:
        number = re.escape(COMMITTED["versions"][kind.name])
        assert re.search(rf"^{kind.package}=={number} ", lock, re.MULTILINE), "run: make peers"


@deep
def test_the_peers_say_what_the_table_says(monkeypatch):
    if not all((FOLDER / kind.package).is_dir() for kind in peers.PEERS):
        lacking = f"the peers are not all in {FOLDER}; `make test` puts them there"
        (pytest.fail if os.environ.get("CI_REAL") == "1" else pytest.skip)(lacking)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", f"{FOLDER}:{os.environ.get('PYTHONPATH', '')}")
    there, absent = tools.installed()
    assert not absent
    small = [one for one in SCENARIOS if one.name in SMALL]
    said = running.document([one for one in there if one.name in PEERS], small, absent, 0, lambda _done, _what: None)
    assert said["versions"] == {name: COMMITTED["versions"][name] for name in PEERS}, "run: make peers"
    for scenario in SMALL:
        for name in PEERS:
            committed = COMMITTED["scenarios"][scenario]["tools"][name]
            now = said["scenarios"][scenario]["tools"][name]
            assert now["calls"] == committed["calls"]
            assert now["joules"].keys() == committed["joules"].keys()
            for job, joules in committed["joules"].items():
                expected = joules if isinstance(joules, str) else pytest.approx(joules, abs=EXACT_J)
                assert now["joules"][job] == expected, f"{scenario}, {name}; run: make peers"
