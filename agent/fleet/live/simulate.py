"""A simulated fleet that feeds a real server with the recording rules' series, to try estimates at any size.

Hosts differ lastingly from one another, jobs make groups of hosts swing together, hosts may be silent, idle, or off.
What is sent is what the rules of thousands of scraped hosts would have recorded, and each host's state; the truth
is known, and printed.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.boundary.reference import find
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import GPUS_RULE, POWER_RULE, STATE_RULE
from wattshed.agent.wire.http import Address, Client, NoAnswerError
from wattshed.agent.wire.protobuf import encode, in_snappy, labels_of
from wattshed.agent.wire.remote_write import HEADERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from wattshed.agent.fleet.live.inventory import Inventory

    Series = tuple[str, dict[str, str], float]  # name, labels, value

HOSTS_PER_JOB = 16
MOST_SERIES_A_REQUEST = 5000


class SimulatedFleet:
    """Hosts of an inventory, with a power each.

    Parameters
    ----------
    inventory : Inventory
    seed : int
    share : float
        Share of the hosts that are not off which report.
    idle, off : float
        Shares of the hosts that run no job, and that are powered down.
    """

    def __init__(
        self, inventory: Inventory, *, seed: int = 1, share: float = 1.0, idle: float = 0.0, off: float = 0.0
    ) -> None:
        for name, value in (("share", share), ("idle", idle), ("off", off)):
            if not 0.0 <= value <= 1.0:
                raise InputError(f"--{name} is a fraction between 0 and 1")
        if idle + off > 1.0:
            raise InputError("--idle and --off are more than all hosts together")
        self._inventory = inventory
        random = np.random.default_rng(seed)
        self._lasting = {s.name: random.normal(1.0, 0.15, s.hosts).clip(0.2, 1.6) for s in inventory.strata}
        self._phase = {s.name: random.uniform(0.0, 2.0 * np.pi, -(-s.hosts // HOSTS_PER_JOB)) for s in inventory.strata}
        self._states, self._reporting = {}, {}
        for s in inventory.strata:
            order = random.permutation(s.hosts)
            silent, resting = round(off * s.hosts), round(idle * s.hosts)
            states = np.full(s.hosts, "busy", "<U4")
            states[order[:silent]], states[order[silent : silent + resting]] = "off", "idle"
            on = random.permutation(order[silent:])
            self._states[s.name] = states
            self._reporting[s.name] = np.sort(on[: round(share * on.size)])

    def powers(self, time_s: float) -> dict[str, NDArray[np.float64]]:
        """GPU power of every host, reporting or not: stratum -> float64[hosts], W."""
        powers = {}
        for s in self._inventory.strata:
            gpu = find(s.model)
            typical = (gpu.typical.value if gpu else 400.0) * s.gpus_per_host
            swing = 1.0 + 0.2 * np.sin(2.0 * np.pi * time_s / 600.0 + self._phase[s.name])
            busy_w = typical * self._lasting[s.name] * np.repeat(swing, HOSTS_PER_JOB)[: s.hosts]
            idle_w = (gpu.idle_w if gpu else 0.2 * 400.0) * s.gpus_per_host * self._lasting[s.name]
            state = self._states[s.name]
            powers[s.name] = np.where(state == "busy", busy_w, np.where(state == "idle", idle_w, 0.0))
        return powers

    def truth_w(self, time_s: float) -> float:
        """GPU power of the whole fleet, W."""
        return float(sum(p.sum() for p in self.powers(time_s).values()))

    def series(self, time_s: float) -> Iterator[Series]:
        """Yield what the recording rules of the reporting hosts hold, and the state of each host."""
        powers = self.powers(time_s)
        for s in self._inventory.strata:
            names = [f"{s.name}-{host:06d}:9961" for host in range(s.hosts)]
            for host in self._reporting[s.name].tolist():
                labels = {"instance": names[host], "stratum": s.name}
                yield POWER_RULE, labels, float(powers[s.name][host])
                yield GPUS_RULE, labels, float(s.gpus_per_host)
            for instance, state in zip(names, self._states[s.name].tolist(), strict=True):
                yield STATE_RULE, {"instance": instance, "state": state, "stratum": s.name}, 1.0


def exposition(series: Iterable[Series], time_ms: int) -> bytes:
    """Body of VictoriaMetrics' ``/api/v1/import/prometheus``: one line a sample, with its time."""
    return "".join(
        f"{name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in labels.items())}}} {value!r} {time_ms}\n"
        for name, labels, value in series
    ).encode()


def remote_write(series: Iterable[Series], time_ms: int) -> bytes:
    """Body of Prometheus' remote write 1.0."""
    return in_snappy(
        encode((labels_of({"__name__": name, **labels}), [(time_ms, value)]) for name, labels, value in series)
    )


def send(url: str, via: str, series: Iterable[Series], time_ms: int, *, timeout_s: float = 30.0) -> int:
    """Send samples to a server in requests of bounded size; returns how many.

    Raises
    ------
    InputError
        If ``url`` is not an http(s) URL.
    OSError
        If the server does not take them.
    """
    base = Address.parse(url, "--to", "http://localhost:8428")
    path, headers, body = {
        "import": ("/api/v1/import/prometheus", {"Content-Type": "text/plain"}, exposition),
        "remote-write": ("/api/v1/write", HEADERS, remote_write),
    }[via]
    rows = list(series)
    with closing(Client(base.below(path), timeout_s=timeout_s, headers=headers)) as client:
        for start in range(0, len(rows), MOST_SERIES_A_REQUEST):
            try:
                answer = client.post(body(rows[start : start + MOST_SERIES_A_REQUEST], time_ms))
            except NoAnswerError as error:
                raise OSError(f"{client.address.url} {error}") from None
            if not answer.taken:
                raise OSError(f"{client.address.url} {answer}")
    return len(rows)


def run(args: argparse.Namespace) -> int:
    """``fleet simulate``: send once, or on and on; prints the truth."""
    fleet = SimulatedFleet(
        read_inventory(args.inventory), seed=args.seed, share=args.share, idle=args.idle, off=args.off
    )
    end = time.monotonic() + (args.duration or 0.0)
    while True:
        now = time.time()
        try:
            sent = send(args.to, args.via, fleet.series(now), int(now * 1000))
        except OSError as error:
            sys.stderr.write(f"wattshed: {error}\n")
            return 1
        sys.stdout.write(json.dumps({"time_s": round(now, 3), "samples": sent, "truth_w": fleet.truth_w(now)}) + "\n")
        sys.stdout.flush()
        if time.monotonic() + args.interval > end:
            return 0
        time.sleep(args.interval)
