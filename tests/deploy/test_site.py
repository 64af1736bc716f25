"""The documentation as a site: it builds with strict links, loads nothing from elsewhere, and fits a phone."""

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.depth import deep
from tests.exporters.wire import peer

pytestmark = deep

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "deploy/docs/mkdocs.yml"
ORDER = ["Start", "Use", "Understand", "Reference", "Decisions"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", CONFIG, "-d", folder],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # A link that leads nowhere, or a page that is in no menu; with --quiet mkdocs would not count them.
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    return folder


class Loaded(HTMLParser):
    """What a browser loads of its own accord, and which headings open a part of the menu."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in {"img", "script", "iframe", "source", "video"}:
            self.addresses.append(given.get("src"))
        elif tag == "link" and given.get("rel") not in {"canonical", "prev", "next"}:
            self.addresses.append(given.get("href"))


def html(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 150
    return pages


def test_nothing_is_loaded_from_elsewhere(site):
    for page in html(site):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert [one for one in parser.addresses if one and re.match(r"(?:[a-z]+:)?//", one)] == [], page
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")) == []


def test_no_list_and_no_table_is_taken_for_a_paragraph(site):
    """GitHub takes a list right below a line for one, and the site does not."""
    broken = []
    for page in html(site):
        article = re.search(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)
        text = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", article[0], flags=re.DOTALL)
        paragraphs = re.findall(r"<p>(.*?)</p>", text, re.DOTALL)
        broken += [(page, one[:60]) for one in paragraphs if re.search(r"\n *(?:[*-]|1\.) |^ *\||\n *\||```", one)]
    assert broken == []


def test_the_menu_is_in_an_order_for_people_and_has_everything(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    tabs = re.search(r'<nav class="md-tabs".*?</nav>', home, re.DOTALL)[0]
    assert re.findall(r">\s*([A-Z]\w+)\s*<", tabs) == ORDER
    decisions = (site / "decisions/index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs/decisions").glob("*.md"):
        assert f'href="{page.stem}/"' in decisions


def test_everything_can_be_found_but_the_text_of_programs(site):
    found = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    pages = {one["location"].partition("#")[0] for one in found}
    assert {"", "cli/", "tutorials/one-node/", "decisions/0002-half-nanojoules/", "repository/CONTRIBUTING/"} <= pages
    assert not any(page.endswith(".py/") for page in pages)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


KINDS = ("", "tutorials/one-node/", "arrays/", "decisions/0002-half-nanojoules/")
EVERYWHERE = KINDS[1:2]
"""A page with all parts of the theme, and code; of the others two looks are enough."""
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.mark.real
@pytest.mark.parametrize(
    ("width", "scheme", "paths"),
    [(360, "light", KINDS), (1280, "dark", KINDS), (360, "dark", EVERYWHERE), (1280, "light", EVERYWHERE)],
)
def test_axe_finds_nothing(address, width, scheme, paths):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=peer("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        for path in paths:
            page.goto(address + path)
            found = Axe().run(page, options=RULES)
            assert found.violations_count == 0, f"{path}\n{found.generate_report()}"
        browser.close()


@pytest.mark.real
def test_pages_fit_a_phone_and_search_finds(address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=peer("chromium"), args=["--no-sandbox", "--disable-gpu"])
        asked = []
        for scheme, name in (("light", "default"), ("dark", "slate")):
            page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
            page.on("request", lambda request: asked.append(request.url))
            for path in ("", "tutorials/one-node/", "compared/", "metrics/", "configuration/", "decisions/"):
                page.goto(address + path)
                assert page.evaluate("document.documentElement.scrollWidth") == 360, path
                assert page.evaluate("document.body.dataset.mdColorScheme") == name
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address)
        page.fill(".md-search__input", "half-nanojoules")
        page.wait_for_selector(".md-search-result__item a")
        assert "half-nanojoules" in page.inner_text(".md-search-result__list")
        browser.close()
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
