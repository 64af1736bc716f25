"""What a simulated host draws beside its GPUs, and which meters it has, as a scenario says it (docs/metering.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wattshed.agent.simulation.sensors import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.inputs.toml import Table

SECOND_US = 1_000_000
INTEL_WRAP_UJ = 262_143_328_850
RAPL_QUANTUM_UJ = 61  # of most processors: 2**-14 J
MOST_PACKAGES = 8
PARTS = ("cpu", "memory", "sysio", "rest")
SOURCES = ("rapl", "hwmon", "grace", "cray", "ipmi", "redfish")
"""Those whose domains are known; a meter of any other source is a drop file of its own."""


@dataclass(frozen=True, slots=True)
class Watts:
    """Power of one part: always, and in thousandths of what GPUs draw above idle."""

    idle_mw: int
    per_gpu_permille: int = 0


@dataclass(frozen=True, slots=True)
class HostWatts:
    """What a host draws beside its GPUs.

    Attributes
    ----------
    packages : int
        Processor packages; GPUs are spread over them in order. On a superchip a package is a Grace CPU.
    cpu, memory, sysio : Watts
        Of each package.
    rest : Watts
        Of everything else in the node: fans, disks, network, losses of the supplies.
    core_mw : int, mW
        Of each core that a job keeps busy.
    """

    packages: int = 2
    cpu: Watts = Watts(95_000, 40)
    memory: Watts = Watts(24_000, 6)
    sysio: Watts = Watts(0)
    rest: Watts = Watts(420_000, 120)
    core_mw: int = 3_500


GRACE = {
    "gh200": HostWatts(1, Watts(76_000), Watts(39_000), Watts(25_000), Watts(60_000, 50)),
    "gb200": HostWatts(1, Watts(125_500), Watts(15_000), Watts(9_500), Watts(90_000, 50)),
}
"""What superchips draw; the packages are as many as the modules."""


@dataclass(frozen=True, slots=True)
class HostMeterScript:
    """One simulated meter.

    Attributes
    ----------
    source, domain, part_of : str
    wrap_uj : int, uJ
        Where a counter begins anew; 0: it does not.
    period_us, window_us : int, us
        How often it publishes, and over which time a gauge averages; 0: the moment.
    lag_us : int, us
        By how much what it publishes is late.
    quantum : int, uJ or mW
        It shows multiples of that.
    gain_ppm : int
        Relative error.
    """

    source: str
    domain: str
    part_of: str = ""
    wrap_uj: int = 0
    period_us: int = SECOND_US
    window_us: int = SECOND_US
    lag_us: int = 0
    quantum: int = 1
    gain_ppm: int = 0

    @property
    def name(self) -> str:
        """Source and domain: ``rapl/package-0``."""
        return f"{self.source}/{self.domain}"

    @property
    def counts(self) -> bool:
        """Whether it shows energy, and not power."""
        return self.source in {"rapl", "cray"}


PLAIN = {
    "rapl": HostMeterScript("rapl", "", "", INTEL_WRAP_UJ, 1_000, 0, quantum=RAPL_QUANTUM_UJ),
    "hwmon": HostMeterScript("hwmon", "", period_us=1_000_000, window_us=1_000_000, quantum=1_000),
    "grace": HostMeterScript("grace", "", period_us=50_000, window_us=50_000, quantum=100),
    "cray": HostMeterScript("cray", "", period_us=100_000, window_us=0, quantum=1_000_000),
    "ipmi": HostMeterScript("ipmi", "", period_us=1_000_000, window_us=1_000_000, lag_us=1_000_000, quantum=1_000),
    "redfish": HostMeterScript("redfish", "", period_us=10_000_000, window_us=1_000_000, lag_us=2_000_000, quantum=100),
}
"""A meter of each source as it usually is."""


def domains(source: str, packages: int, gpus: int) -> list[tuple[str, str]]:
    """Return what a source usually meters: (domain, the domain that holds it)."""
    each = range(packages)
    if source == "rapl":
        return [one for n in each for one in ((f"package-{n}", ""), (f"dram-{n}", ""))]
    if source == "grace":
        inner = [(f"{part}-{n}", f"grace-{n}") for n in each for part in ("cpu", "sysio")]
        return [(f"module-{n}", "") for n in each] + [(f"grace-{n}", f"module-{n}") for n in each] + inner
    if source == "cray":
        return [("node", ""), ("cpu", "node"), ("memory", "node"), *((f"accel{n}", "node") for n in range(gpus))]
    return [("power_meter" if source == "hwmon" else "node", "")]


def plain_watts(gpus: Sequence[str], modules: Sequence[int]) -> HostWatts:
    """Return what is plain with GPUs of these architectures, on these modules."""
    grace = next((GRACE[kind] for kind in gpus if kind in GRACE), None)
    return HostWatts(packages=min(2, len(gpus))) if grace is None else replace(grace, packages=max(modules) + 1)


def host_watts(table: Table, plain: HostWatts, *, grace: bool) -> HostWatts:
    """Read ``[host]``; whatever is left out is plain."""
    table.only(("packages", "core_w", *PARTS))
    if grace and "packages" in table:
        table.fail("a superchip's package is its module: say `module` of the GPUs", "packages")
    parts = {name: _watts(table, name, getattr(plain, name)) for name in PARTS}
    packages = table.count("packages", plain.packages, low=1, high=MOST_PACKAGES)
    return HostWatts(packages, **parts, core_mw=round(table.number("core_w", plain.core_mw / 1000, low=0) * 1000))


def _watts(table: Table, name: str, plain: Watts) -> Watts:
    if name not in table:
        return plain
    found = table.each(name, float, low=0)
    if len(found) != 2:
        table.fail("must be two numbers: watts, and watts for each watt that GPUs draw above idle", name)
    return Watts(round(found[0] * 1000), round(found[1] * 1000))


def host_meters(tables: Sequence[Table], host: HostWatts, gpus: Sequence[str]) -> tuple[HostMeterScript, ...]:
    """Read ``[[host_meter]]``; one without a domain stands for all that its source usually meters."""
    found: dict[str, HostMeterScript] = {}
    for table in tables:
        table.only(("source", "domain", "part_of", "wrap", "period_s", "window_s", "lag_s", "quantum", "gain"))
        source = table.text("source")
        known = domains(source, host.packages, len(gpus))
        if source == "grace" and not any(kind in GRACE for kind in gpus):
            table.fail(f"is only on a node with {' or '.join(sorted(GRACE))} GPUs", "source")
        if "domain" in table:
            domain = table.text("domain")
            if domain not in measurable(host.packages, len(gpus)):
                table.fail(f"must be one of {', '.join(measurable(host.packages, len(gpus)))}", "domain")
            known = [(domain, table.text("part_of", dict(known).get(domain, ""), empty=True))]
        for domain, part_of in known:
            one = _meter(table, PLAIN.get(source, replace(PLAIN["ipmi"], source=source)), domain, part_of)
            if one.name in found:
                table.fail(f"{one.name} is there twice")
            found[one.name] = one
    return tuple(found.values())


def usual_meters(sources: Sequence[str], packages: int, gpus: int) -> tuple[HostMeterScript, ...]:
    """Return all that some sources usually meter."""
    return tuple(
        replace(PLAIN[source], domain=domain, part_of=part_of)
        for source in sources
        for domain, part_of in domains(source, packages, gpus)
    )


def measurable(packages: int, gpus: int) -> list[str]:
    """Return every domain that some meter can have on a node."""
    each = ("package", "core", "dram", "module", "grace", "cpu", "sysio")
    return [
        "node", "power_meter", "cpu", "memory", *(f"{part}-{n}" for n in range(packages) for part in each),
        *(f"accel{n}" for n in range(gpus)),
    ]  # fmt: skip


def _meter(table: Table, plain: HostMeterScript, domain: str, part_of: str) -> HostMeterScript:
    def moment_us(key: str, default_us: int, low: float = 0) -> int:
        return round(table.number(key, default_us / SECOND_US, low=low) * SECOND_US)

    wrap = table.count("wrap", plain.wrap_uj, low=0)
    if wrap and not plain.counts:
        table.fail(f"{plain.source} shows power, which does not wrap", "wrap")
    return HostMeterScript(
        plain.source,
        domain,
        part_of,
        wrap,
        moment_us("period_s", plain.period_us, 0.001),
        moment_us("window_s", plain.window_us),
        moment_us("lag_s", plain.lag_us),
        table.count("quantum", plain.quantum, low=1),
        round(table.number("gain", plain.gain_ppm / 1e6, above=-1) * 1e6),
    )


def modules_of(gpus: Sequence[tuple[str, int]]) -> tuple[int, ...]:
    """Return the module of each GPU, from (architecture, module; -1: the usual one).

    A GH200 has a module of its own; two GPUs of a GB200 share one.
    """
    found: list[int] = []
    for place, (kind, module) in enumerate(gpus):
        usual = place // 2 if kind == "gb200" else place
        found.append(usual if module < 0 else module)
    return tuple(found) if any(ARCHITECTURES[kind].grace for kind, _ in gpus) else ()
