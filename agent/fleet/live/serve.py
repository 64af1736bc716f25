"""``wattshed fleet serve``: asks the server again and again, and publishes the fleet as ``wattshed_fleet_*``.

Estimates that fail are a warning and the metrics that remain: hosts known, and none reporting.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import fits_of, survey
from wattshed.agent.fleet.live.site import FleetEstimate, extrapolate
from wattshed.agent.printing.logs import set_up_log
from wattshed.agent.wire.query import Prometheus
from wattshed.exporters.snapshot import FleetFacts, NodeModelFacts, Snapshot
from wattshed.exporters.web.http import Server, WebConfigError
from wattshed.exporters.web.listen import ListenError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from wattshed.agent.fleet.live.inventory import Inventory

log = logging.getLogger(__name__)

PEAKS_S = {"1m": 60.0, "15m": 900.0}


class FleetPublisher:
    """Keeps the published snapshot up to date; one writer, any number of readers.

    Parameters
    ----------
    inventory : Inventory
    estimate : callable
        Returns the fleet as it is now.
    clock : callable
        Monotonic seconds.
    wall : callable
        Unix seconds.
    """

    def __init__(
        self,
        inventory: Inventory,
        estimate: Callable[[], FleetEstimate],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._inventory, self._estimate, self._clock = inventory, estimate, clock
        self._start_us = int(wall() * 1e6)
        self._start = clock()
        self._last: tuple[float, dict[str, float]] | None = None
        self._energy_j: dict[str, float] = {}
        self._recent: deque[tuple[float, dict[str, float]]] = deque()
        self._peak_w: dict[tuple[str, str], float] = {}
        self._told: tuple[str, ...] = ()
        self._faults = 0
        self.snapshot = self._snapshot(0, None)

    def update(self) -> None:
        """Ask once, and publish what is known now."""
        fleet = self._estimate()
        now = self._clock()
        # Power that rests on no measurement at all is not a reading: it adds no energy and makes no peak.
        if fleet.hosts_reporting:
            power = {p.boundary: p.mean_w for p in fleet.boundaries}
            self._integrate(now, power)
            self._note_peaks(now, power)
        else:
            self._last = None
            self._recent.clear()
            self._faults += 1
        if fleet.warnings != self._told:
            for warning in fleet.warnings:
                log.warning("%s", warning)
            self._told = fleet.warnings
        self.snapshot = self._snapshot(self.snapshot.seq + 1, fleet)

    def _integrate(self, now: float, power: dict[str, float]) -> None:
        if self._last is not None:
            then, before = self._last
            for boundary, watts in power.items():
                joules = 0.5 * (watts + before[boundary]) * (now - then)
                self._energy_j[boundary] = self._energy_j.get(boundary, 0.0) + joules
        self._last = now, power

    def _note_peaks(self, now: float, power: dict[str, float]) -> None:
        """Keep the largest mean over each window; the recording rules' own minute is one already."""
        self._recent.append((now, power))
        while now - self._recent[0][0] > max(PEAKS_S.values()):
            self._recent.popleft()
        for window, seconds in PEAKS_S.items():
            rows = [p for at, p in self._recent if now - at < seconds]
            if window != "1m" and now - self._recent[0][0] < 0.9 * seconds:
                continue  # not yet as long as the window
            for boundary, watts in power.items():
                mean = watts if window == "1m" else sum(p[boundary] for p in rows) / len(rows)
                key = boundary, window
                self._peak_w[key] = max(self._peak_w.get(key, mean), mean)

    def _snapshot(self, seq: int, fleet: FleetEstimate | None) -> Snapshot:
        facts = None if fleet is None else fleet_facts(fleet, self._inventory, dict(self._energy_j), dict(self._peak_w))
        return Snapshot(
            host=socket.gethostname(),
            version=_version(),
            meter="fleet",
            library="",
            seq=seq,
            time_us=self._start_us + round((self._clock() - self._start) * 1e6),
            started_us=self._start_us,
            faults={"prometheus": self._faults} if self._faults else {},
            fleet=facts,
        )


def fleet_facts(
    fleet: FleetEstimate,
    inventory: Inventory,
    energy_j: dict[str, float] | None = None,
    peak_w: dict[tuple[str, str], float] | None = None,
) -> FleetFacts:
    """Pick what is published of an estimate; bounds that there are none of are absent.

    Also the daemon's own extrapolation, when one host has an inventory: it then has no bounds, since one host gives
    none.
    """
    power: dict[tuple[str, str], float] = {}
    for p in fleet.boundaries:
        power[p.boundary, "mean"] = p.mean_w
        if p.lower_w is not None and p.upper_w is not None:
            power[p.boundary, "lower"], power[p.boundary, "upper"] = p.lower_w, p.upper_w
    limits = [s.supply_limit_w for s in inventory.sites]
    supply = {"facility": sum(w for w in limits if w is not None)} if limits and None not in limits else {}
    return FleetFacts(
        power_w=power,
        energy_j=energy_j or {},
        peak_w=peak_w or {},
        hosts_known=fleet.hosts_known,
        hosts_reporting=fleet.hosts_reporting,
        warnings=fleet.warnings,
        supply_w=supply,
        states=fleet.states,
        node_models={
            stratum: NodeModelFacts(source, model.fixed_w, model.slope.value)
            for stratum, (source, model) in fleet.node_models.items()
        },
    )


def _version() -> str:
    try:
        return version("wattshed")
    except PackageNotFoundError:
        return "0"


def run(args: argparse.Namespace) -> int:
    """``fleet serve``: until SIGINT, SIGTERM or ``--for``."""
    set_up_log("warning", "auto", os.environ, sys.stderr)
    inventory = read_inventory(args.inventory)
    server = Prometheus(args.prometheus, timeout_s=args.timeout)
    fits = fits_of(server, inventory)
    publisher = FleetPublisher(inventory, lambda: extrapolate(inventory, survey(server, inventory, fits)))
    try:
        site = Server(lambda: publisher.snapshot, args.listen or ("127.0.0.1:9961",), args.web_config)
        site.start()
    except WebConfigError as error:
        raise InputError(str(error)) from None
    except ListenError as error:
        raise ListenError(f"{error}; choose another --listen") from None
    except ValueError as error:
        raise InputError(f"{error}; choose another --listen") from None
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    sys.stderr.write(f"wattshed: fleet {inventory.name!r} at {', '.join(site.addresses)}\n")
    end = None if args.duration is None else time.monotonic() + args.duration
    try:
        while not done.is_set() and (end is None or time.monotonic() < end):
            began = time.monotonic()
            publisher.update()
            rest = args.interval - (time.monotonic() - began)
            done.wait(max(0.0, rest if end is None else min(rest, end - time.monotonic())))
    finally:
        site.stop()
    return 0
