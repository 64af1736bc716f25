"""The page of a report: one file that asks for nothing, names that are only text, plots that lie where they should."""

from decimal import Decimal
from html.parser import HTMLParser

import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import sync_playwright

from tests.exporters.wire import peer
from tests.reports.made_up import KWH_J, MARCH_S, report, row
from wattshed.agent.inputs.tariffs.steps import CARBON, PRICE, PUE, Tariff
from wattshed.agent.reports.amounts import Tariffs, priced
from wattshed.agent.reports.html import POLICY, page
from wattshed.agent.reports.plots import HEIGHT_PX, MOST_BARS, bars_of, stacks_of
from wattshed.agent.reports.sheet import sheet_of
from wattshed.agent.wire.parts import hnj_of, joules
from wattshed.exporters.units import HNJ_PER_JOULE as J

DAY_S = 86_400
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>\u202egro.live\x1b[31m{{ 7*7 }}'
TARIFFS = Tariffs(
    Tariff.constant(PRICE, Decimal("0.21"), "EUR/kWh"), Tariff.constant(CARBON, Decimal(350), "gCO2e/kWh"),
    Tariff.constant(PUE, Decimal("1.3")), "EUR",
)  # fmt: skip
NAMES = [HOSTILE, "", "z" * 90, *(f"user{i}" for i in range(20)), "_idle", "_unattributed", "_other"]


def made(names=NAMES, days=12, by="user"):
    """A report over some days in which each uses less than the one before."""
    steps = [
        (place, MARCH_S + day * DAY_S, KWH_J * (2 + (place * 7 + day * 5) % 11) // (place + 1))
        for place in range(len(names))
        for day in range(days)
    ]
    sums = [sum(energy for row_, _, energy in steps if row_ == place) for place in range(len(names))]
    rows = [row(name, energy, sigma_j=energy * 0.02) for name, energy in zip(names, sums, strict=True)]
    return report(rows, steps, DAY_S, by)


def written(found=None, **more):
    found = made() if found is None else found
    return page(priced(found, TARIFFS, **more), found)


class Parsed(HTMLParser):
    """What a page consists of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def test_it_asks_for_nothing_and_runs_nothing():
    text = written()
    parsed = Parsed(text)
    assert not {"script", "img", "link", "iframe", "object", "form", "base", "image", "use", "a"} & set(parsed.tags)
    assert {
        name for _, name, _ in parsed.attributes if name.startswith("on") or name in {"href", "src", "style"}
    } == set()
    assert ("meta", "content", POLICY) in parsed.attributes
    assert "url(" not in text
    assert "@import" not in text
    assert "://" not in text
    assert "default-src 'none'" in POLICY
    assert "script" not in POLICY


def test_names_are_text_and_cannot_steer():
    text = written()
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    shown = "".join(Parsed(text).texts)
    assert "<script>alert(1)</script>" in shown
    assert "{{ 7*7 }}" in shown
    assert "(unknown)" in shown


def test_all_rows_are_in_a_table_and_the_largest_in_the_plot():
    parsed = Parsed(written())
    assert parsed.tags.count("svg") == 2
    assert parsed.tags.count("table") == 2
    shown = "".join(parsed.texts)
    assert all(name in shown for name in NAMES[2:])
    assert f"The {MOST_BARS} largest of {len(NAMES)} rows" in shown
    assert "_idle: what GPUs drew at rest while no job held them." in shown


def test_headings_of_a_table_have_at_most_sixteen_letters():
    texts = Parsed(written(made(["n" * 15, "o" * 16, "p" * 17]))).texts
    assert {"n" * 15, "o" * 16, "p" * 15 + "…"} <= set(texts)
    assert "p" * 16 + "…" not in texts


@pytest.mark.parametrize(("by", "days", "plots"), [("user", 1, 1), ("day", 5, 1), ("user", 2, 2), ("host", 200, 2)])
def test_time_has_a_plot_where_there_is_more_than_a_day(by, days, plots):
    names = ["a", "b"] if by != "day" else [f"2026-03-0{i + 1}" for i in range(5)]
    text = written(made(names, days, by))
    assert Parsed(text).tags.count("svg") == plots
    assert ("Energy by month" in text) == (days == 200)


def test_what_a_simulated_meter_made_up_is_said():
    assert "SIMULATED DATA" in written(made() | {"simulated": True})
    assert "SIMULATED DATA" not in written(made() | {"simulated": False})


def test_nothing_used_is_a_page_too():
    assert "No usage in this period" in written(report([], [], DAY_S))


ROWS = st.lists(st.tuples(st.integers(0, 2**62), st.floats(0, 1e9)), min_size=1, max_size=30)


@given(ROWS, st.booleans())
def test_bars_lie_within_the_plot(rows, nobody):
    lines = [row(f"u{i}" * (i + 1), joules(hnj), sigma_j=sigma) for i, (hnj, sigma) in enumerate(rows)]
    lines += [row("_idle", 7)] if nobody else []
    document = priced(report(lines), Tariffs())
    bars = bars_of(document, [one["kWh"] for one in sheet_of(document).rows])
    assert len(bars) == min(len(lines), MOST_BARS)
    assert not nobody or bars[-1].name == "_idle"
    of = {one["name"]: one for one in document["rows"]}
    told = {text["user"]: text["kWh"] for text in sheet_of(document).rows}
    longest = max((hnj_of(of[bar.name]["energy_j"]) / J + 2 * of[bar.name]["sigma_j"] for bar in bars), default=0)
    for bar in bars:
        used_j, doubt_j = hnj_of(of[bar.name]["energy_j"]) / J, 2 * of[bar.name]["sigma_j"]
        assert bar.value == told[bar.name]
        assert bar.label == bar.name if len(bar.name) <= 34 else (len(bar.label), bar.label[-1]) == (34, "…")
        assert bar.name.startswith(bar.label.removesuffix("…"))
        for at, value in ((bar.low, max(used_j - doubt_j, 0)), (bar.width, used_j), (bar.high, used_j + doubt_j)):
            assert at == pytest.approx(value / (longest or 1) * 100, rel=1e-9, abs=1e-9)
        assert 0 <= bar.low <= bar.width + 1e-9
        assert bar.width <= bar.high + 1e-9 <= 100 + 2e-9


STEPS = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 300), st.integers(0, 2**60)), min_size=1, max_size=60
)  # fmt: skip


@given(STEPS)
def test_stacks_hold_all_that_was_used(steps):
    sums = [joules(sum(hnj for place, _, hnj in steps if place == p)) for p in range(12)]
    names = [*(f"u{i}" for i in range(10)), "_idle", "_other"]
    found = report(
        [row(name, energy) for name, energy in zip(names, sums, strict=True)],
        [(place, MARCH_S + day * DAY_S, joules(hnj)) for place, day, hnj in steps], DAY_S,
    )  # fmt: skip
    stacks = stacks_of(found)
    if len({day for _, day, _ in steps}) < 2:
        assert stacks is None
        return
    whole = sum(hnj for _, _, hnj in steps) / 7.2e15
    assert sum(map(sum, stacks.values)) == pytest.approx(whole)
    assert len(stacks.series) <= 10
    assert len({colour for _, colour in stacks.series}) == len(stacks.series)
    bottoms = {}
    for piece in stacks.pieces:
        assert -1e-6 <= piece.y <= piece.y + piece.height <= HEIGHT_PX + 1e-6
        assert piece.y + piece.height == pytest.approx(bottoms.get(piece.x, HEIGHT_PX), abs=1e-6)
        bottoms[piece.x] = piece.y
        assert 10 <= piece.x <= piece.x + piece.width <= 100 + 1e-9
    assert hnj_of(found["total"]["energy_j"]) == sum(hnj for _, _, hnj in steps)
    assert all(0 <= mark.at <= HEIGHT_PX for mark in stacks.marks)
    assert 1 <= len(stacks.labels) <= 6
    middle = {piece.told.partition(", ")[0]: piece.x + piece.width / 2 for piece in stacks.pieces}
    for label in stacks.labels:  # each stands below its bar, where there is one
        (time,) = (time for time in stacks.times if time.endswith(label.text))
        assert label.at == pytest.approx(middle.get(time, label.at))
        assert 11 < label.at < 100


def test_days_on_which_nothing_was_used_have_an_axis_of_nothing():
    stacks = stacks_of(report([row("ada", 0)], [(0, MARCH_S + day * DAY_S, 0) for day in range(2)], DAY_S))
    assert [(mark.at, mark.text) for mark in stacks.marks] == [(HEIGHT_PX, "0")]


@pytest.fixture(scope="module")
def browser():
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=peer("chromium"), args=flags)
        yield running
        running.close()


@pytest.mark.real
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_light_and_dark_wide_and_narrow_are_accessible(browser, tmp_path, width, scheme):
    path = tmp_path / "report.html"
    path.write_text(written(), encoding="utf-8")
    faults, shown = [], browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.on("console", lambda message: faults.append(message.text))
    shown.on("request", lambda request: request.url == path.as_uri() or faults.append(request.url))
    shown.goto(path.as_uri())
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 21, 18)"
    assert dark == (scheme == "dark")
    # Scripts of the page itself are forbidden; what looks at it comes in from outside.
    assert faults == []
    judged = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    judged.set_content(written())
    found = Axe().run(judged)
    assert found.violations_count == 0, found.generate_report()
    shown.close()
    judged.close()


@pytest.mark.real
def test_on_paper_it_is_light_and_no_row_is_wider_than_the_page(browser):
    shown = browser.new_page(viewport={"width": 690, "height": 1000}, color_scheme="dark")
    shown.set_content(written())
    shown.emulate_media(media="print")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.evaluate("document.documentElement.scrollWidth") <= 690
    assert shown.evaluate("getComputedStyle(document.querySelector('tbody tr')).breakInside") == "avoid"
    assert shown.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    shown.close()
