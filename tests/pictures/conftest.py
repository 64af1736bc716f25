"""The pages that people see, served by a node in virtual time, and a browser at them."""

import dataclasses
from functools import partial

import pytest

from tests.exporters import snapshots
from tests.pictures import fleet, node, screen
from tests.reports import example
from wattshed.agent.history.answering import Question, open_or_empty
from wattshed.exporters.web.http import Server
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access

LIFE_S = 630  # a job of the simulated node has ended, and most run


@pytest.fixture(scope="module")
def browser():
    with screen.browser() as running:
        yield running


@pytest.fixture(scope="module")
def alive(tmp_path_factory):
    """A node that lives."""
    with node.serving(tmp_path_factory.mktemp("alive"), LIFE_S) as one:
        yield one


@pytest.fixture(scope="module")
def addresses(alive, tmp_path_factory):
    """Where each kind of page is, by name; all names and passwords are those of the node."""
    folder = tmp_path_factory.mktemp("pages")
    fleet_snapshot = fleet.published(folder)
    collector = dataclasses.replace(snapshots.empty(), host="collector", meter="collector", seq=1)
    jobs = JobsApi(Access(frozenset({0})), frozenset({node.USER}))
    jobs.open(partial(Question, partial(open_or_empty, alive.folder / "history.db"), node.HOST))
    of_fleet = Server(lambda: fleet_snapshot, ["127.0.0.1:0"], environ={})
    of_collector = Server(lambda: collector, ["127.0.0.1:0"], alive.folder / "web.yml", jobs=jobs, environ={})
    unmetered = dataclasses.replace(snapshots.empty(), meter="nvml", unmetered="no NVML library")
    of_nothing = Server(lambda: unmetered, ["127.0.0.1:0"], environ={})
    servers = (of_fleet, of_collector, of_nothing)
    for server in servers:
        server.start()
    yield {
        "agent": alive.url,
        "job": f"{alive.url}/#open=slurm%3A4001",
        "search": f"{alive.url}/#by=user&value=ada",
        "fleet": of_fleet.addresses[0],
        "collector": of_collector.addresses[0],
        "unmetered": of_nothing.addresses[0],
        "report": example.page_of(folder / "example").as_uri(),
    }
    for server in servers:
        server.stop()


READY = {
    "agent": "#found tbody tr",
    "job": "#chart-one canvas",
    "search": "#found tbody tr",
    "fleet": "#fleet-rows svg",
    "collector": "#found tbody tr",
    "unmetered": "#unmetered:not([hidden])",
    "report": "table",
}


@pytest.fixture
def look(addresses, alive, browser):
    """Open a page by its name; returns it once it shows something."""
    opened = []

    def at(name, width=1280, scheme="light", **media):
        media.setdefault("bypass_csp", name == "report")  # it forbids all scripts, also those that look at it
        page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme,
            http_credentials={"username": node.USER, "password": node.PASSWORD}, **media,
        )  # fmt: skip
        opened.append(page)
        page.clock.set_fixed_time(alive.now_s)
        page.goto(addresses[name])
        page.wait_for_selector(READY[name])
        page.wait_for_load_state("networkidle")
        return page

    yield at
    for page in opened:
        page.close()
