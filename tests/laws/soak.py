"""A virtual month of the whole agent, with restarts and faults: ``python -m tests.laws.soak --days 30``.

The real loop, books, resolver and checkpoints on a simulated node with eight GPUs; only the clock is not real, so that
a day takes minutes. Prints a line a day, and says at the end what was lost.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.virtual import agent, simulated, sums
from wattshed.agent.meters.schedule import Rates
from wattshed.exporters.formats.exposition import Writer
from wattshed.exporters.formats.prometheus import families

JOBS_AN_HOUR = 28  # 20,160 in thirty days
KINDS = ("gpu-lost", "not-ready", "zero-power", "garbage", "scrambled-pids", "success-error", "garbage-utilisation")


def script(days, seed=5):
    """A node whose every hour starts 28 jobs, and to which something happens twice an hour."""
    chance = random.Random(seed)
    lines = ["gpus = 8", "cycle_s = 3600"]
    for number in range(JOBS_AN_HOUR):
        start = chance.uniform(5, 3000)
        end = min(start + chance.choice([8, 45, 120, 500, 1500]), 3590)
        gpus = sorted(chance.sample(range(8), chance.choice([1, 1, 1, 2])))
        watts, percent = chance.choice([(400.0, 80), (250.0, 50), (500.0, 95)])
        lines.append(
            f'[[job]]\nname = "{10_000 * (100 + number)}"\ngpus = {gpus}\nstart_s = {start:.1f}\nend_s = {end:.1f}\n'
            f"load = [[3.0, {watts}, {percent}], [1.0, 60.0, 12]]"
        )
    lines += [
        f'[[fault]]\nkind = "{chance.choice(KINDS)}"\ngpu = {chance.randrange(8)}\n'
        f"at_s = {chance.uniform(60, days * 86_400):.0f}\nfor_s = {chance.choice([1, 5, 30])}"
        for _ in range(int(days * 48))
    ]
    return "\n".join(lines)


def _fail(name, error):
    raise AssertionError(name) from error


class Soak:
    """Runs the agent through virtual days; ``rows`` holds one line of measurements a day."""

    def __init__(self, folder, days, window_s=10.0, restart_h=6.0):
        self.folder, self.days, self.restart_us = folder, days, round(restart_h * 3.6e9)
        (folder / "soak.toml").write_text(script(days))
        self.node, self.clock = simulated(folder, str(folder / "soak.toml"))
        step = round(window_s * 1e6)
        self.rates = Rates(
            window_us=step,
            sample_us=step,
            instant_us=step,
            burst_us=0,
            usage_us=step,
            processes_us=step,
            gauges_us=6 * step,
        )
        self.rows, self.jobs, self.restarts, self.shown = [], set(), 0, {}
        self.faults = {}
        self._writer = Writer(openmetrics=False, on_fault=_fail)

    def run(self, report=lambda _: None):
        """Live through all days; every published counter is checked against the last."""
        first_us = last_us = None
        begin_us = self.clock.now_us()
        day = 1
        while self.clock.now_us() < begin_us + self.days * 86_400_000_000:
            one = agent(self.node, self.clock, state=self.folder / "state", rates=self.rates, cap=500)
            one.daemon.restore()
            life_us = self.clock.now_us() + self.restart_us
            while self.clock.now_us() < life_us:
                window = one.daemon.step()
                one.windows.clear()
                first_us, last_us = first_us or window.start_us, window.end_us
                self._check(one)
                if self.clock.now_us() >= begin_us + day * 86_400_000_000 * min(1.0, self.days):
                    report(self._measure(one, day, first_us, last_us))
                    day += 1
            for part, count in one.board.current().faults.items():
                self.faults[part] = self.faults.get(part, 0) + count
            # Killed: nothing is closed in order. Threads and the lock end, or the next day would inherit them.
            one.sampler.close()
            one.resolver.close()
            one.state.release()
            self.restarts += 1
            self.clock.sleep_until(self.clock.now_us() + 3_000_000)
        return self.rows

    def _check(self, one):
        snapshot = one.board.current()
        for gpu in snapshot.gpus:
            assert gpu.energy_hnj >= self.shown.get(gpu.uuid, 0), "a counter went backwards"
            self.shown[gpu.uuid] = gpu.energy_hnj
        whole, parts = sums(one.accounts)
        assert whole == parts, "parts do not sum to the whole"
        self.jobs.update(job.job for job in snapshot.jobs)

    def _measure(self, one, day, first_us, last_us):
        process = psutil.Process()
        shown = sum(self.shown.values()) / 2e9
        truth = sum(self.node.truth.gpu_nj(gpu, first_us, last_us) for gpu in range(8)) / 1e9
        snapshot = one.board.current()
        text = self._writer.write(snapshot, families(snapshot)).decode()
        row = {
            "day": day,
            "rss_mib": round(process.memory_info().rss / 2**20, 1),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "series": sum(1 for line in text.split("\n") if line and not line.startswith("#")),
            "jobs": len(self.jobs),
            "restarts": self.restarts,
            "joules": round(shown),
            "relative_error": (shown - truth) / truth,
            "state_bytes": sum(p.stat().st_size for p in (self.folder / "state").rglob("*") if p.is_file()),
        }
        self.rows.append(row)
        return row


def main():
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--window", type=float, default=10.0, metavar="S")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wattshed-soak-") as folder:
        soak = Soak(Path(folder), arguments.days, arguments.window)
        began = time.monotonic()
        soak.run(lambda row: print(json.dumps(row | {"elapsed_s": round(time.monotonic() - began)}), flush=True))
        print(json.dumps({"restarts": soak.restarts, "jobs": len(soak.jobs), "faults": soak.faults}))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    sys.exit(main())
