"""How often each reading is published, and what the energy counter integrates."""

from __future__ import annotations

import math
from itertools import pairwise

import pynvml

from .card import AVERAGE, ENERGY, INSTANT, Card, PowerSamples, poll
from .clock import now_ns, wall_offset_ns
from .figures import edges, mean_of_samples, rms, rounded, spread, steps
from .loads import Load, Session, square

PREDICTION = (
    "Fields 185, 186 and nvmlDeviceGetPowerUsage (which is 185) change every 100 ms, the counter every 100 ms within "
    "5 ms. The ring holds a sample every 20 ms and is a series of its own: fewer than a fifth of the values of field "
    "186 are in it, and the counter does not integrate it. Under a load of random lengths the ring's mean is within 5 "
    "% of the counter's, and the counter's steps follow the samples of the 100 ms before best, at a lag of -20 to 20 "
    "ms, to 5 to 20 % of the mean power."
)
RING_NS = 500_000_000  # the ring is read so often; it holds more than two seconds
FAST_HZ = 500
LAGS_MS = range(-100, 301, 10)
NEAR_NS = 400_000_000  # of the edges of a phase nothing is judged


def cached(card: Card) -> list:
    """Read what costs microseconds: fields 185 and 186 alone, and the old call."""
    return [card.one(AVERAGE), card.one(INSTANT), usage(card)]


def usage(card: Card) -> int | None:
    """nvmlDeviceGetPowerUsage, mW."""
    try:
        return pynvml.nvmlDeviceGetPowerUsage(card.handle)
    except pynvml.NVMLError:
        return None


class Beside:
    """Reads the ring now and then, beside a faster series."""

    def __init__(self, ring: PowerSamples) -> None:
        self._ring, self._next_ns = ring, 0

    def __call__(self, row) -> None:
        """Read the ring if it is time."""
        if row[0] >= self._next_ns:
            self._ring.read()
            self._next_ns = row[0] + RING_NS


def periods(rows, columns: dict[str, int]) -> dict:
    """Times between changes, ms, of each column."""
    found = {}
    for name, column in columns.items():
        at = edges(rows, column)
        found[name] = spread([(b - a) / 1e6 for a, b in pairwise(at)]) | {"changes": len(at)}
        found[name]["none"] = sum(row[column] is None for row in rows)
    return found


def near(samples, at: int, value, within_ns: int) -> bool:
    """Whether a value is that of a sample taken not long before."""
    return any(v == value for t, v in samples if at - within_ns <= t <= at)


def integrated(rows, samples) -> dict:
    """The counter against the samples: over the whole phase, and step by step at several lags.

    Parts of a step are unlike under this load, so the lag at which the samples' means fit the counter's steps best says
    which samples a step is made of.
    """
    moves = [(t, c) for t, c in steps(rows) if rows[0][0] + NEAR_NS < t < rows[-1][0] - NEAR_NS]
    if len(moves) < 10 or len(samples) < 10:
        return {"steps": len(moves), "samples": len(samples)}
    (t1, c1), (t2, c2) = moves[0], moves[-1]
    counter_mw = (c2 - c1) / ((t2 - t1) / 1e9)
    sampled_mw = mean_of_samples(samples, t1, t2)
    errors: dict[int, list[float]] = {}
    for lag_ms in LAGS_MS:
        shift = lag_ms * 1_000_000
        for (a, ca), (b, cb) in pairwise(moves):
            mean = mean_of_samples(samples, a - shift, b - shift)
            if mean is not None and 50e6 < b - a < 150e6:
                errors.setdefault(lag_ms, []).append((cb - ca) / ((b - a) / 1e9) - mean)
    table = {lag: rms(values) / counter_mw for lag, values in errors.items()}
    best = min(table, key=table.get) if table else None
    return {
        "steps": len(moves),
        "samples": len(samples),
        "counter_mw": rounded(counter_mw, 1),
        "sampled_mw": rounded(sampled_mw, 1),
        "samples_against_counter": rounded(sampled_mw / counter_mw, 5) if sampled_mw else None,
        "best_lag_ms": best,
        "rms_of_mean_at_best_lag": rounded(table[best], 4) if table else None,
        "rms_of_mean_by_lag_ms": {str(lag): rounded(value, 4) for lag, value in table.items()},
    }


def measure(kit) -> None:
    """First what is cached, at 500 Hz; then the counter alone, back to back; the ring beside both."""
    first, second = kit.seconds(4, 2.2), kit.seconds(6, 3)
    noise = square(0, first + second + 1, "full", 0.06, 0.03, seed=7)
    session = Session(kit, [Load("kit-noise", [noise])], "noise")
    card = Card(kit, session.script())
    ring = PowerSamples(card)
    t0_ns = session.go(card.t0_ns if kit.simulated else 0)
    beside = Beside(ring)
    fast = poll(card, FAST_HZ, t0_ns + int(first * 1e9), lambda: cached(card), beside)
    offset_ns = wall_offset_ns()
    # The simulated counter costs nothing: read at a rate that a real one is read at.
    hz = 250 if kit.simulated else 0
    slow = poll(card, hz, now_ns() + int(second * 1e9), lambda: [card.one(ENERGY)], beside)
    ring.read()
    session.finish()
    card.close()
    samples = ring.on_clock(offset_ns)
    kit.keep_series(
        "cached.csv", "ns_after_t0,field185_mw,field186_mw,usage_mw", [(r[0] - t0_ns, *r[1:]) for r in fast]
    )
    kit.keep_series("counter.csv", "ns_after_t0,field83_mj", [(r[0] - t0_ns, r[1]) for r in slow])
    kit.keep_series("samples.csv", "ns_after_t0,power_mw", [(t - t0_ns, v) for t, v in samples])
    found = periods(fast, {"field 185": 1, "field 186": 2, "nvmlDeviceGetPowerUsage": 3}) | periods(
        slow, {"field 83": 1}
    )
    jumps = [b - a for (_, a), (_, b) in pairwise(steps(slow))]
    told = integrated(slow, samples)
    told["instant_is_a_sample"] = shared(fast, samples)
    kit.put(
        periods_ms=found,
        polling_ms={"cached": pace(fast), "counter": pace(slow)},
        counter_unit_mj=math.gcd(*jumps) if jumps else None,
        counter_jumps_mj=spread([float(j) for j in jumps]),
        power_usage_is_185=same(fast, 1, 3),
        sample_spacing_ms=spread([(b - a) / 1e6 for (a, _), (b, _) in pairwise(samples)]),
        ring_refusals=ring.codes,
        counter_integrates=told,
        load=session.loads[0].about,
    )
    p = {name: facts.get("p50") for name, facts in found.items()}
    fit, gap = told.get("rms_of_mean_at_best_lag"), told.get("samples_against_counter")
    ok = None if None in p.values() or fit is None or gap is None else judged(p, told)
    medians = ", ".join(f"{name} {rounded(value, 1)}" for name, value in p.items())
    told_fit = f"steps fit to {fit} of the mean at a lag of {told.get('best_lag_ms')} ms"
    kit.verdict(ok, f"median periods, ms: {medians}; samples against counter {gap}, {told_fit}")


def shared(rows, samples) -> float:
    """Share of the values of field 186 that were in the ring not long before."""
    changes = [r for a, r in pairwise(rows) if r[2] != a[2] and r[2] is not None]
    return rounded(sum(near(samples, r[0], r[2], 250_000_000) for r in changes) / max(1, len(changes)), 3)


def judged(periods_ms: dict[str, float], told: dict) -> bool:
    """Whether it came out as predicted."""
    return (
        all(90 <= p <= 110 for p in periods_ms.values())
        and told["instant_is_a_sample"] < 0.2
        and 0.05 <= told["rms_of_mean_at_best_lag"] <= 0.2
        and abs(told["best_lag_ms"]) <= 20
        and abs(told["samples_against_counter"] - 1) <= 0.05
    )


def pace(rows) -> dict:
    """Milliseconds from reading to reading."""
    return spread([(b[0] - a[0]) / 1e6 for a, b in pairwise(rows)])


def same(rows, one: int, other: int) -> float:
    """Share of rows in which two columns are equal."""
    return round(sum(row[one] == row[other] for row in rows) / max(1, len(rows)), 3)
