"""Jobs of unlike watts that share the card by turns: what each draws alone, what both draw, and what is learned."""

from __future__ import annotations

from . import agents
from .card import Card
from .clock import now_ns
from .figures import counter_watts, joules, rounded
from .loads import Load, Session, cgroups, part_ways, steady
from .s05_sharing import LEAD_S, Counter, bills, run

PREDICTION = (
    "Kernels that fill the card draw two to five times what kernels of one block do, though the driver calls both 100 "
    "% busy. Two processes that share the card take turns of equal length, so that both together draw the mean of what "
    "each draws alone, within 5 %: then activity times a job's own watts foretells a pair. By the common line the "
    "lighter one is billed at least 1.3 times its half of the turns at its own watts; by watts that were learned from "
    "the card's own recording, while each was alone and while both were there, within 25 %."
)
PAIR, LEARNED, COMMON = 0.05, 0.25, 1.3
HEAVY, LIGHT = "kit-f", "kit-g"


def schedule(s) -> tuple[list[Load], dict[str, tuple[float, float]], float]:
    """Loads, the stretches that are compared (s after t0), and the end: heavy alone, both, light alone, both again."""
    t = [s(3, 1.5)]
    for length in (s(11, 2.6), s(12, 2.2), s(11, 2.0)):
        t.append(t[-1] + length)
    loads = [
        Load(HEAVY, [steady(t[0], t[2], "full")], late=True),
        Load(LIGHT, [steady(t[1], t[3], "low")], late=True),
    ]
    seen = {
        "idle": (0.6, t[0] - 0.8),
        HEAVY: (t[0] + 0.8, t[1] - 0.8),
        "both": (t[1] + 0.8, t[2] - 0.3),
        LIGHT: (t[2] + 0.8, t[3] - 0.1),
    }
    return loads, seen, t[3]


def measure(kit) -> None:
    """Run the schedule under the agent, then replay its recording by either watts."""
    loads, seen, _ = schedule(kit.seconds)
    session = Session(kit, loads, "unlike")
    where = {} if kit.simulated else cgroups(session)
    moved = "simulated" if kit.simulated else part_ways(session)
    card = Card(kit, session.script(LEAD_S) if kit.simulated else None)
    counter = Counter(card)
    counter.start()
    begun_ns = now_ns()
    came = run(kit, session, card, counter)
    rows = [(t - session.t0_ns, *rest) for t, *rest in counter.rows]
    kit.keep_series("series.csv", "ns_after_t0,counter_mj,average_mw,instant_mw", rows)
    watts = {name: counter_watts(rows, a * 1e9, b * 1e9) for name, (a, b) in seen.items()}
    told = {how: agents.replay(kit, str(came["folder"]), "--watts", how) for how in ("common", "learned")}
    both_s = [second * 1e9 for second in seen["both"]]
    kit.put(
        cgroups={"where": where, "moved": moved},
        loads={x.name: x.about | {"segments": x.segments} for x in loads},
        watts={name: rounded(value) for name, value in watts.items()},
        both_j=rounded(joules(rows, *both_s), 1),
        replays=told,
        seconds_of_it=rounded((now_ns() - begun_ns) / 1e9, 1),
    )
    card.close()
    verdict(kit, watts, told, own_joules(seen, watts))


def own_joules(seen: dict, watts: dict) -> dict[str, float] | None:
    """What each load drew above idle by its own watts: all of the time alone, half of the time together (J)."""
    if any(watts[name] is None for name in seen):
        return None
    together_s = seen["both"][1] - seen["both"][0] + 1.1  # edges that are not compared
    alone_s = {name: seen[name][1] - seen[name][0] + 1.6 for name in (HEAVY, LIGHT)}
    return {name: (watts[name] - watts["idle"]) * (alone_s[name] + together_s / 2) for name in alone_s}


def verdict(kit, watts: dict, told: dict, own: dict[str, float] | None) -> None:
    """What was predicted, clause by clause."""
    ratio = dict.fromkeys(told)
    if own is not None:
        for how, answer in told.items():
            billed = bills(answer)
            if HEAVY in billed and LIGHT in billed and own[HEAVY] + own[LIGHT] > 0:
                idle_j = (answer.get("idle_j") or 0.0) + (answer.get("unattributed_j") or 0.0)
                kit.put(**{f"idle_of_{how}_j": rounded(idle_j, 1)})
                part = billed[LIGHT][0] / (billed[LIGHT][0] + billed[HEAVY][0])
                ratio[how] = part / (own[LIGHT] / (own[LIGHT] + own[HEAVY]))
    known = None not in watts.values()
    foretold = (watts[HEAVY] + watts[LIGHT]) / 2 if known else None
    clauses = {
        "unlike": 2 <= (watts[HEAVY] - watts["idle"]) / max(watts[LIGHT] - watts["idle"], 1.0) <= 5 if known else None,
        "the pair": abs(watts["both"] / foretold - 1) <= PAIR if known else None,
        "by the common line": None if ratio["common"] is None else ratio["common"] >= COMMON,
        "by learned watts": None if ratio["learned"] is None else abs(ratio["learned"] - 1) <= LEARNED,
    }
    kit.put(clauses=clauses, light_against_own={how: rounded(value, 3) for how, value in ratio.items()})
    broken = [name for name, holds in clauses.items() if holds is False]
    line = (
        f"heavy {rounded(watts[HEAVY])} W, light {rounded(watts[LIGHT])} W, both {rounded(watts['both'])} W, foretold "
        f"{rounded(foretold)} W; the light one's part against its own: common {rounded(ratio['common'], 2)}, learned "
        f"{rounded(ratio['learned'], 2)}; broken: {broken or 'none'}"
    )
    kit.verdict(None if kit.simulated else False if broken else None if None in clauses.values() else True, line)
