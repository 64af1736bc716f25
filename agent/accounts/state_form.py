"""The form of a state file: what all of its parts must be before the accounts are made of any.

Three parts are apart, for no joule depends on them: watts that are learned, learned idle power, and work. Each is
checked by itself, and begins anew where it is damaged.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from wattshed.agent.accounts import forms
from wattshed.agent.accounts.forms import flag, maybe, numbers, real, record, row, rows, table, text, whole
from wattshed.agent.accounts.host_meters import MeterBook
from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.ledger import Line
from wattshed.agent.accounts.node import NodeBook
from wattshed.agent.accounts.node_shares import ESTIMATED
from wattshed.agent.accounts.used import CUT_COLUMNS
from wattshed.agent.accounts.work import UnitWork
from wattshed.agent.window import Device, WorkRow
from wattshed.agent.window.host_meters import HostMeter
from wattshed.agent.wire import parts_json
from wattshed.kernels.billing.layout import Diagnostics, GpuState

NUMBER = whole(1 << 62)
"""Times, powers, counts, and whatever kernels calculate with."""
ENERGY = whole(1 << 80)
"""A sum of any number of years, hnj."""
SQUARE = whole(1 << 160)
JOULES = real(1e100)
YEAR_US = 366 * 86_400_000_000
"""Nothing waits longer for its energy; what waits is cut where slots end."""
MOMENT = whole(1 << 53)
"""A time of this calendar, us."""


def _anything(_: Any, __: str) -> None:
    pass


def _digits(value: Any, place: str) -> None:
    if not value.isdecimal() or len(value) > len(str(1 << 62)):
        raise ValueError(f"{place} is no number")


def _part_of_node(value: Any, place: str) -> None:
    if value not in ESTIMATED:
        raise ValueError(f"{place} is no part of a node")


def _meter(value: Any, place: str) -> None:
    try:
        HostMeter.of_plain(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: {error}") from None


_MILLIWATTS = row(NUMBER, NUMBER)
"""An estimate and one sigma of it."""


def _part(value: Any, place: str) -> None:
    part = parts_json.own_of_plain(value)
    row(*[JOULES] * 5)(value["doubt"], f"{place}.doubt")
    for name in ("static_hnj", "dynamic_hnj"):
        ENERGY(getattr(part, name), f"{place}.{name}")
    for name in ("seq", "run_us", "from_us", "to_us", "active_us", "held_us", "peak_mw", "edges", "method", "flags"):
        NUMBER(getattr(part, name), f"{place}.{name}")
    maybe(NUMBER)(part.covered_us, f"{place}.covered_us")
    maybe(_MILLIWATTS)(value.get("watts_mw"), f"{place}.watts_mw")


def _job_record(value: Any, _: str) -> None:
    parts_json.record_of_plain(value)


_DEVICE = forms.typed(
    Device,
    {
        "str": text, "int": NUMBER, "bool": flag, "tuple[str, ...]": rows(text), "Mapping[str, int]": table(NUMBER),
        "Mapping[str, str]": table(text),
    },
)  # fmt: skip
_LINE = record({"gpu": text} | {one.name: ENERGY for one in fields(Line)}, exact=True)
_STATE = numbers(GpuState, NUMBER)
_AT_EDGE = record({"key": text, "activity_ppm": NUMBER, "share_ppm": NUMBER, "live": NUMBER})
_HOLE = record({"since_us": MOMENT, "before": rows(_AT_EDGE), "gone": rows(text), "came": rows(text)})
_WAITING = record(
    {
        "key": text, "start_us": MOMENT, "end_us": MOMENT, "activity_ppm": NUMBER, "busy_ppm": NUMBER,
        "share_ppm": NUMBER, "live": NUMBER,
    },
    {"tensor_ppm": NUMBER, "dram_ppm": NUMBER},
)  # fmt: skip
_NODE_PARTS = table(ENERGY, _part_of_node)
_GPU = record(
    {
        "gpu": text, "device": _DEVICE, "energy_hnj": ENERGY, "idle_hnj": ENERGY, "unattributed_hnj": ENERGY,
        "totals": numbers(Diagnostics, ENERGY), "booked_us": NUMBER, "silent_us": NUMBER, "missing_us": NUMBER,
        "state": _STATE, "hole": _HOLE, "late_hole": maybe(numbers(LateHole, NUMBER)), "waiting": rows(_WAITING),
        "module": maybe(record({"energy_hnj": ENERGY, "state": _STATE})), "xids": table(NUMBER, _digits),
        "last_xid": maybe(NUMBER),
    }
)  # fmt: skip
_JOB = record(
    {
        "key": text, "labels": table(text), "start_us": MOMENT, "end_us": MOMENT, "method": NUMBER, "folded": flag,
        "shown_from_us": maybe(NUMBER), "lines": rows(_LINE), "node_hnj": _NODE_PARTS,
    }
)  # fmt: skip
_CUTS = record(
    {
        "slot_us": whole(1 << 53, 1), "store_id": text, "next_seq": NUMBER, "slot": NUMBER, "at_us": MOMENT,
        "due": rows(record({"owner": text, "gpu": text})), "columns": rows(text),
        "cuts": rows(
            row(
                text, text, MOMENT, ENERGY, ENERGY, NUMBER, NUMBER, NUMBER, maybe(NUMBER),
                *[JOULES] * (len(CUT_COLUMNS) - 9),
            )
        ),
        "runs": table(MOMENT), "power": table(text), "outbox": rows(_part), "records": rows(_job_record),
    },
    {"known_watts": table(table(_MILLIWATTS))},
)  # fmt: skip
_METER_NUMBERS = (one.name for one in fields(MeterBook) if one.name not in {"meter", "rejected"})
_METER_BOOK = record(
    {"name": text, "meter": _meter, "rejected": table(NUMBER)}
    | {name: SQUARE if name == "spread_hnj2" else ENERGY for name in _METER_NUMBERS}
)
_NODE = record(
    {"meter": text, "known": table(ENERGY)}
    | {one.name: ENERGY for one in fields(NodeBook) if one.type == "int" and not one.name.startswith("_")}
)
_SHARES = record({"nobodys": table(_NODE_PARTS), "begun": flag, "fixed_mw": NUMBER, "owed_hnj": ENERGY})
_OF_NODE = {"node": _NODE, "shares": _SHARES}
_ALL = record(
    {
        "boot_id": text, "saved_us": MOMENT, "gpus": rows(_GPU), "jobs": rows(_JOB), "cuts": maybe(_CUTS),
        "since_us": maybe(MOMENT), "ended": rows(record({"gpu": text, "energy_hnj": ENERGY})),
        "other": rows(_LINE), "folded": NUMBER, "shown_us": NUMBER, "ended_node": _NODE_PARTS,
        "other_node": _NODE_PARTS, "beside": rows(_METER_BOOK),
    }
)  # fmt: skip

IDLE_MW = table(real(1e9))
"""Learned idle power."""
WORK_OF_JOB = maybe(
    record(
        {
            "units": rows(row(text, text, numbers(UnitWork, whole(1 << 160, 0)))), "waiting_hnj": maybe(ENERGY),
            "edges": rows(row(MOMENT, ENERGY)),
        }
    )
)  # fmt: skip
"""What one job did."""
_WORK_ROW = forms.typed(WorkRow, {"JobKey": text, "str": text, "int": NUMBER, "bool": flag})
WAITING_WORK = record(
    {"rows": rows(row(_WORK_ROW, ENERGY)), "rejected": table(NUMBER), "baselines": table(table(_anything))}
)
"""Work whose energy is not booked yet; what pages of servers said is checked by who reads them."""


def checked(state: dict[str, Any], host: str, *, adds_up: bool) -> dict[str, Any]:
    """Return a state of this version once all of it is checked, but for the parts that may begin anew.

    Parameters
    ----------
    state : dict
    host : str
    adds_up : bool
        Whether the joules of a GPU must be those of its jobs and of nobody: of agents before this one nothing is left
        out, whatever they were wrong in.

    Raises
    ------
    ValueError
        Naming the place that is wrong.
    """
    _ALL(state, "the state")
    if state["beside"] or _OF_NODE.keys() & state.keys():  # who has other meters has a node
        record(_OF_NODE)(state, "the state")
        if not state["beside"]:
            raise ValueError("the state has a node, and none of its meters")
    gpus = [gpu["device"]["uuid"] or str(gpu["device"]["index"]) for gpu in state["gpus"]]
    if gpus != [gpu["gpu"] for gpu in state["gpus"]] or len(set(gpus)) < len(gpus):
        raise ValueError(f"the GPUs are not told apart: {', '.join(gpus)}")
    if others := {gpu["device"]["host"] for gpu in state["gpus"]} - {host}:
        raise ValueError(f"GPUs are of host {', '.join(sorted(others))}")
    known = [gpu["hole"]["since_us"] for gpu in state["gpus"] if gpu["hole"]["before"] or gpu["hole"]["came"]]
    known += [row[name] for gpu in state["gpus"] for row in gpu["waiting"] for name in ("start_us", "end_us")]
    if any(abs(time_us - state["saved_us"]) > YEAR_US for time_us in known):
        raise ValueError("somebody has waited for more than a year")
    holes = [gpu["late_hole"] for gpu in state["gpus"] if gpu["late_hole"] is not None]
    if not all(0 <= one["t0_us"] < one["t1_us"] <= state["saved_us"] + YEAR_US for one in holes):
        raise ValueError("a hole that is not split yet ends before it begins")
    parts = {gpu["gpu"]: gpu["idle_hnj"] + gpu["unattributed_hnj"] for gpu in state["gpus"]}
    for line in (*(line for job in state["jobs"] for line in job["lines"]), *state["other"]):
        parts[line["gpu"]] = parts.get(line["gpu"], 0) + line["static_hnj"] + line["dynamic_hnj"]
    for one in state["ended"]:
        parts[one["gpu"]] = parts.get(one["gpu"], 0) + one["energy_hnj"]
    if unknown := parts.keys() - set(gpus):
        raise ValueError(f"joules are of GPUs that it does not have: {', '.join(sorted(unknown))}")
    if adds_up and parts != {gpu["gpu"]: gpu["energy_hnj"] for gpu in state["gpus"]}:
        raise ValueError("the joules of its jobs and nobody are not those of its GPUs")
    return state
