"""Learned bills over whole lives: restarts, GPUs divided anew, renumbered or away, drivers reloaded, jobs renamed.

The books are the daemon's with its state file. Whatever happens, parts sum to the whole and nobody rises faster than
the GPU; and a replay of what was recorded has the same bills and the same beliefs, to the last bit.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.accounts.made import S, device, window
from tests.virtual import bills, sums
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import Event, JobKey, Owner

T0 = 1_700_000_002 * S  # in the middle of a slot
WATTS = {"slurm:1": 120, "slurm:2": 480, "slurm:3": 300, "slurm:@4": 60}
NUMBERED = "slurm:4"
RULES = {"learned": SplitRule(learned=True), "shown": SplitRule()}


class Life:
    """An agent's books, window by window, in the order of the daemon: record, book, save."""

    def __init__(self, folder, rule):
        self.folder, self.rule, self.now_us = folder, rule, T0
        self.order, self.divided, self.numbered = [0, 1], {0: False, 1: False}, False
        self.counter_mj, self.events, self.recorded, self.lost = [10**6, 10**6], [], [], False
        self.start()

    def start(self):
        self.accounts = Accounts(ledger=Ledger(100), live=True, split=self.rule)
        self.file = StateFile(self.folder, "h", "boot")
        if self.file.restore(self.accounts, Calibrator()).found:
            self.events.append(Event(self.now_us, "restart", detail="same-boot"))

    def devices(self):
        told = [{"mig": ""} if self.divided[n] else {"mig": "off"} for n in self.order]
        return tuple(replace(device(n), index=i, capabilities=told[i]) for i, n in enumerate(self.order))

    def happen(self, what, *which):
        if what == "divide":
            self.divided[which[0]] ^= True
        elif what == "renumber":
            self.order.reverse()
        elif what == "away":
            self.order = [0] if len(self.order) == 2 else [0, 1]
        elif what == "number":
            self.numbered = True
        elif what == "reload" and which[0] < len(self.order):
            self.events.append(Event(self.now_us, "driver-reload", which[0]))
        elif what == "restart":
            self.restart(*which)

    def restart(self, how, away_s):
        if how == "clean":
            self.events.append(Event(self.now_us, "shutdown"))
            self.add(0, ())
        elif how == "unsaved":
            self.lost = True
            self.add(2, [(0, "slurm:1", 50), (0, "slurm:2", 30)], saved=False)
        for n in (0, 1):
            self.counter_mj[n] += 90_000 * away_s
        self.now_us += away_s * S
        self.start()

    def add(self, seconds, users, *, saved=True):
        start, end = self.now_us, self.now_us + seconds * S
        users = {(n, key): percent for n, key, percent in users if n in self.order}
        rows = []
        for n in self.order:
            drawn_w = 70 + sum(WATTS[key] * percent / 100 for (gpu, key), percent in users.items() if gpu == n)
            self.counter_mj[n] += round(drawn_w * seconds * 1000)
            rows.append([(end - 1000 * (n + 1), round(drawn_w * 1000), self.counter_mj[n])] if seconds else [])
        usage = [
            (self.order.index(n), key, start, end, percent * seconds * S // 100, -1, 1)
            for (n, key), percent in sorted(users.items())
        ]
        one = window(start, end, rows, usage, self.devices(), seq=len(self.recorded), events=tuple(self.events))
        if self.numbered:
            labels = {"sluid": "@4"}
            owners = (Owner(JobKey(NUMBERED), labels) if o.key == "slurm:@4" else o for o in one.owners)
            one = replace(one, owners=tuple(owners))
        if usage and all(self.divided[n] for n, _ in users):
            features = [one.usage.activity_us * part // 10 for part in (7, 2)]
            one = replace(one, usage=replace(one.usage, tensor_us=features[0], dram_us=features[1]))
        self.events, self.now_us = [], end
        self.recorded.append(one)
        before = self.shown()
        self.accounts.add(one)
        if saved:
            self.file.save(self.accounts, Calibrator(), end)
        whole, parts = sums(self.accounts)
        assert whole == parts
        for key, (energy, used) in self.shown().items():
            was = before.get(key, (0, {}))
            grown = sum(used.values()) - sum(was[1].values())
            assert 0 <= grown <= energy - was[0]
            assert all(used[job] >= amount for job, amount in was[1].items() if job in used)

    def shown(self):
        used = {key.gpu: {} for key in self.accounts.gpus}
        for job, key, static, dynamic in self.accounts.ledger.shares():
            used[key.gpu][job] = static + dynamic
        return {key.gpu: (account.energy_hnj, used[key.gpu]) for key, account in self.accounts.gpus.items()}


GPU = st.integers(0, 1)
USERS = st.lists(st.tuples(GPU, st.sampled_from(sorted(WATTS)), st.integers(0, 45)), max_size=5)
WINDOW = st.tuples(st.just("window"), st.sampled_from([1, 1, 2, 5, 7, 12]), USERS)
CHANGE = st.one_of(
    st.tuples(st.just("divide"), GPU),
    st.tuples(st.just("reload"), GPU),
    st.tuples(st.sampled_from(["renumber", "away", "number"])),
    st.tuples(st.just("restart"), st.sampled_from(["kill", "clean", "unsaved"]), st.sampled_from([0, 3, 40, 4000])),
)
STEPS = st.lists(st.one_of(WINDOW, WINDOW, WINDOW, CHANGE), min_size=1, max_size=30)
PAIR = ("window", 2, [(0, "slurm:1", 40), (0, "slurm:2", 30)])
OTHER = ("window", 3, [(0, "slurm:1", 10), (0, "slurm:2", 45), (1, "slurm:@4", 30)])


@pytest.mark.parametrize("mode", RULES)
@settings(max_examples=6, deadline=None)
@given(STEPS)
@example(
    [PAIR, OTHER] * 5
    + [("restart", "clean", 3), PAIR, ("divide", 0), PAIR, OTHER, ("renumber",), PAIR, ("number",), OTHER]
)
@example(
    [PAIR, OTHER] * 5
    + [("restart", "kill", 40), ("away",), PAIR, ("restart", "kill", 0), ("away",), OTHER, ("reload", 0), PAIR]
)
@example(
    [*[PAIR, OTHER] * 3, ("restart", "kill", 4000), ("window", 12, [(0, "slurm:3", 20)]), ("restart", "kill", 0), OTHER]
)
@example([OTHER, ("window", 12, []), ("restart", "unsaved", 4000), ("renumber",)])
@example([PAIR, OTHER] * 4 + [("restart", "unsaved", 3), OTHER, PAIR, ("restart", "unsaved", 0), PAIR])
def test_a_life_adds_up_and_its_replay_is_the_same(mode, steps):
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder), RULES[mode])
        for what, *step in steps:
            if what == "window":
                life.add(*step)
            else:
                life.happen(what, *step)
        life.events.append(Event(life.now_us, "shutdown"))
        life.add(1, ())
    if life.lost:
        return  # the recording knows more than the books
    again = Accounts(split=RULES[mode])
    for one in life.recorded:
        again.add(one)
    again.finish()
    assert bills(again) == bills(life.accounts)
    assert again.watts.jobs() == life.accounts.watts.jobs()
