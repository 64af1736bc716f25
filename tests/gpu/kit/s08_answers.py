"""What the rarer calls answer: rings of samples, GPM, memory power, accounting, events, and lists of processes."""

from __future__ import annotations

import time
from itertools import pairwise

import pynvml

from .card import Card
from .checking import decide
from .child import Child
from .clock import clocks_us
from .figures import edges, spread
from .lifecycles import lives_script
from .listing import follow, three_lives
from .loads import ORDER, Load, Session, square

PREDICTION = (
    "Samples of total power: 119, 20 ms apart, of the wall clock, 6 to 20 ms old. GPM: 1, 2, 3, 5, 10 answer. "
    "Accounting is off: its buffer holds 4000, its list is empty, a process's figures are refused (3, not supported, "
    "or 6, not found). Every single event that is said to be supported can be registered. Memory power (field 185, "
    "scope 2) is a mean like the card's own: a new value every 100 ms, 25 to 35 W with a context open, 38 to 55 W "
    "under matrix arithmetic, 120 to 200 W under copies. Both lists of processes name a process 50 to 150 ms before "
    "its context is fully open and forget it 10 to 60 ms before its end; its utilisation rows come up to 0.4 s after "
    "its first kernel, and none is new after its end."
)
NAMED, FORGOTTEN = "list: first, after it was open", "list: last, after it was gone"
MEMORY = 2  # a scope of fields 185 and 186
QUESTIONS = ("SystemGetDriverVersion", "SystemGetNVMLVersion", "SystemGetCudaDriverVersion")
CARD_QUESTIONS = (
    *("Name", "Architecture", "PciInfo", "MinorNumber", "ModuleId", "NumGpuCores", "MemoryBusWidth"),
    *("CurrPcieLinkGeneration", "CurrPcieLinkWidth", "VirtualizationMode", "GspFirmwareMode", "GspFirmwareVersion"),
    *("PersistenceMode", "MigMode", "ComputeMode", "EccMode", "PerformanceState", "TotalEnergyConsumption"),
    *("PowerManagementLimit", "PowerManagementDefaultLimit", "PowerManagementLimitConstraints", "EnforcedPowerLimit"),
    *("CurrentClocksEventReasons", "SupportedClocksEventReasons", "SupportedEventTypes"),
)
RINGS = (("total power", 0), ("gpu utilisation", 1), ("module power", 7))


def ask(name: str, *arguments):
    """Return an answer as text or number, or the refusal."""
    try:
        answer = getattr(pynvml, name)(*arguments)
    except pynvml.NVMLError as error:
        return f"refused: {error} ({error.value})"
    except Exception as error:
        return f"not in the binding: {type(error).__name__}: {error}"
    if hasattr(answer, "_fields_"):
        return {f: str(getattr(answer, f)) for f, _ in answer._fields_}
    return answer if isinstance(answer, int | float | str | list) else str(answer)


def samples(card: Card, kind: int) -> dict:
    """Read one of the driver's rings, and once more half a second later."""
    try:
        _, found = pynvml.nvmlDeviceGetSamples(card.handle, kind, 0)
    except pynvml.NVMLError as error:
        return {"code": error.value, "said": str(error)}
    clocks = clocks_us()
    stamps = [s.timeStamp for s in found]
    if not stamps:
        return {"count": 0}
    newest = max(stamps)
    time.sleep(0.5)
    try:
        again = len(pynvml.nvmlDeviceGetSamples(card.handle, kind, newest)[1])
    except pynvml.NVMLError as error:
        again = f"refused: {error} ({error.value})"
    return {
        "count": len(found),
        "spacing_ms": spread([(b - a) / 1e3 for a, b in pairwise(stamps)]),
        "values": [s.sampleValue.uiVal for s in found][-20:],
        "age_us_by_clock": {name: value - newest for name, value in clocks.items()},
        "newer_after_half_a_second": again,
        "ascending": stamps == sorted(stamps),
        "span_s": (newest - min(stamps)) / 1e6,
    }


def gpm(card: Card) -> dict:
    """Ask for every metric between two samples 200 ms apart."""
    try:
        older, newer = pynvml.nvmlGpmSampleAlloc(), pynvml.nvmlGpmSampleAlloc()
        pynvml.nvmlGpmSampleGet(card.handle, older)
        time.sleep(0.2)
        pynvml.nvmlGpmSampleGet(card.handle, newer)
    except pynvml.NVMLError as error:
        return {"code": error.value, "said": str(error)}
    answered: dict[int, float] = {}
    refused: dict[int, int] = {}
    for metric in range(1, 334):
        request = pynvml.c_nvmlGpmMetricsGet_t()
        request.version, request.numMetrics = pynvml.NVML_GPM_METRICS_GET_VERSION, 1
        request.sample1, request.sample2 = older, newer
        request.metrics[0].metricId = metric
        try:
            pynvml.nvmlGpmMetricsGet(request)
            code = request.metrics[0].nvmlReturn
        except pynvml.NVMLError as error:
            code = error.value
        if code == 0:
            answered[metric] = round(request.metrics[0].value, 4)
        else:
            refused[code] = refused.get(code, 0) + 1
    for sample in (older, newer):
        pynvml.nvmlGpmSampleFree(sample)
    return {"answered": answered, "refused": refused}


def events(card: Card) -> dict:
    """Which events can be registered, each in a set of its own; the sets are let go at once."""
    supported = ask("nvmlDeviceGetSupportedEventTypes", card.handle)
    if not isinstance(supported, int):
        return {"supported": supported}
    bits = [1 << i for i in range(supported.bit_length()) if supported >> i & 1]
    prefix = "nvmlEventType"
    names = {getattr(pynvml, name): name.removeprefix(prefix) for name in dir(pynvml) if name.startswith(prefix)}
    codes = {}
    for label, mask in (("all together", supported), *((names.get(bit, hex(bit)), bit) for bit in bits)):
        one = pynvml.nvmlEventSetCreate()
        codes[label] = ask("nvmlDeviceRegisterEvents", card.handle, mask, one)
        pynvml.nvmlEventSetFree(one)
    return {"supported": hex(supported), "registered": {k: "yes" if v == "None" else v for k, v in codes.items()}}


def accounting(card: Card, pid: int) -> dict:
    """What the accounting calls answer; nothing is switched on."""
    return {
        "mode": ask("nvmlDeviceGetAccountingMode", card.handle),
        "buffer": ask("nvmlDeviceGetAccountingBufferSize", card.handle),
        "pids": ask("nvmlDeviceGetAccountingPids", card.handle),
        "stats of a process that runs": ask("nvmlDeviceGetAccountingStats", card.handle, pid),
        "stats of nobody": ask("nvmlDeviceGetAccountingStats", card.handle, 4_000_000),
    }


def memory_power(kit, card: Card) -> dict:
    """Memory power at 200 Hz for two seconds each: at rest, under arithmetic, under copies in the card's memory."""
    worker = Child(kit, "worker")
    worker.ask("open", "sleep" if kit.simulated else ORDER)
    wanted = [(185, MEMORY), (186, MEMORY), (185, 0), (186, 0)]
    rows, found = [], {}
    seconds = kit.seconds(2.0, 0.3)
    for doing, word in (("context open", None), ("full", ("run", "full", 20_000_000)), ("copies", ("copy",))):
        if word:
            worker.tell(*word, seconds)
        begin = time.monotonic_ns()
        while (at := time.monotonic_ns()) < begin + int(seconds * 1e9):
            values = (value if code == 0 else None for code, _, value, _, _ in card.fields(wanted))
            rows.append((doing, at - begin, *values))
            time.sleep(0.005)
        answer = worker.hear() if word else {}
        found[doing] = memory_facts([row[1:] for row in rows if row[0] == doing], seconds)
        if moved := answer.get("bytes"):
            found[doing]["gb_s"] = round(2 * moved / seconds / 1e9, 1)
    worker.end()
    kit.keep_series("memory-power.csv", "doing,ns,memory_average_mw,memory_instant_mw,average_mw,instant_mw", rows)
    return found


def memory_facts(rows, seconds: float) -> dict:
    """Period, and the level of the last half second, which the average's second before it does not blur at the end."""
    late = [row for row in rows if row[0] > (seconds - 0.5) * 1e9]
    watts = lambda column: [row[column] / 1e3 for row in late if row[column] is not None]
    changes = edges(rows, 1)
    return {
        "memory_average_w": spread(watts(1)),
        "memory_instant_w": spread(watts(2)),
        "average_w": spread(watts(3)),
        "changes_ms": spread([(b - a) / 1e6 for a, b in pairwise(changes)]),
    }


def measure(kit) -> None:
    """Questions under a load; then memory power; then the lives of processes."""
    length = kit.seconds(3.4, 2.0)
    session = Session(kit, [Load("kit-load", [square(0, length, "full", 0.1, 0.05)])], "answers")
    card = Card(kit, session.script())
    session.go()
    time.sleep(kit.seconds(1.4, 0.4))
    pid = (card.pids() or [0])[0]
    rings = {name: samples(card, kind) for name, kind in RINGS}
    kit.put(samples=rings)
    questions = {"gpm": lambda: gpm(card), "events": lambda: events(card), "accounting": lambda: accounting(card, pid)}
    for name, question in questions.items():
        try:
            kit.put(**{name: question()})
        except Exception as error:
            kit.error(name, error)
    answers = {name: ask(f"nvml{name}") for name in QUESTIONS}
    answers |= {name: ask(f"nvmlDeviceGet{name}", card.handle) for name in CARD_QUESTIONS}
    kit.put(answers=answers)
    session.finish()
    kit.put(memory=memory_power(kit, card))
    card.close()
    lives = three_lives(kit)
    card = Card(kit, lives_script(lives))
    kit.put(lives=follow(kit, card, lives))
    card.close()
    judge(kit)


def judge(kit) -> None:
    """Check the parts of the prediction one by one."""
    found = kit.result
    ring, metrics, memory = found["samples"]["total power"], found.get("gpm", {}), found["memory"]
    lives = [life for life in found["lives"]["each"] if NAMED in life]
    registered = found.get("events", {}).get("registered", {})
    stats = found.get("accounting", {}).get("stats of a process that runs", "")
    rest, full, copies = (memory[doing]["memory_average_w"].get("p50") for doing in ("context open", "full", "copies"))
    period = memory["copies"]["changes_ms"].get("p50")
    checks = {
        "ring": ring.get("count", 0) > 100 and 15 <= ring["spacing_ms"]["p50"] <= 25,
        "gpm": {1, 2, 3, 5, 10} <= set(metrics.get("answered", {})),
        "accounting is off": found.get("accounting", {}).get("mode") == 0 and str(stats).endswith(("(3)", "(6)")),
        "events": bool(registered) and set(registered.values()) == {"yes"},
        "memory power at rest": None if rest is None else 25 <= rest <= 35,
        "memory power of arithmetic": None if full is None else 38 <= full <= 55,
        "memory power of copies": None if copies is None else 120 <= copies <= 200,
        "memory period": None if period is None else 90 <= period <= 115,
        "lists": all(-150 <= life[NAMED] <= -50 and -60 <= life[FORGOTTEN] <= -10 for life in lives) if lives else None,
        "rows": rows_in_time([life for life in lives if "rows" in life]),
    }
    lists = [(life[NAMED], life[FORGOTTEN]) for life in lives]
    decide(
        kit,
        checks,
        f"memory power {rest} W at rest, {copies} W under copies, every {period} ms; "
        f"a list names a process, and forgets it, {lists} ms after its context, its end",
    )


def rows_in_time(lives: list[dict]) -> bool | None:
    """Whether utilisation rows come and go as predicted; None without any."""
    within = [
        life["rows: first, after the first kernel"] <= 450 and life["rows: last new, after it was gone"] <= 0
        for life in lives
    ]
    return all(within) if within else None
