"""What the history says of time that nobody measured: whole agents in virtual time, which are down for a while."""

import time

import pytest

from tests.accounts.made import S, device, window
from tests.accounts.test_cuts import run, seconds
from tests.depth import few
from tests.virtual import agent, simulated
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.uncut import uncut_parts
from wattshed.agent.clock import VirtualClock
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.database import Database
from wattshed.agent.history.query import Filter
from wattshed.agent.history.stored_power import stored_power

BEGIN_US = 1_767_225_600_000_000 + 3_300 * S
UP_S, DOWN_S, AGAIN_S = 600, 900, 2_460
PARTS_S = 3_900
"""From the beginning to the last full hour: so much of it is in parts."""
SCRIPT = """
gpus = 1
cycle_s = 3600
[[gpu]]
counter = {counter}
[[job]]
name = "7"
gpus = [0]
load = [[1.0, 400.0, 80]]
"""


def live(node, clock, tmp_path, seconds):
    one = agent(node, clock, state=tmp_path / "state", seconds=seconds, history=tmp_path / "history.db")
    one.daemon.restore()
    one.daemon.run()
    one.daemon.close()
    end = time.monotonic() + 20
    while one.history.busy():
        assert time.monotonic() < end
        time.sleep(0.01)
    one.close()


@pytest.fixture(params=few(["power", "counter"]))
def asked(request, tmp_path):
    """A job over two lives of an agent with 15 minutes between them, and what is said of it."""
    script = tmp_path / "scenario.toml"
    script.write_text(SCRIPT.format(counter=str(request.param == "counter").lower()))
    node, clock = simulated(tmp_path, str(script), VirtualClock(BEGIN_US))
    live(node, clock, tmp_path, UP_S)
    clock.sleep_until(clock.now_us() + DOWN_S * S)
    live(node, clock, tmp_path, AGAIN_S)
    database = Database(tmp_path / "history.db", read_only=True)
    answers = Answers(database, "sim", clock=lambda: clock.now_us() / 1e6)
    yield request.param, answers.job("slurm:7", Filter())["job"], database
    database.close()


def test_mean_power_is_over_the_time_that_was_measured(asked):
    kind, job, database = asked
    assert job["active_s"] + job["held_s"] == pytest.approx(PARTS_S, abs=15)
    share = 1.0 if kind == "counter" else 1 - DOWN_S / PARTS_S
    assert job["coverage"] == pytest.approx(share, abs=0.01)
    assert job["covered_s"] == pytest.approx(share * PARTS_S, abs=25)
    assert job["mean_w"] == pytest.approx(470, rel=0.01)
    (gpu,) = job["by_gpu"]
    assert gpu["mean_w"] == pytest.approx(470, rel=0.01)
    assert (gpu["coverage"], gpu["covered_s"]) == (job["coverage"], job["covered_s"])
    # What is stored of the GPU says the same, however it is cut into steps.
    steps = stored_power(database, 0, 2 * BEGIN_US, 900 * S)
    for step in steps:
        assert step.gpu_w()[next(iter(step.gpus))] == pytest.approx(470, rel=0.01)
    assert sum(us for step in steps for _, us in step.gpus.values()) / S == pytest.approx(share * PARTS_S, abs=25)


@pytest.mark.parametrize("slot_s", [1, 7, 3600])
def test_covered_time_of_parts_adds_up_to_the_accounts(slot_s):
    """Of each job its line's, and of idle power the GPU's: wherever is cut, and whatever is not cut yet."""
    schedule = [("a", 0, 2, 30), ("a", 1, 2, 20), ("b", 0, 9, 40), ("c", 1, 25, 26)]
    accounts, cuts = run(seconds(schedule), Cuts(slot_s * S), 3600 * S, kill=(11, 30))
    now_us = cuts.plain()["at_us"]
    left = list(uncut_parts(cuts, accounts.ledger.jobs, accounts.gpus, accounts.since_us, now_us))
    told = {}
    for part in [*cuts.outbox, *left]:
        if part.job != "_unattributed":
            assert part.covered_us >= 0
            told[part.job, part.gpu] = told.get((part.job, part.gpu), 0) + part.covered_us
    kept = {
        (key, gpu.gpu): line.covered_us for key, job in accounts.ledger.jobs.items() for gpu, line in job.lines.items()
    }
    kept |= {("_idle", key.gpu): account.booked_us for key, account in accounts.gpus.items()}
    assert told == kept
    for job in accounts.ledger.jobs.values():
        for line in job.lines.values():
            assert 0 < line.covered_us <= line.active_us + line.held_us


def test_a_hole_that_is_booked_as_nothing_covers_nothing():
    """The counter restarted in a hole of a day, with the driver: nothing tells what was drawn in it."""
    accounts, day = Accounts(live=True), 86_400 * S
    for n in range(20):
        t = n * S + (day if n >= 10 else 0)
        counter = 1_000_000 + 300_000 * n if n < 10 else 300_000 * (n - 9)
        begin = t if n != 10 else 10 * S
        usage = [(0, "a", begin, t + S, -1, -1, 1)]
        accounts.add(
            window(begin, t + S, [[(t + 1000, 300_000, counter), (t + S // 2, 300_000, -1)]], usage, (device(),))
        )
    accounts.finish()
    (account,), (job,) = accounts.gpus.values(), accounts.ledger.jobs.values()
    (line,) = job.lines.values()
    assert account.totals.unknown_us > day - 60 * S
    assert line.active_us == pytest.approx(day + 20 * S, abs=2 * S)
    assert account.booked_us == pytest.approx(20 * S, abs=12 * S)
    assert line.covered_us == pytest.approx(account.booked_us, abs=2 * S)
