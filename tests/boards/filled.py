"""A Prometheus that has scraped two simulated nodes and a fleet for an hour, within half a minute.

    python -m tests.boards.filled --minutes 60

runs it until it is interrupted, and says its address and the end of its time. The agents are the real ones in virtual
time; on the nodes GPUs are lost, sick and released for some minutes, XID errors are reported, and one agent is started
again.
"""

import argparse
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tests.lives import scraped
from tests.promql import server
from tests.virtual import agent
from wattshed.agent.meters.schedule import Rates
from wattshed.exporters.formats.exposition import buckets
from wattshed.exporters.formats.prometheus import families
from wattshed.exporters.formats.self_metrics import PROCESS
from wattshed.exporters.snapshot import FleetFacts, Snapshot

START_S = 1_767_225_600
SCRAPE_S = 15
RESTART_MINUTE = 35
SECOND_US = 1_000_000
CALM = Rates(*(one * SECOND_US for one in (5, 5, 5, 0, 5, 5, 15, 15, 1)))
"""Readings every five seconds: an hour takes a few seconds, and the joules are the counters' own."""

NODE_1 = """
[[fault]]
kind = "xid"
gpu = 3
at_s = 900
value = 31
[[fault]]
kind = "gpu-lost"
gpu = 7
at_s = 1500
for_s = 300
[[fault]]
kind = "slow-gpu"
gpu = 5
value = 3e6
at_s = 400
for_s = 500
[[gpu]]
index = 2
recovery = [[200, 1], [600, 0]]
"""
NODE_2 = """
gpus = 4
cycle_s = 900
[[gpu]]
index = [0, 1, 2, 3]
architecture = "ampere"
[[job]]
name = "4101"
gpus = [0, 1]
start_s = 30
end_s = 700
uid = 1002
load = [[20.0, 240.0, 95], [4.0, 90.0, 30]]
[[job]]
name = "4102"
gpus = [2]
start_s = 100
end_s = 880
uid = 1005
load = [[30.0, 150.0, 60], [30.0, 60.0, 20]]
"""


def samples(snapshot):
    """What a scrape of a snapshot stores: (name and labels, value), without a page in between."""
    for family in families(snapshot):
        mark = family.mark(snapshot)
        for labels, value in family.samples(snapshot):
            yield {"__name__": family.name, **dict(zip(family.labels, labels, strict=True)), **mark}, value / family.per
        for one, histogram in (family.histograms(snapshot) if family.histograms else {}).items():
            for bound, count in buckets(histogram):
                yield {"__name__": f"{family.name}_bucket", family.labels[0]: one, "le": bound}, count
    yield {"__name__": PROCESS_START}, snapshot.started_us / 1e6


WORKER = "4101"
PROCESS_START = next(name for name, *_ in PROCESS if name == "process_start_time_seconds")


def working(one):
    """Let an agent meter a window, and hear of the work of one job in it."""
    one.daemon.step()
    window = one.windows[-1] if one.windows else None
    for place in set(window.usage.owner.tolist()) if window else ():
        if WORKER in window.owners[place].key:
            one.inbox.add(window.owners[place], "output_tokens", 900, window.end_us)


def life(home, name, script, minutes, restart_minute=None):
    """Let a node live, scraped every 15 s: (time, samples or None while its agent is away) of each scrape.

    One after the other: the driver's binding is one for the whole process.
    """
    scrapes = scraped(
        home,
        script,
        range(START_S + SCRAPE_S, START_S + minutes * 60 + 1, SCRAPE_S),
        lambda node, clock: agent(node, clock, state=home / "state", rates=CALM, host=name, inbox=True),
        restart_s=None if restart_minute is None else START_S + restart_minute * 60,
        lead_s=5,
        step=working,
    )
    return [(at_s, None if one is None else list(samples(one.board.current()))) for at_s, one in scrapes]


def fleet(at_s):
    """What `wattshed fleet serve` would show of forty hosts: an estimate that swings, of hosts of which some report."""
    mean = 118_000 + 9_000 * ((at_s // 60) % 7 - 3) / 3
    reporting = 36 if (at_s // 600) % 3 else 33
    wide = 3_000 * (1 + (40 - reporting) / 3)
    power = {("gpu", "mean"): mean, ("gpu", "lower"): mean - wide, ("gpu", "upper"): mean + wide}
    power |= {("facility", bound): watts * 1.6 for (_, bound), watts in power.items()}
    energy = {"gpu": 118_000.0 * (at_s - START_S), "facility": 188_800.0 * (at_s - START_S)}
    facts = FleetFacts(
        power,
        energy,
        {("gpu", "15m"): 124_000.0, ("facility", "15m"): 198_400.0},
        40,
        reporting,
        (),
        {"facility": 240_000.0},
        {"busy": reporting - 6, "idle": 6, "down": 40 - reporting},
    )
    now_us = round(at_s * SECOND_US)
    return samples(Snapshot("fleet", "1", "fleet", "", 1, now_us, START_S * SECOND_US, fleet=facts))


@contextmanager
def filled(home, minutes=60):
    """Fill a Prometheus; gives its address and the end of its time, Unix seconds."""
    lives = {
        "node1:9961": life(home / "node1", "node1", NODE_1, minutes, RESTART_MINUTE),
        "node2:9961": life(home / "node2", "node2", NODE_2, minutes),
    }
    lives["fleet:9962"] = [(at_s, fleet(at_s)) for at_s, _ in lives["node2:9961"]]
    with server.prometheus(home) as store:
        for scrapes in zip(*lives.values(), strict=True):
            for instance, (at_s, page) in zip(lives, scrapes, strict=True):
                store.scrape(at_s, page, job="wattshed", instance=instance)
        yield store.url, START_S + minutes * 60


def main():
    """Run it until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=int, default=60)
    args = parser.parse_args()
    for end in (signal.SIGINT, signal.SIGTERM):  # one started in the background ignores the first
        signal.signal(end, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as home, filled(Path(home), args.minutes) as (url, end_s):
        sys.stdout.write(f"{url} --end {end_s}\n")
        sys.stdout.flush()
        try:
            time.sleep(1e6)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
