"""A browser at the page of a server."""

import time

import pytest
from playwright.sync_api import sync_playwright

from tests.exporters import snapshots
from tests.exporters.wire import peer

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=peer("chromium"), args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def living(serve, monkeypatch):
    """Give the port of a server whose power moves, with an hour of history."""
    now = time.time()
    monkeypatch.setattr(snapshots, "T0", int((now - 7300) * 1e6))
    past = [now - 3600]  # the server looks by itself, too: not before its hour is over
    server, port = serve(lambda: snapshots.moving(past[0] if past else time.time()))
    for step in range(60):
        server._site.history.observe(snapshots.moving(now - 3600 + step * 60))
    past.clear()
    return port


@pytest.fixture
def visit(browser):
    """Open the page; every request to elsewhere, script error or message of the console fails the test.

    That jobs which are asked for are an error in this very test, the browser says itself.
    """
    faults, pages = [], []

    def go(port, width=1440, scheme="light", jobs=None, at=""):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        if jobs is not None:
            for path in ("jobs**", "access", "report**"):
                page.route(f"**/api/v1/{path}", jobs)
        failed = jobs.failed if jobs is not None else ()
        pages.append(page)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda message: message.location["url"] in failed or faults.append(f"{message.text} {message.location}"),
        )
        home = f"http://127.0.0.1:{port}/"
        page.on("request", lambda request: request.url.startswith(home) or faults.append(request.url))
        page.goto(home + at)
        page.wait_for_selector("#tiles .tile")
        return page

    yield go
    for page in pages:
        page.close()
    assert not faults
