"""Every page by keyboard alone: all is reached in the order of the document, the focus is seen, nothing traps it."""

import pytest

from tests.pictures.conftest import READY

pytestmark = pytest.mark.real
LOOK = """() => {
    const e = document.activeElement, s = getComputedStyle(e), box = e.getBoundingClientRect();
    if (e === document.body) return null;
    if (!e.dataset.walked) e.dataset.walked = String(document.querySelectorAll('[data-walked]').length + 1);
    return { name: e.dataset.walked, html: e.outerHTML.slice(0, 120),
             ring: (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1) || s.boxShadow !== 'none',
             seen: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth } }"""
# Tables are drawn anew every other second, which would lose the marks of who had the focus.
STILL = "() => { for (const name of ['draw', 'drawFound', 'drawJob']) if (window[name]) window[name] = () => {}; }"
REACHABLE = """() => [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]')]
    .filter(e => e.checkVisibility({ visibilityProperty: true }) && !e.disabled && e.tabIndex >= 0 && !e.dataset.walked)
    .filter(e => e.type !== 'radio' || e.checked)  /* the others of its group: by arrow keys */
    .map(e => e.outerHTML.slice(0, 120))"""


def walk(page, key="Tab", most=400):
    """Press a key until all that had the focus has it again, past the page's end; returns it in order."""
    found, left = [], 0
    page.evaluate(STILL)
    for _ in range(most):
        page.keyboard.press(key)
        now = page.evaluate(LOOK)
        if now is None:
            left += 1
        elif any(one["name"] == now["name"] for one in found):
            assert left, f"the focus never leaves the page: it comes back to {now['html']}"
            return found
        else:
            found.append(now)
    pytest.fail(f"after {most} times {key}: {found[-1]['html']}")


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("name", list(READY))
def test_tab_reaches_everything_and_leaves(look, name, width):
    page = look(name, width)
    found = walk(page)
    assert [one["html"] for one in found if not one["ring"]] == [], "focus that cannot be seen"
    assert [one["html"] for one in found if not one["seen"]] == [], "focus outside the window"
    assert page.evaluate(REACHABLE) == []
    order = page.evaluate("[...document.querySelectorAll('[data-walked]')].map(e => Number(e.dataset.walked))")
    began = order.index(1)  # an opened job takes the focus to itself
    assert order[began:] + order[:began] == sorted(order), "the order is that of the document"
    assert len(found) > 3 or name == "report"


def test_back_is_the_same_way(look):
    page = look("agent")
    forth = [one["html"] for one in walk(page)]
    page.evaluate("document.activeElement.blur()")
    back = [one["html"] for one in walk(page, "Shift+Tab")]
    assert set(back) == set(forth)


def test_a_job_is_found_opened_and_closed(look):
    page = look("agent")
    page.focus("#found tbody tr:last-child a")
    opened = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.wait_for_selector("#one:not([hidden])")
    assert page.evaluate("document.activeElement.id") == "one-title"
    page.keyboard.press("Escape")
    page.wait_for_selector("#one", state="hidden")
    assert page.evaluate("document.activeElement.textContent") == opened


def test_the_skip_link_leads_to_the_numbers(look):
    page = look("agent")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_search_is_made_and_its_answer_is_said(look):
    page = look("agent")
    page.focus("#ask [name=by]")
    page.keyboard.press("u")  # user
    page.keyboard.press("Tab")
    page.keyboard.type("nobody-of-this-name")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelectorAll('#found tbody tr').length === 0")
    said = page.locator("#all-note")
    assert said.get_attribute("role") == "status"
    assert said.inner_text()


def test_a_table_drawn_anew_keeps_the_focus(look):
    page = look("agent")
    page.evaluate("() => { window.had = document.querySelector('#jobs tbody a'); window.had.focus(); }")
    place = page.evaluate("document.activeElement.dataset.place")
    assert place
    page.wait_for_function("() => !window.had.isConnected")
    assert page.evaluate("document.activeElement.dataset.place") == place


def test_arrows_go_through_the_ranges(look):
    page = look("agent")
    page.focus("input[name=range]:checked")
    ranges = page.evaluate("[...document.querySelectorAll('input[name=range]')].map(e => e.value)")
    walked = []
    for _ in ranges:
        page.keyboard.press("ArrowRight")
        walked.append(page.evaluate("document.activeElement.checked && document.activeElement.value"))
    assert sorted(walked) == sorted(ranges)
