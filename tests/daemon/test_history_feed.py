"""Accounts into the history, killed at any moment: each part is there once, and the sums are the accounts'."""

import time
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.accounts.test_cuts import lives, not_cut, seconds
from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.bench.split.patterns import told
from wattshed.agent.bench.split.running import windows as of_pattern
from wattshed.agent.daemon.history_feed import HistoryFeed
from wattshed.agent.errors import Faults
from wattshed.agent.history.answers import Answers
from wattshed.agent.history.database import Database
from wattshed.agent.history.profile import PowerProfile
from wattshed.agent.history.query import Filter
from wattshed.agent.history.writer import HistoryWriter

S = 1_000_000


class Life:
    """An agent from one start to its end: accounts, state and history as the daemon wires them."""

    def __init__(self, folder, *, history=True, path=None, host="h", simulated=False, split=None):
        self.accounts, self.calibrator, self.faults = Accounts(live=True, split=split), Calibrator(), Faults()
        self.state = StateFile(folder, host, "boot")
        found = self.state.restore(self.accounts, self.calibrator)
        self.feed = self.writer = None
        if history:
            self.writer = HistoryWriter(path or folder / "history.db", host, self.faults)
            self.feed = HistoryFeed(self.writer, 5 * S, simulated=simulated)
            self.feed.go_on(found.cuts, self.accounts, found.saved_us)

    def take(self, window, *, dies_before=""):
        """Take one window as the loop does, up to the step at which it dies."""
        self.accounts.add(window)
        for job in self.accounts.ledger.jobs.values():
            job.shown_hnj = job.energy_hnj
        retired = self.accounts.retire(window.end_us, 2 * S)
        if self.feed is not None:
            self.feed.follow(self.accounts, retired, window.end_us)
        if dies_before == "save":
            return
        cuts = self.feed.cuts if self.feed is not None else None
        assert self.state.save(self.accounts, self.calibrator, window.end_us, cuts=cuts)
        if self.feed is not None:
            self.feed.show(self.accounts, window.end_us)
        if dies_before != "offer" and self.feed is not None:
            self.feed.saved(self.accounts, window.end_us)

    def end(self, now_us):
        """Let everything be written that waits, and stop."""
        self.written()
        self.feed.saved(self.accounts, now_us)
        self.written()
        self.die()

    def die(self):
        """End without a word; what was handed over may or may not be on the disk."""
        if self.writer is not None:
            self.writer.stop()

    def written(self):
        end = time.monotonic() + 20
        while self.writer.busy():
            assert time.monotonic() < end
            time.sleep(0.002)


def in_history(folder):
    database, sums = Database(folder / "history.db", read_only=True), defaultdict(int)
    for uuid, joules, rest in database.rows(
        "SELECT gpu.uuid, part.static_j + part.dynamic_j, part.static_r + part.dynamic_r "
        "FROM part JOIN gpu ON gpu.id = part.gpu"
    ):
        sums[uuid] += joules * 2_000_000_000 + rest
    database.close()
    return sums


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives(), st.dictionaries(st.integers(1, 40), st.sampled_from(["save", "offer", ""]), max_size=4))
def test_whatever_kills_it_parts_are_there_once_and_add_up(tmp_path_factory, schedule, kills):
    folder = tmp_path_factory.mktemp("life")
    life = Life(folder)
    windows = list(seconds(schedule))
    n = 0
    while n < len(windows):
        why = kills.pop(n, None)
        life.take(windows[n], dies_before=why or "")
        if why is not None:
            life.die()
            life = Life(folder)
            if why == "save":
                continue  # nobody saw that window: it comes again
        n += 1
    life.end(windows[-1].end_us)
    left, kept = not_cut(life.accounts, life.feed.cuts), in_history(folder)
    for key, account in life.accounts.gpus.items():
        assert kept[key.gpu] + left[key.gpu] == account.energy_hnj


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives(), st.dictionaries(st.integers(1, 40), st.sampled_from(["save", "offer", ""]), max_size=3))
def test_power_over_time_of_each_job_has_the_energy_of_its_parts(tmp_path_factory, schedule, kills):
    folder = tmp_path_factory.mktemp("life")
    life = Life(folder)
    windows, n = list(seconds([*schedule, ("last", 0, 70, 75)])), 0  # by then, all others are closed
    while n < len(windows):
        why = kills.pop(n, None)
        life.take(windows[n], dies_before=why or "")
        if why is not None:
            life.die()
            life = Life(folder)
            if why == "save":
                continue
        n += 1
    life.end(windows[-1].end_us)
    database = Database(folder / "history.db", read_only=True)
    ended = database.rows("SELECT static_j + dynamic_j, static_r + dynamic_r, power FROM job WHERE end_us >= 0")
    database.close()
    assert len(ended) >= len({job for job, *_ in schedule})
    for joules, rest, power in ended:
        profile = PowerProfile.of_text(power)
        assert profile.energy_hnj == joules * 2_000_000_000 + rest
        assert None not in [watts for _, _, watts in profile.segments()]
    assert life.feed.cuts.power.keys() <= {"last"}


def test_what_was_learned_of_watts_is_in_the_history_over_restarts_too(tmp_path):
    windows = list(of_pattern(told("4 jobs", 2.0, 1, 60)))
    life = Life(tmp_path, split=SplitRule(), host=windows[0].host)
    for number, window in enumerate(windows):
        life.take(window)
        if number == len(windows) // 2:
            life.die()
            life = Life(tmp_path, split=SplitRule(), host=window.host)
    life.end(windows[-1].end_us)
    believed = {key: one for (key, _), one in life.accounts.watts.jobs().items()}
    answers = Answers(Database(tmp_path / "history.db", read_only=True), windows[0].host, live=life.feed.view)
    listed = {one["job"]: one for one in answers.jobs(Filter())["jobs"]}
    assert listed.keys() == believed.keys()
    for key, one in believed.items():
        (row,) = answers.job(key, Filter())["job"]["by_gpu"]
        for told_of in (listed[key], row):
            assert told_of["watts"] == pytest.approx(one.watts, abs=5e-4)
            assert told_of["watts_sigma"] == pytest.approx(one.sigma_w, abs=5e-4)


def test_a_history_that_was_switched_off_for_a_while_counts_nothing_twice(tmp_path):
    windows = list(seconds([("a", 0, 0, 60)]))
    first = Life(tmp_path)
    for window in windows[:20]:
        first.take(window)
    first.written()
    first.die()
    before = in_history(tmp_path)
    off = Life(tmp_path, history=False)
    for window in windows[20:30]:
        off.take(window)
    at_30 = off.accounts.gpus
    again = Life(tmp_path)
    used = {key: account.energy_hnj for key, account in at_30.items()}
    for window in windows[30:]:
        again.take(window)
    again.end(windows[-1].end_us)
    left, kept = not_cut(again.accounts, again.feed.cuts), in_history(tmp_path)
    for key, account in again.accounts.gpus.items():
        assert kept[key.gpu] + left[key.gpu] == account.energy_hnj - used[key] + before[key.gpu]


def test_only_what_a_certain_state_holds_is_handed_over(tmp_path, monkeypatch):
    life = Life(tmp_path)
    monkeypatch.setattr(life.writer, "offer", lambda batch: pytest.fail("handed over before it was saved"))
    for window in seconds([("a", 0, 0, 8)]):
        life.take(window, dies_before="offer")
    assert life.feed.cuts.outbox
    life.die()
