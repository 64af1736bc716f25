"""What a GPU can and cannot report, found by asking: three refusals are a "no", with the reason and the remedy.

Where each reading exists is documented in NVML's API reference and differs by architecture, driver and virtualisation;
what a driver answers counts, not what it is expected to.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from wattshed.agent.meters.errors import (
    FUNCTION_NOT_FOUND,
    NOT_SUPPORTED,
    SUCCESS,
    Fault,
    MeterError,
    name_of,
)
from wattshed.agent.meters.sight import guests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.nvml import Nvml

# Field ids of nvml.h.
ENERGY, AVERAGE, INSTANT = 83, 185, 186
MEMORY_TEMPERATURE = 82
LIMITS = {"min": 187, "max": 188, "default": 189, "enforced": 190, "requested": 192}
RECOVERY_ACTION = 230
POWER_CAPPED = 74  # ns
GPU_SCOPE, MODULE_SCOPE, MEMORY_SCOPE = 0, 1, 2
BESIDE = {
    "module": ((AVERAGE, MODULE_SCOPE), (INSTANT, MODULE_SCOPE)),
    "memory": ((AVERAGE, MEMORY_SCOPE), (INSTANT, MEMORY_SCOPE)),
}
"""Powers beside the GPU's: (field, scope), of which the first that answers is read. An H200 has only the average of its
memory."""

LEARNED = ("gpu_scope", "process_rows")
"""Capabilities that readings tell, not questions."""

TRIES = 3
RETRY_US = {Fault.OFF: 5_000, Fault.TRANSIENT: 50_000}

ARCHITECTURES = {
    2: "kepler",
    3: "maxwell",
    4: "pascal",
    5: "volta",
    6: "turing",
    7: "ampere",
    8: "ada",
    9: "hopper",
    10: "blackwell",
    13: "rubin",
}
_GA100 = re.compile(r"\b(A100X?|A30X?|A800|CMP 170HX|PG199|PG506)\b")

REMEDIES = {
    "energy": "needs Volta or newer, and no vGPU; power is integrated instead, with a wider uncertainty",
    "average": "needs Ampere (not GA100) or newer and driver 525 or newer; instant power is integrated instead",
    "instant": "update the driver (525 or newer); peaks and ramps are read from average power",
    "fields": "update the driver; each reading costs a call of its own",
    "gpu_scope": "none: the GPU's own power is used where it is reported, and the module's energy is published "
    "beside it as wattshed_host_energy_joules_total",
    "module": "exists on Grace superchips only",
    "memory": "exists only on boards that meter their memory apart; its average power (field 185, scope 2) is enough",
    "limits": "update the driver; absurd power readings are then found by --max-power alone",
    "throttle": "update the driver (560 or newer)",
    "samples": "needs no remedy: readings come from fields",
    "utilisation": "does not exist under MIG; GPM serves there on Hopper and newer",
    "processes": "update the driver; jobs are known from the mapping directory and the kubelet only",
    "all_processes": "run it in the host's PID namespace (hostPID: true, docker --pid=host), and on the host of vGPUs "
    "set idle_watts; without it an empty list is no proof of an idle GPU, and idle power is not learned",
    "process_utilisation": "does not exist under MIG or on vGPUs; jobs that share a GPU are split by reserved share",
    "accounting": "as root: nvidia-smi --accounting-mode=1; without it jobs shorter than a second may be missed",
    "gpm": "needs Hopper or newer",
    "mig": "is off, or does not exist before A100",
    "events": "update the driver; XID errors are not reported",
}
"""What to do about each capability that is missing."""


def is_ga100(model: str) -> bool:
    """Whether the product name is one of a GA100 board, whose power readings differ from other Ampere boards."""
    return _GA100.search(model) is not None


def power_usage_is_average(architecture: str, model: str) -> bool:
    """Whether nvmlDeviceGetPowerUsage means the last second (Ampere except GA100, and newer) or the instant.

    The API reference states this; driver 530 was seen to differ, so the power fields are preferred where they exist.
    """
    return architecture in {"ampere", "ada", "hopper", "blackwell", "rubin"} and not is_ga100(model)


def attempt(clock: Clock, ask: Callable[[], Any], tries: int = TRIES) -> str:
    """Ask up to three times; "" if it works or is only busy now, else the reason for the "no".

    Raises
    ------
    MeterError
        The GPU or the driver is gone: that is no answer about a capability.
    """
    reason, pause_us = "", 0
    for _ in range(tries):
        clock.sleep_until(clock.now_us() + pause_us)
        try:
            ask()
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            if error.fault is Fault.NOTHING:
                return ""
            reason = f"{name_of(error.code)} ({error.code})" if error.fault is Fault.OFF else ""
            if error.code == FUNCTION_NOT_FOUND:
                break  # a symbol does not appear by asking again
            pause_us = RETRY_US[error.fault]
        else:
            return ""
    return reason


def field(nvml: Nvml, handle: object, number: int, scope: int = GPU_SCOPE) -> float:
    """Read one field's value.

    Raises
    ------
    MeterError
        The call or the field itself failed.
    """
    ((code, value),) = nvml.fields(handle, [(number, scope)])
    return _value(number, code, value)


def _value(number: int, code: int, value: float) -> float:
    if code == SUCCESS and value == 0 and number in {AVERAGE, INSTANT}:
        code = NOT_SUPPORTED  # a board that is powered draws something: the library just did not refuse
    if code != SUCCESS:
        raise MeterError(f"field {number}", code)
    return value


def first_power(nvml: Nvml, handle: object, asked: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the first of some powers (field, scope) that is not refused, all asked for in one call.

    Raises
    ------
    MeterError
        The GPU or the driver is gone, or has none of them, at least not now.
    """
    refused: MeterError | None = None
    for one, (code, value) in zip(asked, nvml.fields(handle, list(asked)), strict=True):
        try:
            _value(one[0], code, value)
        except MeterError as error:
            if error.fault is not Fault.OFF:
                raise
            refused = error
        else:
            return one
    raise refused or MeterError("no power", NOT_SUPPORTED)


def capabilities(  # noqa: PLR0917 - who is asked, and what is known of it
    nvml: Nvml,
    clock: Clock,
    handle: object,
    architecture: str,
    model: str,
    before: Mapping[str, str] = MappingProxyType({}),
    *,
    refused_only: bool = False,
) -> dict[str, str]:
    """Find out what one GPU offers.

    Parameters
    ----------
    nvml : Nvml
    clock : Clock
    handle : object
    architecture, model : str
    before : mapping of str -> str
        What it offered when it was last asked: a "no" that is confirmed needs one refusal, and what is not found out by
        asking (whose energy the counter is, what rows mean) stays.
    refused_only : bool
        Ask only for what was refused.

    Returns
    -------
    dict of str -> str
        Capability -> "" if it works, else the reason why not.

    Raises
    ------
    MeterError
        The GPU or the driver is gone.
    TooSlow
        It has no time for so many questions.
    """
    usage_is = "average" if power_usage_is_average(architecture, model) else "instant"
    found = {"gpu_scope": "", **before}  # the counter is the GPU's until readings show otherwise

    def tries(name: str) -> int:
        return 1 if before.get(name) else TRIES

    def call(name: str, function: str, *args: object) -> str:
        return attempt(clock, lambda: nvml.ask(function, handle, *args), tries(name))

    def one(name: str, number: int, scope: int = GPU_SCOPE) -> str:
        return found["fields"] or attempt(clock, lambda: field(nvml, handle, number, scope), tries(name))

    def either(name: str, number: int, function: str) -> str:
        return one(name, number) and call(name, function)

    def power(name: str, number: int) -> str:
        return either(name, number, "nvmlDeviceGetPowerUsage") if name == usage_is else one(name, number)

    def beside(name: str) -> str:
        return found["fields"] or attempt(clock, lambda: first_power(nvml, handle, BESIDE[name]), tries(name))

    def several(_name: str) -> str:
        return attempt(clock, lambda: nvml.fields(handle, [(ENERGY, GPU_SCOPE)]), tries("fields"))

    questions: dict[str, Callable[[str], str]] = {
        "fields": several,
        "energy": lambda name: either(name, ENERGY, "nvmlDeviceGetTotalEnergyConsumption"),
        "average": lambda name: power(name, AVERAGE),
        "instant": lambda name: power(name, INSTANT),
        "module": beside,
        "memory": beside,
        "limits": lambda name: either(name, LIMITS["max"], "nvmlDeviceGetPowerManagementLimitConstraints"),
        "throttle": lambda name: one(name, POWER_CAPPED),
        "samples": lambda name: attempt(clock, lambda: nvml.power_samples(handle, 0), tries(name)),
        "utilisation": lambda name: call(name, "nvmlDeviceGetUtilizationRates"),
        "processes": lambda name: attempt(clock, lambda: nvml.processes(handle, "Compute"), tries(name)),
        "all_processes": lambda _name: found["processes"] or guests(nvml, handle),
        "process_utilisation": lambda name: attempt(clock, lambda: nvml.process_utilisation(handle, 0), tries(name)),
        "accounting": lambda name: _switch(nvml, clock, handle, "nvmlDeviceGetAccountingMode", tries(name)),
        "gpm": lambda name: _gpm(nvml, clock, handle, tries(name)),
        "mig": lambda name: _switch(nvml, clock, handle, "nvmlDeviceGetMigMode", tries(name)),
        "events": lambda name: call(name, "nvmlDeviceGetSupportedEventTypes"),
    }
    for name, question in questions.items():
        if not refused_only or before.get(name):
            found[name] = question(name)
    return found


def _switch(nvml: Nvml, clock: Clock, handle: object, name: str, tries: int) -> str:
    """Answer for a capability with a mode: it works only when it is switched on."""
    mode: list[Any] = []

    def read() -> None:
        mode[:] = [nvml.ask(name, handle)]

    reason = attempt(clock, read, tries)
    if reason or not mode:
        return reason or "no answer"
    current = mode[0][0] if isinstance(mode[0], list) else mode[0]
    return "" if current else "switched off"


def _gpm(nvml: Nvml, clock: Clock, handle: object, tries: int) -> str:
    supported: list[int] = []
    reason = attempt(
        clock, lambda: supported.append(nvml.ask("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice), tries
    )
    if reason or not supported:
        return reason or "no answer"
    return "" if supported[-1] else "not supported by this GPU"
