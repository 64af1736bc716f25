"""Beside other tools (docs/accuracy.md): wattshed's own rows within their bounds, and nothing in the table is stale."""

import json
import os
import re
import subprocess
import sys

import pytest
from tests.peers.scenarios import CASES
from tests.peers.virtual_time import VirtualTime, modules

from tests.peers import table, tools

COMMITTED = json.loads(table.NUMBERS.read_text(encoding="utf-8"))
EXACT_J = 0.25  # numbers are rounded to 0.1 J


@pytest.fixture(scope="module")
def found():
    """wattshed's rows, measured now."""
    return {case.name: table.own(case) for case in CASES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_job_is_billed_within_the_bound_or_sigma_says_so(case, found):
    row = found[case.name]
    for job, true in row["true_j"].items():
        assert row["wattshed_j"][job] is not None, "the job was not seen"
        error, sigma = abs(row["wattshed_j"][job] - true), row["sigma_j"][job]
        if case.told:
            assert error <= max(case.bound * true, 2 * sigma)
        else:
            assert error <= case.bound * true


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_committed_rows_are_todays(case, found):
    committed, row = COMMITTED["scenarios"][case.name], found[case.name]
    assert committed["title"] == case.title
    for column in ("true_j", "wattshed_j", "sigma_j"):
        assert row[column] == pytest.approx(committed[column], abs=EXACT_J), f"{column}; run: make peers"


def test_the_page_shows_the_committed_numbers():
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.markdown(COMMITTED) in page, "run: make peers"
    assert table.generated(page, COMMITTED) == page
    assert list(COMMITTED["scenarios"]) == [case.name for case in CASES]


def test_the_versions_are_those_that_are_locked():
    lock = (table.ROOT / "requirements" / "peers.lock").read_text()
    for name, package in tools.PACKAGES.items():
        assert re.search(rf"^{package}=={re.escape(COMMITTED['versions'][name])} ", lock, re.MULTILINE), (
            "run: make peers"
        )


def test_the_peers_say_what_the_table_says():
    if not tools.installed():
        lacking = f"the peers are not in {tools.FOLDER}; `make test` puts them there"
        (pytest.fail if os.environ.get("CI_REAL") == "1" else pytest.skip)(lacking)
    done = subprocess.run(
        [sys.executable, "-m", "tests.peers.table", "--print"],
        cwd=table.ROOT,
        env=os.environ | {"PYTHONPATH": f"{tools.FOLDER}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["versions"] == COMMITTED["versions"], "run: make peers"
    for case in CASES:
        for name in table.COLUMNS:
            committed = COMMITTED["scenarios"][case.name]["peers"][name]
            now = said[case.name][name]
            assert now.keys() == committed.keys()
            for job, joules in committed.items():
                expected = joules if isinstance(joules, str) else pytest.approx(joules, abs=EXACT_J)
                assert now[job] == expected, f"{case.name}, {name}; run: make peers"


def test_threads_and_timers_take_turns_in_virtual_time():
    clock = VirtualTime(0)
    other, seen = modules(clock), []

    def every_second():
        while len(seen) < 5:
            seen.append(("thread", clock.seconds()))
            other["time"].sleep(1)

    thread = other["threading"].Thread(target=every_second)
    late = other["threading"].Timer(1.5, lambda: seen.append(("timer", clock.seconds())))
    never = other["threading"].Timer(1.7, seen.clear)
    for one in (thread, late, never):
        one.start()
    never.cancel()
    clock.sleep(2.5)
    assert seen == [("thread", 0.0), ("thread", 1.0), ("timer", 1.5), ("thread", 2.0)]
    assert clock.seconds() == 2.5
    thread.join()
    assert not thread.is_alive()
    assert clock.seconds() == pytest.approx(4.0, abs=0.02)
    with pytest.raises(RuntimeError):
        thread.start()


def test_a_loop_that_never_sleeps_hands_over_in_virtual_time():
    clock = VirtualTime(0)
    other, looks = modules(clock), []
    stop = other["multiprocessing"].get_context("spawn").Event()

    def poll():
        while not stop.is_set():
            looks.append(clock.seconds_of_a_loop())
            clock.advance(clock.now_us() + 1000)  # what a call of the driver takes

    other["multiprocessing"].get_context("spawn").Process(target=poll, daemon=True).start()
    clock.sleep(0.1)
    assert len(looks) == pytest.approx(100, abs=1)
    stop.set()
    clock.sleep(0.1)
    assert len(looks) == pytest.approx(100, abs=2)
