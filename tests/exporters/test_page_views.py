"""What one does with the page: sort, filter, choose a time, open a job, add up a user, on a phone, with prices."""

import json
import time
from dataclasses import replace

import pytest

from tests.exporters import snapshots
from tests.exporters.made_jobs import Jobs
from wattshed.exporters.snapshot import EnergyPrices
from wattshed.exporters.split_facts import SplitFacts, WattsOfJob

pytestmark = pytest.mark.real


def keys(page):
    return [link.get_attribute("title") for link in page.locator("#jobs tbody th a").all()]


def test_a_column_sorts_either_way_and_what_is_no_job_stays_below(living, visit):
    page = visit(living)
    page.wait_for_selector("#jobs tbody a")
    page.click("#jobs thead button:text-is('Job')")
    assert page.get_attribute("#jobs thead th >> nth=0", "aria-sort") == "ascending"
    names = [text.split("\n")[0] for text in page.locator("#jobs tbody th").all_inner_texts()]
    jobs = [name for name in names if name not in ("idle", "unattributed", "jobs beyond the cap")]
    assert jobs == sorted(jobs)
    assert len(jobs) < len(names)
    assert names[: len(jobs)] == jobs
    page.focus("#jobs thead button:text-is('Job')")
    page.keyboard.press("Enter")
    assert page.get_attribute("#jobs thead th >> nth=0", "aria-sort") == "descending"
    assert keys(page) != []


def test_learned_watts_are_shown_with_two_sigma(serve, visit):
    learned = SplitFacts(jobs=(WattsOfJob("slurm:1234", snapshots.UUIDS[0], 741.3, 30.2, 0),))
    _, port = serve(lambda: replace(snapshots.moving(time.time()), split=learned))
    page = visit(port)
    page.wait_for_selector("#jobs tbody a")
    assert page.locator("#jobs tbody tr", has_text="full 741 ± 60 W").count() == 1
    told = page.evaluate("[withDoubt(1204, 30, 'W'), withDoubt(0.5, 0.25, 'W'), withDoubt(7, null, 'W')]")
    assert told == ["1.20 ± 0.06 kW", "0.50 ± 0.50 W", "7.00 W"]
    page.click("#jobs tbody a[title='slurm:1234']")
    page.wait_for_function("() => document.querySelector('#one-facts').innerText.includes('741 ± 60 W above idle')")


def test_both_charts_have_one_scale_and_the_same_height(living, visit):
    page = visit(living)
    page.wait_for_selector("#chart-jobs canvas")
    tops = page.evaluate("[charts.gpus, charts.jobs].map(chart => chart.plot.scales.y.max)")
    assert tops[0] == tops[1] > 0
    drawn = page.evaluate("[...document.querySelectorAll('.two canvas')].map(c => c.getBoundingClientRect().top)")
    assert drawn[0] == drawn[1]
    page.click("#chart-jobs .legend button >> nth=0")  # who hides a line looks at the others
    assert page.evaluate("charts.gpus.plot.scales.y.max") == tops[0]


def test_on_a_phone_the_head_is_one_line(living, visit):
    page = visit(living, width=360)
    middles = page.evaluate(
        """() => ['.bar h1', '#state', '#theme'].map(name => document.querySelector(name).getBoundingClientRect())
        .map(box => (box.top + box.bottom) / 2)"""
    )
    assert max(middles) - min(middles) < 4


def test_a_filter_stands_in_the_address_and_adds_up_what_is_left(living, visit):
    page = visit(living)
    page.wait_for_selector("#jobs tbody a")
    everybody = keys(page)
    page.fill("#filter", "slurm:1234")
    page.wait_for_function("() => document.querySelectorAll('#jobs tbody tr').length === 1")
    assert keys(page) == ["slurm:1234"]
    assert "Wh" in page.inner_text("#filtered")
    assert page.url.endswith("#q=slurm%3A1234")
    page.reload()
    page.wait_for_function("() => document.querySelectorAll('#jobs tbody tr').length === 1")
    page.fill("#filter", "")
    page.wait_for_function("n => document.querySelectorAll('#jobs tbody th a').length === n", arg=len(everybody))


def test_a_range_is_asked_for_and_survives_the_back_button(living, visit):
    page = visit(living, at="#range=week")
    page.wait_for_function("() => stored && stored.range === 'week'")
    assert page.is_checked("#range input[value=week]")
    page.click("#range label:has-text('Day')")
    page.wait_for_function("() => stored.range === 'day'")
    assert "Wh" in page.inner_text("#range-energy b")
    page.go_back()
    page.wait_for_function(
        "() => stored.range === 'week' && document.querySelector('#range input[value=week]').checked"
    )


def test_where_the_history_may_not_be_asked_a_job_shows_what_everybody_may_see(living, visit):
    page = visit(living, jobs=Jobs(access="refused"), at="#open=slurm:1234")
    page.wait_for_selector("#one-body:not([hidden])", timeout=15_000)
    assert "what the page shows to everybody" in page.inner_text("#one-why")
    assert "Wh" in page.inner_text("#one-tiles")
    assert page.locator("#one-gpus tbody tr").count() > 0
    page.wait_for_selector("#chart-one canvas", timeout=15_000)


def test_all_of_a_user_is_added_up_by_day(living, visit):
    page = visit(living, jobs=Jobs([]))
    row = {
        "energy_j": "7200000",
        "static_j": "0",
        "dynamic_j": "7200000",
        "sigma_j": 36000.0,
        "active_s": 5400.0,
        "held_s": 1800.0,
    }
    days = [row | {"name": f"2026-03-0{n}"} for n in (1, 2)]
    report = {"total": row | {"energy_j": "14400000"}, "rows": days}
    asked = []

    def answer(route):
        asked.append(route.request.url)
        route.fulfill(status=200, content_type="application/json", body=json.dumps(report))

    page.route("**/api/v1/report**", answer)
    page.evaluate("location.hash = '#by=user&value=ada'")
    page.wait_for_selector("#sum:not([hidden])")
    assert "by=day&user=ada" in asked[-1]
    assert page.inner_text("#sum-title") == "All of ada"
    assert "4.00 kWh" in page.inner_text("#sum-tiles")
    assert "± 20.0 Wh" in page.inner_text("#sum-tiles")
    assert "25 %" in page.inner_text("#sum-tiles")
    assert page.locator("#sum-days li").count() == 2


def test_on_a_phone_every_value_is_within_the_screen(living, visit):
    page = visit(living, width=360)
    page.wait_for_selector("#jobs tbody a")
    outside = page.evaluate(
        """() => [...document.querySelectorAll('td, td small span, tbody th, .tile p, .tile small')]
        .filter(e => e.checkVisibility()).map(e => [e.getBoundingClientRect(), e.textContent])
        .filter(([box]) => box.width && (box.right > 360.5 || box.left < 0)).map(([, text]) => text)"""
    )
    assert outside == []
    assert "MJ" in page.inner_text("#jobs tbody")


def test_prices_say_what_energy_costs_and_without_them_nothing_does(serve, visit):
    from tests.exporters import snapshots

    _, port = serve(lambda: snapshots.moving(time.time()), prices=EnergyPrices("EUR", 0.25, 400.0))
    page = visit(port)
    page.wait_for_selector("#jobs tbody a")
    assert "EUR" in page.inner_text("#tiles")
    assert "CO₂e" in page.inner_text("#tiles")
    assert "Cost" in page.inner_text("#jobs thead")
    _, port = serve(lambda: snapshots.moving(time.time()))
    page = visit(port)
    page.wait_for_selector("#jobs tbody a")
    assert "EUR" not in page.inner_text("body")
    assert "Cost" not in page.inner_text("#jobs thead")
