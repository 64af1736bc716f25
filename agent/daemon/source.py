"""Where windows come from: this machine's driver, a node that exists in this process only, or a recording."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from wattshed.agent.errors import InputError, counted
from wattshed.exporters.snapshot import Tenancy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wattshed.agent.clock import Clock
    from wattshed.agent.config.settings import Config, Sampling
    from wattshed.agent.daemon.loop_parts import Beside, CpuTimeReader, Resolver, WindowStream
    from wattshed.agent.errors import Faults
    from wattshed.agent.host.files import HostFiles
    from wattshed.agent.jobs.cpu_times import SysFiles
    from wattshed.agent.jobs.kubernetes import Pods
    from wattshed.agent.jobs.slurm import Slurm
    from wattshed.agent.meters.meter import NvmlMeter
    from wattshed.agent.meters.release import ReleaseDesk
    from wattshed.agent.meters.schedule import Rates
    from wattshed.agent.window import Device

Readers: TypeAlias = "tuple[Beside | None, CpuTimeReader | None]"
"""Of the host's meters, and of jobs' CPU time."""

LOG = logging.getLogger("wattshed")
STAYS_SIMULATED = "still simulated; restart to use a driver that has appeared"
SIMULATED_NOTE = "SIMULATED DATA: these numbers are invented"


@dataclass(frozen=True, slots=True)
class Source:
    """Where windows come from, and what goes with it."""

    kind: str  # "nvml" | "simulated" | "trace"
    library: str
    windows: WindowStream
    resolver: Resolver | None
    faults: Callable[[], Mapping[str, int]]
    close: Callable[[], None]
    notes: tuple[str, ...] = ()
    look: Callable[[], None] = lambda: None  # for GPUs that came; may be called from a signal handler
    tenancy: Callable[[], Tenancy] = Tenancy
    clock: Clock | None = None  # the windows' time line, where it goes on with this machine's
    proc_root: Path = Path("/proc")
    refresh: Callable[[], None] = lambda: None  # look who is on the GPUs, soon; any thread may call it
    devices: Callable[[], Sequence[Device]] = tuple
    dev_root: Path = Path("/dev")  # where the driver's device nodes are
    beside: Beside | None = None  # meters of the host beside the GPUs' own; None: windows have them already, if any
    cpu_times: CpuTimeReader | None = None  # of jobs, where their share of the node is estimated


def open_source(config: Config, host: str, faults: Faults, desk: ReleaseDesk | None = None) -> Source:
    """Find what to measure with: ``auto`` is the driver if it answers, else the simulated node, for good.

    Parameters
    ----------
    config : Config
    host : str
    faults : Faults
    desk : ReleaseDesk, optional
        Where others ask for GPUs to be let go of.

    Raises
    ------
    NoMeter
        The meter that was asked for cannot be had now; of a driver, a later look may find it.
    RestartNeeded
        A driver is there, but only a new process can talk to it.
    InputError
        A script or trace cannot be read.
    """
    from wattshed.agent.meters.errors import NoMeter  # noqa: PLC0415

    kind, _, script = config.meter.partition(":")
    if kind == "nvml":
        return _driver(config, host, faults, desk)
    if kind == "auto":
        try:
            return _driver(config, host, faults, desk)
        except NoMeter as error:
            why = f"no NVIDIA driver: {str(error).partition(';')[0]}"
            return replace(
                _simulated(config, host, desk, faults, "", why=why), look=lambda: LOG.warning("%s", STAYS_SIMULATED)
            )
    return _simulated(config, host, desk, faults, script) if kind == "simulated" else _played_back(config)


def _driver(config: Config, host: str, faults: Faults, desk: ReleaseDesk | None) -> Source:
    """Meter this machine's GPUs."""
    from wattshed.agent.clock import RealClock  # noqa: PLC0415
    from wattshed.agent.meters.meter import NvmlMeter  # noqa: PLC0415
    from wattshed.agent.meters.nvml import Nvml  # noqa: PLC0415
    from wattshed.agent.meters.sight import own_namespace, seen_from  # noqa: PLC0415

    clock, proc_root = RealClock(), Path(config.proc_root)
    meter = NvmlMeter(Nvml(clock), clock, host, known=seen_from(own_namespace()), proc_root=proc_root)
    with ExitStack() as opened:
        _open(meter, desk, opened)
        # Slurm and the kubelet are asked in threads of their own: only once there is something to own.
        slurm = _slurm(config, host, clock, meter, opened)
        pods = _pods(config, meter, opened)
        readers = _beside(config, clock, faults, proc_root, opened=opened)
        sys_root = Path(config.node.sys_root)
        return _metered(config, host, desk, meter, clock, proc_root, opened, slurm, pods, readers, sys_root=sys_root)


def _simulated(
    config: Config, host: str, desk: ReleaseDesk | None, faults: Faults, script: str, *, why: str = ""
) -> Source:
    """Meter a node that exists in this process only, and say so, with the reason if it was not asked for."""
    from wattshed.agent.clock import RealClock  # noqa: PLC0415
    from wattshed.agent.jobs.slurm import Slurm  # noqa: PLC0415
    from wattshed.agent.meters.meter import NvmlMeter  # noqa: PLC0415
    from wattshed.agent.meters.nvml import Nvml  # noqa: PLC0415
    from wattshed.agent.simulation.node import SimulatedNode  # noqa: PLC0415

    clock = RealClock()
    with ExitStack() as around:
        folder = Path(around.enter_context(tempfile.TemporaryDirectory(prefix="wattshed-simulated-")))
        kept = Path(config.state_dir) if config.state_dir else None
        node = SimulatedNode(clock, folder, script, kept=kept)
        around.callback(node.close)
        nvml, proc_root = Nvml(clock, node.library), node.proc_root
        meter = NvmlMeter(nvml, clock, host, simulated=True, proc_root=proc_root, dev_root=node.dev_root)
        with ExitStack() as opened:
            _open(meter, desk, opened)
            slurm = Slurm(clock.now_us, host, node.mapping_dir, squeue=())
            opened.callback(slurm.close)
            shown = node.sys, node.drop_dir
            readers = _beside(config, clock, faults, proc_root, opened=opened, simulated=shown, cgroups=node.cgroups)
            source = _metered(
                config, host, desk, meter, clock, proc_root, opened, slurm, readers=readers, sys_root=node.sys_root
            )
        around.callback(source.close)
        LOG.warning("SIMULATED DATA: %sthese numbers are invented", f"{why}; " if why else "")
        node.keep_time()
        return replace(source, close=around.pop_all().close, notes=(SIMULATED_NOTE,), dev_root=node.dev_root)


def _open(meter: NvmlMeter, desk: ReleaseDesk | None, opened: ExitStack) -> None:
    """Open a driver session, to be closed with what was opened; GPUs that are let go of are not touched.

    Raises
    ------
    NoMeter
        There is none to be had now.
    RestartNeeded
        There is, but only a new process can talk to it.
    """
    from wattshed.agent.meters.errors import Fault, MeterError, NoMeter, RestartNeeded  # noqa: PLC0415

    if desk is not None and (release := desk.wanted()) is not None:
        meter.leave(release.devices)
    try:
        meter.open()
        opened.callback(meter.close)
    except MeterError as error:
        if error.fault is Fault.RESTART:
            raise RestartNeeded(str(error)) from None
        raise NoMeter(
            f"the driver is not responding ({error}); see `nvidia-smi` and the permissions of /dev/nvidia*"
        ) from None


def _metered(  # noqa: PLR0917 - called twice, just above
    config: Config,
    host: str,
    desk: ReleaseDesk | None,
    meter: NvmlMeter,
    clock: Clock,
    proc_root: Path,
    opened: ExitStack,
    slurm: Slurm | None,
    pods: Pods | None = None,
    readers: Readers = (None, None),
    *,
    sys_root: Path,
) -> Source:
    """Wire an open driver session: sampler and resolver, which close from then on what was ``opened`` for them."""
    from wattshed.agent.jobs.processes import Processes  # noqa: PLC0415
    from wattshed.agent.jobs.procfs import exists  # noqa: PLC0415
    from wattshed.agent.jobs.resolve import JobResolver  # noqa: PLC0415
    from wattshed.agent.meters.sampler import Sampler  # noqa: PLC0415

    rates, wake = _rates(config.sampling), config.sampling.wake_sleeping_gpus
    processes = Processes(proc_root, clock.now_us)
    alive = partial(exists, proc_root)
    sampler = Sampler(
        meter, clock, host, rates, alive=alive, meet=processes.meet, wake=wake, desk=desk, sys_root=sys_root
    )
    LOG.info("found %s; the first window takes %g s", _listed(meter), config.sampling.window_s)
    if slurm is not None:
        slurm.on_change = sampler.refresh_processes
    resolver = JobResolver(
        processes,
        slurm,
        pods,
        mig=meter.mig,
        names=config.jobs.names,
        environ=config.jobs.environ_hint,
    )

    opened.pop_all()
    closing = ExitStack()
    _close_with(closing, readers)
    closing.callback(resolver.close)
    closing.callback(sampler.close)
    sampler.start()  # what books the first window is loaded while it lasts
    return Source(
        meter.kind,
        meter.library,
        sampler,
        resolver,
        lambda: {**sampler.faults, **resolver.faults()},
        closing.close,
        look=sampler.look,
        tenancy=resolver.tenancy,
        clock=clock,
        proc_root=proc_root,
        refresh=sampler.refresh_processes,
        devices=lambda: sampler.devices,
        beside=readers[0],
        cpu_times=readers[1],
    )


def _beside(
    config: Config,
    clock: Clock,
    faults: Faults,
    proc_root: Path,
    *,
    opened: ExitStack,
    simulated: tuple[HostFiles, Path] | None = None,
    cgroups: SysFiles | None = None,
) -> Readers:
    """Begin to read the meters of the host and jobs' CPU time, or what a simulated one has in their place."""
    from wattshed.agent.daemon.host import open_cpu_times, open_host  # noqa: PLC0415

    readers = (
        open_host(config.node, clock, faults, proc_root, simulated=simulated),
        open_cpu_times(config.node, clock, faults, proc_root, simulated=cgroups),
    )
    _close_with(opened, readers)
    return readers


def _close_with(stack: ExitStack, readers: Readers) -> None:
    for reader in readers:
        if reader is not None:
            stack.callback(reader.close)


def _listed(meter: NvmlMeter) -> str:
    """Write which GPUs there are: ``8 GPUs (8 x NVIDIA H100 80GB HBM3; libnvidia-ml.so.1)``."""
    models = Counter(device.model for device in meter.devices)
    which = ", ".join(f"{count} x {model}" for model, count in models.items())
    return f"{counted(len(meter.devices), 'GPU')} ({which}; {meter.library})"


def _rates(sampling: Sampling) -> Rates:
    """Write how often what is read in the sampler's own units."""
    from wattshed.agent.meters.schedule import Rates  # noqa: PLC0415

    return Rates(
        window_us=round(sampling.window_s * 1e6),
        sample_us=round(1e6 / sampling.counter_hz),
        instant_us=round(1e6 / sampling.power_hz),
        burst_us=round(1e6 / sampling.burst_hz) if sampling.burst_hz else 0,
        processes_us=round(sampling.process_s * 1e6),
    )


def _slurm(config: Config, host: str, clock: Clock, meter: NvmlMeter, opened: ExitStack) -> Slurm | None:
    """Follow Slurm's jobs, if there is a mapping folder or a queue to ask."""
    from wattshed.agent.jobs.slurm import Slurm  # noqa: PLC0415

    mapping_dir = Path(config.jobs.mapping_dir) if config.jobs.mapping_dir else None
    ask = _wanted(config.slurm.enabled, shutil.which(config.slurm.squeue[0]) is not None)
    if mapping_dir is None and not ask:
        return None
    squeue = config.slurm.squeue
    scontrol = (str(Path(squeue[0]).with_name("scontrol")), *squeue[1:])  # they are installed beside each other
    node = config.slurm.node or host
    slurm = Slurm(clock.now_us, node, mapping_dir, squeue if ask else (), scontrol if ask else (), mig=meter.mig)
    opened.callback(slurm.close)
    return slurm


def _wanted(setting: str, there: bool) -> bool:
    return setting == "on" or (setting == "auto" and there)


def _pods(config: Config, meter: NvmlMeter, opened: ExitStack) -> Pods | None:
    if not _wanted(config.kubernetes.enabled, Path(config.kubernetes.socket).exists()):
        return None
    from wattshed.agent.jobs.kubernetes import Pods  # noqa: PLC0415
    from wattshed.agent.jobs.podresources import ExtraMissing, Kubelet  # noqa: PLC0415

    try:
        kubelet = Kubelet(Path(config.kubernetes.socket))
    except ExtraMissing as error:
        if config.kubernetes.enabled == "on":
            raise InputError(str(error)) from None
        LOG.warning("%s", error)
        return None
    pods = Pods(kubelet, Path("/sys/fs/cgroup"), Path("/var/log"), meter.mig)
    opened.callback(pods.close)
    return pods


def _played_back(config: Config) -> Source:
    """Play a recording back at the speed at which it was made."""
    from wattshed.agent.daemon.playback import Playback  # noqa: PLC0415
    from wattshed.agent.traces.options import Options  # noqa: PLC0415
    from wattshed.agent.traces.sources import find  # noqa: PLC0415

    options = Options()
    first, *others = find([config.meter], options)
    if others:
        raise InputError("contains several hosts; give the files of one", config.meter)
    playback = Playback(first.windows(options), round(config.sampling.window_s * 1e6))
    note = f"this is a recording, {config.meter}, played back"
    return Source("trace", config.meter, playback, None, dict, playback.close, (note,))
