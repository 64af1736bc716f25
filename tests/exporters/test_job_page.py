"""The page's jobs, running and ended, and one of them, in a real browser; what the server refuses is said kindly."""

import time

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.exporters import made_jobs, snapshots
from tests.exporters.made_jobs import Jobs
from wattshed.exporters.web.jobs_api import JobsApi
from wattshed.exporters.web.peer import Access

pytestmark = pytest.mark.real
MANY = [made_jobs.running(99), *(made_jobs.job(n, user="ada" if n % 2 else "bob") for n in range(1, 13))]


def rows(page):
    return [link.get_attribute("title") for link in page.locator("#found tbody tr th a").all()]


def test_a_list_is_read_page_by_page_and_searched_and_the_address_says_what_for(living, visit):
    served = Jobs(MANY, page=5)
    page = visit(living, jobs=served)
    page.wait_for_selector("#found tbody tr")
    assert rows(page) == ["slurm:99", "slurm:1", "slurm:2", "slurm:3", "slurm:4"]
    first = page.locator("#found tbody tr").first.inner_text().split("\t")
    cells = [text.strip() for text in first if text.strip()]
    assert cells[0] == "train-99b\nslurm:99"
    assert cells[1:6] == ["ada\nphysics · gpu", "running", "1.00 h", "2", "1.20 kWh\n± 12.0 Wh 4.32 MJ"]
    page.click("#older")
    page.wait_for_function("() => document.querySelectorAll('#found tbody tr').length === 10")
    page.click("#older")
    page.wait_for_function("() => document.querySelectorAll('#found tbody tr').length === 13")
    assert page.is_hidden("#older")
    page.select_option("#ask [name=by]", "user")
    page.fill("#ask [name=value]", "bob")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#found tbody tr').length === 5")
    assert set(rows(page)) <= {f"slurm:{n}" for n in range(2, 13, 2)}
    page.select_option("#ask [name=since]", "7d")
    page.select_option("#ask [name=state]", "running")
    page.wait_for_function("() => document.querySelector('#all-note').textContent === 'No such job is known.'")
    asked = [parameters for path, parameters in served.asked if path == "/api/v1/jobs"]
    assert asked[-1] == {"limit": "50", "user": "bob", "running": "1", "since": "7d"}
    assert page.url.endswith("#by=user&value=bob&since=7d&state=running")
    page.go_back()
    page.go_back()
    page.wait_for_function("() => document.querySelectorAll('#found tbody tr').length === 5")
    assert page.input_value("#ask [name=state]") == ""


def test_one_job_has_its_energy_its_power_over_time_and_its_gpus(living, visit):
    ended = made_jobs.job(1)
    told = made_jobs.document(ended, earlier=[made_jobs.job(1, energy_j="100")])
    page = visit(living, jobs=Jobs([ended], documents={"slurm:1": told}))
    page.click("#found a")
    page.wait_for_selector("#chart-one canvas")
    assert page.url.endswith("#open=slurm%3A1")
    assert page.inner_text("#one-title") == "slurm:1 · train-1b"
    assert page.evaluate("document.activeElement.id") == "one-title"
    assert "at the GPU boards" in page.inner_text("#one-why")
    tiles = page.locator("#one-tiles .tile").all_inner_texts()
    values = [[line for line in tile.split("\n") if line][1] for tile in tiles]
    assert values == ["1.20 kWh", "600 W", "413 W", "10 %", "83 %"]
    assert "± 12.0 Wh · 4.32 MJ" in tiles[0]
    assert "alone+utilisation" in page.inner_text("#one-facts")
    assert page.locator("#one-gpus tbody tr").count() == 2
    cells = [text.strip() for text in page.locator("#one-gpus tbody tr").first.inner_text().split("\t")]
    assert [text for text in cells if text][3:5] == ["600 Wh\n± 6.00 Wh 2.16 MJ", "50 %"]
    assert "100 J" in page.inner_text("#one-earlier")
    assert page.is_visible("#one-hole")
    # Read by arrow keys: the last step, and the hole, of which nothing is said.
    page.focus("#chart-one .plot")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#chart-one [aria-live]').textContent.includes('power 5')")
    drawn = page.evaluate("power.plot.data[1].map(watts => watts === null)")
    assert drawn.count(True) == 6
    page.click("#one-close")
    page.wait_for_selector("#one", state="hidden")
    assert page.evaluate("document.activeElement.title") == "slurm:1"


def test_the_steps_of_the_chart_are_the_power_that_was_told_and_end_before_a_hole(living, visit):
    ended = made_jobs.job(1)
    start = ended["start_s"]
    told = [
        [start, start + 10, 100.0],
        [start + 10, start + 20, 200.0],
        [start + 20, start + 30, None],
        [start + 40, start + 50, 50.0],
    ]
    page = visit(
        living, jobs=Jobs([ended], documents={"slurm:1": made_jobs.document(ended, power=told)}), at="#open=slurm:1"
    )
    page.wait_for_selector("#chart-one canvas")
    time, watts = page.evaluate("[[...power.plot.data[0]], [...power.plot.data[1]]]")
    assert [round(at - start) for at in time] == [0, 10, 20, 20, 40, 50]
    assert watts == [100, 200, 200, None, 50, 50]
    assert sorted(time) == time


def test_a_job_that_runs_is_followed_and_hosts_that_are_missing_are_said(living, visit):
    runs = made_jobs.running(9, hosts=["n1", "n2"], hosts_expected=3, flags=["requeued"], peak_w=None, gpus=None)
    served = Jobs([runs], documents={"slurm:9": made_jobs.document(runs, power=[])})
    page = visit(living, jobs=served, at="#open=slurm:9")
    page.wait_for_selector("#one-body:not([hidden])")
    assert page.inner_text("#chart-one .empty") == "The first steps appear within a minute."
    assert "2 of 3: n1, n2" in page.inner_text("#one-facts")
    assert "requeued" in page.inner_text("#one-flags")
    assert page.locator("#one-tiles .tile >> nth=2 >> p").inner_text().startswith("\N{EN DASH}")
    assert "End" not in page.inner_text("#one-facts").split("\n")
    served.documents["slurm:9"] = made_jobs.document(runs | {"energy_j": "5000000"})
    page.wait_for_selector("#chart-one canvas", timeout=15_000)
    assert "5.00 MJ" in page.inner_text("#one-tiles")


@pytest.mark.parametrize("status", [503, 400, 403])
def test_what_fails_is_said_in_one_line_and_the_rest_is_there(living, visit, status):
    page = visit(living, jobs=Jobs(status=status))
    page.wait_for_selector("#chart-jobs canvas")
    assert "slurm:1234" in page.inner_text("#jobs")
    page.wait_for_function("() => document.querySelector('#all-note').textContent")
    assert page.inner_text("#all-note") == "this is not to be seen here"
    assert page.is_visible("#ask")


@pytest.mark.parametrize("access", ["refused", "later", "none"])
def test_who_may_not_ask_does_not_and_is_told_why(living, visit, access):
    served = Jobs(access=access)
    page = visit(living, jobs=served, at="#by=user&value=ada&open=slurm:1")
    page.wait_for_function("() => document.querySelector('#one-why').textContent.includes('not yours to see')")
    page.wait_for_function("() => document.querySelector('#all-note').textContent")
    assert page.is_hidden("#ask")
    assert page.is_visible("#all") == (access != "none")
    said = page.text_content("#all-note")
    assert ("--web.config.file" in said and "wattshed jobs" in said) == (access == "refused")
    page.evaluate("list()")
    page.wait_for_timeout(500)
    assert served.asked == []


@pytest.mark.parametrize("seen", [True, False])
def test_a_real_server_refuses_the_page_nothing(serve, visit, seen):
    """Nobody is known over TCP; whoever is not let in finds a clean console all the same, see `visit`."""
    api = JobsApi(Access(frozenset({0})))
    if seen:
        api.open(lambda: None)
    _, port = serve(lambda: snapshots.moving(time.time()), jobs=api)
    page = visit(port, at="#open=slurm:1234&by=user&value=ada")
    page.wait_for_selector("#one-body:not([hidden])")
    page.wait_for_function("() => document.querySelector('#all-note').textContent.includes('tcp_users')")
    assert page.is_visible("#all")


def test_once_it_is_allowed_the_list_is_there(living, visit):
    served = Jobs(MANY, access="later")
    page = visit(living, jobs=served)
    page.wait_for_function("() => document.querySelector('#all-note').textContent")
    served.access = "own"
    page.evaluate("list()")
    page.wait_for_selector("#found tbody tr")
    assert page.is_visible("#ask")


def test_what_a_simulated_meter_made_up_is_said(living, visit):
    key = MANY[1]["job"]
    served = Jobs(MANY, simulated=True)
    page = visit(living, jobs=served)
    page.wait_for_function("() => document.querySelector('#all-note').textContent.includes('SIMULATED DATA')")
    page.click(f"#found a[title='{key}']")
    page.wait_for_function("() => document.querySelector('#one-why').textContent.includes('SIMULATED DATA')")


def test_a_job_that_is_not_there_or_not_ones_own_is_said(living, visit):
    page = visit(living, jobs=Jobs(MANY), at="#open=slurm:1000")
    page.wait_for_function("() => document.querySelector('#one-why').textContent.includes('not yours to see')")
    assert page.is_hidden("#one-body")


def test_hostile_names_of_jobs_stay_text(living, visit):
    bad = "<img src=x onerror=alert(1)>"
    hostile = made_jobs.job(
        1, job=f"unit:{bad}", user=bad, name=bad, hosts=[bad], labels={bad: bad}, method=bad, flags=[bad]
    )
    page = visit(living, jobs=Jobs([hostile]))
    page.click("#found a")
    page.wait_for_selector("#chart-one canvas")
    assert page.locator("main img").count() == 0
    assert bad in page.inner_text("#one-facts")
    assert bad in page.inner_text("#found")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1920, "light"), (1440, "dark")])
def test_jobs_are_accessible_wide_and_narrow_light_and_dark(living, visit, width, scheme):
    page = visit(living, width, scheme, jobs=Jobs(MANY, page=5), at="#open=slurm:1")
    page.wait_for_selector("#chart-one canvas")
    page.wait_for_selector("#found tbody tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_refusal_is_accessible(living, visit):
    page = visit(living, 390, "dark", jobs=Jobs(access="refused"))
    page.wait_for_selector("#all-note code")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_list_is_read_again_without_losing_the_keyboards_place(living, visit):
    page = visit(living, jobs=Jobs(MANY, page=5))
    page.wait_for_selector("#found tbody tr")
    page.focus("#found tbody tr:nth-child(2) a")
    page.evaluate("list()")
    page.wait_for_function("() => document.activeElement.title === 'slurm:1'")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chart-one canvas")
