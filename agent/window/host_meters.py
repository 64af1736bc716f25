"""Meters of a host beside the GPUs' own: processor packages, memory, the module that a GPU sits on, the whole node.

What one meter counts may hold what another one counts, so their energies are never added up: `HostMeter.part_of` says
what lies in what.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

COUNTER, GAUGE = "counter", "gauge"
MOST = 1 << 62
"""Numbers of a meter are below it."""
NODE_AC, NODE_DC, PACKAGE, MEMORY, MODULE, DEVICE = "ac", "dc", "cpu", "memory", "module", "device"
"""What the energy of a meter is the energy of: a node at the mains or behind its supplies, processors, memory, a
superchip, or something else in the node."""


@dataclass(frozen=True, slots=True)
class HostMeter:
    """What does not change about one meter of the host while the agent runs.

    Attributes
    ----------
    source, domain : str
        Where it is read ("rapl", "hwmon", "grace", "cray", "ipmi", "redfish", "nvml", a drop file's own), and what it
        meters there ("package-0", "dram-0", "module-0", "node"): together they name it on this host.
    kind : str
        `COUNTER` (cumulative energy) or `GAUGE` (power).
    boundary : str
        ``"ac"``, ``"dc"``, ``"cpu"``, ``"memory"``, ``"module"`` or ``"device"``.
    part_of : str
        The domain of the same source that holds this one; empty: none does.
    window_us : int, us
        Of a gauge: the time over which it averages; 0 instant, -1 unknown.
    period_us : int, us
        How often it is read.
    wrap_uj : int, uJ
        Where a counter begins anew; 0: it does not.
    ceiling_mw : int, mW
        More power than this is garbage; for a counter it also says how long two readings may be apart before it could
        have wrapped twice.
    gain_ppm, sigma_ppm : int
        Known correction, energy x (1 + gain), and one sigma of the gain that is left.
    flags : tuple of str
        What is doubtful: ``"may-alias"``, ``"sigma-assumed"``.
    """

    source: str
    domain: str
    kind: str
    boundary: str
    part_of: str = ""
    window_us: int = -1
    period_us: int = 1_000_000
    wrap_uj: int = 0
    ceiling_mw: int = 20_000_000
    gain_ppm: int = 0
    sigma_ppm: int = 50_000
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Source and domain, as in a configuration: ``rapl/package-0``."""
        return f"{self.source}/{self.domain}"

    @property
    def plain(self) -> dict[str, Any]:
        """Its fields as plain values, for JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"flags": list(self.flags)}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> HostMeter:
        """Read it again; keys of a later version are left out, missing ones take their default.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            It is none: what is counted with later must be a number that can be counted with.
        """
        meter = cls(**{one.name: plain[one.name] for one in fields(cls) if one.name in plain and one.name != "flags"})
        meter = replace(meter, flags=tuple(map(str, plain.get("flags", ()))))
        for one in fields(cls):
            value: Any = getattr(meter, one.name)
            right = type(value) is {"str": str, "int": int}.get(str(one.type), tuple)
            if not right or (isinstance(value, int) and not -MOST < value < MOST):
                raise ValueError(f"{one.name} of a meter is {value!r}")
        if meter.kind not in {COUNTER, GAUGE} or min(meter.period_us, meter.wrap_uj, meter.ceiling_mw) < 0:
            raise ValueError(f"a meter is {meter!r}")
        return meter


@dataclass(frozen=True, slots=True)
class HostReadings:
    """Readings of all meters in a window: meter ``i`` owns rows ``offsets[i]:offsets[i + 1]``, ascending in time.

    Attributes
    ----------
    meters : tuple of HostMeter
        The same order in every window of a run; one that vanished stays in its place. It may only grow.
    offsets : int64[m + 1]
    time_us : int64[n], us
        On the windows' time line: the middle of the call that read it, or when the meter itself says it was.
    value : int64[n], uJ or mW
        As read: a counter's microjoules (before its wrap is undone), a gauge's milliwatts; never negative.
    rejected : tuple of (str, str, int)
        (name of the meter, reason, count) of readings that were no reading, in this window.
    """

    meters: tuple[HostMeter, ...] = ()
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    time_us: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    value: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    rejected: tuple[tuple[str, str, int], ...] = ()

    @classmethod
    def of(
        cls,
        meters: tuple[HostMeter, ...],
        rows: Sequence[tuple[int, int, int]],
        rejected: tuple[tuple[str, str, int], ...] = (),
    ) -> HostReadings:
        """Put rows of (meter's place, us, value), ascending in time for each meter, into columns."""
        ordered = sorted(rows, key=lambda row: row[0])
        places, times, values = (np.array(c, np.int64) for c in zip(*ordered, strict=True)) if rows else ((),) * 3
        offsets = np.searchsorted(np.asarray(places, np.int64), np.arange(len(meters) + 1))
        return cls(meters, offsets, np.asarray(times, np.int64), np.asarray(values, np.int64), rejected)

    @property
    def rows(self) -> list[tuple[int, int, int]]:
        """All readings as (meter's place, us, value)."""
        places = np.repeat(np.arange(len(self.meters)), np.diff(self.offsets))
        return list(zip(places.tolist(), self.time_us.tolist(), self.value.tolist(), strict=True))


NO_HOST_METERS = HostReadings()


def joined(one: HostReadings, two: HostReadings) -> HostReadings:
    """Put together what different meters said in the same window, those of ``one`` first.

    The order of the meters changes when ``one`` grows; books go by their names.
    """
    if not two.meters or not one.meters:
        return one if not two.meters else two
    behind = [(place + len(one.meters), time_us, value) for place, time_us, value in two.rows]
    return HostReadings.of(one.meters + two.meters, [*one.rows, *behind], one.rejected + two.rejected)
