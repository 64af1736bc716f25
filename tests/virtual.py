"""A whole agent on a simulated node in virtual time: the real loop, books, resolver and recorder, no waiting."""

from dataclasses import dataclass
from pathlib import Path

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.clock import VirtualClock
from wattshed.agent.daemon.faults import Faults
from wattshed.agent.daemon.loop import Board, Daemon, Limits
from wattshed.agent.daemon.systemd import Notifier
from wattshed.agent.jobs.mapping import MappingDirectory
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.meters.lines import Rates
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.sampler import Sampler
from wattshed.agent.simulation.node import SimulatedNode


@dataclass
class VirtualAgent:
    """The parts of one agent's life; ``run(seconds)`` lets it live on."""

    daemon: Daemon
    accounts: Accounts
    board: Board
    sampler: Sampler
    resolver: JobResolver
    faults: Faults
    windows: list

    def close(self):
        self.sampler.close()
        self.resolver.close()


def simulated(tmp_path: Path, script="", clock=None):
    """A simulated node and its clock, which outlive the agents that measure it."""
    clock = clock or VirtualClock()
    root = tmp_path / "node"
    root.mkdir()
    return SimulatedNode(clock, root, script), clock


def follow(node, slurm):
    """Let the agent see every change of the mapping folder, and when it was made.

    In real time a thread looks; beside virtual time it would see, now and then, a file that has not got its time yet.
    """
    slurm._folder.close()
    mapping = slurm._mapping = MappingDirectory(slurm._mapping._directory, slurm._clock)
    mapping._at_us = lambda stamp_ns: stamp_ns // 1000  # the node's files bear the node's times

    def look():
        mapping._next_s = 0.0
        mapping.scan()

    look()
    node.tree.followed = look


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
):
    """Put an agent together as the assembly does, on a node that exists already.

    ``slurm`` stands in place of the node's mapping; a node that is not ``marked`` passes for real.
    """
    meter = NvmlMeter(Nvml(clock, node.library), clock, host, simulated=marked, proc_root=node.proc_root)
    meter.open()
    sampler = Sampler(meter, clock, host, rates or Rates(), node.proc_root)
    slurm = slurm or Slurm(clock.now_us, host, node.mapping_dir, squeue=())
    resolver = JobResolver(Processes(node.proc_root, clock.now_us), slurm)
    if slurm._mapping is not None:
        follow(node, slurm)
    accounts = Accounts(ledger=Ledger(cap), live=True)
    publisher = Publisher(host, "test", "simulated" if marked else "nvml", "simulated", clock.now_us())
    board = Board(publisher.empty(clock.now_us()))
    faults, seen = Faults(), []

    class Seen:
        """Passes windows on and keeps them."""

        def append(self, window):
            seen.append(window)
            if recorder is not None:
                recorder.append(window)

    daemon = Daemon(
        windows=sampler,
        resolver=resolver,
        accounts=accounts,
        calibrator=Calibrator(),
        publisher=publisher,
        board=board,
        recorder=Seen(),
        state=StateFile(state, host, boot) if state else None,
        notifier=Notifier({}),
        faults=faults,
        limits=Limits(keep_us, round(seconds * 1e6)),
        extra_faults=lambda: {**sampler.faults, **resolver.faults()},
    )
    return VirtualAgent(daemon, accounts, board, sampler, resolver, faults, seen)


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
