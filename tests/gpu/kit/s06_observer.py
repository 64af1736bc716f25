"""What watching costs: idle watts, kernels launched and memory allocated, unwatched and watched."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from . import agents
from .card import Card, PowerSamples
from .checking import decide
from .child import Child
from .clock import now_ns, wall_offset_ns
from .figures import mean_of_samples
from .launches import Stretch, against_neighbours, during_calls
from .loads import ORDER

PREDICTION = (
    "Kernels are launched from user space: launches during a call for the counter take as long as others, within 5 %, "
    "those of 1 ms as those of 10 us. Rates of launches tell less, as they drift by themselves: those of kernels of 1 "
    "ms differ by less than 2 %, those of 10 us by less than 25 %, whoever watches. Allocations go through the "
    "driver's lock: during a call for the counter one takes at least ten times as long, and the counter at 50 Hz "
    "costs 30 to 60 % of their rate, process utilisation 3 to 12 %; cached calls (power) cost neither. Idle watts "
    "rise by less than 0.15 W at 1 Hz and under the agent, and by less than 0.3 W at 50 Hz."
)
LAUNCHES = {"kernels of 1 ms": ("mid", 1_000_000), "kernels of 10 us": ("low", 10_000)}
IDLE = (("everything", 1), ("everything", 10), ("everything", 50), ("counter", 50), ("power", 50))
LOADED = (*((what, 50) for what in ("counter", "power", "rows")), *(("everything", hz) for hz in (1, 2, 10, 50)))
ALLOCATING = (("counter", 50), ("rows", 50), ("power", 50))
READY_S = 10.0  # it is measured as it is after that
RESTED_S = 3.0  # after whoever used the card before us
NOBODY = """gpus = 1
cycle_s = 3600
[[job]]
name = "later"
manager = "user"
start_s = 3500
end_s = 3501
load = [[1, 1, 1]]
"""  # a simulated card with nobody on it


@dataclass
class Bench:
    """The card, who watches it, and what was found."""

    kit: object
    card: Card
    samples: PowerSamples
    observer: Child
    stretches: list[Stretch]
    worker: Child | None = None

    def stretch(self, doing: str, watched: str, seconds: float) -> None:
        """Measure one stretch; ``watched``: ``WHAT HZ`` for the observer, or somebody else's name, or ``nobody``."""
        what, _, hz = watched.partition(" ")
        if observed := hz.endswith("Hz"):
            self.observer.tell("watch", what, hz.split()[0], seconds)
        begin, at, loops = now_ns(), [], 0
        if doing == "nothing":
            time.sleep(seconds)
        else:
            word = ("allocate",) if doing == "allocations" else ("run", *LAUNCHES[doing])
            answer = self.worker.ask(*word, seconds)
            at, loops = answer["at_ns"], answer.get("loops", 0)
        end = now_ns()
        calls = self.observer.hear()["calls"] if observed else []
        self.stretches.append(Stretch(doing, watched, begin, end, self.watts(begin, end), at, loops, calls))

    def watts(self, begin_ns: int, end_ns: int) -> float | None:
        """Mean power by the driver's own samples, which one cheap call reads after the stretch."""
        self.samples.read()
        seen = self.samples.on_clock(wall_offset_ns())
        power_mw = mean_of_samples(seen, begin_ns, min(end_ns, seen[-1][0])) if seen else None
        return None if power_mw is None else power_mw / 1e3

    def series(self, doing: str, conditions, seconds: float) -> None:
        """Unwatched, watched, unwatched, and so on: what drifts is in both."""
        self.stretch(doing, "nobody", seconds)
        for what, hz in conditions:
            if self.kit.left < 3 * seconds + 2:
                self.kit.error(doing, TimeoutError(f"left out from {what} {hz} Hz on"))
                return
            self.stretch(doing, f"{what} {hz} Hz", seconds if hz >= 10 else max(seconds, self.kit.seconds(1.0)))
            self.stretch(doing, "nobody", seconds)


def measure(kit) -> None:
    """Idle first, while no context is open; then under the agent; then alone with the observer."""
    card = Card(kit, NOBODY if kit.simulated else None)
    script = kit.tmp / "nobody.toml"
    script.write_text(NOBODY)
    observer = Child(kit, "observer", *(["--simulated", str(script)] if kit.simulated else []))
    bench = Bench(kit, card, PowerSamples(card), observer, [])
    seconds = kit.seconds(0.7, 0.12)
    time.sleep(kit.seconds(RESTED_S))
    bench.series("nothing", IDLE, seconds)
    under_agent(bench, 2 * seconds)
    for doing in LAUNCHES:
        bench.series(doing, LOADED, seconds)
    bench.series("allocations", ALLOCATING, kit.seconds(0.5, 0.12))
    bench.worker.end()
    observer.end()
    card.close()
    keep(kit, bench.stretches)
    judge(kit, bench.stretches)


def under_agent(bench: Bench, seconds: float) -> None:
    """The agent at its defaults: idle, and beside both loops; the worker's context opens while it watches."""
    kit = bench.kit
    agent = agents.Agent(kit, seconds=60.0, script=NOBODY if kit.simulated else None)
    try:
        if agent.ready(READY_S) is None:
            kit.error("agent", TimeoutError("not ready"))
        time.sleep(kit.seconds(1.0))
        bench.samples.read()
        bench.stretch("nothing", "agent", seconds)
        bench.worker = Child(kit, "worker")
        kit.put(worker=bench.worker.ask("open", "sleep" if kit.simulated else ORDER))
        for _ in range(2):
            for doing in LAUNCHES:
                bench.stretch(doing, "agent", seconds)
    finally:
        agent.process.terminate()
        agent.stop(6)


def longest(stretches: list[Stretch]) -> dict[str, dict[str, list[float]]]:
    """The longest launch of each stretch, by what was done and who watched, us."""
    found: dict[str, dict[str, list[float]]] = {}
    for s in stretches:
        if took := s.took_ns():
            found.setdefault(s.doing, {}).setdefault(s.watched, []).append(round(max(took) / 1e3, 1))
    return found


def keep(kit, stretches: list[Stretch]) -> None:
    """Every launch and every call."""
    numbered = list(enumerate(stretches))
    told = [(i, s.doing, s.watched, s.begin_ns, s.end_ns, s.watts, s.loops) for i, s in numbered]
    kit.keep_series("stretches.csv", "stretch,doing,watched,begin_ns,end_ns,watts,loops", told)
    # Half a million launches are kept as numbers, not as text.
    launches = {f"took_ns_{i}": np.array(s.took_ns(), np.uint32) for i, s in numbered if len(s.at_ns) > 1}
    np.savez_compressed(kit.raw / "launches.npz", **launches)
    calls = [(i, a - s.begin_ns, b - s.begin_ns) for i, s in numbered for a, b in s.calls]
    kit.keep_series("calls.csv", "stretch,begin_ns_in_it,end_ns_in_it", calls)


def judge(kit, stretches: list[Stretch]) -> None:
    """Effects with their errors, and the verdict."""
    effects = {"nothing": against_neighbours([s for s in stretches if s.doing == "nothing"], "watts")}
    for doing in (*LAUNCHES, "allocations"):
        effects[doing] = against_neighbours([s for s in stretches if s.doing == doing], "rate")
    inside = {f"{doing}: {watched}": facts for doing, watched, facts in during_calls(stretches)}
    kit.put(effects=effects, during_calls=inside, longest_us=longest(stretches))
    kit.put(stretches=[s.facts() for s in stretches])
    decide(kit, parts(effects, inside), in_short(effects))


def parts(effects: dict, inside: dict) -> dict[str, bool | None]:
    """The parts of the prediction."""
    checks = {
        f"{doing}: {watched}": within(found, most)
        for doing, most in (("kernels of 1 ms", 0.02), ("kernels of 10 us", 0.25))
        for watched, found in effects[doing].items()
    }
    for watched, most in (("everything 1 Hz", 0.15), ("agent", 0.15), ("everything 50 Hz", 0.3)):
        checks[f"idle watts: {watched}"] = within(effects["nothing"].get(watched), most)
    for watched, least, most in (("counter 50 Hz", 10, None), ("power 50 Hz", 0.9, 1.1)):
        found = inside.get(f"allocations: {watched}")
        checks[f"allocations during {watched}"] = found and found["ratio"] >= least and found["ratio"] <= (most or 1e9)
    for watched, least, most in (("counter 50 Hz", 0.3, 0.6), ("rows 50 Hz", 0.03, 0.12), ("power 50 Hz", -0.05, 0.05)):
        found = effects["allocations"].get(watched)
        checks[f"rate of allocations: {watched}"] = found and least <= -found["effect"] <= most
    for doing in LAUNCHES:
        found = inside.get(f"{doing}: counter 50 Hz")
        checks[f"{doing} during calls"] = found and 0.95 <= found["ratio"] <= 1.05
    return checks


def within(found: dict | None, most: float) -> bool | None:
    """Whether an effect is small, or is not; None where its error does not let one say."""
    if not found or found["error"] is None:
        return None
    if abs(found["effect"]) > max(most, 2 * found["error"]):
        return False
    return True if abs(found["effect"]) + found["error"] <= most else None


def in_short(effects: dict) -> str:
    """The few numbers that decide about rates."""
    told = []
    for doing, watched in (
        ("nothing", "everything 1 Hz"),
        ("nothing", "everything 50 Hz"),
        ("nothing", "agent"),
        ("kernels of 10 us", "counter 50 Hz"),
        ("kernels of 10 us", "agent"),
    ):
        if found := effects[doing].get(watched):
            unit = "W" if doing == "nothing" else "of the rate"
            told.append(f"{doing}, {watched}: {found['effect']:+.4g} +- {found['error'] or 0:.2g} {unit}")
    return "; ".join(told)
