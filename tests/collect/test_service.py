"""A collector's own threads: who is asked again and again, what is dropped, and who may write."""

import json
import time
from types import SimpleNamespace

import pytest

from tests.collect.site import parts_at
from tests.history.made_up import DAY_US, MARCH_US, report
from wattshed.agent.collect import service as module
from wattshed.agent.collect.config import CollectSettings, TargetGroup
from wattshed.agent.collect.service import SiteCollector
from wattshed.agent.errors import Faults
from wattshed.agent.history.query import Filter
from wattshed.agent.history.sql import DatabaseError
from wattshed.agent.wire.parts import CLOCK_SKEW


def wait(what):
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def collector(site, tmp_path):
    """Begin to collect from those that a list names: (service, a way to name others, the database)."""
    listed, place, running = tmp_path / "agents.json", str(tmp_path / "site.db"), []

    def name(*hosts):
        listed.write_text(json.dumps([{"targets": [site.url(host) for host in hosts]}]))

    def start(**settings):
        group = TargetGroup(file_sd=(str(listed),), cluster="east")
        running.append(SiteCollector(CollectSettings(place, (group,), poll_s=0.2, timeout_s=5, **settings), Faults()))
        running[-1].start()
        return running[-1], name, place

    yield start
    for one in running:
        one.stop()


def test_all_that_are_named_are_asked_again_and_again(site, collector):
    site.hour()
    service, name, place = collector()
    name("n0")
    wait(lambda: service.puller.states()["up"] == 1)
    name("n0", "n1")
    wait(lambda: service.puller.states()["up"] == 2)
    site.hour()
    wait(lambda: service.puller.totals() == (4, 0))
    site.agents["n1"].down = True
    wait(lambda: service.puller.states() == {"up": 1, "down": 1, "refused": 0, "new": 0})
    name("n0")
    wait(lambda: service.puller.states() == {"up": 1, "down": 0, "refused": 0, "new": 0})
    for host in ("n0", "n1"):
        assert parts_at(place, host, CLOCK_SKEW) == site.agents[host].made
    with pytest.raises(DatabaseError):
        service.opened().do("DELETE FROM part")


def test_what_is_too_old_goes_and_sums_of_days_stay(site, collector, monkeypatch):
    now_us = MARCH_US + 10 * DAY_US
    monkeypatch.setattr(module, "TIDY_S", 0.05)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now_us / 1e6))
    site.hour()
    site.agents["n1"].now_us = now_us - DAY_US
    site.agents["n1"].hour()
    service, name, place = collector(max_age_days=9.5)
    name("n0", "n1")
    wait(lambda: service.puller.totals()[0] >= 3)
    wait(lambda: not parts_at(place, "n0"))
    wait(lambda: parts_at(place, "n1", CLOCK_SKEW) == site.agents["n1"].made[1:])
    used = [part.energy_hnj for agent in ("n0", "n1") for part in site.agents[agent].made]
    assert sum(row.used.energy_hnj for row in report(service.opened(), "day", Filter())) == sum(used)
