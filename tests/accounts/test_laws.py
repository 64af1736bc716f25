"""Both laws of what is published, on the real books, publisher and state file, whatever comes and goes."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.accounts.old_state import as_version_1
from tests.depth import examples
from tests.laws.published import Laws
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Event

T0 = 1_700_000_000 * S
DEVICES = (device(0), device(1))


class Life:
    """An agent's books through windows and restarts, in the order of the daemon: book, retire, save, publish."""

    def __init__(self, folder, cap, keep_s):
        self.folder, self.cap, self.keep_us = folder, cap, keep_s * S
        self.now_us, self.counter_mj, self.seq = T0, [10**6, 10**6], 0
        self.laws, self.scrapes = Laws(), Laws(restarts=True)
        self.shown = None
        self.events = ()
        self.start()

    def start(self):
        self.accounts = Accounts(ledger=Ledger(self.cap), live=True)
        self.file = StateFile(self.folder, "h", "boot")
        self.publisher = Publisher("h", "test", "simulated", "", self.now_us)
        if self.file.restore(self.accounts, Calibrator()).found:
            self.events = (Event(self.now_us, "restart", detail="same-boot"),)

    def restart(self, how, away_s):
        if how == "clean":
            self.add(0, [(), ()], (), events=(Event(self.now_us, "shutdown"),))
        if how == "upgrade" and as_version_1(self.folder / "state.json"):
            self.scrapes.see(self.shown)
            for laws in (self.laws, self.scrapes):
                laws.as_version_1_showed_it(self.shown)
        for gpu in range(2):
            self.counter_mj[gpu] += 200_000 * away_s
        self.now_us += away_s * S
        self.start()

    def add(self, seconds, kinds, users, *, events=(), scraped=False):
        start, end = self.now_us, self.now_us + seconds * S
        rows = []
        for gpu, kind in enumerate(kinds):
            mine = []
            watts = 100 + 37 * len([u for u in users if u[0] == gpu])
            for half in range(2 * min(seconds, 1)):
                t = start + half * seconds * S // 2 + 1000 * (gpu + 1)
                self.counter_mj[gpu] += watts * 500 * seconds
                if "reset" in kind and not half:
                    self.counter_mj[gpu] = 1000
                power = watts * 1000 if "power" in kind else -1
                mine.append((t, power, self.counter_mj[gpu] if "counter" in kind and half else -1))
            rows.append(mine)
        usage = [
            (
                gpu,
                key,
                start,
                end - seconds * S // 3 * early,
                activity * seconds * S // 100 if activity >= 0 else -1,
                -1,
                1,
            )
            for gpu, key, early, activity in users
        ]
        one = window(start, end, rows, usage, host="h", devices=DEVICES, seq=self.seq, events=(*self.events, *events))
        self.events, self.now_us, self.seq = (), end, self.seq + 1
        self.accounts.add(one)
        self.accounts.retire(end, self.keep_us)
        self.file.save(self.accounts, Calibrator(), end)
        self.shown = self.publisher.publish(self.accounts, one, calls={}, late_s=0, duty=0, faults={})
        self.laws.see(self.shown)
        if scraped or self.laws.seen == 1:
            self.scrapes.see(self.shown)


READING = st.sampled_from(["power counter"] * 4 + ["power", "counter", "", "power counter reset"])
USERS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from("abcdef"), st.integers(0, 2), st.sampled_from([-1, 10, 40])),
    max_size=4, unique_by=lambda user: user[:2],
)  # fmt: skip
WINDOW = st.tuples(
    st.just("window"), st.sampled_from([1, 1, 1, 2, 4, 150]), st.tuples(READING, READING), USERS, st.booleans()
)
RESTART = st.tuples(st.just("restart"), st.sampled_from(["kill", "clean", "upgrade"]), st.sampled_from([0, 1, 20, 400]))


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(st.one_of(WINDOW, WINDOW, WINDOW, WINDOW, RESTART), min_size=1, max_size=60),
    st.integers(1, 8),
    st.integers(2, 8),
)
def test_every_scrape_adds_up_and_nobody_rises_faster_than_the_gpu(steps, cap, keep_s):
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), cap, keep_s)
        life.add(1, ("power counter",) * 2, ())
        for what, *step in steps:
            if what == "restart":
                life.restart(*step)
            else:
                seconds, kinds, users, scraped = step
                life.add(seconds, kinds, users, scraped=scraped)
        assert life.laws.seen > len([s for s in steps if s[0] == "window"])
