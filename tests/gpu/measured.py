"""What docs/measurements/h200 says, computed anew from the series that lie beside it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

from tests.gpu.kit import (
    launches,
    row_rule,
    s02_rows,
    s03_periods,
    s04_waves,
    s05_sharing,
    s08_answers,
    s09_decay,
    truths,
    waiting,
)
from tests.gpu.kit.lifecycles import Life
from tests.gpu.kit.schedule import Load

FOLDER = Path(__file__).parents[2] / "docs/measurements/h200"
WHOLE = lambda real, least=0.0: real


def step(number: int) -> dict:
    """One step's results."""
    steps = json.loads((FOLDER / "results.json").read_text())["steps"]
    return next(one for one in steps if one["step"].startswith(f"{number:02d}-"))


def lines(name: str) -> list[str]:
    """The lines of a kept file."""
    return gzip.decompress((FOLDER / "raw" / f"{name}.csv.gz").read_bytes()).decode().splitlines()


def series(name: str) -> list[tuple]:
    """A series of numbers, None where nothing was read."""
    rows = (line.split(",") for line in lines(name)[1:])
    return [tuple(None if value == "" else int(value) for value in row) for row in rows]


def load(name: str) -> Load:
    """A load's own log: what it said of itself, then its bursts."""
    about, *bursts = lines(name)
    log = [tuple(map(int, line.split(","))) for line in bursts]
    return Load("kit-" + name.rpartition("-")[2], [], about=json.loads(about), log=log)


def waits(state: str) -> dict:
    """How long a call for the counter takes, ms, by where in the publication period it begins."""
    return waiting.by_phase(series(f"01-check-back-to-back-{state}-83"), 100)


def polls() -> list[dict]:
    """Every answer of step 2."""
    found: dict[tuple[str, str], dict] = {}
    for line in lines("02-rows-rows")[1:]:
        hz, call, clock, wall, took, _, since, _, name, *numbers = line.split(",")
        made = {"hz": int(hz), "t_ns": int(call), "clock_ns": int(clock), "clocks": {"realtime": int(wall)}}
        poll = found.setdefault((hz, call), made | {"took_us": float(took), "since": int(since), "rows": []})
        if name:
            poll["rows"].append((name, *map(int, numbers)))
    return list(found.values())


def rows() -> dict[str, dict]:
    """What the rule makes of the rows, by scenario."""
    answers, loads = polls(), [load("02-rows-rows-kit-a"), load("02-rows-rows-kit-b")]
    _, offset_ns, _ = s02_rows.time_base(answers)
    at = row_rule.ticks([stamp * 1000 + offset_ns for poll in answers for _, stamp, *_ in poll["rows"]])
    taken = row_rule.samples(loads, at)
    _, spans = s02_rows.schedule(WHOLE)
    return {
        name[0]: s02_rows.judge(s02_rows.within(answers, taken, loads, span, offset_ns), loads)
        for name, span in spans.items()
    }


def publication() -> dict:
    """Periods, and the counter against the ring of samples, under a random load."""
    cached, counter, samples = (series(f"03-periods-{name}") for name in ("cached", "counter", "samples"))
    periods = s03_periods.periods(cached, {"average": 1, "instant": 2}) | s03_periods.periods(counter, {"counter": 1})
    integrated = s03_periods.integrated(counter, samples)
    return integrated | {"periods": periods, "instant_is_a_sample": s03_periods.shared(cached, samples)}


def waves() -> tuple[dict, list[dict], dict[str, float]]:
    """Levels, one line a wave, and what depends on the phase, in shares of the swing."""
    _, parts = s04_waves.plan(WHOLE)
    levels, table = s04_waves.compare(
        series("04-waves-series"), series("04-waves-samples"), load("04-waves-wave-kit-wave"), parts
    )
    return levels, table, s04_waves.over_phases(table)


def sharing() -> tuple[dict[str, dict], dict]:
    """Each load's bill beside both truths, and the sums behind them."""
    told = step(5)
    loads, seen, end_s = s05_sharing.schedule(WHOLE)
    for one in loads:
        kept = load(f"05-sharing-share-{one.name}")
        one.log, one.about = kept.log, kept.about
    own, busy, facts = s05_sharing.truths(loads, series("05-sharing-series"), seen, end_s)
    billed = s05_sharing.bills(told["replays"]["recording"])
    return s05_sharing.compare(billed, own, busy), facts | {"nobody_j": busy[truths.NOBODY]}


def effects() -> dict[str, dict[str, dict]]:
    """What watching does, by what was done and who watched: watts, or shares of the rate.

    Each allocation is kept; of the kernels' rates there is what the step made of half a million launches.
    """
    took: dict[int, list[int]] = {}
    for number, ns in series("06-observer-launches"):
        took.setdefault(number, []).append(ns)
    rates = {number: 1e9 * len(each) / sum(each) for number, each in took.items()}
    made = []
    for number, (line, facts) in enumerate(zip(lines("06-observer-stretches")[1:], step(6)["stretches"], strict=True)):
        _, doing, watched, _, _, watts, _ = line.split(",")
        rate = rates.get(number, facts.get("rate"))
        made.append(SimpleNamespace(doing=doing, watched=watched, watts=float(watts), rate=rate))
    return {
        doing: launches.against_neighbours([one for one in made if one.doing == doing], quantity)
        for doing in dict.fromkeys(one.doing for one in made)
        for quantity in ["watts" if doing == "nothing" else "rate"]
    }


def lists() -> list[dict[str, tuple[float, float]]]:
    """When the list named each life's process, ms: from its context's being open, and to its end.

    Only polls at which the list changed are kept: of its last naming there is a latest moment.
    """
    marks = marks_of("08-answers-lives")
    changes = [(t, one is not None) for t, one, _ in series("08-answers-lists")]
    found = []
    for own in marks:
        came = next(t for t, named in changes if named and t > own["asked"])
        left = next(t for t, named in changes if not named and t > came)
        found.append({"after it was open": (came - own["open"]) / 1e6, "after it was gone": (left - own["gone"]) / 1e6})
    return found


def marks_of(name: str) -> list[dict[str, int]]:
    """What happened when in each life, ns."""
    found: dict[str, dict[str, int]] = {}
    for line in lines(name)[1:]:
        life, mark, t = line.split(",")
        found.setdefault(life, {})[mark] = int(t)
    return list(found.values())


def memory() -> dict[str, dict]:
    """Memory power at rest, under matrix load, under copies."""
    kept = [line.split(",") for line in lines("08-answers-memory-power")[1:]]
    found = {}
    for doing in dict.fromkeys(row[0] for row in kept):
        own = [tuple(int(v) if v else None for v in row[1:]) for row in kept if row[0] == doing]
        found[doing] = s08_answers.memory_facts(own, 2.0)
    return found


def lives() -> list[dict]:
    """Six lives: starts, open contexts, tails."""
    seen = s09_decay.Seen(series("09-decay-samples"), series("09-decay-series"))
    marks = marks_of("09-decay-lives")
    ends = [own["asked"] for own in marks[1:]] + [seen.rows[-1][0]]
    rests = [(own["told to end"] - own["last kernel"]) / 1e9 for own in marks]
    made = [Life(0.0, 0.0, rest, own) for rest, own in zip(rests, marks, strict=True)]
    return [s09_decay.facts(life, end, seen) for life, end in zip(made, ends, strict=True)]
