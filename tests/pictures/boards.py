"""The Grafana boards, drawn from a Prometheus that has scraped two simulated nodes and a fleet for an hour."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.pictures import screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.pictures.node import Node


COLOURS = 80  # the panels of a board use few, and it is large


@contextmanager
def filled() -> Iterator[str]:
    """Fill it, in a process of its own, as the driver's binding is one for each; gives its address and its time."""
    command = [sys.executable, "-m", "tests.boards.filled"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True, env={**os.environ, "TMPDIR": folder}
        ) as process,
    ):
        try:
            yield process.stdout.readline().strip()
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # the Prometheus too


def board(node: Node, _: Browser, target: Path, *, of: str) -> None:
    """Draw one board of deploy/grafana."""
    url, *time = node.kept(filled).split()
    command = [sys.executable, "-m", "tests.boards.render", f"deploy/grafana/{of}", url, str(target), *time]
    subprocess.run(command, check=True)
    screen.save(target.read_bytes(), target, COLOURS)
