"""What a GPU reports besides its energy; what the driver refuses is left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.meters import probe
from wattshed.agent.meters.errors import SUCCESS, Fault, MeterError, fault_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.meters.nvml import Nvml

MIB = 1 << 20
SWITCH = {0, 1}  # what else a field for a switch shows is something else
POWER_PROFILE = "power_profile_"  # and its number: a gauge that is 1 while the profile is in force
GONE = {Fault.LOST, Fault.DRIVER, Fault.RESTART}


def gauges(nvml: Nvml, handle: object, able: Mapping[str, str], shaping: Mapping[str, int]) -> dict[str, float]:
    """Return limits (W), temperatures (degrees Celsius), clocks (MHz), and what the driver advises to do about it.

    Parameters
    ----------
    nvml : Nvml
    handle : object
    able : mapping of str -> str
    shaping : mapping of str -> int
        The driver's means to shape power -> field that says whether it is on.

    Raises
    ------
    MeterError
        The GPU or the driver is gone.
    """
    found: dict[str, float] = {}
    slow = [*probe.LIMITS.values(), probe.MEMORY_TEMPERATURE, probe.RECOVERY_ACTION, *shaping.values()]
    if not able["fields"]:
        answers = nvml.fields(handle, [(n, probe.GPU_SCOPE) for n in slow])
        raise_if_down(answers)
        told = {n: v for n, (code, v) in zip(slow, answers, strict=True) if code == SUCCESS}
        found |= {name: told[n] for name, n in shaping.items() if told.get(n) in SWITCH}
        if probe.RECOVERY_ACTION in told:
            found["recovery_action"] = told[probe.RECOVERY_ACTION]
        got = {n: v for n, v in told.items() if v > 0}
        found |= {f"limit_{name}_w": got[n] / 1e3 for name, n in probe.LIMITS.items() if n in got}
        if probe.MEMORY_TEMPERATURE in got:
            found["memory_temperature_c"] = got[probe.MEMORY_TEMPERATURE]
    if "limit_enforced_w" not in found and (limit := or_none(nvml, "nvmlDeviceGetEnforcedPowerLimit", handle)):
        found["limit_enforced_w"] = limit / 1e3
    if (celsius := or_none(nvml, "nvmlDeviceGetTemperature", handle, 0)) is not None:
        found["temperature_c"] = celsius
    for name, domain in (("sm_clock_mhz", 1), ("mem_clock_mhz", 2)):
        if (megahertz := or_none(nvml, "nvmlDeviceGetClockInfo", handle, domain)) is not None:
            found[name] = megahertz
    return found


def power_profiles(nvml: Nvml, handle: object) -> dict[str, float] | None:
    """Return the workload power profiles in force, each as a gauge; None if there are none to be had.

    Raises
    ------
    MeterError
        The GPU or the driver is gone.
    """
    try:
        return {f"{POWER_PROFILE}{number}": 1.0 for number in nvml.power_profiles(handle)}
    except MeterError as error:
        if error.fault in GONE:
            raise
        return None if error.fault is Fault.OFF else {}


def memory(nvml: Nvml, handle: object) -> dict[str, float]:
    """Return the framebuffer in MiB; raises as :func:`gauges`."""
    info = or_none(nvml, "nvmlDeviceGetMemoryInfo", handle)
    if info is None:
        return {}
    return {"fb_used_mib": info.used / MIB, "fb_free_mib": info.free / MIB, "fb_total_mib": info.total / MIB}


def utilisation(nvml: Nvml, handle: object, able: Mapping[str, str]) -> dict[str, float]:
    """Return utilisation in percent; values above 100 are garbage and left out. Raises as :func:`gauges`."""
    rates = None if able["utilisation"] else or_none(nvml, "nvmlDeviceGetUtilizationRates", handle)
    if rates is None:
        return {}
    return {k: v for k, v in (("gpu_util", rates.gpu), ("mem_copy_util", rates.memory)) if 0 <= v <= 100}


def or_none(nvml: Nvml, name: str, handle: object, *args: object) -> Any:
    """Return an optional answer, unless the GPU is gone; raises as :func:`gauges`."""
    try:
        return nvml.ask(name, handle, *args)
    except MeterError as error:
        if error.fault in GONE:
            raise
        return None


def raise_if_down(answers: list[tuple[int, float]]) -> None:
    """Raise what a field says of the whole GPU: the call succeeds though it is lost."""
    for code, _ in answers:
        if code and fault_of(code) in GONE:
            raise MeterError("nvmlDeviceGetFieldValues", code)
