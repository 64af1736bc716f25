"""One GPU: who it is, and how its energy and power are read in as few driver calls as possible."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.meters import facts, probe
from wattshed.agent.meters.errors import SUCCESS, Fault, MeterError
from wattshed.agent.meters.facts import or_none, raise_if_down
from wattshed.agent.meters.field_numbers import numbers_of
from wattshed.agent.meters.gauges import MODULE_W
from wattshed.agent.meters.identity import handle_of
from wattshed.agent.meters.plan import NO_PLAN, OFFERED, ReadingPlan, counter_of, limit_of, milli, plan_of
from wattshed.agent.meters.scope import Moment, ScopeWatch, at_once
from wattshed.agent.window import MISSING, Device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.clock import Clock
    from wattshed.agent.meters.nvml import Nvml

LOG = logging.getLogger(__name__)

SLOW_US = 1_000_000  # a call that takes longer holds up the other GPUs
PROBE_US = 1_000_000  # for all calls of a probe together: a healthy GPU needs a few hundredths of it
MODES = ("nvmlDeviceGetMigMode", "nvmlDeviceGetAccountingMode", "nvmlDeviceGetPersistenceMode")


class Reading(NamedTuple):
    """One reading of one GPU; -1 where it has none.

    ``time_us`` is the midpoint of the call, as far as whoever asked knows it.
    ``power_mw`` is what energy is integrated from without a counter: average power where the GPU offers it, else
    instant power.
    """

    time_us: int
    power_mw: int
    counter_mj: int
    instant_mw: int


class GpuHandle:
    """One GPU behind a handle.

    Parameters
    ----------
    nvml : Nvml
    clock : Clock
    handle : object
    identity : Device
        Who it is, from :func:`agent.meters.identity.identify`.
    known : callable
        Fills in what is known of a device beforehand (gain, offset, sigma, idle power), from the configuration.

    Attributes
    ----------
    device : Device
    handle : object
    has_average : bool
        Whether ``power_mw`` of its samples is average power.
    sick : str
        Why it is not metered although it is there; empty once it was probed.
    probed : bool
        Whether it ever said what it can do.
    """

    def __init__(
        self,
        nvml: Nvml,
        clock: Clock,
        handle: object,
        identity: Device,
        *,
        known: Callable[[Device], Device] = lambda device: device,
    ) -> None:
        self._nvml, self._clock, self._known = nvml, clock, known
        self.handle, self._identity, self._numbers = handle, identity, numbers_of(identity.driver)
        self._modes: dict[str, int] = {}
        self._scope = ScopeWatch()
        self.probed = self._profiled = False
        self.give_up("not asked yet")

    def give_up(self, reason: str) -> None:
        """Leave it unmetered for now, and say why."""
        self.sick = reason
        self.device = self._known(replace(self._identity, capabilities=dict.fromkeys(probe.REMEDIES, reason)))
        self._take(NO_PLAN)

    def _take(self, plan: ReadingPlan) -> None:
        self._full, self._quick, self._own, self.has_average = plan
        self._place = {field: place for place, field in enumerate(plan.full)}

    def probe(self, before: Mapping[str, str] | None = None, *, refused_only: bool = False) -> None:
        """Find out what it can, and how to read it.

        Parameters
        ----------
        before : mapping of str -> str, optional
            What it could when it was asked last; what was refused then and still is, is asked for once.
        refused_only : bool
            Ask only for what was refused.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        TooSlow
            It answers so slowly that the others cannot wait; its capabilities stay as they were.
        """
        with self._nvml.costs.patience(PROBE_US, SLOW_US):
            model, architecture = self._identity.model, self._identity.architecture
            able = probe.capabilities(
                self._nvml, self._clock, self.handle, architecture, model, before or {}, refused_only=refused_only
            )
            if "GH200" in model and not able["energy"] and not able["gpu_scope"] and not self._scope.judged:
                # So it was found to be on all that were looked at; billed by it, a load that cannot be judged at once
                # would pay for the whole module meanwhile.
                able["gpu_scope"] = "a GH200's counter is its module's, not the GPU's, unless readings show otherwise"
            told = self._known(replace(self._identity, capabilities=able)).capabilities
            if not self.sick and told == before:
                return
            limit_mw = limit_of(self._nvml, self.handle, able)
            device = replace(self._identity, limit_mw=limit_mw, capabilities=able)
            if limit_mw > 0:
                device = replace(device, ceiling_mw=limit_mw * 3 // 2)
            plan = plan_of(self._nvml, self.handle, device)
            self.modes_changed()
        publication_us, index, uuid = self.device.publication_us, self.device.index, self.device.uuid
        self.device = self._known(replace(device, publication_us=publication_us, index=index, uuid=uuid))
        self.sick, self.probed, self._profiled = "", True, True
        self._take(plan)

    def ask_again(self, *, refused_only: bool) -> bool:
        """Probe it again, through a fresh handle unless only for what was refused; True if its capabilities changed.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        TooSlow
        """
        before = self.device
        if not refused_only:
            # A change of MIG mode may reset the GPU, and with it what an old handle means.
            self.handle = handle_of(self._nvml, before.uuid, self._identity.index)
        self.probe(before.capabilities, refused_only=refused_only)
        return self.device is not before

    def modes_changed(self) -> bool:
        """Whether MIG, accounting or persistence was switched since the last call; three cheap calls.

        Raises
        ------
        MeterError
            The GPU or the driver is gone.
        """
        modes = dict(self._modes)
        for name in MODES:
            if (answer := or_none(self._nvml, name, self.handle)) is not None:  # no answer is no change
                modes[name] = answer[0] if isinstance(answer, list) else answer
        changed = any(self._modes.get(name, mode) != mode for name, mode in modes.items())
        self._modes = modes
        return changed

    @property
    def session_index(self) -> int:
        """The driver's index of it in this session."""
        return self._identity.index

    def settle(self, nvml: Nvml) -> None:
        """Read it through ``nvml`` from now on: the thread that asked it is over."""
        self._nvml = nvml

    def publish(self, periods_us: Mapping[str, int]) -> None:
        """Note the learned publication periods (reading -> us)."""
        self.device = replace(self.device, publication_us={**self.device.publication_us, **periods_us})

    def tell_apart(self) -> None:
        """Make the UUID unique: another GPU of this library has the same."""
        self.device = replace(self.device, uuid=f"{self.device.uuid}/{self.device.index}")

    def inherit(self, older: GpuHandle, *, keep_index: bool = True) -> None:
        """Take over what was learned of this GPU before the driver was reopened, and its number if still valid."""
        learned = {**older.device.publication_us, **self.device.publication_us}
        index = older.device.index if keep_index else self.device.index
        able, self._scope = self.device.capabilities, older._scope
        if older.probed:
            before, self.probed = older.device.capabilities, True
            # One that fell sick can still do what it could. What its readings showed stays, too.
            able = before if self.sick else {**able, **{n: before[n] for n in probe.LEARNED if n in before}}
        self.device = replace(
            self.device, publication_us=learned, index=index, uuid=older.device.uuid, capabilities=able
        )

    def unnumber(self) -> None:
        """Give it no number on the host: it is away, and another GPU has that number now."""
        self.device = replace(self.device, index=MISSING, minor=MISSING)

    def note(self, capability: str, reason: str) -> None:
        """Note what was found out about a capability: "" that it works, else why not."""
        if self.device.capabilities.get(capability) != reason:
            self.device = replace(self.device, capabilities={**self.device.capabilities, capability: reason})

    @property
    def metered_twice(self) -> bool:
        """Whether there is a counter, and a module's power that it may belong to."""
        able = self.device.capabilities
        return not (able["energy"] or able["module"])

    def as_its_module_mw(self, sample: Reading) -> int:
        """Return the GPU's own power as that of its module is read: a mean, or of the moment."""
        return sample.power_mw if (probe.AVERAGE, probe.MODULE_SCOPE) in self._place else sample.instant_mw

    def moment(self, at_us: int, sample: Reading, beside: Mapping[str, float]) -> Moment | None:
        """Return what a reading shows of the counter's scope; None if the GPU does not report all of it."""
        able, module_mw = self.device.capabilities, beside.get("power_module_w", 0.0) * 1e3
        instant_mw = sample.power_mw if able["instant"] else self.as_its_module_mw(sample)
        own = not (able["instant"] and able["average"])
        powers = [module_mw, sample.power_mw, instant_mw] if own else [module_mw]
        if sample.counter_mj < 0 or not all(0 < mw <= MODULE_W * 1e3 for mw in powers):
            return None
        return Moment(at_us, sample.counter_mj, *((sample.power_mw, instant_mw) if own else (0, 0)), module_mw)

    def judge_scope(self, one: Moment | None, two: Moment | None) -> None:
        """Decide whose energy the counter counts, GPU's or module's, if two moments a second apart suffice."""
        if one is not None and two is not None:
            self._note_scope(*at_once(one, two))

    def watch_scope(self, at_us: int, sample: Reading, beside: Mapping[str, float]) -> None:
        """Judge that again from the readings, over half a minute, every few minutes."""
        moment = self.moment(at_us, sample, beside) if self.metered_twice else None
        if moment is not None:
            self._note_scope(*self._scope.add(moment))

    def _note_scope(self, found: str, rate_mw: float, gpu_mw: float, module_mw: float) -> None:
        self._scope.judged = self._scope.judged or bool(found)
        if not found or (found == "module") == bool(self.device.capabilities["gpu_scope"]):
            return
        reason = f"the counter runs at {rate_mw / 1e3:.0f} W, the module's {module_mw / 1e3:.0f} W"
        reason += f" and not the GPU's {gpu_mw / 1e3:.0f} W" if gpu_mw > 0 else ", and the GPU's own is not reported"
        able = {**self.device.capabilities, "gpu_scope": reason if found == "module" else ""}
        self.device = replace(self.device, capabilities=able)
        LOG.info(
            "GPU %d: energy counter covers %s",
            self.device.index,
            f"the whole module ({reason})" if found == "module" else "the GPU alone",
        )

    @property
    def learnable(self) -> tuple[str, ...]:
        """Readings ("energy", "average", "instant") whose publication period can be learned: those of one call."""
        return tuple(OFFERED[number] for number, scope in self._full if number in OFFERED and scope == probe.GPU_SCOPE)

    def read(self, gauges: dict[str, float] | None = None) -> Reading:
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
        answers = self._nvml.fields(self.handle, self._full) if self._full else []
        raise_if_down(answers)
        counter = self._told(answers, probe.ENERGY)
        average = self._told(answers, probe.AVERAGE)
        instant = self._told(answers, probe.INSTANT)
        if "energy" in self._own:
            counter = self._one("nvmlDeviceGetTotalEnergyConsumption")
        if "average" in self._own or "instant" in self._own:
            power = self._one("nvmlDeviceGetPowerUsage")
            average = power if "average" in self._own else average
            instant = power if "instant" in self._own else instant
        if gauges is not None:
            self._extras(answers, gauges)
        average_mw, instant_mw = milli(average), milli(instant)
        power_mw = average_mw if self.has_average and average_mw != MISSING else instant_mw
        return Reading(MISSING, power_mw, counter_of(counter), instant_mw)

    def _told(self, answers: Sequence[tuple[int, float]], number: int, scope: int = 0) -> float:
        """Return what a field of the full reading says; -1 if it is not read, or fails."""
        place = self._place.get((number, scope))
        if place is None:
            return MISSING
        code, value = answers[place]
        return value if code == SUCCESS else MISSING

    def read_instant(self) -> Reading:
        """Read instant power alone; it stands for ``power_mw`` too where there is no average."""
        if self._quick:
            answers = self._nvml.fields(self.handle, self._quick)
            raise_if_down(answers)
            code, value = answers[0]
            instant_mw = milli(value) if code == SUCCESS else MISSING
        elif "instant" in self._own:
            instant_mw = milli(self._one("nvmlDeviceGetPowerUsage"))
        else:
            return self.read()
        return Reading(MISSING, MISSING if self.has_average else instant_mw, MISSING, instant_mw)

    def _one(self, name: str) -> float:
        try:
            return float(self._nvml.ask(name, self.handle))
        except MeterError as error:
            if error.fault in {Fault.LOST, Fault.DRIVER, Fault.RESTART}:
                raise
            return MISSING

    def _extras(self, answers: Sequence[tuple[int, float]], gauges: dict[str, float]) -> None:
        for name, number in self._numbers.throttle.items():
            if (throttled := self._told(answers, number)) != MISSING:
                gauges[f"throttle_{name}_s"] = throttled / 1e9
        for name, asked in probe.BESIDE.items():
            if (power := max(self._told(answers, *one) for one in asked)) != MISSING:
                gauges[f"power_{name}_w"] = power / 1e3

    def gauges(self) -> dict[str, float]:
        """Limits, temperatures, clocks, means to shape power; raises `MeterError` if it is gone, as the next two do."""
        found = facts.gauges(self._nvml, self.handle, self.device.capabilities, self._numbers.shaping)
        profiles = facts.power_profiles(self._nvml, self.handle) if self._profiled else None
        self._profiled = profiles is not None
        return {**found, **(profiles or {})}

    def memory(self) -> dict[str, float]:
        """Framebuffer in MiB; a change of it shows that a process came or went."""
        return facts.memory(self._nvml, self.handle)

    def utilisation(self) -> dict[str, float]:
        """Utilisation of SMs and memory in percent."""
        return facts.utilisation(self._nvml, self.handle, self.device.capabilities)
