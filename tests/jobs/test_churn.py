"""Owners that change in every window, thousands of processes too short to be seen whole: the books stay exact.

Processes of every kind of cgroup come and go, some before anybody looked, pids are reused at once, holds begin and end
in the middle of windows and know their users or not, a SLUID gets its number. After each window the parts are the whole
(law a), and nothing has risen by more than its GPU or fallen (law b) but into the ended counter.
"""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from tests.jobs.fake_proc import BOOT
from tests.jobs.test_deciding import DEVICES, DOCKER, HEX, SECOND, SLUID, SSH, T0, Batch, Node, hold
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.window import IDLE, UNATTRIBUTED, ProcessObservation, Readings, Window

POD = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340"
PATHS = [
    "/", SSH, SSH.replace("1001", "1002"), DOCKER, SLUID, "/system.slice/slurmd.service", "/system.slice/pbs.service",
    *(f"/system.slice/slurmstepd.scope/job_{number}/step_0" for number in range(500, 520)),
    f"/kubepods/pod{POD}/{HEX}", "/system.slice/htcondor/condor_x_slot1_1@h", "/pbs.service/jobid/107.pbs",
]  # fmt: skip
ENDED = "ended"


class Host:
    """Everything at random; ``mj`` are the GPUs' counters."""

    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        self.node = Node(folder, Batch())
        self.pid, self.there, self.mj = 100, {}, [1_000_000] * len(DEVICES)

    def churn(self, start):
        ticks = (start - BOOT * SECOND) // 10_000
        for _ in range(self.random.randrange(40)):
            self.pid += 1
            self.begin(self.pid, ticks + self.random.randrange(100))
            self.there[self.pid] = self.random.randrange(len(DEVICES))
        for pid in [pid for pid in self.there if self.random.random() < 0.4]:
            if self.random.random() < 0.5 and (self.node.proc.root / str(pid)).exists():
                self.node.proc.end(pid)  # before anybody looked, some of them
                if self.random.random() < 0.3:
                    self.begin(pid, ticks + 99)
            if self.random.random() < 0.7:
                del self.there[pid]
        if self.random.random() < 0.5:
            self.node.batch.held = [self.held(start) for _ in range(self.random.randrange(5))]
        if self.random.random() < 0.2:
            self.node.batch.sluids.setdefault("sEKNKTV3WPV500", self.random.choice(["501", "77"]))

    def begin(self, pid, ticks):
        uid, name = self.random.choice([0, 1001, 1002]), f"p{self.random.randrange(30)}"
        self.node.proc.start(pid, self.random.choice(PATHS), uid=uid, argv=(name,), ticks=ticks)

    def held(self, start):
        return hold(
            self.random.randrange(len(DEVICES)),
            self.random.choice(["slurm:77", "slurm:501", "slurm:510", "pbs:107.pbs"]),
            uid=self.random.choice([-1, 1001, 1002]),
            start=start - self.random.randrange(3 * SECOND),
            end=start + self.random.randrange(1, 5 * SECOND),
            share=self.random.choice([1_000_000, 500_000, -1]),
        )

    def window(self, seq):
        start = T0 + seq * SECOND
        self.churn(start)
        seen = [
            (gpu, pid, start + self.random.randrange(500_000), start + SECOND - self.random.randrange(400_000))
            for pid, gpu in self.there.items()
        ]
        self.node.now = start + SECOND
        observations = [ProcessObservation(*one, self.random.randrange(200_000)) for one in seen]
        owners, usage = self.node.resolver.resolve(observations, DEVICES, start, start + SECOND)
        rows = []
        for gpu in range(len(DEVICES)):
            for quarter in (q for q in range(4) if self.random.random() < 0.9):
                self.mj[gpu] += self.random.randrange(1, 200_000)
                at_us = start + quarter * 250_000 + self.random.randrange(200_000)
                rows.append((gpu, at_us, self.random.randrange(50_000, 700_000), self.mj[gpu]))
        gpus, times, powers, counters = (np.array(column, np.int64) for column in zip(*rows, strict=True))
        offsets = np.searchsorted(gpus, np.arange(len(DEVICES) + 1)).astype(np.int64)
        readings = Readings(offsets, times, powers.astype(np.int32), counters)
        busy = np.array([self.random.randrange(SECOND) for _ in DEVICES], np.int64)
        return Window("h", seq, start, start + SECOND, DEVICES, readings, busy, owners, usage)


def shown(accounts):
    """Energy by GPU and series, and each GPU's own."""
    parts, whole = {}, {}
    for device in DEVICES:
        account = accounts.account(device)
        whole[device.uuid] = account.energy_hnj
        parts[device.uuid] = {IDLE: account.idle_hnj, UNATTRIBUTED: account.unattributed_hnj}
        parts[device.uuid][ENDED] = accounts.ended_hnj(device)
    for job, gpu, static, dynamic in accounts.ledger.shares():
        parts[gpu.gpu][job] = static + dynamic
    return parts, whole


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_laws_while_owners_change_in_every_window(tmp_path, seed):
    host, accounts = Host(tmp_path, seed), Accounts(ledger=Ledger(series_cap=12), live=True)
    before, whole_before = {}, {}
    for seq in range(30):
        window = host.window(seq)
        keys = [window.owners[place].key for place in window.usage.owner]
        usage = window.usage
        rows = sorted(zip(usage.gpu.tolist(), keys, usage.start_us.tolist(), usage.end_us.tolist(), strict=True))
        for one, other in pairwise(rows):
            assert one[:2] != other[:2] or one[3] <= other[2], "rows of one owner on one GPU never overlap"
        accounts.add(window)
        accounts.retire(window.end_us, 3 * SECOND)
        parts, whole = shown(accounts)
        for gpu, series in parts.items():
            assert sum(series.values()) == whole[gpu]
            rise = whole[gpu] - whole_before.get(gpu, 0)
            for name, energy in series.items():
                if name != ENDED:
                    assert 0 <= energy - before.get(gpu, {}).get(name, 0) <= rise
        before, whole_before = parts, whole
    assert sum(series[ENDED] for series in before.values()) > 0
    assert accounts.ledger.folded > 0
    assert host.pid > 500
