"""What the driver answers: every field, every call with its price, why calls wait, and ten seconds of the agent."""

from __future__ import annotations

import json
import re
import time

from . import agents
from .card import ENERGY, Card
from .clock import now_ns
from .loads import Load, Session, steady
from .prices import prices, sweep
from .waiting import back_to_back, by_phase, meanwhile

PREDICTION = (
    "check: energy, average, instant, limits, samples, utilisation, processes, process utilisation and gpm work; so "
    "does the memory's average power, while module scope does not. What is cached costs 1 to 60 us, process "
    "utilisation 1.4 ms, the counter 2 to 4 ms; in a call that begins within 10 ms of its publication 10 to 15 ms in "
    "the mean and up to 20, just after one of the driver's 20 ms samples 5 to 7. No quick call waits for a slow one: "
    "field 186 takes under 50 us meanwhile. Loaded nothing is dearer than twice idle. The agent is ready within 5 s "
    "and adds up to the last digit, without a fault; it reads the counter at its configured rate, not less."
)
ABLE = ("energy", "average", "instant", "limits", "samples", "utilisation", "processes", "gpm", "process_utilisation")
NEEDED = ("83", "185", "186", "190", "74")
QUICK_US = 50.0  # the 90th percentile of a cached call while a slow one is under way
SLOW = re.compile(r"fields \[.*\b83\b|TotalEnergy|ProcessUtilization")
CALLS_OF_AGENT = re.compile(r'"(nvml(?:Device|Gpm|System|EventSet)\w+)"')
AGENT_S = 10.0


def check(kit) -> list[str]:
    """``wattshed check``; returns what it says that was not expected."""
    code, out, err, took = agents.call(kit, "check", "--json", "--meter", agents.meter(kit), limit_s=30)
    try:
        tree = json.loads(out)
        able = {name: told["works"] or told["reason"] for name, told in tree["gpus"][0]["capabilities"].items()}
    except (json.JSONDecodeError, KeyError, IndexError) as error:
        kit.put(check={"exit": code, "said": (out + err)[-800:]})
        kit.error("check", error)
        return ["check failed"]
    kit.put(check=tree | {"exit": code, "seconds": took})
    return [f"{name}: {able.get(name, 'not told')}" for name in ABLE if able.get(name) is not True]


def answers(kit, card: Card) -> list[str]:
    """Every field in every scope."""
    found = sweep(card)
    kit.put(fields=found)
    return [f"field {n} refused" for n in NEEDED if "0" not in found["answered"].get(n, {})]


def waits(kit, card: Card, label: str, seconds: float) -> list[str]:
    """The two slow calls: how long they take by phase, and who waits meanwhile."""
    surprises, found = [], {}
    newest = [0]

    def rows() -> int:
        newest[0] = max([newest[0], *(row[1] for row in card.rows(0)[1])])
        return newest[0]

    def counter() -> int | None:
        if kit.simulated:
            time.sleep(0.002)  # as long as a real one takes
        return card.one(ENERGY)

    slow = {"field 83": (counter, 100, seconds), "nvmlDeviceGetProcessUtilization": (rows, 200, seconds / 2)}
    for name, (call, period_ms, lasting) in slow.items():
        series = back_to_back(call, lasting)
        first = series[0][0]
        file = f"back-to-back-{label}-{name.split()[-1]}.csv"
        kit.keep_series(file, "begin_ns,end_ns,value", [(a - first, b - first, v) for a, b, v in series])
        found[name] = by_phase(series, period_ms) | {"meanwhile": meanwhile(card, call, lasting / 2)}
        for quick, times in found[name]["meanwhile"].items():
            late = times.get("during_us", {}).get("p90")
            if late is not None and late > QUICK_US:
                surprises.append(f"{quick} takes {late:.0f} us beside {name} {label}")
    kit.put(**{f"waits_{label}": found})
    return surprises


def priced(kit, card: Card, session: Session) -> list[str]:
    """Prices idle and loaded."""
    idle = prices(card, kit.seconds(3.5, 0.6))
    kit.put(price_idle=idle)
    surprises = waits(kit, card, "idle", kit.seconds(3, 0.6))
    session.go()
    time.sleep(kit.seconds(1.2, 0.5))
    loaded = prices(card, kit.seconds(3.5, 0.6))
    kit.put(price_loaded=loaded, not_priced=not_priced(kit, loaded))
    surprises += waits(kit, card, "loaded", kit.seconds(1.5, 0.5))
    for name, told in loaded.items():
        if not SLOW.search(name) and told["p99_us"] > 1000:
            surprises.append(f"{name} p99 {told['p99_us'] / 1e3:.1f} ms")
    return surprises


def not_priced(kit, known: dict) -> list[str]:
    """Calls of the agent's that are not among these."""
    bare = {name.split("(")[0].removesuffix("_v3").removesuffix("_v2") for name in known}
    texts = [p.read_text() for p in sorted((kit.tree / "agent/meters").glob("*.py"))]
    made = {name for text in texts for name in CALLS_OF_AGENT.findall(text)}
    return sorted(name for name in made if name.removesuffix("_v3").removesuffix("_v2") not in bare)


def ten_seconds(kit) -> list[str]:
    """The agent, scraped twice beside the counter."""
    lasting = max(7.0, kit.seconds(AGENT_S))
    agent = agents.Agent(kit, lasting)
    surprises, pages = [], []
    ready_s = agent.ready()
    try:
        counter = Card(kit)
        for at_s in (lasting * 0.5, lasting * 0.85):
            time.sleep(max(0.0, at_s - (now_ns() - agent.begun_ns) / 1e9))
            t_ns, text = agent.page()
            pages.append((t_ns, counter.counter_mj(), text))
            kit.keep(f"metrics-{len(pages)}.txt", text)
        kit.keep("snapshot.json", agent.page("/api/v1/snapshot")[1])
        counter.close()
        facts = told_by(pages)
        kit.put(agent=facts | {"ready_s": ready_s})
        if not facts["conservation"]["holds"]:
            surprises.append("conservation does not hold")
        surprises += [f"fault of {part}" for part, count in facts["faults"].items() if count]
    except Exception as error:
        kit.error("agent", error)
        surprises.append("the agent's page did not come")
    kit.put(agent_exit=agent.stop())
    return surprises


def told_by(pages: list[tuple]) -> dict:
    """What two pages of the agent say, beside the counter read with them."""
    (t1, c1, first), (t2, c2, last) = pages
    kept, before = agents.conservation(last), agents.conservation(first)
    calls: dict[str, list[float]] = {}
    for text in (first, last):
        for name, labels, value in agents.series(text):
            if name == "wattshed_nvml_call_seconds_count":
                calls.setdefault(labels.get("call", ""), []).append(float(value))
    span_s = (t2 - t1) / 1e9
    page = agents.series(last)
    return {
        "conservation": kept,
        "seconds_between": span_s,
        "joules_between": kept["joules"] - before["joules"],
        "counter_between_j": None if c1 is None or c2 is None else (c2 - c1) / 1e3,
        "jobs": agents.job_joules(last),
        "faults": {
            labels.get("part", ""): float(value) for name, labels, value in page if name == "wattshed_faults_total"
        },
        "duty": [float(value) for name, _, value in page if name == "wattshed_sampler_duty_ratio"],
        "calls_a_second": {name: round((c[1] - c[0]) / span_s, 2) for name, c in calls.items() if len(c) == 2},
    }


def measure(kit) -> None:
    """Ask, price, watch; a part that fails leaves the others."""
    surprises = check(kit)
    session = Session(kit, [Load("kit-load", [steady(0, kit.seconds(10, 3.5), "full")])], "price")
    card = Card(kit, session.script())
    for part in (lambda: answers(kit, card), lambda: priced(kit, card, session)):
        try:
            surprises += part()
        except Exception as error:
            kit.error("driver", error)
            surprises.append("a part failed")
    if not session.t0_ns:
        session.go()
    session.finish()
    card.close()
    surprises += ten_seconds(kit)
    kit.verdict(not surprises, "; ".join(surprises[:6]) or "as expected: fields, prices, waits, the agent's sums")
