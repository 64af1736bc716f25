"""A whole agent on a simulated node in virtual time: the real loop, books, resolver and recorder, no waiting."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.clock import VirtualClock
from wattshed.agent.config.node_settings import NodeSettings
from wattshed.agent.daemon.board import Board
from wattshed.agent.daemon.history_feed import HistoryFeed
from wattshed.agent.daemon.host import open_cpu_times, open_host
from wattshed.agent.daemon.loop import Daemon
from wattshed.agent.daemon.loop_parts import LoopLimits
from wattshed.agent.daemon.systemd import Notifier
from wattshed.agent.errors import Faults
from wattshed.agent.history.writer import HistoryWriter
from wattshed.agent.jobs.mapping import MappingDirectory
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.procfs import exists
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.sampler import Sampler
from wattshed.agent.meters.schedule import Rates
from wattshed.agent.simulation.node import SimulatedNode
from wattshed.agent.work_units.inbox import WorkInbox


@dataclass
class VirtualAgent:
    """The parts of one agent's life; ``daemon.run()`` lets it live."""

    daemon: Daemon
    accounts: Accounts
    board: Board
    sampler: Sampler
    resolver: JobResolver
    faults: Faults
    windows: list
    state: StateFile | None
    history: HistoryWriter | None = None
    feed: HistoryFeed | None = None
    inbox: WorkInbox | None = None

    def live(self, length_us, *, killed=False):
        """Meter for so long, and end in order; or be killed then: nothing is closed, and nothing saved at the end."""
        try:
            window = self.daemon.step()
            end_us = window.start_us + length_us
            while window.end_us < end_us:
                window = self.daemon.step()
        finally:
            if killed:
                self.kill()
            else:
                self.daemon.close()

    def kill(self):
        """End without a word; the kernel lets go of the state folder's lock."""
        self.state.release()
        self.close()

    def close(self):
        self.sampler.close()
        self.resolver.close()
        if self.history is not None:
            self.history.stop()


def simulated(tmp_path: Path, script="", clock=None):
    """A simulated node and its clock, which outlive the agents that measure it."""
    clock = clock or VirtualClock()
    root = tmp_path / "node"
    root.mkdir()
    return SimulatedNode(clock, root, script), clock


def followed(node, clock):
    """The node's mapping folder, of which every change is seen, with the time at which it was made.

    In real time a thread looks; beside virtual time it would see, now and then, a file that has not got its time yet.
    """
    # The node's files bear the node's times.
    mapping = MappingDirectory(node.mapping_dir, clock.now_us, at_us=lambda stamp_ns: stamp_ns // 1000)
    mapping.scan()
    node.tree.followed = mapping.scan
    return mapping


def host_meters(node, clock, faults):
    """The readers of the node's other meters, as the assembly opens them."""
    return open_host(NodeSettings(), clock, faults, node.proc_root, simulated=(node.sys, node.drop_dir))


def cpu_times(node, clock, faults):
    """The reader of the node's cgroups, as the assembly opens it."""
    return open_cpu_times(NodeSettings(share="estimate"), clock, faults, node.proc_root, simulated=node.cgroups)


def readers(node, clock, faults, *, beside, share):
    """What of the host is read beside its GPUs, as the loop takes it."""
    return {
        "beside": host_meters(node, clock, faults) if beside else None,
        "cpu_times": cpu_times(node, clock, faults) if share else None,
    }


def kept_history(path, host, faults, *, marked):
    """A writer of the history at a path and what feeds it; None of both without a path."""
    writer = HistoryWriter(path, host, faults) if path else None
    return writer, HistoryFeed(writer, 3_600_000_000, simulated=marked) if writer else None


def opened(node, clock, host, *, marked=True):
    """A meter of the node, with a driver session; one that is not ``marked`` passes for real."""
    roots = {"proc_root": node.proc_root, "dev_root": node.dev_root}
    meter = NvmlMeter(Nvml(clock, node.library), clock, host, simulated=marked, **roots)
    meter.open()
    return meter


class Seen:
    """Keeps windows, and passes them on to a recorder if there is one."""

    def __init__(self, windows, recorder):
        self._windows, self._recorder = windows, recorder

    def append(self, window):
        self._windows.append(window)
        if self._recorder is not None:
            self._recorder.append(window)


def agent(
    node,
    clock,
    *,
    state=None,
    recorder=None,
    rates=None,
    seconds=0,
    boot="boot",
    cap=10_000,
    keep_us=300_000_000,
    slurm=None,
    host="sim",
    marked=True,
    history=None,
    version="test",
    callers=None,
    inbox=False,
    beside=False,
    desk=None,
    split=None,
    share=False,
    wake=True,
):
    """Put an agent together as the assembly does, on a node that exists already.

    ``slurm`` stands in place of the node's mapping; a node that is not ``marked`` passes for real. With ``history``, a
    path, parts of jobs go there; with ``inbox``, work is heard of; with ``beside``, the host's meters are read, with
    ``share`` the jobs' CPU time too.
    """
    meter = opened(node, clock, host, marked=marked)
    processes, about = Processes(node.proc_root, clock.now_us), {"desk": desk, "sys_root": node.sys_root, "wake": wake}
    about |= {"alive": partial(exists, node.proc_root), "meet": processes.meet}
    sampler = Sampler(meter, clock, host, rates or Rates(), **about)
    resolver = JobResolver(processes, slurm or Slurm(clock.now_us, host, followed(node, clock), squeue=()))
    accounts = Accounts(ledger=Ledger(cap), live=True, split=split)
    publisher = Publisher(host, version, "simulated" if marked else "nvml", "simulated", clock.now_us())
    board, faults, seen = Board(publisher.empty(clock.now_us())), Faults(), []
    writer, feed = kept_history(history, host, faults, marked=marked)

    daemon = Daemon(
        windows=sampler,
        resolver=resolver,
        accounts=accounts,
        calibrator=Calibrator(),
        publisher=publisher,
        board=board,
        recorder=Seen(seen, recorder),
        state=(kept := StateFile(state, host, boot) if state else None),
        notifier=Notifier({}),
        faults=faults,
        limits=LoopLimits(keep_us, round(seconds * 1e6)),
        extra_faults=lambda: {**sampler.faults, **resolver.faults()},
        history=feed,
        callers=callers,
        work=(work := WorkInbox(clock.now_us) if inbox else None),
        **readers(node, clock, faults, beside=beside or share, share=share),
    )
    return VirtualAgent(daemon, accounts, board, sampler, resolver, faults, seen, kept, writer, feed, work)


def sums(accounts):
    """Whole and parts per GPU, in hnj."""
    whole = {key.gpu: account.energy_hnj for key, account in accounts.gpus.items()}
    ended = accounts.ledger.ended_hnj
    parts = {key.gpu: a.idle_hnj + a.unattributed_hnj + ended.get(key, 0) for key, a in accounts.gpus.items()}
    for _, key, static, dynamic in accounts.ledger.shares():
        parts[key.gpu] += static + dynamic
    return whole, parts


def bills(accounts):
    """Everything that the books say, as plain integers."""
    gpus = {k.gpu: (a.energy_hnj, a.idle_hnj, a.unattributed_hnj) for k, a in accounts.gpus.items()}
    jobs = {
        (job.key, k.gpu): (line.static_hnj, line.dynamic_hnj)
        for job in accounts.ledger.jobs.values()
        for k, line in job.lines.items()
    }
    return gpus, jobs
