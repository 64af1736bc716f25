"""The page for people in a real browser: nothing from outside, moving power, light and dark, narrow and keyboard."""

import dataclasses
import time

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.exporters import snapshots
from tests.exporters.wire import get
from wattshed.exporters.web.site import CSP


def test_the_policy_allows_nothing_inline(serve):
    _, port = serve()
    _, headers, body = get(port, "/")
    assert headers["content-security-policy"] == CSP
    assert "unsafe" not in CSP
    assert b"style=" not in body
    assert b"onclick" not in body
    assert b"http://" not in body
    assert b"https://" not in body


@pytest.mark.real
def test_power_moves_jobs_have_joules_and_the_fleet_its_interval(living, visit):
    page = visit(living)
    assert "no GPU of this machine is being measured" in page.inner_text("#simulated")
    page.wait_for_selector("#chart-gpus canvas")
    first = page.inner_text("#jobs tbody")
    assert "slurm:1234" in first
    assert "MJ" in first
    assert "kWh" in first
    assert "ada\nphysics · gpu" in first
    page.wait_for_function("text => document.querySelector('#jobs tbody').innerText !== text", arg=first, timeout=9000)
    page.wait_for_function("() => tail.length > 2", timeout=15_000)
    watts = page.evaluate("quantity(total(Object.values(now.gpus)), 'W')")
    assert page.inner_text("#tiles .tile >> nth=0 >> p").split("\n")[0] == watts
    assert "117 MW to 125 MW" in page.inner_text("#fleet")
    assert "supply 200 MW" in page.inner_text("#fleet")
    assert "frozen sensor" in page.inner_text("#quality")
    assert page.inner_text("#state") == "live"
    painted = page.evaluate(
        """() => { const c = document.querySelector('#chart-jobs canvas');
        return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"""
    )
    assert painted > 20


@pytest.mark.real
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")])
def test_light_and_dark_wide_and_narrow_are_accessible(living, visit, width, scheme):
    page = visit(living, width, scheme)
    page.wait_for_selector("#chart-gpus canvas")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 21, 18)"
    assert dark == (scheme == "dark")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.real
def test_keyboard_alone_reaches_everything(living, visit):
    page = visit(living)
    page.wait_for_selector("#chart-gpus canvas")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.value") == "hour"
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => location.hash === '#range=day' && stored.range === 'day'")
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => location.hash === '' && stored.range === 'hour'")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "plot"
    page.keyboard.press("End")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.querySelector('#chart-gpus [aria-live]').textContent.includes('GPU 0')")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_attribute("#chart-gpus .legend button >> nth=0", "aria-pressed") == "false"
    assert page.evaluate("document.activeElement.innerText") == "GPU 0"


@pytest.mark.real
def test_hostile_names_stay_text_and_a_lost_agent_is_said(serve, visit):
    _, port = serve(snapshots.hostile)
    page = visit(port)
    assert page.locator("main img").count() == 0
    assert "onerror=alert(1)" in page.get_attribute("#jobs tbody a", "title")


@pytest.mark.real
def test_a_collector_shows_jobs_alone(serve, browser):
    _, port = serve(lambda: dataclasses.replace(snapshots.empty(), meter="collector", seq=1))
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_function("() => document.querySelector('#about').textContent.includes('collector')")
    assert [part.is_visible() for part in page.locator(".host").all()] == [False] * 7
    page.close()


@pytest.mark.real
def test_a_fleet_server_shows_the_fleet_alone(serve, browser):
    estimate = dataclasses.replace(snapshots.rich().fleet, states={"busy": 75, "idle": 30, "drained": 0, "off": 45})
    snapshot = dataclasses.replace(snapshots.empty(), meter="fleet", seq=1, fleet=estimate)
    _, port = serve(lambda: snapshot)
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_selector("#fleet-rows svg")
    assert "150 MW to 172 MW" in page.inner_text("#fleet")
    assert "By state: 75 busy, 30 idle, 45 off." in page.inner_text("#fleet")
    assert [part.is_visible() for part in page.locator(".host").all()] == [False] * 7
    page.close()


@pytest.mark.real
def test_a_job_that_ended_says_so_and_two_of_one_name_are_told_apart(serve, visit):
    rich = snapshots.rich()
    first, *others = rich.jobs
    again = dataclasses.replace(others[1], labels=others[1].labels | {"name": "train-7b"})
    jobs = (dataclasses.replace(first, ended_us=rich.time_us), others[0], again)
    server, port = serve(lambda: dataclasses.replace(snapshots.moving(time.time()), jobs=jobs))
    now = time.time()
    for step in range(4):
        server._site.history.observe(dataclasses.replace(snapshots.moving(now - 40 + step * 10), jobs=jobs))
    page = visit(port)
    page.wait_for_selector("#chart-jobs .legend button")
    page.wait_for_function("() => tail.length > 0")  # before two snapshots there is no power
    assert page.inner_text("#tiles .tile >> nth=3 >> p") == "2\nrunning; 1 more ended recently"
    rows = page.locator("#jobs tbody tr").all()
    keyed = {(row.locator("th a").get_attribute("title") if row.locator("th a").count() else ""): row for row in rows}
    states = {key: row.locator("td[data-label=State]").inner_text() for key, row in keyed.items()}
    ended = page.evaluate("clock(last.jobs.find(job => job.ended_s !== null).ended_s)")
    assert states.pop("slurm:1234") == f"ended {ended}"
    assert states.pop("") == "", "what is no job has no state"
    assert set(states.values()) == {"running"}
    assert len(states) == 2
    powers = {key: row.locator("td[data-label=Power]").inner_text() for key, row in keyed.items()}
    assert powers["slurm:1234"] == "\N{EN DASH}"
    assert powers["slurm:1240"].endswith("W")
    order = [key for key in keyed if key]
    assert order[-1] == "slurm:1234", "those that run come first"
    page.click("#jobs thead button:text-is('State')")
    assert page.locator("#jobs tbody th a").first.get_attribute("title") == "slurm:1234"
    page.fill("#filter", "slurm")
    page.wait_for_function("() => document.querySelector('#filtered').textContent.includes('ended')")
    assert page.inner_text("#filtered").startswith("2 of 3 jobs, 1 of them ended: ")
    legend = page.inner_text("#chart-jobs .legend")
    assert "train-7b · slurm:1234" in legend
    assert "train-7b · slurm:1240" in legend
    assert "bert-0 ·" not in legend


@pytest.mark.real
def test_a_host_where_nothing_is_metered_says_so_and_shows_no_zero(serve, visit):
    why = "no NVML library; install the NVIDIA driver"
    _, port = serve(lambda: dataclasses.replace(snapshots.empty(), meter="nvml", library="", unmetered=why))
    page = visit(port, width=420)
    page.wait_for_function("() => document.querySelector('#state').textContent === 'not metering'")
    assert page.inner_text("#unmetered") == f"Nothing is metered. What this host draws is unknown, not 0: {why}."
    assert page.is_hidden("#simulated")
    assert page.inner_text("#chart-gpus .empty") == page.inner_text("#chart-jobs .empty") == "Nothing is metered."
    values = [text.split("\n")[0] for text in page.locator("#tiles .tile p").all_inner_texts()]
    assert values == ["\N{EN DASH}"] * 6
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.inner_text("#about") == "wattshed 0.1.0 · nvml"


@pytest.mark.real
def test_an_agent_that_just_started_and_one_that_went_away(serve, browser):
    server, port = serve(snapshots.empty)
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    page.wait_for_function("() => document.querySelector('#state').textContent === 'starting'")
    tiles = [text.split("\n")[0] for text in page.locator("#tiles .tile p").all_inner_texts()]
    assert tiles == ["\N{EN DASH}"] * 6
    assert page.inner_text("#tiles").count("starting: reading the GPUs") == 6
    server.stop()
    page.wait_for_function("() => document.querySelector('#state').textContent.includes('no answer')", timeout=9000)
    assert page.inner_text("#gone").startswith("No answer from the agent since ")
    page.close()
