"""When the driver's lists of processes, and its utilisation rows, say that a process came and that it went."""

from __future__ import annotations

import pynvml

from .card import Card, poll
from .clock import now_ns
from .figures import rounded
from .lifecycles import Life, in_turn, keep_marks

DETAILS = {"version": pynvml.nvmlProcessDetailList_v1, "mode": pynvml.NVML_PROCESS_MODE_COMPUTE}
LISTS = ((1, "list"), (2, "details"))  # columns of a poll
AFTER_S = 1.2  # how long a life's traces are looked for


def three_lives(kit) -> list[Life]:
    """Lives far enough apart that no trace is taken for another's."""
    return [Life(0.2 + i * (0.7 + kit.seconds(1.6)), kit.seconds(0.4, 0.2), kit.seconds(0.2)) for i in range(3)]


def follow(kit, card: Card, lives: list[Life]) -> dict:
    """Poll both lists at 200 Hz and the utilisation rows at 20 Hz over all lives."""
    t0_ns = card.t0_ns if kit.simulated else now_ns()
    known = set(card.pids())
    rows: list[tuple[int, int, int, int]] = []  # time asked ns, pid, stamp us, percent
    state = {"since": 0, "turn": 0, "code": 0}

    def read() -> tuple:
        if state["turn"] % 10 == 0:
            _, found = card.rows(state["since"])
            state["since"] = max([state["since"], *(row[1] for row in found)])
            rows.extend((now_ns(), pid, stamp, sm) for pid, stamp, sm, *_ in found)
        state["turn"] += 1
        state["code"], detailed = details(card)
        return frozenset(card.pids()) - known, frozenset(detailed) - known

    thread = in_turn(kit, t0_ns, lives)
    until_s = lives[-1].begin_s + 0.9 + lives[-1].compute_s + lives[-1].rest_s + kit.seconds(AFTER_S, 0.3)
    seen = poll(card, 200, t0_ns + int(until_s * 1e9), read)
    thread.join()
    kit.keep_series("lists.csv", "ns_after_t0,list,details", changes(t0_ns, seen))
    kit.keep_series("rows.csv", "asked_ns_after_t0,pid,stamp_us,percent", [(t - t0_ns, *rest) for t, *rest in rows])
    keep_marks(kit, t0_ns, lives)
    return {
        "details_code": state["code"],
        "rows_seen": len(rows),
        "each": [facts(life.marks, seen, rows) for life in lives if life.over],
    }


def details(card: Card) -> tuple[int, list[int]]:
    """Read the newer list of processes: (code, process numbers)."""
    try:
        return 0, [p.pid for p in pynvml.nvmlDeviceGetRunningProcessDetailList(card.handle, **DETAILS)]
    except pynvml.NVMLError as error:
        return error.value, []


def changes(t0_ns: int, seen):
    """The polls at which a list changed, with processes by their order of coming."""
    order: dict[int, int] = {}
    before = None
    for t, *lists in seen:
        if lists != before:
            yield (
                t - t0_ns,
                *(" ".join(str(order.setdefault(p, len(order) + 1)) for p in sorted(one)) for one in lists),
            )
        before = lists


def facts(marks: dict[str, int], seen, rows) -> dict:
    """One life: how long after its marks lists and rows say so, ms."""

    def ms(later: int, earlier: str) -> float:
        return rounded((later - marks[earlier]) / 1e6)

    told = {
        "start to first line": ms(marks["alive"], "asked"),
        "opening": ms(marks["open"], "opening"),
        "ending": ms(marks["gone"], "told to end"),
    }
    end_ns = marks["gone"] + int(AFTER_S * 1e9)
    own: frozenset = frozenset()
    for column, name in LISTS:
        shown = [row for row in seen if marks["asked"] <= row[0] <= end_ns and row[column]]
        own = own or (shown[0][column] if shown else own)
        times = [row[0] for row in shown if row[column] & own]
        if times:
            told[f"{name}: first, after opening began"] = ms(times[0], "opening")
            told[f"{name}: first, after it was open"] = ms(times[0], "open")
            told[f"{name}: last, after it was gone"] = ms(times[-1], "gone")
    new = [row[0] for row in rows if row[1] in own and marks["asked"] <= row[0]]
    if new:
        told["rows: first, after the first kernel"] = ms(new[0], "first kernel")
        told["rows: last new, after it was gone"] = ms(new[-1], "gone")
        told["rows"] = len(new)
    return told
