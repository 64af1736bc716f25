"""Puts a running agent together, in the order that gets `/metrics` up first.

The HTTP server needs nothing heavy and starts at once; then the GPUs are read, and while their first window lasts,
what books it is loaded. `/-/ready` turns when that window has been processed: nothing is compiled before
(docs/decisions/1019).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.clock import RealClock
from wattshed.agent.daemon.board import Board
from wattshed.agent.daemon.control import Control, open_control
from wattshed.agent.daemon.keeping import kept_fleet, kept_history, kept_recording, kept_state, recording_faults
from wattshed.agent.daemon.loop import Daemon
from wattshed.agent.daemon.loop_parts import LoopLimits
from wattshed.agent.daemon.questions import jobs_api, jobs_socket
from wattshed.agent.daemon.release_file import release_file
from wattshed.agent.daemon.signals import end_at_once, end_in_order, let_go_and_resume, look_again, once
from wattshed.agent.daemon.source import open_source
from wattshed.agent.daemon.systemd import Notifier
from wattshed.agent.daemon.waiting import Wait
from wattshed.agent.errors import Faults, InputError
from wattshed.agent.meters.errors import NoMeter, RestartNeeded
from wattshed.agent.meters.release import ReleaseDesk
from wattshed.agent.printing.logs import set_up_log
from wattshed.agent.printing.progress import ProgressLine, in_sight
from wattshed.exporters.snapshot import EnergyPrices, Snapshot
from wattshed.exporters.web.http import Server, WebConfigError
from wattshed.exporters.web.listen import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator
    from wattshed.agent.accounts.state import StateFile
    from wattshed.agent.config.settings import Config, Sampling
    from wattshed.agent.daemon.callers.desk import CallersDesk
    from wattshed.agent.daemon.history_feed import HistoryFeed
    from wattshed.agent.daemon.source import Source
    from wattshed.agent.traces.native.recorder import Recorder
    from wattshed.agent.window import Window
    from wattshed.agent.work_units.inbox import WorkInbox
    from wattshed.exporters.formats.otlp import Push
    from wattshed.exporters.web.jobs_api import JobsApi

LOG = logging.getLogger("wattshed")
SWITCH_S = 0.0005
"""Seconds after which the thread that processes windows hands the interpreter over, 5 ms otherwise: a driver call that
returns waits for it, and that wait is not the driver's."""


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
    end_at_once()
    sys.setswitchinterval(SWITCH_S)
    os.environ["WATTSHED_JIT"] = config.jit  # before anything imports the kernels
    os.environ.setdefault("NUMBA_CACHE_DIR", config.cache_dir)
    host, started_us = config.host or socket.gethostname(), time.time_ns() // 1000
    board = Board(Snapshot(host, version, "starting", "", 0, started_us, started_us))
    notifier, jobs = Notifier(os.environ), jobs_api(config)
    with ExitStack() as opened:  # what was opened last is closed first, also where the next part cannot be opened
        length_s = config.for_seconds or None
        line = ProgressLine("") if exporters else opened.enter_context(in_sight("recording", length_s))
        set_up_log(config.log.level, config.log.format, os.environ, sys.stderr)  # above that line, where there is one
        server = _server(config, board, jobs) if exporters else None
        if server is not None:
            opened.callback(server.stop)
        desk = _desk(config)
        control = _control(config, desk, version, opened)
        about = _About(config, version, host, started_us, board, notifier, reload, jobs, server, line, desk, control)
        try:
            daemon, summary = _assemble(about, opened)
            with suppress(StopIteration):  # no window comes any more: stopped, or the trace is over
                daemon.run()
            summary()
        except RestartNeeded as error:
            LOG.error("%s; exiting, a new process must take over", error)  # noqa: TRY400
            return error.exit_code
        except NoMeter as error:
            LOG.error("nothing was metered: %s; see `wattshed check`", error)  # noqa: TRY400 - one line says it all
            return 1
    if config.for_seconds and not daemon.stopped and not daemon.metered:
        LOG.error("nothing was metered: %s", board.current().unmetered)
        return 1
    return 0


@dataclass(frozen=True, slots=True)
class _About:
    """What the parts of one run are told."""

    config: Config
    version: str
    host: str
    started_us: int
    board: Board
    notifier: Notifier
    reload: Callable[[], Config] | None
    jobs: JobsApi
    server: Server | None  # None: a recording is made, and nobody is served
    line: ProgressLine
    desk: ReleaseDesk
    control: Control


def _desk(config: Config) -> ReleaseDesk:
    """Return where a release is asked for; one that the process before this one was in goes on."""
    simulated = config.meter.partition(":")[0] == "simulated"
    return ReleaseDesk(RealClock().now_us, release_file(config.state_dir, Path(config.proc_root), simulated=simulated))


def _control(config: Config, desk: ReleaseDesk, version: str, opened: ExitStack) -> Control:
    """Let administrators ask for it, and signals."""
    control = Control(desk, version)
    open_control(config, control, opened)
    let_go_and_resume(lambda: control.release("SIGUSR1"), desk.resume)
    return control


def _assemble(about: _About, opened: ExitStack) -> tuple[Daemon, Callable[[], None]]:
    """Put the parts together; ``opened`` closes whatever was opened so far. Also returns what sums the run up."""
    # From here on heavy imports; the server answers meanwhile.
    from wattshed.agent.accounts.attribution import Accounts  # noqa: PLC0415
    from wattshed.agent.accounts.calibration import Calibrator  # noqa: PLC0415
    from wattshed.agent.accounts.ledger import Ledger  # noqa: PLC0415
    from wattshed.agent.daemon.callers.opening import open_callers  # noqa: PLC0415
    from wattshed.agent.daemon.compiling import settle_form  # noqa: PLC0415
    from wattshed.agent.daemon.reload import Reload, corrections, split_rule  # noqa: PLC0415
    from wattshed.agent.daemon.summary import RunSummary  # noqa: PLC0415
    from wattshed.agent.daemon.work import open_inbox, open_servers  # noqa: PLC0415

    config, faults = about.config, Faults()
    calibrator = Calibrator(config.idle_watts, corrections(config), config.default_sigma)
    reread = Reload(config, about.reload, calibrator, about.notifier) if about.reload else lambda: None
    source = _found(about, reread, faults)
    about.control.devices, about.control.dev_root = source.devices, source.dev_root
    where = about.server.addresses if about.server is not None else ("recording",)
    close_source = once(source.close)
    opened.callback(close_source)
    recorder = kept_recording(config, about.host, opened, alone=about.server is None)
    state = kept_state(config, about.host, source.kind, where, opened)
    history = kept_history(config, about.host, source.kind, about.jobs, faults, opened)
    accounts = Accounts(ledger=Ledger(config.jobs.max_series), live=True, split=split_rule(config))
    between = _told(about.line, settle_form(opened))
    inbox = open_inbox(source)
    told = inbox if config.work.told else None
    served = about.server is not None
    callers, unheard = open_callers(config, source, about.host, about.version, opened, told) if served else (None, "")
    servers = open_servers(config, source, inbox, about.board, faults, opened)
    daemon = _daemon(about, source, accounts, calibrator, recorder, state, history, faults, between, callers, inbox)
    end_in_order(about.board, daemon, close_source)
    look_again(reread, source.look)
    daemon.restore()
    if servers is not None:
        servers.start()
    _tell_of_another(about, daemon, unheard)
    if (push := _push(config, about.board, faults)) is not None:
        opened.callback(push.stop)
    return daemon, RunSummary(accounts, simulated=source.kind == "simulated").log


def _told(line: ProgressLine, between: Callable[[Window], None]) -> Callable[[Window], None]:
    """Return what is called between windows, and shows how long there have been any."""
    if not line.shown:
        return between
    began_us: list[int] = []

    def each(window: Window) -> None:
        if not began_us:
            began_us.append(window.start_us)
        line.at((window.end_us - began_us[0]) / 1e6)
        between(window)

    return each


def _tell_of_another(about: _About, daemon: Daemon, unheard: str) -> None:
    """Say what this agent goes without because another one on this host has it: in one line if that has its totals."""
    unasked, unruled = about.server.jobs_trouble if about.server is not None else "", about.control.trouble
    if daemon.other_owner:
        LOG.warning(
            "another agent (%s) keeps its totals in %s: this one's start at zero and are not kept%s",
            daemon.other_owner,
            about.config.state_dir,
            "".join(f"; {trouble}" for trouble in (unasked, unheard, unruled) if trouble),
        )
        return
    if unasked:
        LOG.warning("%s; `wattshed jobs` does not find this agent there", unasked)
    if unheard:
        LOG.warning("%s; jobs that measure themselves do not find this agent", unheard)
    if unruled:
        LOG.warning("%s; `wattshed release` does not find this agent", unruled)


def _daemon(  # noqa: PLR0917 - called once, just above
    about: _About,
    source: Source,
    accounts: Accounts,
    calibrator: Calibrator,
    recorder: Recorder | None,
    state: StateFile | None,
    history: HistoryFeed | None,
    faults: Faults,
    between: Callable[[Window], None],
    callers: CallersDesk | None,
    work: WorkInbox | None,
) -> Daemon:
    """Give the loop its parts."""
    from wattshed.agent.accounts.publishing import Publisher  # noqa: PLC0415
    from wattshed.agent.daemon.compiling import kernel_facts  # noqa: PLC0415

    config = about.config
    publisher = Publisher(
        about.host, about.version, source.kind, source.library, about.started_us, fresh_us=_fresh_us(config.sampling)
    )
    return Daemon(
        windows=source.windows,
        resolver=source.resolver,
        accounts=accounts,
        calibrator=calibrator,
        publisher=publisher,
        board=about.board,
        recorder=recorder,
        state=state,
        notifier=about.notifier,
        faults=faults,
        limits=LoopLimits(round(config.jobs.keep_ended_s * 1e6), round(config.for_seconds * 1e6)),
        extra_faults=lambda: {**source.faults(), **recording_faults(recorder)},
        notes=source.notes,
        fleet=kept_fleet(config, about.host, source.kind),
        history=history,
        kernels=kernel_facts,
        between=between,
        tenancy=source.tenancy,
        callers=callers,
        work=work,
        beside=source.beside,
        cpu_times=source.cpu_times,
    )


def _found(about: _About, reread: Callable[[], None], faults: Faults) -> Source:
    """Open what is metered; a driver that is not there yet is waited for, unless nobody would learn of it."""
    config = about.config
    if (about.server is None or config.meter != "nvml") and about.desk.wanted() is None:
        return open_source(config, about.host, faults, about.desk)
    waiting = Wait(
        lambda: open_source(config, about.host, faults, about.desk),
        about.board,
        about.notifier,
        Path(config.proc_root),
        about.desk,
        for_s=config.for_seconds,
    )
    look_again(reread, waiting.look)
    about.desk.changed = waiting.look
    return waiting.until_found()


def _fresh_us(sampling: Sampling) -> int:
    """How long a GPU's last reading counts as one of now: three times the longest that a busy driver is left alone."""
    from wattshed.agent.accounts.publishing import FRESH_US  # noqa: PLC0415
    from wattshed.agent.meters.pace import LARGEST_FACTOR  # noqa: PLC0415

    return max(FRESH_US, round(3 * LARGEST_FACTOR * 1e6 / max(sampling.counter_hz, sampling.power_hz)))


def _server(config: Config, board: Board, jobs: JobsApi) -> Server:
    try:
        server = Server(
            board.current,
            config.listen,
            config.web_config_file or None,
            hostname_label=config.export.dcgm_hostname_label,
            jobs=jobs,
            jobs_socket=jobs_socket(config.history, os.environ),
            prices=_prices(config),
        )
        server.start()
    except WebConfigError as error:
        raise InputError(str(error)) from None
    except ListenError as error:
        raise ListenError(f"{error}; choose another --listen") from None
    except ValueError as error:
        raise InputError(f"{error}; choose another --listen") from None
    return server


def _prices(config: Config) -> EnergyPrices | None:
    """Return what energy costs; None if nothing is configured: then nothing is invented."""
    told = config.prices
    if not told.per_kwh and not told.carbon_g_per_kwh:
        return None
    return EnergyPrices(told.currency, told.per_kwh or None, told.carbon_g_per_kwh or None)


def _push(config: Config, board: Board, faults: Faults) -> Push | None:
    if not config.export.otlp_endpoint:
        return None
    from wattshed.exporters.formats.otlp import Push  # noqa: PLC0415 - needs the extra `otlp`

    try:
        return Push(board.current, config.export.otlp_endpoint, config.export.otlp_interval_s, noting=faults.noting)
    except ImportError as error:
        raise InputError(str(error)) from None
