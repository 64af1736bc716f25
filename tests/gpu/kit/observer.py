"""A process that reads the card at a steady rate when told to: ``watch WHAT HZ SECONDS``, answered with its calls."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from .card import Card
from .child import serve
from .clock import now_ns, sleep_until

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTER = [(83, 0)]
POWER = [(185, 0), (186, 0)]
EVERYTHING = [(number, 0) for number in (83, 185, 186, 74, 269, 270, 271)]


class Observer:
    """What is read, and when each reading began and ended."""

    def __init__(self, card: Card) -> None:
        self._card, self._since = card, 0
        self._read: dict[str, Callable[[], object]] = {
            "counter": lambda: card.fields(COUNTER),
            "power": lambda: card.fields(POWER),
            "rows": self._rows,
            "everything": self._everything,
        }

    def _rows(self) -> None:
        """Process utilisation newer than the rows before, as an agent asks for it."""
        _, rows = self._card.rows(self._since)
        self._since = max([self._since, *(row[1] for row in rows)])

    def _everything(self) -> None:
        """All that an agent reads in a window."""
        self._card.fields(EVERYTHING)
        self._card.utilisation()
        self._card.pids()
        self._rows()

    def watch(self, what: str, hz: str, seconds: str) -> dict:
        """Read for so long, first after a quarter of a period: (begin, end) of each reading, ns."""
        read, calls, period = self._read[what], [], int(1e9 / float(hz))
        at = now_ns() + period // 4
        end = now_ns() + int(float(seconds) * 1e9)
        while at < end:
            sleep_until(at)
            begun = now_ns()
            read()
            calls.append((begun, now_ns()))
            at = max(at + period, now_ns() - period)
        return {"calls": calls}


def main() -> None:
    """Open the card, the true one or the simulated one with a scenario in a file, and answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--simulated", default="", help="scenario of the simulated card")
    script = parser.parse_args().simulated
    with tempfile.TemporaryDirectory(prefix="gpukit-") as folder:
        surroundings = SimpleNamespace(simulated=bool(script), tmp=Path(folder))
        card = Card(surroundings, Path(script).read_text() if script else None)
        serve({"watch": Observer(card).watch})
        card.close()


if __name__ == "__main__":
    main()
