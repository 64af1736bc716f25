"""What a process costs around its work: opening its context, and the time after it in which the card does not rest."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

import pynvml

from .card import AVERAGE, ENERGY, INSTANT, Card, PowerSamples, poll
from .checking import decide
from .clock import now_ns, wall_offset_ns
from .figures import joules, mean_of_samples, rounded
from .lifecycles import Life, in_turn, keep_marks, lives_script

PREDICTION = (
    "From a process's start to its first kernel 0.3 to 1.2 s and 3 to 15 J above idle, nearly all of it after its "
    "context began to open. 0.15 s after the last kernel power is at the level of an open context, 118 to 130 W, and "
    "the SM clock stays up. After the process is gone power stays 45 to 52 W above idle for 0.9 to 3.1 s (40 to 150 "
    "J), differently from time to time, then falls within 0.3 s, and the clock with it; on average so after a job of "
    "0.5 s as after one of 3 s, within 40 %. Over whole lives the driver's own samples integrate to the counter "
    "within 1 %."
)
LEADING_S, WATCH_S = 3.0, 3.4  # a rest before the first, and after each
REST_S = (0.3, 3.0)
NEAR_W = 5.0  # so far above idle is idle


@dataclass(frozen=True)
class Seen:
    """All that was read over the lives, on the kit's clock.

    Attributes
    ----------
    samples : list of (int, int)
        The driver's own: ns, mW.
    rows : list of tuple
        ns, counter mJ (or None), average mW, instant mW, SM clock MHz.
    """

    samples: list[tuple[int, int]]
    rows: list[tuple]

    def watts(self, begin_ns: float, end_ns: float) -> float | None:
        """Mean power by the samples."""
        power_mw = mean_of_samples(self.samples, begin_ns, end_ns)
        return None if power_mw is None else power_mw / 1e3

    def joules(self, begin_ns: float, end_ns: float, above_w: float = 0.0) -> float | None:
        """Energy above a power, by the samples."""
        power_w = self.watts(begin_ns, end_ns)
        return None if power_w is None else (power_w - above_w) * (end_ns - begin_ns) / 1e9

    def between(self, begin_ns: float, end_ns: float) -> list[tuple[int, float]]:
        """Samples of a stretch: ns, W."""
        return [(t, power / 1e3) for t, power in self.samples if begin_ns < t <= end_ns]

    def clock(self, begin_ns: float, end_ns: float) -> list[tuple[int, int]]:
        """SM clock over a stretch: ns, MHz."""
        return [(row[0], row[4]) for row in self.rows if begin_ns < row[0] <= end_ns and row[4] is not None]


def schedule(kit) -> list[Life]:
    """Short and long in turn; the last rests long with its context open."""
    lives, at = [], kit.seconds(LEADING_S, 0.6)
    for i in range(6):
        life = Life(at, kit.seconds((0.5, 3.0)[i % 2], 0.2), kit.seconds(REST_S[i == 5], (0.2, 0.5)[i == 5]))
        lives.append(life)
        at += 0.7 + life.compute_s + life.rest_s + kit.seconds(WATCH_S, 0.5)
    return lives


def sm_clock(card: Card) -> int | None:
    """SM clock, MHz."""
    try:
        return pynvml.nvmlDeviceGetClockInfo(card.handle, pynvml.NVML_CLOCK_SM)
    except pynvml.NVMLError:
        return None


def watch(kit, card: Card, lives: list[Life]) -> tuple[int, Seen]:
    """Live them, and read meanwhile: cached values at 50 Hz, the dear counter at 10 Hz, the ring twice a second."""
    ring, turn = PowerSamples(card), 0

    def read() -> tuple:
        nonlocal turn
        if turn % 25 == 0:
            ring.read()
        counter = card.one(ENERGY) if turn % 5 == 0 else None
        turn += 1
        return counter, *card.values(AVERAGE, INSTANT), sm_clock(card)

    t0_ns = card.t0_ns if kit.simulated else now_ns()
    thread = in_turn(kit, t0_ns, lives)
    last = lives[-1]
    until_s = last.begin_s + 0.7 + last.compute_s + last.rest_s + kit.seconds(WATCH_S, 0.5)
    rows = poll(card, 50, t0_ns + int(until_s * 1e9), read)
    thread.join()
    ring.read()
    return t0_ns, Seen(ring.on_clock(wall_offset_ns()), rows)


def measure(kit) -> None:
    """Six lives, watched."""
    lives = schedule(kit)
    card = Card(kit, lives_script(lives))
    t0_ns, seen = watch(kit, card, lives)
    card.close()
    kit.keep_series("samples.csv", "ns_after_t0,power_mw", [(t - t0_ns, power) for t, power in seen.samples])
    header = "ns_after_t0,counter_mj,average_mw,instant_mw,sm_clock_mhz"
    kit.keep_series("series.csv", header, [(t - t0_ns, *rest) for t, *rest in seen.rows])
    keep_marks(kit, t0_ns, lives)
    ends = [life.marks["asked"] for life in lives[1:] if "asked" in life.marks] + [seen.rows[-1][0]]
    each = [facts(life, end_ns, seen) for life, end_ns in zip(lives, ends, strict=False) if life.over]
    kit.put(lives=each, samples_seen=len(seen.samples))
    judge(kit, each)


def facts(life: Life, end_ns: int, seen: Seen) -> dict:
    """One life, from its start to the next one's: seconds, watts and joules."""
    marks = life.marks
    idle_w = seen.watts(marks["asked"] - 0.5e9, marks["asked"])
    compute_s = (marks["last kernel"] - marks["first kernel"]) / 1e9
    told = {"compute_s": round(compute_s, 2), "rest_s": round(life.rest_s, 2)}
    if idle_w is None:
        return told
    open_w = seen.watts(marks["told to end"] - 0.6 * life.rest_s * 1e9, marks["told to end"])
    load_w = seen.watts(marks["last kernel"] - 0.25e9, marks["last kernel"])
    told |= {"idle_w": idle_w, "load_w": load_w, "context_open_w": open_w}
    told |= opening(marks, idle_w, seen)
    if open_w is not None and load_w is not None:
        edge_w = open_w + 0.05 * (load_w - open_w)
        after = seen.between(marks["last kernel"], marks["told to end"])
        down = (t for t, power in after if power <= edge_w)
        told["down_after_last_kernel_s"] = next(((t - marks["last kernel"]) / 1e9 for t in down), None)
    told |= tail(marks, end_ns, idle_w, seen)
    begin, end = marks["asked"], end_ns - 0.3e9
    by_counter, by_samples = joules(seen.rows, begin, end), seen.joules(begin, end)
    if by_counter and by_samples:
        told["samples_against_counter"] = by_samples / by_counter
    return {name: rounded(value, 4 if name.startswith("samples") else 3) for name, value in told.items()}


def opening(marks: dict[str, int], idle_w: float, seen: Seen) -> dict:
    """From the start to the first kernel."""
    begin, ready = marks["asked"], marks["first kernel"]
    risen = next((t for t, power in seen.between(begin, ready) if power > idle_w + 2 * NEAR_W), None)
    return {
        "start_to_kernel_s": (ready - begin) / 1e9,
        "opening_s": (marks["open"] - marks["opening"]) / 1e9,
        "start_to_kernel_j": seen.joules(begin, ready, idle_w),
        "opening_j": seen.joules(marks["opening"], ready, idle_w),
        "power_rose_after_opening_began_s": None if risen is None else (risen - marks["opening"]) / 1e9,
    }


def tail(marks: dict[str, int], end_ns: int, idle_w: float, seen: Seen) -> dict:
    """From the process's end until the card rests."""
    gone = marks["gone"]
    above = [t for t, power in seen.between(gone, end_ns) if power > idle_w + NEAR_W]
    rested = above[-1] if above else gone
    clocks, low = seen.clock(gone, end_ns), seen.clock(marks["asked"] - 0.5e9, marks["asked"])
    rest_mhz = min((mhz for _, mhz in low), default=None)
    still = [t for t, mhz in clocks if rest_mhz is not None and mhz > rest_mhz + 50]
    plateau = seen.watts(gone + 0.1 * (rested - gone), gone + 0.8 * (rested - gone)) if rested > gone else None
    return {
        "ending_s": (gone - marks["told to end"]) / 1e9,
        "tail_s": (rested - gone) / 1e9,
        "tail_j": seen.joules(gone, min(rested + 0.2e9, end_ns), idle_w),
        "tail_above_idle_w": None if plateau is None else plateau - idle_w,
        "clock_open_mhz": max((mhz for _, mhz in seen.clock(marks["last kernel"], gone)), default=None),
        "clock_idle_mhz": rest_mhz,
        "clock_up_after_gone_s": ((still[-1] if still else gone) - gone) / 1e9,
        "rested_when_watched_on_s": (end_ns - rested) / 1e9,
    }


def mean_of(each: list[dict], name: str, *, short: bool) -> float | None:
    """Mean of a fact over the short or the long lives."""
    middle_s = fmean([told["compute_s"] for told in each])
    values = [told[name] for told in each if told.get(name) is not None and (told["compute_s"] < middle_s) == short]
    return fmean(values) if values else None


def judge(kit, each: list[dict]) -> None:
    """The parts of the prediction, over all lives."""

    def all_within(name: str, low: float, high: float) -> bool | None:
        values = [told[name] for told in each if told.get(name) is not None]
        return all(low <= value <= high for value in values) if values else None

    checks = {
        "start": all_within("start_to_kernel_s", 0.3, 1.2),
        "joules of the start": all_within("start_to_kernel_j", 3, 15),
        "context open": all_within("context_open_w", 118, 130),
        "down after the last kernel": all_within("down_after_last_kernel_s", 0, 0.15),
        "tail": all_within("tail_s", 0.9, 3.1),
        "joules of the tail": all_within("tail_j", 40, 150),
        "watts of the tail": all_within("tail_above_idle_w", 45, 52),
        "clock": all_within("clock_up_after_gone_s", 0.9, 3.1),
        "samples against counter": all_within("samples_against_counter", 0.99, 1.01),
    }
    short, long = (mean_of(each, "tail_j", short=s) for s in (True, False))
    checks["short as long"] = None if not short or not long else abs(short / long - 1) <= 0.4
    kit.put(tail_j={"after 0.5 s": rounded(short), "after 3 s": rounded(long)})
    columns = ("start_to_kernel_s", "start_to_kernel_j", "context_open_w", "tail_s", "tail_j")
    values = {name: [one[name] for one in each if one.get(name) is not None] for name in columns}
    means = ", ".join(f"{name} {rounded(fmean(found))}" for name, found in values.items() if found)
    decide(kit, checks, f"means over {len(each)} lives: {means}")
