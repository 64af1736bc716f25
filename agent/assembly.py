"""Puts a running agent together, in the order that gets `/metrics` up first.

The HTTP server needs nothing heavy and starts at once; numba is imported, and the kernels are compiled, while it
already answers. `/-/ready` turns when the first window is accounted.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.daemon import Board, Daemon, Faults, Limits, Resolver, Windows
from agent.notify import Notifier, set_up_log
from agent.window import InputError
from exporters.http import Server, WebConfigError
from exporters.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.config import Config

LOG = logging.getLogger("wattshed")
EX_TEMPFAIL = 75  # sysexits.h: only a new process can measure
SIMULATED_NOTE = "SIMULATED: no NVIDIA driver is in use; every number on this page is made up"


@dataclass(slots=True)
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
        return _run(config, version, host, started_us, faults, board, reload)
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
) -> int:
    # From here on heavy imports; the server answers meanwhile.
    from agent.accounts.attribution import Accounts  # noqa: PLC0415
    from agent.accounts.calibration import Calibrator  # noqa: PLC0415
    from agent.accounts.ledger import Ledger  # noqa: PLC0415
    from agent.accounts.publishing import Publisher  # noqa: PLC0415
    from agent.accounts.state import StateFile  # noqa: PLC0415
    from agent.meters.errors import NoMeter, RestartNeeded  # noqa: PLC0415
    from agent.meters.sampler import Stopped  # noqa: PLC0415

    try:
        source = open_source(config, host)
    except NoMeter as error:
        LOG.error("%s", error)  # noqa: TRY400 - one line says it all
        return 1
    recorder = _recorder(config, host)
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
        state=None
        if source.kind == "trace"
        else StateFile(Path(config.state_dir), host, _boot_id(config, source.kind)),
        notifier=notifier,
        faults=faults,
        limits=Limits(round(config.jobs.keep_ended_s * 1e6), round(config.for_seconds * 1e6)),
        extra_faults=source.faults,
        notes=source.notes,
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
    try:
        daemon.run()
    except Stopped:
        pass
    except RestartNeeded as error:
        LOG.error("%s; exiting for a new process to take over", error)  # noqa: TRY400
        return EX_TEMPFAIL
    finally:
        _close_once(source, closed)
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


def _recorder(config: Config, host: str) -> Any:
    if not config.record:
        return None
    from agent.traces.native import Recorder  # noqa: PLC0415 - pyarrow is heavy, and only a recording needs it

    return Recorder(
        Path(config.record), host, max_bytes=config.recording.max_bytes, max_age_s=config.recording.max_age_s
    )


def _corrections(config: Config) -> dict[str, Any]:
    from agent.accounts.calibration import MeterCorrection  # noqa: PLC0415

    return {uuid: MeterCorrection(one.gain, one.offset_w, one.sigma) for uuid, one in config.calibration.items()}


def _boot_id(config: Config, kind: str) -> str:
    """Name the life of the driver's counters: this boot, or this process if the driver is simulated in it."""
    if kind == "simulated":
        return f"simulated-{os.getpid()}-{time.time_ns()}"
    try:
        return (Path(config.proc_root) / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _reload(reload: Callable[[], Config], calibrator: Any, notifier: Notifier) -> None:
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
    InputError
        A script or trace cannot be read.
    """
    from agent.meters.errors import MeterError, NoMeter  # noqa: PLC0415

    kind, _, script = config.meter.partition(":")
    if kind in {"auto", "nvml"}:
        try:
            return _nvml(config, host)
        except (NoMeter, MeterError) as error:
            if kind == "nvml":
                raise NoMeter(f"{error}; run `wattshed check` to see why") from None
            LOG.warning("no NVIDIA driver: %s", error)
            LOG.warning("%s (--meter nvml insists on a driver)", SIMULATED_NOTE)
            return _simulated(config, host, "")
    if kind == "simulated":
        return _simulated(config, host, script)
    return _trace(config, host)


def _nvml(config: Config, host: str) -> Source:
    from agent.meters.clock import RealClock  # noqa: PLC0415
    from agent.meters.nvml import Nvml  # noqa: PLC0415

    clock = RealClock()
    mapping_dir = Path(config.jobs.mapping_dir) if config.jobs.mapping_dir else None
    return _metered(
        config, host, Nvml(clock), clock, proc_root=Path(config.proc_root), mapping_dir=mapping_dir, simulated=False
    )


def _simulated(config: Config, host: str, script: str) -> Source:
    from agent.meters.clock import RealClock  # noqa: PLC0415
    from agent.meters.nvml import Nvml  # noqa: PLC0415
    from agent.meters.simulated import SimulatedNode  # noqa: PLC0415

    clock = RealClock()
    folder = tempfile.TemporaryDirectory(prefix="wattshed-simulated-")
    node = SimulatedNode(clock, Path(folder.name), script)
    nvml = Nvml(clock, node.library)
    source = _metered(config, host, nvml, clock, proc_root=node.proc_root, mapping_dir=node.mapping_dir, simulated=True)
    close = source.close

    def close_all() -> None:
        close()
        folder.cleanup()

    source.close = close_all
    source.notes = (SIMULATED_NOTE,)
    return source


def _metered(
    config: Config, host: str, nvml: Any, clock: Any, *, proc_root: Path, mapping_dir: Path | None, simulated: bool
) -> Source:
    """Wire a driver session: meter, sampler and resolver."""
    from agent.jobs.processes import Processes  # noqa: PLC0415
    from agent.jobs.resolve import JobResolver  # noqa: PLC0415
    from agent.jobs.slurm import Slurm  # noqa: PLC0415
    from agent.meters.meter import NvmlMeter  # noqa: PLC0415
    from agent.meters.poller import Rates  # noqa: PLC0415
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
    ask_slurm = not simulated and _wanted(config.slurm.enabled, _on_path(config.slurm.squeue[0]))
    slurm = None
    if mapping_dir is not None or ask_slurm:
        slurm = Slurm(clock.now_us, host.partition(".")[0], mapping_dir, config.slurm.squeue if ask_slurm else ())
    pods = None if simulated else _pods(config)
    resolver = JobResolver(
        Processes(proc_root, clock.now_us),
        slurm,
        pods,
        names=config.jobs.names,
        environ=config.jobs.environ_hint,
    )

    def close() -> None:
        sampler.close()
        for part in (resolver, slurm, pods):
            if hasattr(part, "close"):
                part.close()

    return Source(meter.kind, meter.library, sampler, resolver, lambda: {**sampler.faults, **resolver.faults()}, close)


def _wanted(setting: str, there: bool) -> bool:
    return setting == "on" or (setting == "auto" and there)


def _on_path(command: str) -> bool:
    import shutil  # noqa: PLC0415

    return shutil.which(command) is not None


def _pods(config: Config) -> Any:
    if not _wanted(config.kubernetes.enabled, Path(config.kubernetes.socket).exists()):
        return None
    from agent.jobs.kubernetes import Pods  # noqa: PLC0415 - needs the extra `kubernetes`

    return Pods(config.kubernetes.socket)


def _trace(config: Config, host: str) -> Source:
    from agent.traces.playback import Playback  # noqa: PLC0415

    playback = Playback(Path(config.meter), host, round(config.sampling.window_s * 1e6))
    return Source("trace", config.meter, playback, None, dict, playback.close, ("a recording is being played back",))
