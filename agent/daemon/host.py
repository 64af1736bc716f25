"""Puts together what reads the meters of a host beside the GPUs' own."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.clock import VirtualClock
from wattshed.agent.host.dropped import Dropped
from wattshed.agent.host.exchange import boot_of
from wattshed.agent.host.files import KernelFiles
from wattshed.agent.host.lane import Correction
from wattshed.agent.host.meters import HostMeters
from wattshed.agent.host.sysfs import given_files, kernel_sources
from wattshed.agent.jobs.cpu_times import CpuClock, PassingFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.clock import Clock
    from wattshed.agent.config.node_settings import NodeSettings
    from wattshed.agent.errors import Faults
    from wattshed.agent.host.files import HostFiles
    from wattshed.agent.jobs.cpu_times import SysFiles


def open_host(
    node: NodeSettings,
    clock: Clock,
    faults: Faults,
    proc_root: Path,
    *,
    simulated: tuple[HostFiles, Path] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> HostMeters | None:
    """Find the meters of this host, and begin to read them; None if none shall be read.

    Parameters
    ----------
    node : NodeSettings
    clock : Clock
    faults : Faults
    proc_root : Path
        Tells which boot this is.
    simulated : (HostFiles, Path), optional
        What stands for ``/sys`` and for the folder of readings on a simulated node: then nothing of this machine is
        read, and this process' own files are taken for root's.
    environ : mapping
        Names the descriptors that the service manager opened (``LISTEN_FDNAMES``).
    """
    if node.meters == "off":
        return None
    if simulated is not None:
        files, folder = simulated
    else:
        given = given_files(environ)
        for descriptor in given.values():
            os.set_inheritable(descriptor, False)  # programs that the agent runs have no use for them
        files, folder = KernelFiles(Path(node.sys_root), given), Path(node.drop_dir)
    monotonic_us = clock.now_us if clock.virtual else _monotonic_us
    dropped = Dropped(folder, boot_of(proc_root), monotonic_us, os.geteuid() if simulated else 0)
    sources = [*kernel_sources(files), dropped]
    meters = HostMeters(sources, clock, faults, corrections=corrections(node), close=files.close)
    meters.start(clock if isinstance(clock, VirtualClock) else None)
    return meters


def open_cpu_times(
    node: NodeSettings, clock: Clock, faults: Faults, proc_root: Path, *, simulated: SysFiles | None = None
) -> CpuClock | None:
    """Begin to read the CPU time of jobs; None if no share of the node is to be estimated.

    Parameters
    ----------
    node : NodeSettings
    clock : Clock
    faults : Faults
    proc_root : Path
    simulated : SysFiles, optional
        What stands for ``/sys`` on a simulated node.
    """
    if node.share != "estimate" or node.meters == "off":
        return None
    reader = CpuClock(simulated or PassingFiles(Path(node.sys_root)), proc_root, clock, faults)
    reader.start()
    return reader


def corrections(node: NodeSettings) -> dict[str, Correction]:
    """Return what is configured of single meters, by name."""
    known = {
        name: Correction(round(1e6 * (one.gain - 1)), round(1e6 * one.sigma) if one.sigma else None, one.boundary)
        for name, one in node.meter.items()
    }
    if node.node_meter != "auto":
        known[node.node_meter] = replace(known.get(node.node_meter, Correction()), node=True)
    return known


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
