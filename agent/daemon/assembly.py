"""Puts a running agent together, in the order that gets `/metrics` up first.

The HTTP server needs nothing heavy and starts at once; numba is imported, and the kernels are compiled, while it
already answers. `/-/ready` turns when the first window has been processed.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from wattshed.agent.daemon.faults import Faults
from wattshed.agent.daemon.loop import Board, Daemon, LoopLimits
from wattshed.agent.daemon.source import open_source
from wattshed.agent.daemon.systemd import Notifier, set_up_log
from wattshed.agent.daemon.waiting import Wait
from wattshed.agent.errors import InputError
from wattshed.exporters.snapshot import Snapshot
from wattshed.exporters.web.http import Server, WebConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wattshed.agent.accounts.calibration import Calibrator, MeterCorrection
    from wattshed.agent.accounts.state import StateFile
    from wattshed.agent.config import Config, Sampling
    from wattshed.agent.daemon.source import Source
    from wattshed.agent.traces.native.recorder import Recorder
    from wattshed.exporters.formats.otlp import Push
    from wattshed.exporters.snapshot import FleetFacts, GpuFacts

    OnHangup = Callable[[Callable[[], None]], Callable[[int, object], None]]

LOG = logging.getLogger("wattshed")
SWITCH_S = 0.0005
"""Seconds after which the thread that processes windows hands the interpreter over, 5 ms otherwise: a driver call that
returns waits for it, and that wait is not the driver's."""
UNWIND_S = 3.0
"""Seconds that a process has to unwind when it is told to end before its first window."""


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
    _end_at_once_until_running()
    set_up_log(config.log.level, config.log.format, os.environ, sys.stderr)
    sys.setswitchinterval(SWITCH_S)
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
    from wattshed.agent.accounts.attribution import Accounts  # noqa: PLC0415
    from wattshed.agent.accounts.calibration import Calibrator  # noqa: PLC0415
    from wattshed.agent.accounts.ledger import Ledger  # noqa: PLC0415
    from wattshed.agent.accounts.publishing import Publisher  # noqa: PLC0415
    from wattshed.agent.meters.errors import NoMeter, RestartNeeded  # noqa: PLC0415
    from wattshed.agent.meters.sampler import Stopped  # noqa: PLC0415

    calibrator = Calibrator(config.idle_watts, _corrections(config), config.default_sigma)
    notifier = Notifier(os.environ)
    try:
        source = _found(config, host, board, notifier, _on_hangup(reload, calibrator, notifier), wait=exporters)
    except RestartNeeded as error:
        LOG.error("%s; exiting for a new process to take over", error)  # noqa: TRY400
        return error.exit_code
    except NoMeter as error:
        LOG.error("nothing was metered: %s; `wattshed check` says more", error)  # noqa: TRY400 - one line says it all
        return 1
    recorder = _recorder(config, host)
    if recorder is not None and recorder.state.fault and not exporters:
        source.close()
        raise InputError(f"cannot record: {recorder.state.fault}", config.record)
    daemon = Daemon(
        windows=source.windows,
        resolver=source.resolver,
        accounts=Accounts(ledger=Ledger(config.jobs.max_series), live=True),
        calibrator=calibrator,
        publisher=Publisher(
            host, version, source.kind, source.library, started_us, fresh_us=_fresh_us(config.sampling)
        ),
        board=board,
        recorder=recorder,
        state=_state(config, host, source.kind),
        notifier=notifier,
        faults=faults,
        limits=LoopLimits(round(config.jobs.keep_ended_s * 1e6), round(config.for_seconds * 1e6)),
        extra_faults=lambda: {**source.faults(), **_recording_faults(recorder)},
        notes=source.notes,
        fleet=_fleet(config, host),
    )
    closed = threading.Event()

    def stop(number: int, frame: object) -> None:
        if not board.current().seq:
            _nothing_to_close(number, frame)  # the kernels may have tens of seconds left to compile
        LOG.info("%s: saving the state and stopping", signal.Signals(number).name)
        daemon.stop()
        # The sampler may be waiting, or a call may hang: close it from another thread, so that next() returns.
        threading.Thread(target=_close_once, args=(source, closed), daemon=True).start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, _on_hangup(reload, calibrator, notifier)(source.look))
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
    if config.for_seconds and not daemon.stopped and not daemon.metered:
        LOG.error("nothing was metered: %s", board.current().unmetered)
        return 1
    return 0


def _found(
    config: Config,
    host: str,
    board: Board,
    notifier: Notifier,
    on_hangup: OnHangup,
    *,
    wait: bool,
) -> Source:
    """Open what is metered; a driver that is not there yet is waited for, unless nobody would learn of it."""
    if not wait or config.meter != "nvml":
        return open_source(config, host)
    waiting = Wait(lambda: open_source(config, host), board, notifier, Path(config.proc_root), for_s=config.for_seconds)
    signal.signal(signal.SIGHUP, on_hangup(waiting.look))
    return waiting.until_found()


def _on_hangup(reload: Callable[[], Config] | None, calibrator: Calibrator, notifier: Notifier) -> OnHangup:
    """Make what makes handlers of SIGHUP: read the configuration again, and look for GPUs."""

    def handler(look: Callable[[], None]) -> Callable[[int, object], None]:
        def again(_number: int, _frame: object) -> None:
            if reload is not None:
                _reload(reload, calibrator, notifier)
            look()

        return again

    return handler


def _fresh_us(sampling: Sampling) -> int:
    """How long a GPU's last reading counts as one of now: three times the longest that a busy driver is left alone."""
    from wattshed.agent.accounts.publishing import FRESH_US  # noqa: PLC0415
    from wattshed.agent.meters.pace import LARGEST_FACTOR  # noqa: PLC0415

    return max(FRESH_US, round(3 * LARGEST_FACTOR * 1e6 / max(sampling.counter_hz, sampling.power_hz)))


def _end_at_once_until_running() -> None:
    """Before the first window there is nothing to save, and nothing that a reload could change."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _nothing_to_close)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _nothing_to_close(number: int, _frame: object) -> NoReturn:
    LOG.info("%s: ending before the first window", signal.Signals(number).name)
    # What it interrupts may swallow it: the compiler runs callbacks that nothing can be raised through.
    end = threading.Timer(UNWIND_S, os._exit, (0,))
    end.daemon = True
    end.start()
    raise SystemExit(0)


def _close_once(source: Source, closed: threading.Event) -> None:
    if not closed.is_set():
        closed.set()
        source.close()


def _prepare_kernels(config: Config) -> None:
    """Set, before anything imports the kernels, how they run and where they keep what they compile."""
    os.environ["WATTSHED_JIT"] = config.jit
    os.environ.setdefault("NUMBA_CACHE_DIR", config.cache_dir)


def _server(config: Config, board: Board) -> Server:
    try:
        server = Server(
            board.current,
            config.listen,
            config.web_config_file or None,
            hostname_label=config.export.dcgm_hostname_label,
        )
        server.start()
    except WebConfigError as error:
        raise InputError(str(error)) from None
    except (OSError, ValueError) as error:  # both name the address; strerror has no number before it
        raise InputError(f"{getattr(error, 'strerror', None) or error}; choose another --listen") from None
    return server


def _recorder(config: Config, host: str) -> Recorder | None:
    if not config.record:
        return None
    from wattshed.agent.traces.native.recorder import Recorder  # noqa: PLC0415 - pyarrow is heavy, and only a recording needs it

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


def _fleet(config: Config, host: str) -> Callable[[int, Sequence[GpuFacts]], FleetFacts | None] | None:
    if not config.fleet.inventory:
        return None
    from wattshed.agent.fleet.live.one_host import OneHost  # noqa: PLC0415

    return OneHost(config.fleet.inventory, host).facts


def _push(config: Config, board: Board) -> Push | None:
    if not config.export.otlp_endpoint:
        return None
    from wattshed.exporters.formats.otlp import Push  # noqa: PLC0415 - needs the extra `otlp`

    try:
        return Push(board.current, config.export.otlp_endpoint, config.export.otlp_interval_s)
    except ImportError as error:
        raise InputError(str(error)) from None


def _corrections(config: Config) -> dict[str, MeterCorrection]:
    from wattshed.agent.accounts.calibration import MeterCorrection  # noqa: PLC0415

    return {uuid: MeterCorrection(one.gain, one.offset_w, one.sigma) for uuid, one in config.calibration.items()}


def _state(config: Config, host: str, kind: str) -> StateFile | None:
    """Keep totals over restarts: of measurements and of a simulation apart, of a playback not at all."""
    from wattshed.agent.accounts.state import StateFile  # noqa: PLC0415

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
        LOG.error("%s; the configuration in use is kept", error)  # noqa: TRY400
    else:
        set_up_log(fresh.log.level, fresh.log.format, os.environ, sys.stderr)
        calibrator.corrections = _corrections(fresh)
        calibrator.idle_w = dict(fresh.idle_watts)
        calibrator.default_sigma = fresh.default_sigma
        LOG.info("configuration reloaded: log, calibration and idle power; anything else takes a restart")
    notifier.ready()
