"""Which meters of the host beside the GPUs' own can be read here, with the reason and the remedy for each "no"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.daemon.host import open_host
from wattshed.agent.errors import Faults
from wattshed.agent.host.sensors import NotRead
from wattshed.agent.window.host_meters import GAUGE, NODE_AC, NODE_DC, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wattshed.agent.clock import Clock
    from wattshed.agent.config.node_settings import NodeSettings
    from wattshed.agent.host.files import HostFiles
    from wattshed.agent.window.host_meters import HostMeter

WAIT_S = 3.0
MEANT = {
    "ac": "the node, at the mains",
    "dc": "the node, behind its supplies",
    "cpu": "processors",
    "memory": "memory",
    "module": "a module: processor and GPU",
    "device": "another part of the node",
}
MAY_ALIAS = (
    "Means of less time than passes between two readings; the package's udev rule has Grace average over 1 s "
    "(udevadm trigger -s hwmon)"
)


class UnsaidFaults(Faults):
    """Faults that the report itself tells."""

    def note(self, part: str, why: Exception | str, then: str = "") -> None:  # noqa: ARG002 - see `Faults`
        """Count one."""
        self.count(part)


def host_report(
    node: NodeSettings, clock: Clock, proc_root: Path, simulated: tuple[HostFiles, Path] | None = None
) -> dict[str, Any]:
    """Read every meter of the host once.

    Parameters
    ----------
    node : NodeSettings
    clock : Clock
    proc_root : Path
    simulated : (HostFiles, Path), optional
        As in `open_host`.

    Returns
    -------
    dict
        The part ``host_meters`` of schema ``wattshed.check/1``.
    """
    meters = open_host(node, clock, UnsaidFaults(), proc_root, simulated=simulated)
    if meters is None:
        off = NotRead("all", "meters of the host are turned off", 'set meters = "auto" in [node]')
        return {"meters": [], "not_read": [_refusal(off)]}
    try:
        hang = [NotRead(name, "does not answer", "see `dmesg`") for name in meters.settle(WAIT_S)]
        readings = meters.collect(clock.now_us())
        refused = [*meters.refusals, *hang]
    finally:
        meters.close()
    known = {meter.name for meter in readings.meters} | {one.name for one in refused}
    refused += [
        NotRead(name, f"no reading ({reason})", "see docs/host.md")
        for name, reason, _ in readings.rejected
        if name not in known
    ]
    if simulated is None:
        refused += _absent(readings.meters, refused)
    return {"meters": [_meter(meter) for meter in readings.meters], "not_read": [_refusal(one) for one in refused]}


def _absent(meters: Sequence[HostMeter], refused: Sequence[NotRead]) -> list[NotRead]:
    """Return what most hosts could have, and this one has not."""
    absent = []
    processors = any(meter.boundary == PACKAGE for meter in meters)
    if not processors and not any(one.name.startswith("rapl") for one in refused):
        why = "the kernel shows no energy counter of processors"
        absent.append(NotRead("processors", why, "modprobe intel_rapl_msr (AMD's too); virtual machines have none"))
    if not any(meter.boundary in {NODE_AC, NODE_DC} and not meter.part_of for meter in meters):
        remedy = "with a BMC: systemctl enable --now wattshed-ipmi, or wattshed-redfish (docs/host.md)"
        absent.append(NotRead("node", "no meter of the whole node", remedy))
    return absent


def _meter(meter: HostMeter) -> dict[str, Any]:
    return {
        "source": meter.source,
        "domain": meter.domain,
        "kind": meter.kind,
        "boundary": meter.boundary,
        "part_of": meter.part_of,
        "window_s": meter.window_us / 1e6 if meter.kind == GAUGE and meter.window_us >= 0 else None,
        "period_s": meter.period_us / 1e6,
        "gain": 1 + meter.gain_ppm / 1e6,
        "sigma": meter.sigma_ppm / 1e6,
        "flags": list(meter.flags),
    }


def _refusal(one: NotRead) -> dict[str, Any]:
    return {"name": one.name, "reason": one.reason, "remedy": one.remedy}
