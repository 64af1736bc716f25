"""State files of former versions: they are turned into what this one reads, so that no update loses a joule.

Version 1 kept no ended jobs apart: all that retired was shown, and stays, within ``_other``. Versions 1 and 2 knew less
of how a counter stands still and of holes, kept of what was on a GPU its only owner, and of a line the energy that was
split by a guess, not one sigma of it. Up to version 3 numbers were known by their position alone: their names and their
order are written down here for good, whatever becomes of the records. Version 4 did not integrate average power beside
a counter, and cut nothing into parts. Version 5 counted of each job how long it was shown. Up to version 6 nothing was
told of the time that an owner's energy covers: what is cut next after such a file is of unknown coverage. Files of
version 7 may have nothing of other meters, of the node, of shares in it, of work, of silence and of modules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

STATE = (
    "last_us", "power_us", "power_mw", "shape_us", "run_since_us", "longest_run_us", "lowest_mw", "highest_mw",
    "counter_mj", "base_us", "booked_us", "booked_since_hnj", "seen_us", "suspect_mj", "suspect_us", "suspect",
    "high_water_mj", "high_water_us", "high_water_booked_hnj", "open_until_us", "open_hnj", "after_until_us",
    "after_hnj", "first_us", "suspect_booked_hnj", "open_since_us", "after_since_us",
    "still_since_us", "still_pause_us", "stuck_us", "mean_mw", "before_mw", "back_mw", "open_begin_mw", "open_end_mw",
)  # fmt: skip
"""Versions 1 and 2 had the first 27; of the others nothing is known then: -1."""
TOTALS = (
    "samples", "covered_us", "gap_us", "gaps", "power_hnj", "counter_hnj", "resets", "rejected_zero",
    "rejected_negative", "rejected_high", "rejected_time", "rejected_step", "rejected_dip", "stuck", "by_counter_hnj",
    "by_power_hnj", "compared_us", "compared_power_hnj", "compared_counter_hnj", "estimated_us", "unknown_us",
)  # fmt: skip
"""Versions 1 and 2 had the first 19."""
LINE = (
    "static_hnj", "dynamic_hnj", "active_us", "held_us", "peak_mw", "edges", "split_hnj", "unread_us", "untold_hnj",
    "idle_hnj",
)  # fmt: skip
"""Versions 1 and 2 had the first 7, version 3 the first 9. In a file, the name of the GPU comes before them."""
LATE_HOLE = ("t0_us", "t1_us", "energy_hnj", "begin_mw", "end_mw", "mark", "after_hnj", "after_us")
WAITING = ("key", "start_us", "end_us", "activity_ppm", "busy_ppm", "share_ppm", "live")
BEFORE = ("key", "activity_ppm", "share_ppm", "live")
NODE = ("node_hnj", "covered_us", "gpu_hnj", "cpu_hnj", "memory_hnj", "rest_hnj", "known_us", "missed_us")
NO_LEVEL = {"level_us": -1, "level_mw": -1, "level_since_us": -1, "level_hnj": 0}
FEWER = {1: (27, 19, 7), 2: (27, 19, 7), 3: (35, 21, 9)}
"""How many of `STATE`, `TOTALS` and `LINE` each version has."""


def upgraded(state: dict[str, Any], version: int) -> dict[str, Any]:
    """Turn the content of a file of an older version into that of version 8, with the changes that follow it.

    Raises
    ------
    ValueError
        It has more or fewer numbers than that version had.
    """
    if version < 4:
        state = _named(state, version)
    if version < 5:
        _cut_nothing(state)
    if version < 6:
        _count_shown(state)
    if version < 7:
        _cover(state)
    if version < 8:
        _know_of_beside(state)
    return state


def _know_of_beside(state: dict[str, Any]) -> None:
    """Add what came while version 7 was written; from version 8 on, what is missing is damaged."""
    state.setdefault("work", {"rows": [], "rejected": {}, "baselines": {}})
    for name in ("ended_node", "other_node"):
        state.setdefault(name, {})
    if state.setdefault("beside", []):
        nothing = {"meter": "", "known": {}} | dict.fromkeys(NODE, 0)
        state.setdefault("node", nothing)
        state.setdefault("shares", {"nobodys": {}, "begun": False, "fixed_mw": -1, "owed_hnj": 0})
    for gpu in state["gpus"]:
        fresh: dict[str, Any] = {
            "late_hole": None,
            "silent_us": 0,
            "missing_us": 0,
            "module": None,
            "xids": {},
            "last_xid": None,
        }
        gpu.update({name: value for name, value in fresh.items() if name not in gpu})
    for job in state["jobs"]:
        job.setdefault("node_hnj", {})


def _count_shown(state: dict[str, Any]) -> None:
    """Bring what version 6 counts by the clock of all that was shown."""
    for gpu in state["gpus"]:
        gpu["gpu"] = gpu["device"]["uuid"] or str(gpu["device"]["index"])
    for job in state["jobs"]:
        job["shown_from_us"] = -int(job.pop("shown_us")) or None
    state["shown_us"] = 0


def _cover(state: dict[str, Any]) -> None:
    """Add what version 7 brought: a line's time counts as covered but for what waits, or was never booked."""
    for line in (*(line for job in state["jobs"] for line in job["lines"]), *state["other"]):
        line["covered_us"] = max(line["active_us"] + line["held_us"] - line["unread_us"], 0)
    cuts = state["cuts"]
    if cuts is None:
        return
    place = cuts["columns"].index("gain_j")
    cuts["columns"] = [*cuts["columns"][:place], "covered_us", *cuts["columns"][place:]]
    cuts["cuts"] = [[*row[:place], None, *row[place:]] for row in cuts["cuts"]]


def _cut_nothing(state: dict[str, Any]) -> None:
    """Add what version 5 brought."""
    state["cuts"] = None
    for gpu in state["gpus"]:
        gpu["state"] |= NO_LEVEL
        if gpu.get("module") is not None:
            gpu["module"]["state"] |= NO_LEVEL
    for line in (*(line for job in state["jobs"] for line in job["lines"]), *state["other"]):
        line["cut_peak_mw"] = 0


def _named(state: dict[str, Any], version: int) -> dict[str, Any]:
    """Give the numbers of a file of version 1 to 3 their names."""
    columns, totals, line = FEWER[version]
    if version == 1:
        state = {**state, "ended": [], "other": state["gone"]}
    for gpu in state["gpus"]:
        gpu["state"] = _by_name(STATE, gpu.pop("merge"), columns, -1)
        gpu["totals"] = _by_name(TOTALS, gpu["totals"], totals, 0)
        if version == 1:
            gpu["booked_us"] = gpu["totals"]["covered_us"]
        if version < 3:
            alone = gpu.pop("alone")
            before = [[alone, -1, -1, 1]] if alone else []
            gpu["hole"] = {"since_us": gpu["state"]["booked_us"], "before": before, "gone": [], "came": []}
            gpu["waiting"] = []
        gpu["hole"]["before"] = [_by_name(BEFORE, one, len(BEFORE)) for one in gpu["hole"]["before"]]
        gpu["waiting"] = [_by_name(WAITING, row, len(WAITING)) for row in gpu["waiting"]]
        if gpu.get("late_hole") is not None:
            gpu["late_hole"] = _by_name(LATE_HOLE, gpu["late_hole"], len(LATE_HOLE))
        gpu["module"] = _module(gpu.get("module"))
    for job in state["jobs"]:
        job.setdefault("shown_us", 0)
        job["lines"] = [_line(numbers, line, version) for numbers in job["lines"]]
    state["other"] = [_line(numbers, line, version) for numbers in state["other"]]
    state["ended"] = [{"gpu": gpu, "energy_hnj": hnj} for gpu, hnj in state["ended"]]
    return state


def _by_name(names: Sequence[str], values: Sequence[Any], count: int, unknown: int = 0) -> dict[str, Any]:
    """Name values by their position, of which there must be ``count``; those that came later are ``unknown``."""
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers where there should be {count}")
    return dict(zip(names, [*values, *[unknown] * (len(names) - count)], strict=True))


def _module(numbers: list[int] | None) -> dict[str, Any] | None:
    if numbers is None:
        return None
    energy_hnj, *rest = numbers
    return {"energy_hnj": energy_hnj, "state": _by_name(STATE, rest, len(rest), -1)}


def _line(values: Sequence[Any], count: int, version: int) -> dict[str, Any]:
    """Name the numbers of one line, and its GPU."""
    gpu, *numbers = values
    line = _by_name(LINE, numbers, count)
    if version < 3:
        # What was guessed may have been all or nothing: uniform.
        line["split_hnj"] = round(line["split_hnj"] / math.sqrt(12))
    return {"gpu": gpu, **line}
