"""Parts of jobs as JSON, for the state and for a collector; what comes from others is checked before it is believed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wattshed.agent.wire.parts import MOST_POWER, Doubt, JobPart, JobRecord
from wattshed.agent.wire.work_text import MOST_WORK, WorkDone
from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_JOULES_PER_US = 0.02
"""No GPU draws more than 20 kW: a part that claims it is wrong."""

_MOMENT_US = 10_000_000  # a counter may tell late of so much time
_TOO_LARGE = 2**62
_LONGEST = 500
_WHOLE = (
    "seq", "run_us", "from_us", "to_us", "static_hnj", "dynamic_hnj", "active_us", "held_us", "peak_mw", "edges",
    "method", "flags",
)  # fmt: skip


def least_us(energy_hnj: int) -> int:
    """Return the time, us, that a GPU needs at least for an energy; 0 for what may have come in a moment."""
    return max(0, math.ceil(abs(energy_hnj) / HNJ_PER_JOULE / MOST_JOULES_PER_US) - _MOMENT_US)


def plain(part: JobPart) -> dict[str, Any]:
    """Lay a part out for JSON; energies are decimal strings, for readers whose numbers are floats."""
    doubt = part.doubt
    return {
        "seq": part.seq,
        "job": part.job,
        "run_us": part.run_us,
        "gpu": part.gpu,
        "from_us": part.from_us,
        "to_us": part.to_us,
        "static_hnj": str(part.static_hnj),
        "dynamic_hnj": str(part.dynamic_hnj),
        "active_us": part.active_us,
        "held_us": part.held_us,
        "peak_mw": part.peak_mw,
        "edges": part.edges,
        "method": part.method,
        "doubt": [doubt.gain_j, doubt.split_j, doubt.idle_j, doubt.unread_j, doubt.squares_j2],
        "flags": part.flags,
        "covered_us": part.covered_us,
        "watts_mw": part.watts_mw,
    }


def own_of_plain(values: Mapping[str, Any]) -> JobPart:
    """Read a part from JSON that this agent laid out itself.

    Raises
    ------
    ValueError
        It is something else.
    """
    try:
        whole = {name: _whole(values[name]) for name in _WHOLE}
        gain, split, idle, unread, squares = map(float, values["doubt"])
        job, gpu = _text(values["job"]), _text(values["gpu"])
        covered = values.get("covered_us")  # older agents do not tell
        covered_us = None if covered is None else _whole(covered)
        watts_mw = _pair(values.get("watts_mw"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"is not a part ({error})") from None
    doubt = Doubt(gain, split, idle, unread, squares)
    return JobPart(job=job, gpu=gpu, doubt=doubt, covered_us=covered_us, watts_mw=watts_mw, **whole)


def of_plain(values: Mapping[str, Any]) -> JobPart:
    """Read a part from JSON of somebody else, and believe nothing that cannot be.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    part = own_of_plain(values)
    if why := _wrong(part) or _no_text(part.job, part.gpu):
        raise ValueError(f"part {part.seq} {why}")
    return part


def plain_record(record: JobRecord) -> dict[str, Any]:
    """Lay out who a job is for JSON."""
    return {
        "key": record.key,
        "run_us": record.run_us,
        "start_us": record.start_us,
        "end_us": record.end_us,
        "uid": record.uid,
        "labels": dict(record.labels),
        "power": record.power,
        "work": record.work,
    }


def record_of_plain(values: Mapping[str, Any]) -> JobRecord:
    """Read who a job is from JSON.

    Raises
    ------
    ValueError
        Saying what is wrong with it.
    """
    try:
        run_us, start_us, end_us, uid = (_whole(values[name]) for name in ("run_us", "start_us", "end_us", "uid"))
        labels = {_text(name): _text(value) for name, value in values["labels"].items()}
        power = _text(values.get("power", ""))
        work = _text(values.get("work", ""))
        record = JobRecord(_text(values["key"]), run_us, start_us, end_us, uid, labels, power, work)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"is not a job ({error})") from None
    if not record.key:
        raise ValueError("a job has no key")
    if why := _no_text(record.key, *labels, *labels.values()):
        raise ValueError(f"a job {why}")
    if not (0 <= run_us < _TOO_LARGE and 0 <= start_us < _TOO_LARGE and max(-1, end_us) < _TOO_LARGE > abs(uid)):
        raise ValueError("a job has a number that is too large")
    if len(power) > MOST_POWER:
        raise ValueError("a job's power over time is too long")
    if work:
        WorkDone.read(work)
    if len(work) > MOST_WORK:
        raise ValueError("a job's work is too long")
    return record


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _no_text(*texts: str) -> str:
    """Say what keeps texts from being kept in every database; empty if nothing does."""
    if max(map(len, texts)) > _LONGEST:
        return f"has a text of more than {_LONGEST} characters"
    together = "".join(texts)
    if "\0" in together:
        return "has a text with a null character"
    try:
        together.encode()
    except UnicodeEncodeError:
        return "has a text that is no Unicode"
    return ""


def _whole(value: object) -> int:
    """Read a whole number, as a number or as decimal digits."""
    if type(value) is int:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a whole number")
    return int(value)


def _pair(values: Any) -> tuple[int, int] | None:
    """Read an estimate and its sigma; older agents tell of none."""
    if values is None:
        return None
    estimate, sigma = map(_whole, values)
    return estimate, sigma


def _wrong(part: JobPart) -> str:
    estimate_mw, sigma_mw = part.watts_mw or (0, 0)
    others = (
        part.seq, part.run_us, part.from_us, part.to_us, part.active_us, part.held_us, part.peak_mw, part.edges,
        part.method, part.flags, part.covered_us or 0, sigma_mw,
    )  # fmt: skip
    most_hnj, most = max(abs(part.static_hnj), abs(part.dynamic_hnj)), max(map(abs, (*others, estimate_mw)))
    if most >= _TOO_LARGE or most_hnj >= _TOO_LARGE * HNJ_PER_JOULE or part.from_us < 0:
        return "has a number that is too large"
    if part.seq < 1 or not part.job or not part.gpu:
        return "has no number, job or GPU"
    if part.to_us < part.from_us:
        return "ends before it begins"
    if min(others) < 0 or part.static_hnj < 0:
        return "has a number below 0"
    if abs(part.energy_hnj) / HNJ_PER_JOULE > (part.to_us - part.from_us + _MOMENT_US) * MOST_JOULES_PER_US:
        return "is more than 20 kW"
    if not all(map(math.isfinite, (part.doubt.sigma_j, part.doubt.squares_j2))):
        return "has a sigma that is not finite"
    return ""
