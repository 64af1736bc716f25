"""Puts a running agent together, in the order that gets `/metrics` up first.

The HTTP server needs nothing heavy and starts at once; numba is imported, and the kernels are compiled, while it
already answers. `/-/ready` turns when the first window is accounted.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.daemon import Board, Daemon, Faults, Limits, Resolver, Windows
from agent.notify import Notifier, set_up_log
from agent.window import InputError
from exporters.http import Server, WebConfigError
from exporters.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.accounts.calibration import Calibrator, MeterCorrection
    from agent.accounts.state import StateFile
    from agent.config import Config
    from agent.jobs.kubernetes import Pods
    from agent.jobs.slurm import Slurm
    from agent.meters.clock import Clock
    from agent.meters.nvml import Nvml
    from agent.traces.native import Recorder
    from exporters.otlp import Push
    from exporters.snapshot import FleetFacts

LOG = logging.getLogger("wattshed")
SIMULATED_NOTE = "SIMULATED: there is no NVIDIA driver behind these numbers, they are made up"


@dataclass(frozen=True, slots=True)
class Source:
    """Where windows come from, and what goes with it."""

    kind: str  # "nvml" | "simulated" | "trace"
    library: str
    windows: Windows
    resolver: Resolver | None
    faults: Callable[[], Mapping[str, int]]
    close: Callable[[], None]
    notes: tuple[str, ...] = ()


def serve(config: Config, version: str, *, exporters: bool = True, reload: Callable[[], Config] | None = None) -> int:
    """Run the agent until it is stopped; returns its exit code.

    Parameters
    ----------
    config : Config
    version : str
    exporters : bool
        False records only (`wattshed record`).
    reload : callable, optional
        Reads the configuration again, on SIGHUP.

    Raises
    ------
    InputError
        Something that was asked for cannot be used.
    """
    set_up_log(config.log.level, config.log.format, os.environ, sys.stderr)
    _prepare_kernels(config)
    host = config.host or socket.gethostname()
    started_us = time.time_ns() // 1000
    faults = Faults()
    board = Board(Snapshot(host, version, "starting", "", 0, started_us, started_us))
    server = _server(config, board) if exporters else None
    try:
        return _run(config, version, host, started_us, faults, board, reload, exporters=exporters)
    finally:
        if server is not None:
            server.stop()


def _run(  # noqa: PLR0917 - called once, just above
    config: Config,
    version: str,
    host: str,
    started_us: int,
    faults: Faults,
    board: Board,
    reload: Callable[[], Config] | None,
    *,
    exporters: bool,
) -> int:
    # From here on heavy imports; the server answers meanwhile.
    from agent.accounts.attribution import Accounts  # noqa: PLC0415
    from agent.accounts.calibration import Calibrator  # noqa: PLC0415
    from agent.accounts.ledger import Ledger  # noqa: PLC0415
    from agent.accounts.publishing import Publisher  # noqa: PLC0415
    from agent.meters.errors import NoMeter, RestartNeeded  # noqa: PLC0415
    from agent.meters.sampler import Stopped  # noqa: PLC0415

    try:
        source = open_source(config, host)
    except RestartNeeded as error:
        LOG.error("%s; exiting for a new process to take over", error)  # noqa: TRY400
        return error.exit_code
    except NoMeter as error:
        LOG.error("%s", error)  # noqa: TRY400 - one line says it all
        return 1
    recorder = _recorder(config, host)
    if recorder is not None and recorder.state.fault and not exporters:
        source.close()
        raise InputError(f"cannot record: {recorder.state.fault}", config.record)
    calibrator = Calibrator(config.idle_watts, _corrections(config), config.default_sigma)
    notifier = Notifier(os.environ)
    daemon = Daemon(
        windows=source.windows,
        resolver=source.resolver,
        accounts=Accounts(ledger=Ledger(config.jobs.max_series), live=True),
        calibrator=calibrator,
        publisher=Publisher(host, version, source.kind, source.library, started_us),
        board=board,
        recorder=recorder,
        state=_state(config, host, source.kind),
        notifier=notifier,
        faults=faults,
        limits=Limits(round(config.jobs.keep_ended_s * 1e6), round(config.for_seconds * 1e6)),
        extra_faults=lambda: {**source.faults(), **_recording_faults(recorder)},
        notes=source.notes,
        fleet=_fleet(config, host),
    )
    closed = threading.Event()

    def stop(number: int, _frame: object) -> None:
        LOG.info("%s: closing the books", signal.Signals(number).name)
        daemon.stop()
        # The sampler may be waiting, or a call may hang: close it from another thread, so that next() returns.
        threading.Thread(target=_close_once, args=(source, closed), daemon=True).start()

    def again(_number: int, _frame: object) -> None:
        if reload is not None:
            _reload(reload, calibrator, notifier)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, again)
    daemon.restore()
    push = _push(config, board)
    try:
        daemon.run()
    except (Stopped, StopIteration):
        pass  # no window comes any more: stopped, or the trace is over
    except RestartNeeded as error:
        LOG.error("%s; exiting for a new process to take over", error)  # noqa: TRY400
        return error.exit_code
    finally:
        _close_once(source, closed)
        if push is not None:
            push.stop()
        if recorder is not None:
            recorder.close()
    return 0


def _close_once(source: Source, closed: threading.Event) -> None:
    if not closed.is_set():
        closed.set()
        source.close()


def _prepare_kernels(config: Config) -> None:
    """Tell the kernels, before anything imports them, how to run and where to keep what they compile."""
    os.environ["WATTSHED_JIT"] = config.jit
    os.environ.setdefault("NUMBA_CACHE_DIR", config.cache_dir)


def _server(config: Config, board: Board) -> Server:
    try:
        server = Server(
            board.current,
            config.listen,
            config.web_config_file or None,
            hostname_label=config.export.dcgm_hostname_label,
            on_scrape=board.scraped,
        )
        server.start()
    except WebConfigError as error:
        raise InputError(str(error)) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot listen on {', '.join(config.listen)}: {error}; choose another --listen") from None
    return server


def _recorder(config: Config, host: str) -> Recorder | None:
    if not config.record:
        return None
    from agent.traces.native import Recorder  # noqa: PLC0415 - pyarrow is heavy, and only a recording needs it

    return Recorder(
        Path(config.record), host, max_bytes=config.recording.max_bytes, max_age_s=config.recording.max_age_s
    )


def _recording_faults(recorder: Recorder | None) -> dict[str, int]:
    """Count what the recording lost, by what it was."""
    if recorder is None:
        return {}
    state = recorder.state
    counts = {
        "recorder": state.lost_windows,
        "recorder-corrupt": state.corrupt,
        "recorder-dropped": state.dropped,
        "recorder-recovered": state.recovered,
    }
    return {part: count for part, count in counts.items() if count}


def _fleet(config: Config, host: str) -> Callable[[int, int], FleetFacts | None] | None:
    if not config.fleet.inventory:
        return None
    from agent.fleet.one_host import OneHost  # noqa: PLC0415

    return OneHost(config.fleet.inventory, host).facts


def _push(config: Config, board: Board) -> Push | None:
    if not config.export.otlp_endpoint:
        return None
    from exporters.otlp import Push  # noqa: PLC0415 - needs the extra `otlp`

    try:
        return Push(board.current, config.export.otlp_endpoint, config.export.otlp_interval_s)
    except ImportError as error:
        raise InputError(str(error)) from None


def _corrections(config: Config) -> dict[str, MeterCorrection]:
    from agent.accounts.calibration import MeterCorrection  # noqa: PLC0415

    return {uuid: MeterCorrection(one.gain, one.offset_w, one.sigma) for uuid, one in config.calibration.items()}


def _state(config: Config, host: str, kind: str) -> StateFile | None:
    """Keep totals over restarts: of measurements and of a simulation apart, of a playback not at all."""
    from agent.accounts.state import StateFile  # noqa: PLC0415

    if kind == "trace":
        return None
    name = "simulated" if kind == "simulated" else "state"
    return StateFile(Path(config.state_dir), host, _boot_id(config, kind), name)


def _boot_id(config: Config, kind: str) -> str:
    """Name the life of the driver's counters: this boot, or this process if the driver is simulated in it."""
    if kind == "simulated":
        return f"simulated-{os.getpid()}-{time.time_ns()}"
    try:
        return (Path(config.proc_root) / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _reload(reload: Callable[[], Config], calibrator: Calibrator, notifier: Notifier) -> None:
    """Take over what can change while running: the log, calibration and idle power; a bad file changes nothing."""
    notifier.reloading()
    try:
        fresh = reload()
    except InputError as error:
        LOG.error("%s; the configuration in use stays", error)  # noqa: TRY400
    else:
        set_up_log(fresh.log.level, fresh.log.format, os.environ, sys.stderr)
        calibrator.corrections = _corrections(fresh)
        calibrator.idle_w = dict(fresh.idle_watts)
        calibrator.default_sigma = fresh.default_sigma
        LOG.info("configuration read again: log, calibration and idle power; the rest takes a restart")
    notifier.ready()


def open_source(config: Config, host: str) -> Source:
    """Find what to measure with: ``auto`` is the driver if it answers, else the simulated node, and says so.

    Raises
    ------
    NoMeter
        The meter that was asked for cannot be had.
    RestartNeeded
        A driver is there, but only a new process can talk to it.
    InputError
        A script or trace cannot be read.
    """
    from agent.meters.errors import Fault, MeterError, NoMeter, RestartNeeded  # noqa: PLC0415

    kind, _, script = config.meter.partition(":")
    if kind in {"auto", "nvml"}:
        try:
            return _driver(config, host)
        except (NoMeter, MeterError) as error:
            if isinstance(error, MeterError) and error.fault is Fault.RESTART:
                raise RestartNeeded(str(error)) from None
            if kind == "nvml":
                raise NoMeter(f"{error}; `wattshed check` says more") from None
            LOG.warning("no NVIDIA driver: %s", error)
            return _simulated(config, host, "")
    return _simulated(config, host, script) if kind == "simulated" else _played_back(config)


def _driver(config: Config, host: str) -> Source:
    """Meter this machine's GPUs."""
    from agent.meters.clock import RealClock  # noqa: PLC0415
    from agent.meters.nvml import Nvml  # noqa: PLC0415

    clock = RealClock()
    proc_root = Path(config.proc_root)
    return _metered(config, host, Nvml(clock), clock, proc_root, _slurm(config, host, clock), _pods(config))


def _simulated(config: Config, host: str, script: str) -> Source:
    """Meter a node that exists in this process only, and say so."""
    from agent.jobs.slurm import Slurm  # noqa: PLC0415
    from agent.meters.clock import RealClock  # noqa: PLC0415
    from agent.meters.nvml import Nvml  # noqa: PLC0415
    from agent.meters.simulated import SimulatedNode  # noqa: PLC0415

    clock = RealClock()
    folder = tempfile.TemporaryDirectory(prefix="wattshed-simulated-")
    node = SimulatedNode(clock, Path(folder.name), script)
    slurm = Slurm(clock.now_us, host, node.mapping_dir, squeue=())
    source = _metered(config, host, Nvml(clock, node.library), clock, node.proc_root, slurm, simulated=True)
    LOG.warning("%s", SIMULATED_NOTE)
    end = source.close

    def close() -> None:
        end()
        folder.cleanup()

    return replace(source, close=close, notes=(SIMULATED_NOTE,))


def _metered(  # noqa: PLR0917 - called twice, just above
    config: Config,
    host: str,
    nvml: Nvml,
    clock: Clock,
    proc_root: Path,
    slurm: Slurm | None,
    pods: Pods | None = None,
    *,
    simulated: bool = False,
) -> Source:
    """Wire a driver session: meter, sampler and resolver."""
    from agent.jobs.processes import Processes  # noqa: PLC0415
    from agent.jobs.resolve import JobResolver  # noqa: PLC0415
    from agent.meters.lines import Rates  # noqa: PLC0415
    from agent.meters.meter import NvmlMeter  # noqa: PLC0415
    from agent.meters.sampler import Sampler  # noqa: PLC0415

    meter = NvmlMeter(nvml, clock, host, simulated=simulated)
    meter.open()
    rates = config.sampling
    sampler = Sampler(
        meter,
        clock,
        host,
        Rates(
            window_us=round(rates.window_s * 1e6),
            sample_us=round(1e6 / rates.counter_hz),
            instant_us=round(1e6 / rates.power_hz),
            burst_us=round(1e6 / rates.burst_hz) if rates.burst_hz else 0,
            processes_us=round(rates.process_s * 1e6),
        ),
        proc_root,
        wake=rates.wake_sleeping_gpus,
    )
    LOG.info("%d GPUs through %s", len(meter.devices), meter.library)
    if slurm is not None:
        slurm.on_change = sampler.refresh_processes
    resolver = JobResolver(
        Processes(proc_root, clock.now_us), slurm, pods, names=config.jobs.names, environ=config.jobs.environ_hint
    )

    def close() -> None:
        sampler.close()
        resolver.close()

    return Source(
        meter.kind,
        meter.library,
        sampler,
        resolver,
        lambda: {**sampler.faults, **resolver.faults()},
        close,
    )


def _slurm(config: Config, host: str, clock: Clock) -> Slurm | None:
    """Follow Slurm's jobs, if there is a mapping folder or a queue to ask."""
    from agent.jobs.slurm import Slurm  # noqa: PLC0415

    mapping_dir = Path(config.jobs.mapping_dir) if config.jobs.mapping_dir else None
    ask = _wanted(config.slurm.enabled, shutil.which(config.slurm.squeue[0]) is not None)
    if mapping_dir is None and not ask:
        return None
    squeue = config.slurm.squeue
    scontrol = (str(Path(squeue[0]).with_name("scontrol")), *squeue[1:])  # they are installed beside each other
    return Slurm(clock.now_us, host.partition(".")[0], mapping_dir, squeue if ask else (), scontrol if ask else ())


def _wanted(setting: str, there: bool) -> bool:
    return setting == "on" or (setting == "auto" and there)


def _pods(config: Config) -> Pods | None:
    if not _wanted(config.kubernetes.enabled, Path(config.kubernetes.socket).exists()):
        return None
    from agent.jobs.kubernetes import Pods  # noqa: PLC0415
    from agent.jobs.podresources import ExtraMissing, Kubelet  # noqa: PLC0415

    try:
        kubelet = Kubelet(Path(config.kubernetes.socket))
    except ExtraMissing as error:
        if config.kubernetes.enabled == "on":
            raise InputError(str(error)) from None
        LOG.warning("%s", error)
        return None
    return Pods(kubelet, Path("/sys/fs/cgroup"), Path("/var/log"))


def _played_back(config: Config) -> Source:
    """Play a recording back at the speed at which it was made."""
    from agent.traces.playback import Playback  # noqa: PLC0415
    from agent.traces.sources import Options, find  # noqa: PLC0415

    options = Options()
    first, *others = find([config.meter], options)
    if others:
        raise InputError("holds several hosts; name the files of one", config.meter)
    playback = Playback(first.windows(options), round(config.sampling.window_s * 1e6))
    note = f"this is a recording, {config.meter}, played back"
    return Source("trace", config.meter, playback, None, dict, playback.close, (note,))
