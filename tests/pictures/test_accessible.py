"""Every page for every eye: axe, both themes, small windows and large letters, forced colours, no motion, paper."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.pictures.conftest import READY

pytestmark = pytest.mark.real
PAGES = list(READY)
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def clean(page):
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()


def reflows(page, width):
    """Nothing but a table or a chart in its own frame is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(look, name, width, scheme):
    page = look(name, width, scheme)
    reflows(page, width)
    clean(page)


@pytest.mark.parametrize("name", PAGES)
def test_letters_of_twice_the_size_lose_nothing(look, name):
    """Text that the reader enlarges: the browser's own size of letters, not the window."""
    page = look(name, bypass_csp=True)
    page.add_style_tag(content="html { font-size: 200% !important }")
    page.wait_for_timeout(200)
    reflows(page, 1280)
    cut = page.evaluate(
        """() => [...document.querySelectorAll('h1, h2, h3, .tile p, button, label, .pill')]
        .filter(e => e.checkVisibility() && getComputedStyle(e).overflowX !== 'visible')
        .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"""
    )
    assert cut == []


@pytest.mark.parametrize("name", PAGES)
def test_forced_colours_hide_nothing(look, name):
    page = look(name, forced_colors="active")
    clean(page)
    bare = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input')].filter(e => e.checkVisibility())
        .filter(e => getComputedStyle(e).borderStyle === 'none').map(e => e.outerHTML)"""
    )
    assert bare == [], "a control without a border cannot be told from text"


@pytest.mark.parametrize("name", PAGES)
def test_who_wants_no_motion_gets_none(look, name):
    page = look(name, reduced_motion="reduce")
    assert page.evaluate("document.getAnimations().filter(a => a.playState === 'running').length") == 0
    moving = page.evaluate(
        """() => [...document.querySelectorAll('*')].map(e => [e.className, getComputedStyle(e)])
        .filter(([, s]) => Math.max(parseFloat(s.transitionDuration), parseFloat(s.animationDuration)) > 0.01)
        .map(([name]) => name)"""
    )
    assert moving == []
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_it_is_dark_on_white_and_fits(look, name):
    page = look(name, width=718, scheme="dark")  # A4 between margins of one centimetre
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_timeout(100)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") in {
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    }
    red, green, blue = page.evaluate("getComputedStyle(document.body).color.match(/[0-9]+/g).map(Number)")[:3]
    assert max(red, green, blue) < 100
    reflows(page, 718)
