"""One GPU: who it is, and how its energy and power are read in as few driver calls as possible."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.meters import probe
from agent.meters.errors import SUCCESS, Fault, MeterError, fault_of
from agent.meters.gauges import MODULE_W
from agent.meters.scope import Moment, ScopeWatch, at_once
from agent.window import MISSING, Device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.meters.clock import Clock
    from agent.meters.nvml import Nvml

LOG = logging.getLogger(__name__)

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
MIB = 1 << 20


class Sample(NamedTuple):
    """One reading of one GPU; -1 where it has none.

    ``power_mw`` is what energy is integrated from without a counter: average power where the GPU offers it, else
    instant power.
    """

    counter_mj: int
    power_mw: int
    instant_mw: int


class Board:
    """One GPU behind a handle.

    Parameters
    ----------
    nvml : Nvml
    clock : Clock
    index : int
    host : str
    known : callable
        Fills in what is known of a device beforehand (gain, offset, sigma, idle power), from the configuration.
    simulated : bool

    Attributes
    ----------
    device : Device
    handle : object
    has_average : bool
        Whether ``power_mw`` of its samples is average power.

    Raises
    ------
    MeterError
        The GPU does not answer.
    """

    def __init__(
        self,
        nvml: Nvml,
        clock: Clock,
        index: int,
        host: str,
        *,
        known: Callable[[Device], Device] = lambda device: device,
        simulated: bool = False,
    ) -> None:
        self._nvml, self._clock = nvml, clock
        self.handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
        model = nvml.ask_or("", "nvmlDeviceGetName", self.handle)
        architecture = probe.ARCHITECTURES.get(nvml.ask_or(MISSING, "nvmlDeviceGetArchitecture", self.handle), "")
        able = probe.capabilities(nvml, clock, self.handle, architecture, model)
        if "GH200" in model and not able["energy"] and able["instant"] and able["average"] and able["module"]:
            able["gpu_scope"] = "a GH200's counter is its module's, and no power is told that could show otherwise"
        limit_mw = self._limit_mw(able)
        pci = self._pci_bus_id()
        uuid = nvml.ask_or("", "nvmlDeviceGetUUID", self.handle) or f"GPU-{pci or index}"
        device = Device(
            host=host,
            index=index,
            uuid=uuid,
            model=model,
            pci_bus_id=pci,
            driver=nvml.ask_or("", "nvmlSystemGetDriverVersion"),
            architecture=architecture,
            minor=nvml.ask_or(MISSING, "nvmlDeviceGetMinorNumber", self.handle),
            limit_mw=limit_mw,
            capabilities=able,
            simulated=simulated,
        )
        if limit_mw > 0:
            device = replace(device, ceiling_mw=limit_mw * 3 // 2)
        self.device = known(device)
        self._scope = ScopeWatch()
        self._plan()

    def _pci_bus_id(self) -> str:
        info = self._nvml.ask_or(None, "nvmlDeviceGetPciInfo", self.handle)
        return str(info.busId or info.busIdLegacy) if info is not None else ""

    def _limit_mw(self, able: Mapping[str, str]) -> int:
        if able["limits"]:
            return MISSING
        if not able["fields"]:
            try:
                return _milli(probe.field(self._nvml, self.handle, probe.LIMITS["max"]))
            except MeterError:
                pass
        constraints = self._nvml.ask_or(None, "nvmlDeviceGetPowerManagementLimitConstraints", self.handle)
        return MISSING if constraints is None else _milli(constraints[1])

    def _plan(self) -> None:
        """Settle which fields are read together, and which readings need a call of their own."""
        able = self.device.capabilities
        batched = not able["fields"]
        offered = {probe.ENERGY: "energy", probe.AVERAGE: "average", probe.INSTANT: "instant"}
        works = [n for n, name in offered.items() if batched and not able[name] and self._in_batch(n, name)]
        extras = [n for n in probe.THROTTLE.values() if batched and not able["throttle"]]
        self._full = [(n, probe.GPU_SCOPE) for n in [*works, *extras]]
        scopes = (("module", probe.MODULE_SCOPE), ("memory", probe.MEMORY_SCOPE))
        self._full += [(probe.INSTANT, scope) for name, scope in scopes if not able[name]]
        self._own = {name for n, name in offered.items() if n not in works and not able[name]}
        self.has_average = not able["average"]
        self._quick = [(probe.INSTANT, probe.GPU_SCOPE)] if probe.INSTANT in works else []

    def _in_batch(self, number: int, name: str) -> bool:
        """Whether a reading is to be had as a field; one that does not answer now only if no other call does."""
        usage = "average" if probe.power_usage_is_average(self.device.architecture, self.device.model) else "instant"
        calls = {"energy": "nvmlDeviceGetTotalEnergyConsumption", usage: "nvmlDeviceGetPowerUsage"}
        try:
            if probe.field(self._nvml, self.handle, number) > 0:
                return True
        except MeterError as error:
            if error.fault is Fault.OFF:
                return False
        return name not in calls or self._nvml.ask_or(0, calls[name], self.handle) <= 0

    def publish(self, periods_us: Mapping[int, int]) -> None:
        """Note the learned publication periods (field -> us)."""
        names = {probe.ENERGY: "energy", probe.AVERAGE: "average", probe.INSTANT: "instant"}
        learned = {names[n]: us for n, us in periods_us.items() if n in names}
        self.device = replace(self.device, publication_us={**self.device.publication_us, **learned})

    def tell_apart(self) -> None:
        """Make the UUID unique: another GPU of this library has the same."""
        self.device = replace(self.device, uuid=f"{self.device.uuid}/{self.device.index}")

    def inherit(self, older: Board, *, keep_index: bool = True) -> None:
        """Take over what was learned of this GPU before the driver was opened anew, and its number if that stands."""
        learned = {**older.device.publication_us, **self.device.publication_us}
        index = older.device.index if keep_index else self.device.index
        able = {**self.device.capabilities, "gpu_scope": older.device.capabilities["gpu_scope"]}
        self.device = replace(self.device, publication_us=learned, index=index, capabilities=able)
        self._scope = older._scope

    def note(self, capability: str, reason: str) -> None:
        """Note what was found out about a capability: "" that it works, else why not."""
        if self.device.capabilities.get(capability) != reason:
            self.device = replace(self.device, capabilities={**self.device.capabilities, capability: reason})

    @property
    def metered_twice(self) -> bool:
        """Whether there is a counter, and a module's power that it may belong to."""
        able = self.device.capabilities
        return not (able["energy"] or able["module"])

    def snapshot(self) -> Moment | None:
        """Return what tells the counter's scope, now; None if the GPU does not tell all of it."""
        beside: dict[str, float] = {}
        try:
            sample = self.read(beside)
        except MeterError:
            return None
        return self._moment(self._clock.now_us(), sample, beside)

    def _moment(self, at_us: int, sample: Sample, beside: Mapping[str, float]) -> Moment | None:
        able, module_mw = self.device.capabilities, beside.get("power_module_w", 0.0) * 1e3
        instant_mw = sample.instant_mw if not able["instant"] else sample.power_mw
        own = not (able["instant"] and able["average"])
        powers = [module_mw, sample.power_mw, instant_mw] if own else [module_mw]
        if sample.counter_mj < 0 or not all(0 < mw <= MODULE_W * 1e3 for mw in powers):
            return None
        return Moment(at_us, sample.counter_mj, *((sample.power_mw, instant_mw) if own else (0, 0)), module_mw)

    def judge_scope(self, one: Moment | None, two: Moment | None) -> None:
        """Tell whose energy the counter is, GPU's or module's, if two moments a second apart are enough for it."""
        if one is not None and two is not None:
            self._note_scope(*at_once(one, two))

    def watch_scope(self, at_us: int, sample: Sample, beside: Mapping[str, float]) -> None:
        """Judge that again from the readings, over half a minute, every few minutes."""
        moment = self._moment(at_us, sample, beside) if self.metered_twice else None
        if moment is not None:
            self._note_scope(*self._scope.add(moment))

    def _note_scope(self, found: str, rate_mw: float, gpu_mw: float, module_mw: float) -> None:
        if not found or (found == "module") == bool(self.device.capabilities["gpu_scope"]):
            return
        reason = f"the counter runs at {rate_mw / 1e3:.0f} W, the module's {module_mw / 1e3:.0f} W"
        reason += f" and not the GPU's {gpu_mw / 1e3:.0f} W" if gpu_mw > 0 else ", and the GPU's own is not told"
        able = {**self.device.capabilities, "gpu_scope": reason if found == "module" else ""}
        self.device = replace(self.device, capabilities=able)
        LOG.info(
            "GPU %d: its energy counter is %s",
            self.device.index,
            f"the module's: {reason}" if found == "module" else "its own",
        )

    @property
    def learnable(self) -> list[int]:
        """Fields whose publication period can be learned."""
        return [n for n, scope in self._full if n in {83, 185, 186} and scope == probe.GPU_SCOPE]

    def read(self, gauges: dict[str, float] | None = None) -> Sample:
        """Read counter, average and instant power, as far as they exist, in one call where the driver can.

        Parameters
        ----------
        gauges : dict of str -> float, optional
            Filled with throttle times and the powers of other scopes.

        Raises
        ------
        MeterError
            The call failed as a whole; a field that fails is only missing.
        """
        values: dict[tuple[int, int], float] = {}
        if self._full:
            answers = self._nvml.fields(self.handle, self._full)
            _raise_if_down(answers)
            values = {key: value for key, (code, value) in zip(self._full, answers, strict=True) if code == SUCCESS}
        counter = values.get((probe.ENERGY, 0), MISSING)
        average = values.get((probe.AVERAGE, 0), MISSING)
        instant = values.get((probe.INSTANT, 0), MISSING)
        if "energy" in self._own:
            counter = self._one("nvmlDeviceGetTotalEnergyConsumption")
        if "average" in self._own or "instant" in self._own:
            power = self._one("nvmlDeviceGetPowerUsage")
            average = power if "average" in self._own else average
            instant = power if "instant" in self._own else instant
        if gauges is not None:
            self._extras(values, gauges)
        average_mw, instant_mw = _milli(average), _milli(instant)
        power_mw = average_mw if self.has_average and average_mw != MISSING else instant_mw
        return Sample(_counter(counter), power_mw, instant_mw)

    def read_instant(self) -> Sample:
        """Read instant power alone; it stands for ``power_mw`` too where there is no average."""
        if self._quick:
            answers = self._nvml.fields(self.handle, self._quick)
            _raise_if_down(answers)
            code, value = answers[0]
            instant_mw = _milli(value) if code == SUCCESS else MISSING
        elif "instant" in self._own:
            instant_mw = _milli(self._one("nvmlDeviceGetPowerUsage"))
        else:
            return self.read()
        return Sample(MISSING, MISSING if self.has_average else instant_mw, instant_mw)

    def _one(self, name: str) -> float:
        try:
            return float(self._nvml.ask(name, self.handle))
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return MISSING

    def _extras(self, values: Mapping[tuple[int, int], float], gauges: dict[str, float]) -> None:
        for name, number in probe.THROTTLE.items():
            if (number, 0) in values:
                gauges[f"throttle_{name}_s"] = values[number, 0] / 1e9
        for name, scope in (("module", probe.MODULE_SCOPE), ("memory", probe.MEMORY_SCOPE)):
            if (probe.INSTANT, scope) in values:
                gauges[f"power_{name}_w"] = values[probe.INSTANT, scope] / 1e3

    def gauges(self) -> dict[str, float]:
        """Facts that carry no energy; what the driver refuses is left out.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        """
        found: dict[str, float] = {}
        able, ask = self.device.capabilities, self._or_none
        slow = [*probe.LIMITS.values(), probe.MEMORY_TEMPERATURE] if not able["fields"] else []
        if slow:
            answers = self._nvml.fields(self.handle, [(n, probe.GPU_SCOPE) for n in slow])
            _raise_if_down(answers)
            got = {n: v for n, (code, v) in zip(slow, answers, strict=True) if code == SUCCESS and v > 0}
            found |= {f"limit_{name}_w": got[n] / 1e3 for name, n in probe.LIMITS.items() if n in got}
            if probe.MEMORY_TEMPERATURE in got:
                found["memory_temperature_c"] = got[probe.MEMORY_TEMPERATURE]
        if "limit_enforced_w" not in found and (limit := ask("nvmlDeviceGetEnforcedPowerLimit")):
            found["limit_enforced_w"] = limit / 1e3
        if (celsius := ask("nvmlDeviceGetTemperature", 0)) is not None:
            found["temperature_c"] = celsius
        for name, domain in (("sm_clock_mhz", 1), ("mem_clock_mhz", 2)):
            if (megahertz := ask("nvmlDeviceGetClockInfo", domain)) is not None:
                found[name] = megahertz
        return found

    def memory(self) -> dict[str, float]:
        """Framebuffer in MiB; a change of it tells that a process came or went."""
        info = self._or_none("nvmlDeviceGetMemoryInfo")
        if info is None:
            return {}
        return {"fb_used_mib": info.used / MIB, "fb_free_mib": info.free / MIB, "fb_total_mib": info.total / MIB}

    def utilisation(self) -> dict[str, float]:
        """Utilisation of SMs and memory in percent; values above 100 are garbage and left out."""
        if self.device.capabilities["utilisation"]:
            return {}
        rates = self._or_none("nvmlDeviceGetUtilizationRates")
        if rates is None:
            return {}
        return {k: v for k, v in (("gpu_util", rates.gpu), ("mem_copy_util", rates.memory)) if 0 <= v <= 100}

    def _or_none(self, name: str, *args: object) -> Any:
        """Return an optional answer, unless the GPU is gone."""
        try:
            return self._nvml.ask(name, self.handle, *args)
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return None


def _raise_if_down(answers: list[tuple[int, float]]) -> None:
    """Raise what a field says of the whole GPU: the call succeeds though it is lost."""
    for code, _ in answers:
        if code and fault_of(code) in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
            raise MeterError("nvmlDeviceGetFieldValues", code)


def _milli(value: float) -> int:
    """Milliwatts that fit their column: an absurd value stays absurd, so that the accounts reject it with a reason."""
    return MISSING if not math.isfinite(value) or value < 0 else min(int(value), INT32_MAX)


def _counter(value: float) -> int:
    """Return the counter; exactly 0 is a driver that did not say no, for a board draws power while it is counted."""
    return MISSING if not math.isfinite(value) or not 0 < value <= INT64_MAX else int(value)
