"""Why a call is slow: where in the publication period it begins, and whether other calls wait meanwhile."""

from __future__ import annotations

import bisect
import threading
import time
from itertools import pairwise

from .card import INSTANT, Card
from .clock import now_ns
from .figures import spread

PAUSE_S, QUICK_PAUSE_S = 0.005, 0.0002


def back_to_back(call, seconds: float) -> list[tuple[int, int, int]]:
    """Make a call again and again: (begin ns, end ns, value)."""
    rows, end_ns = [], now_ns() + int(seconds * 1e9)
    while (begun := now_ns()) < end_ns:
        value = call()
        rows.append((begun, now_ns(), value))
    return rows


def by_phase(rows: list[tuple[int, int, int]], period_ms: int) -> dict:
    """How long calls take, ms, by how long after a new value was first seen they begin.

    Parameters
    ----------
    rows : list of (int, int, int)
        Begin and end, ns, and value.
    period_ms : int, ms
        Of publication: a tenth of it is one line of the table.
    """
    changes = [i for i in range(1, len(rows)) if rows[i][2] != rows[i - 1][2]]
    seen_ns = [rows[i][1] for i in changes]
    tenth_ns = period_ms * 100_000
    table: dict[int, list[float]] = {}
    for begin, end, _ in rows:
        place = bisect.bisect_right(seen_ns, begin)
        if place:
            table.setdefault((begin - seen_ns[place - 1]) // tenth_ns, []).append((end - begin) / 1e6)
    first = set(changes)
    return {
        "calls": spread([(b - a) / 1e6 for a, b, _ in rows]),
        "that_bring_a_new_value": spread([(b - a) / 1e6 for i, (a, b, _) in enumerate(rows) if i in first]),
        "others": spread([(b - a) / 1e6 for i, (a, b, _) in enumerate(rows) if i not in first]),
        "between_new_values_ms": spread([(b - a) / 1e6 for a, b in pairwise(seen_ns)]),
        "by_ms_after_a_new_value": {str(k * period_ms // 10): spread(v) for k, v in sorted(table.items())},
    }


def meanwhile(card: Card, slow, seconds: float) -> dict:
    """Whether quick calls of another thread take longer while a slow one is under way, us."""
    slow_rows: list[tuple[int, int]] = []
    done = threading.Event()

    def run() -> None:
        end_ns = now_ns() + int(seconds * 1e9)
        while (begun := now_ns()) < end_ns:
            slow()
            slow_rows.append((begun, now_ns()))
            time.sleep(PAUSE_S)
        done.set()

    quick = {"field 186": lambda: card.one(INSTANT), "nvmlDeviceGetUtilizationRates": card.utilisation}
    rows: list[tuple[str, int, int]] = []
    thread = threading.Thread(target=run)
    thread.start()
    while not done.is_set():
        for name, call in quick.items():
            begun = now_ns()
            call()
            rows.append((name, begun, now_ns()))
        time.sleep(QUICK_PAUSE_S)
    thread.join()
    found = {"slow_ms": spread([(b - a) / 1e6 for a, b in slow_rows])}
    for name in quick:
        during, beside = apart([(a, b) for n, a, b in rows if n == name], slow_rows)
        found[name] = {"during_us": spread(during), "beside_us": spread(beside)}
    return found


def apart(quick: list[tuple[int, int]], slow: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
    """Durations (us) of those that overlap a slow call, and of the others; both lists rise."""
    begins = [a for a, _ in slow]
    during, beside = [], []
    for a, b in quick:
        place = bisect.bisect_right(begins, b) - 1
        (during if place >= 0 and slow[place][1] > a else beside).append((b - a) / 1e3)
    return during, beside
