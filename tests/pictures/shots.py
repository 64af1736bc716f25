"""What each picture of docs/images shows, and how it is taken."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pictures import screen
from tests.pictures.boards import board
from tests.pictures.fleet import fleet_page
from tests.pictures.node import PASSWORD, USER, environment
from tests.reports import example
from wattshed.agent.bench import growth_plot, log_plot, plot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playwright.sync_api import Browser, Page

    from tests.pictures.node import Node

ROOT = Path(__file__).parents[2]
MEASUREMENTS = ROOT / "docs/measurements"
COLUMNS, LINES = 100, 30


@dataclass(frozen=True)
class Shot:
    """A picture.

    Attributes
    ----------
    shows : str
        What is to be seen in it, for whoever does not see it.
    take : callable
        From the node, the browser and the file to be written.
    """

    shows: str
    take: Callable[[Node, Browser, Path], None]


def visit(node: Node, browser: Browser, *, width: int, scheme: str, at: str = "", height: int = 900) -> Page:
    """Open the page as it is at the node's own time, and let some time go by, so that it has a power of now."""
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=2 if width < 500 else 1,
        http_credentials={"username": USER, "password": PASSWORD},
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
    )
    page.clock.set_fixed_time(node.now_s)
    page.goto(f"{node.url}{at}")
    page.wait_for_selector("#tiles .tile")
    page.wait_for_load_state("networkidle")
    node.live(10)
    page.clock.set_fixed_time(node.now_s)
    page.wait_for_timeout(4500)  # two looks of the page at the agent
    return page


def page(node: Node, browser: Browser, target: Path, *, width: int, scheme: str, most_px: int = 0) -> None:
    """Take the page whole, or its upper end."""
    shown = visit(node, browser, width=width, scheme=scheme)
    screen.photograph(shown, target, most_px=most_px)
    shown.close()


def job(node: Node, browser: Browser, target: Path) -> None:
    """Take the page's view of one job that has ended."""
    shown = visit(node, browser, width=1280, scheme="light", at="/#open=slurm%3A4011")
    shown.wait_for_selector("#chart-one canvas")
    screen.photograph(shown, target, "#one")
    shown.close()


def typed(node: Node, browser: Browser, target: Path, commands: Sequence[str], columns: int = COLUMNS) -> None:
    """Take a terminal in which these commands were typed."""
    environ = environment(node, columns, LINES)
    told = [(words, screen.printed(words.split(), node.folder, environ, columns, LINES)) for words in commands]
    screen.terminal(browser, told, columns, target)


def top(node: Node, browser: Browser, target: Path, columns: int = COLUMNS, lines: int = LINES) -> None:
    """Take the screen of ``wattshed top``: textual draws it itself, after some time has gone by."""
    environ = environment(node, columns, lines) | {
        "TEXTUAL_SCREENSHOT": "6", "TEXTUAL_SCREENSHOT_LOCATION": str(node.folder),
        "TEXTUAL_SCREENSHOT_FILENAME": "top.svg", "TEXTUAL_ANIMATIONS": "none",
    }  # fmt: skip
    with screen.started(["wattshed", "top"], node.folder, environ, columns, lines) as (process, _):
        drawn = node.folder / "top.svg"
        while not screen.within(1, lambda: drawn.exists() and drawn.read_text().endswith("</svg>\n")):
            assert process.poll() is None or drawn.exists(), "top ended without a picture"
            node.live(2)
    screen.draw(browser, drawn.read_text(), target)
    drawn.unlink()


def demand(node: Node, browser: Browser, target: Path) -> None:
    """Have ``wattshed fleet demand`` draw the recording."""
    words = f"wattshed fleet demand {node.recording} --plot {target}"
    screen.printed(words.split(), node.folder, environment(node, COLUMNS), COLUMNS, LINES)
    screen.save(target.read_bytes(), target)


def report(node: Node, browser: Browser, target: Path) -> None:
    """Take the page of the report that docs/report.md makes."""
    shown = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme="light")
    shown.goto(example.page_of(node.folder / "example").as_uri())
    screen.photograph(shown, target)
    shown.close()


def measured(name: str, draw: Callable[[dict, Path], None], _: Node, __: Browser, target: Path) -> None:
    """Draw what a benchmark measured."""
    draw(json.loads((MEASUREMENTS / name).read_text(encoding="utf-8")), target)


SHOTS = {
    "page.png": Shot(
        "The page of an agent: power by GPU and by job, energy of each job, the GPUs and the quality of their data.",
        partial(page, width=1440, scheme="light"),
    ),
    "page-dark.png": Shot("The same page, dark.", partial(page, width=1440, scheme="dark")),
    "page-phone.png": Shot(
        "The upper end of the same page on a telephone, 360 pixels wide.",
        partial(page, width=360, scheme="light", most_px=1600),
    ),
    "job.png": Shot("One job on the page: its energy, its power while it ran, who it is, and its GPUs.", job),
    "fleet.png": Shot(
        "The page of `wattshed fleet serve`: power of a fleet at each boundary with its interval, and the supply's "
        "limit.",
        fleet_page,
    ),
    "top.png": Shot("`wattshed top` in a terminal of 100 columns and 30 lines.", top),
    "jobs-terminal.png": Shot(
        "`wattshed jobs`: energy of running and ended jobs.", partial(typed, commands=["wattshed jobs"])
    ),
    "job-terminal.png": Shot(
        "`wattshed job`: one job, with its cost.",
        partial(typed, commands=["wattshed job 4011 --price 0.21 --currency EUR"]),
    ),
    "report-terminal.png": Shot(
        "`wattshed report`: energy, cost and carbon by account.",
        partial(typed, commands=["wattshed report --by account --price 0.21 --currency EUR --carbon 350"]),
    ),
    "replay-terminal.png": Shot(
        "`wattshed replay` of the recording of the same time.", partial(typed, commands=["wattshed replay recording"])
    ),
    "demand.png": Shot("`wattshed fleet demand --plot` of the recording: load, duration curve and spectrum.", demand),
    "report.png": Shot(
        "The page of a report by user over ten days that were made up: totals, bars with two sigma, days by user.",
        report,
    ),
    "board-host.png": Shot("The Grafana board of hosts.", partial(board, of="wattshed-host.json")),
    "board-owners.png": Shot("The Grafana board of users and accounts.", partial(board, of="wattshed-owners.json")),
    "board-job.png": Shot("The Grafana board of jobs.", partial(board, of="wattshed-job.json")),
    "board-fleet.png": Shot("The Grafana board of a fleet.", partial(board, of="wattshed-fleet.json")),
    "performance.svg": Shot(
        "The kernels' shares of memory bandwidth, and their leads over others (docs/measurements/bench.json).",
        partial(measured, "bench.json", plot.plot),
    ),
    "files.svg": Shot(
        "Speed of reading by kind of file, and beside other tools (docs/measurements/files.json).",
        partial(measured, "files.json", log_plot.plot),
    ),
    "growth.svg": Shot(
        "Time and memory against samples, GPUs, jobs and hosts (docs/measurements/growth.json).",
        partial(measured, "growth.json", growth_plot.plot),
    ),
}  # fmt: skip
"""All of docs/images, but for its list."""
