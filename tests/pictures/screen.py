"""Photographs of pages and terminals with a real browser, and what makes their files small."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from tests.exporters.wire import peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser, Page

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--font-render-hinting=none"),
)
COLOURS = 256
TERMINAL = TerminalTheme(
    (23, 26, 31), (222, 226, 230),
    [(40, 44, 52), (240, 113, 120), (140, 200, 120), (240, 200, 110), (110, 170, 250), (200, 140, 240), (90, 200, 210),
     (222, 226, 230)],
    [(110, 118, 129), (255, 140, 140), (170, 220, 150), (255, 220, 140), (150, 195, 255), (220, 170, 255),
     (130, 225, 235), (255, 255, 255)],
)  # fmt: skip
"""Colours of the terminal in the pictures."""
ENDS_S = 120.0


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser that takes the pictures."""
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=peer("chromium"), args=list(FLAGS))
        yield running
        running.close()


def save(png: bytes, target: Path, colours: int = COLOURS) -> None:
    """Write a picture with a palette of its own: a screen has few colours."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    palette = image.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(target, "PNG", optimize=True)


def photograph(page: Page, target: Path, selector: str = "", most_px: int = 0) -> None:
    """Take the whole page, no more of it than its upper end, or one part of it."""
    page.evaluate("document.fonts.ready.then(() => document.activeElement.blur())")
    height, width = page.evaluate("document.documentElement.scrollHeight"), page.viewport_size["width"]
    clip = {"x": 0, "y": 0, "width": width, "height": min(most_px or height, height)}
    png = page.locator(selector).screenshot() if selector else page.screenshot(full_page=True, clip=clip)
    save(png, target)


@contextmanager
def started(
    command: Sequence[str], folder: Path, environ: Mapping[str, str], columns: int, lines: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command in a terminal of that size; gives the process and the terminal's other end."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, env=dict(environ), stdin=there, stdout=there, stderr=there, start_new_session=True
    )
    os.close(there)
    try:
        yield process, here
    finally:
        process.kill()
        process.wait()
        os.close(here)


def printed(command: Sequence[str], folder: Path, environ: Mapping[str, str], columns: int, lines: int) -> str:
    """Run a command in a terminal of that size; returns what a person sees of it, with its colours.

    Raises
    ------
    subprocess.CalledProcessError
        It failed; what it printed is with the error.
    """
    said = b""
    with started(command, folder, environ, columns, lines) as (process, here):
        with suppress(OSError):  # the other side is closed
            while chunk := os.read(here, 65536):
                said += chunk
        code = process.wait(ENDS_S)
    if code:
        raise subprocess.CalledProcessError(code, command, said.decode())
    return said.decode()


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Wait until something holds, but not for longer than that."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def terminal(browser: Browser, shown: Sequence[tuple[str, str]], columns: int, target: Path) -> None:
    """Draw a terminal in which commands were typed, with what they printed.

    Parameters
    ----------
    browser : Browser
    shown : sequence of (str, str)
        Each command, and what it printed.
    columns : int
    target : Path
    """
    console = Console(record=True, width=columns, file=io.StringIO(), color_system="truecolor", force_terminal=True)
    for place, (typed, text) in enumerate(shown):
        prompt = Text.assemble(("$ ", "bold green"), (typed, "bold"))
        console.print(prompt if not place else Text("\n") + prompt, no_wrap=True, crop=False, overflow="ignore")
        console.print(Text.from_ansi(_last(text)), overflow="fold")
    draw(browser, console.export_svg(title="", theme=TERMINAL, unique_id="t"), target)


def _last(text: str) -> str:
    """Drop what was overwritten or erased: lines of progress."""
    text = re.sub(r"\x1b\[\?25[hl]", "", text.replace("\r\n", "\n"))
    while (erased := re.sub(r"[^\n]*\n\r?\x1b\[1A\x1b\[2K", "", text, count=1)) != text:
        text = erased
    text = re.sub(r"[^\n]*\r(?=[^\n])", "", text)
    return re.sub(r"\x1b\[[\d;?]*[A-LN-Zac-ln-z]", "", text).rstrip("\n")


def draw(browser: Browser, svg: str, target: Path, width: int = 1000) -> None:
    """Draw an SVG as it looks with the fonts of this machine; none is asked for elsewhere."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;]*;", "font-family: 'DejaVu Sans Mono', monospace;", svg)
    page = browser.new_page(viewport={"width": width, "height": 800}, device_scale_factor=1.6)
    page.set_content(f"<style>body {{ margin: 0 }} svg {{ width: 100%; display: block }}</style>{svg}")
    page.locator("svg").first.wait_for()
    save(page.locator("svg").first.screenshot(), target)
    page.close()
