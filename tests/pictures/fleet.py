"""The page of ``wattshed fleet serve`` over a simulated fleet of which a tenth reports, after twenty minutes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.fleet.example_fleet import FLEET
from tests.pictures import screen
from tests.pictures.node import BEGIN_US
from wattshed.agent.fleet.live.inventory import read_inventory
from wattshed.agent.fleet.live.rules import POWER_RULE, Measured
from wattshed.agent.fleet.live.serve import FleetPublisher
from wattshed.agent.fleet.live.simulate import SimulatedFleet
from wattshed.agent.fleet.live.site import FleetEstimate, extrapolate
from wattshed.exporters.web.http import Server

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.pictures.node import Node
    from wattshed.exporters.snapshot import Snapshot

LARGE = FLEET.replace("hosts = 100", "hosts = 1200").replace("hosts = 50", "hosts = 300").replace("20e6", "12e6")
LIFE_S, EVERY_S = 1_200, 10


def published(folder: Path) -> Snapshot:
    """Return what such a server shows after its first twenty minutes."""
    path = folder / "FLEET.toml"
    path.write_text(LARGE)
    inventory, now_s = read_inventory(path), 0.0
    fleet = SimulatedFleet(inventory, seed=1, share=0.1)

    def estimate() -> FleetEstimate:
        powers: dict[str, dict[str, float]] = {}
        for name, labels, value in fleet.series(now_s):
            if name == POWER_RULE:
                powers.setdefault(labels["stratum"], {})[labels["instance"]] = value
        return extrapolate(inventory, Measured(powers))

    publisher = FleetPublisher(inventory, estimate, clock=lambda: now_s, wall=lambda: BEGIN_US / 1e6)
    while now_s < LIFE_S:
        publisher.update()
        now_s += EVERY_S
    return replace(publisher.snapshot, host="monitoring")


def fleet_page(node: Node, browser: Browser, target: Path) -> None:
    """Take it."""
    snapshot = published(node.folder)
    server = Server(lambda: snapshot, ["127.0.0.1:0"], environ={})
    server.start()
    shown = browser.new_page(viewport={"width": 1180, "height": 400}, color_scheme="light", reduced_motion="reduce")
    shown.clock.set_fixed_time(snapshot.time_us / 1e6)
    shown.goto(server.addresses[0])
    shown.wait_for_selector("#fleet-rows svg")
    shown.wait_for_timeout(500)
    screen.photograph(shown, target)
    shown.close()
    server.stop()
