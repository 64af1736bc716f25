"""A process that loads the card on a known schedule and writes down every burst: ``python -m kit.load_maker``.

Spoken to over its standard streams: it says ``ready {...}``, is told ``go T0_NS``, and exits after its last burst.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import signal
import sys
from pathlib import Path

from .clock import now_ns, sleep_until
from .makers import make
from .schedule import drawn

SPIN_NS = 300_000  # waited for busily before a burst: a sleep is late by up to 100 us
LAST_NS = 200_000  # what is left of a stretch is no burst of its own
LONGEST_S = 300  # no load outlives that, whatever happens to who started it
PR_SET_PDEATHSIG = 1


def bursts(maker, segment: dict, t0_ns: int, log: list) -> None:
    """Do one segment; log (begin ns, end ns, loops so far)."""
    begin, end = t0_ns + int(segment["from"] * 1e9), t0_ns + int(segment["to"] * 1e9)
    kind, period, on = segment["kind"], int(segment["period"] * 1e9), int(segment["on"] * 1e9)
    sleep_until(begin, SPIN_NS)
    if kind == "none":
        sleep_until(end)
    elif segment.get("seed"):
        at = begin
        for long_s, rest_s in drawn(segment):
            if at >= end:
                break
            burst(maker, kind, at, min(int(long_s * 1e9), end - at), log)
            at = max(at + int((long_s + rest_s) * 1e9), now_ns())
    elif on >= period:
        while (left := end - now_ns()) > LAST_NS:
            burst(maker, kind, 0, min(period, left), log)
    else:
        for i, at in enumerate(range(begin, end, period)):
            if i == 0 or now_ns() <= at + period // 2:  # later than that it is left out rather than blur the phase
                burst(maker, kind, at, on, log)


def burst(maker, kind: str, at: int, on: int, log: list) -> None:
    """Do one burst and write it down."""
    sleep_until(at, SPIN_NS)
    begun = now_ns()
    maker.start(kind, on)
    maker.wait()
    log.append((begun, now_ns(), maker.loops))


def write(file: Path, about: dict, log: list, t0_ns: int) -> None:
    """One line about the maker, then a line a burst: begin and end, ns after t0, and loops so far."""
    lines = [json.dumps(about), *(f"{a - t0_ns},{b - t0_ns},{loops}" for a, b, loops in log)]
    file.write_text("\n".join(lines) + "\n")


def main() -> None:
    """Open the card, wait for the word, do the schedule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--order", required=True, help="makers to be tried")
    parser.add_argument("--late", type=float, default=-1.0, help="touch the card only this long after t0")
    parser.add_argument("--segments", type=json.loads, required=True)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.alarm(LONGEST_S)
    order, late = options.order.split(","), options.late >= 0
    maker, about = (None, {"maker": "later"}) if late else make(order)
    print("ready", json.dumps(about), flush=True)
    word = sys.stdin.readline().split()
    if word[:1] != ["go"]:
        return
    t0_ns, log, base = int(word[1]), [], 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        if late:
            sleep_until(t0_ns + int(options.late * 1e9))
            opened = now_ns()
            maker, about = make(order, ("low",))
            about |= {"opened_s": (opened - t0_ns) / 1e9, "open_until_s": (now_ns() - t0_ns) / 1e9}
        base = maker.loops
        for segment in options.segments:
            bursts(maker, segment, t0_ns, log)
    finally:
        about["done_s"] = (now_ns() - t0_ns) / 1e9
        write(options.log, about, [(a, b, loops - base) for a, b, loops in log], t0_ns)


if __name__ == "__main__":
    main()
