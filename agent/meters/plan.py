"""How one GPU is read: which fields in one call, and which readings by calls of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.meters import probe
from wattshed.agent.meters.errors import Fault, MeterError
from wattshed.agent.meters.field_numbers import numbers_of
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.meters.nvml import Nvml
    from wattshed.agent.window import Device

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
OFFERED = {probe.ENERGY: "energy", probe.AVERAGE: "average", probe.INSTANT: "instant"}


class ReadingPlan(NamedTuple):
    """What is read how.

    Attributes
    ----------
    full : sequence of (field, scope)
        Read together, once a second.
    quick : sequence of (field, scope)
        Instant power alone.
    own : frozenset of str
        Readings ("energy", "average", "instant") that take a call of their own.
    has_average : bool
        Whether there is average power.
    """

    full: Sequence[tuple[int, int]]
    quick: Sequence[tuple[int, int]]
    own: frozenset[str]
    has_average: bool


NO_PLAN = ReadingPlan((), (), frozenset(), has_average=False)
"""Of a GPU that is not read."""


def plan_of(nvml: Nvml, handle: object, device: Device) -> ReadingPlan:
    """Settle which fields are read together, and which readings need a call of their own.

    Raises
    ------
    TooSlow
        This GPU has used up its time.
    """
    able = device.capabilities
    batched = not able["fields"]
    works = [
        n for n, name in OFFERED.items() if batched and not able[name] and _in_batch(nvml, handle, device, n, name)
    ]
    extras = [n for n in numbers_of(device.driver).throttle.values() if batched and not able["throttle"]]
    full = [(n, probe.GPU_SCOPE) for n in [*works, *extras]]
    full += [_beside(nvml, handle, asked) for name, asked in probe.BESIDE.items() if not able[name]]
    own = frozenset(name for n, name in OFFERED.items() if n not in works and not able[name])
    quick = [(probe.INSTANT, probe.GPU_SCOPE)] if probe.INSTANT in works else []
    return ReadingPlan(tuple(full), tuple(quick), own, has_average=not able["average"])


def _beside(nvml: Nvml, handle: object, asked: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return which power beside the GPU's to read; the first of them if none answers now."""
    try:
        return probe.first_power(nvml, handle, asked)
    except MeterError:
        return asked[0]


def _in_batch(nvml: Nvml, handle: object, device: Device, number: int, name: str) -> bool:
    """Whether a reading is to be had as a field; one that does not answer now only if no other call does."""
    usage = "average" if probe.power_usage_is_average(device.architecture, device.model) else "instant"
    calls = {"energy": "nvmlDeviceGetTotalEnergyConsumption", usage: "nvmlDeviceGetPowerUsage"}
    try:
        if probe.field(nvml, handle, number) > 0:
            return True
    except MeterError as error:
        if error.fault is Fault.OFF:
            return False
    return name not in calls or nvml.ask_or(0, calls[name], handle) <= 0


def limit_of(nvml: Nvml, handle: object, able: Mapping[str, str]) -> int:
    """Return the largest power limit that the board accepts, mW; -1 unknown."""
    if able["limits"]:
        return MISSING
    if not able["fields"]:
        try:
            return milli(probe.field(nvml, handle, probe.LIMITS["max"]))
        except MeterError:
            pass
    constraints = nvml.ask_or(None, "nvmlDeviceGetPowerManagementLimitConstraints", handle)
    return MISSING if constraints is None else milli(constraints[1])


def milli(value: float) -> int:
    """Milliwatts that fit their column: an absurd value stays absurd, so that the accounts reject it with a reason."""
    return MISSING if not math.isfinite(value) or value < 0 else min(int(value), INT32_MAX)


def counter_of(value: float) -> int:
    """Return the counter; exactly 0 is a driver that did not say no, for a board draws power while it is counted."""
    return MISSING if not math.isfinite(value) or not 0 < value <= INT64_MAX else int(value)
