"""Counter and power readings against square waves of known duty: do they see all of the time?"""

from __future__ import annotations

from .card import AVERAGE, ENERGY, INSTANT, Card, PowerSamples, poll
from .clock import wall_offset_ns
from .figures import counter_watts, mean_of_samples, rounded, spread
from .loads import Load, Session, square, steady
from .s03_periods import Beside

PREDICTION = (
    "In shares of the swing, by how much readings depend on the phase of a wave: the counter by under 5 % at 33, 100 "
    "and 333 ms, but by 5 to 20 % at 20 ms, with which its own sampling keeps step. Instant power by over 30 % at 100 "
    "ms. Average power by 3 to 10 % at 100 ms, 15 to 40 % at 20 ms, under 3 % at 33 and 333 ms. The ring's mean by 5 "
    "to 15 % at 100 ms, and everywhere within 10 % of the counter. At 97 ms, which is locked to nothing, counter, "
    "average and ring agree to 3 %; so few readings of instant power do not."
)
GAP_S = 0.4  # between waves
SETTLE_S = 0.3  # of a wave that is left out at its beginning
AVERAGED_S = 1.0  # what the average is the mean of
HZ = 100
# By how much readings depend on the phase, in shares of the swing: least and most.
EXPECTED = {
    **dict.fromkeys(("counter 33 ms", "counter 100 ms", "counter 333 ms"), (0, 0.05)),
    "counter 20 ms": (0.05, 0.2),
    "instant 100 ms": (0.3, 1),
    "average 100 ms": (0.03, 0.1),
    "average 20 ms": (0.15, 0.4),
    **dict.fromkeys(("average 33 ms", "average 333 ms"), (0, 0.03)),
    "samples 100 ms": (0.05, 0.15),
}
AGREE, FREE, FREE_MS = 0.1, 0.03, 97


def plan(s) -> tuple[list[dict], list[tuple[float, float, float, float]]]:
    """Segments of one process, and what each is for: (period, phase, from, to), s; ``s`` makes lengths of lengths.

    The first two parts are the levels: always on (period 0) and always off (-1).
    """
    hold = s(2.2, 1.6)
    segments = [steady(0, hold, "mid")]
    parts = [(0.0, 0.0, 0.6, hold), (-1.0, 0.0, hold + 0.5, hold + s(2.0, 1.6))]
    at = hold + s(2.0, 1.6)
    for period, phases, length in (
        (0.1, (0, 0.025, 0.05, 0.075), s(2.2, 1.5)),
        (0.02, (0, 0.01), s(1.6, 1.0)),
        (0.033, (0, 0.011), s(1.6, 1.0)),
        (0.097, (0,), s(3.0, 1.5)),
        (0.333, (0, 0.166), s(2.4, 1.4)),
        (2.0, (0,), s(6, 4.0)),
    ):
        for phase in phases:
            # Whole multiples of 100 ms before each phase: it is against the sensor, not against the wave before.
            begin = -(-at // 0.1) * 0.1 + phase
            end = begin + max(length // period * period, period)
            segments.append(square(begin, end, "mid", period, period / 2))
            parts.append((period, phase, begin, end))
            at = end + GAP_S
    return segments, parts


def means(rows, samples, begin: float, end: float) -> dict:
    """Mean powers of a stretch (s after t0), W, by every way to read it."""
    a, b = begin * 1e9, end * 1e9
    inside = [r for r in rows if a <= r[0] <= b]
    late = [r[2] / 1e3 for r in inside if r[2] is not None and r[0] >= a + AVERAGED_S * 1e9]
    instant = [r[3] / 1e3 for r in inside if r[3] is not None]
    sampled = mean_of_samples(samples, a, b)
    return {
        "counter": counter_watts(rows, a, b),
        "samples": None if sampled is None else sampled / 1e3,
        "average": sum(late) / len(late) if len(late) > HZ / 20 else None,
        "instant": sum(instant) / len(instant) if instant else None,
    }


def share(value: float | None, on: float | None, off: float | None) -> float | None:
    """Where a power lies between off (0) and on (1)."""
    return None if value is None or on is None or off is None or on == off else round((value - off) / (on - off), 4)


def compare(rows, samples, load: Load, parts) -> tuple[dict, list[dict]]:
    """The levels, and one line a wave: its duty and what each reading makes of it, as shares of the swing."""
    on, off = (means(rows, samples, a, b)["counter"] for _, _, a, b in parts[:2])
    table = []
    for period, phase, begin, end in parts[2:]:
        a = begin + (0 if period >= 1 else min(SETTLE_S, (end - begin) / 4))
        watts = means(rows, samples, a, end)
        table.append({
            "period_ms": round(period * 1e3, 1),
            "phase_ms": round(phase * 1e3, 1),
            "duty": rounded(load.busy(int(a * 1e9), int(end * 1e9)), 4),
            "watts": {name: rounded(value) for name, value in watts.items()},
            **{f"{name}_share": share(value, on, off) for name, value in watts.items()},
            "instant_w": spread([r[3] / 1e3 for r in rows if a * 1e9 <= r[0] <= end * 1e9 and r[3] is not None]),
        })  # fmt: skip
    return {"on_w": rounded(on), "off_w": rounded(off)}, table


def over_phases(table: list[dict]) -> dict[str, float]:
    """Greatest less least share over the phases of one period, by reading."""
    found = {}
    for name in ("counter", "samples", "average", "instant"):
        for period in sorted({r["period_ms"] for r in table}):
            values = [r[f"{name}_share"] for r in table if r["period_ms"] == period and r[f"{name}_share"] is not None]
            if len(values) > 1:
                found[f"{name} {period:g} ms"] = round(max(values) - min(values), 3)
    return found


def measure(kit) -> None:
    """Swing, with everything read beside."""
    segments, parts = plan(kit.seconds)
    session = Session(kit, [Load("kit-wave", segments)], "wave")
    card = Card(kit, session.script())
    ring = PowerSamples(card)
    t0_ns = session.go(card.t0_ns if kit.simulated else 0)
    until_ns = t0_ns + int((session.until + 0.3) * 1e9)
    rows = poll(card, HZ, until_ns, lambda: card.values(ENERGY, AVERAGE, INSTANT), Beside(ring))
    ring.read()
    offset_ns = wall_offset_ns()
    session.finish()
    card.close()
    rows = [(t - t0_ns, *rest) for t, *rest in rows]
    samples = [(t - t0_ns, v) for t, v in ring.on_clock(offset_ns)]
    kit.keep_series("series.csv", "ns_after_t0,counter_mj,average_mw,instant_mw", rows)
    kit.keep_series("samples.csv", "ns_after_t0,power_mw", samples)
    levels, table = compare(rows, samples, session.loads[0], parts)
    phases = over_phases(table)
    both = [(r["counter_share"], r["samples_share"]) for r in table]
    gaps = [abs(c - s) for c, s in both if c is not None and s is not None]
    kit.put(
        levels=levels,
        waves=table,
        spread_over_phases=phases,
        samples_from_counter=spread(gaps),
        ring_refusals=ring.codes,
        load=session.loads[0].about,
    )
    kit.verdict(*judged(phases, gaps, table))


def judged(phases: dict[str, float], gaps: list[float], table: list[dict]) -> tuple[bool | None, str]:
    """Whether it came out as predicted, and the line that says so."""
    free = [
        row[f"{name}_share"]
        for row in table
        for name in ("counter", "average", "samples")
        if row["period_ms"] == FREE_MS
    ]
    counter, instant = phases.get("counter 100 ms"), phases.get("instant 100 ms")
    fast = phases.get("counter 20 ms")
    ok = None
    if set(EXPECTED) <= set(phases) and gaps and free and None not in free:
        spread_so = all(least <= phases[name] <= most for name, (least, most) in EXPECTED.items())
        ok = spread_so and max(gaps) <= AGREE and max(free) - min(free) <= FREE
    most = rounded(max(gaps), 4) if gaps else None
    return ok, (
        f"in shares of the swing: spread over phases at 100 ms: counter {counter}, instant {instant}, average "
        f"{phases.get('average 100 ms')}; at 20 ms: counter {fast}; samples from counter at most {most}"
    )
