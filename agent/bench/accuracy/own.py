"""wattshed itself beside the jobs of a scenario: the whole agent, in virtual time, told what prolog and epilog tell."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.ledger import Ledger
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.daemon.board import Board
from wattshed.agent.daemon.loop import Daemon
from wattshed.agent.daemon.loop_parts import LoopLimits
from wattshed.agent.daemon.systemd import Notifier
from wattshed.agent.errors import Faults
from wattshed.agent.jobs.mapping import MappingDirectory
from wattshed.agent.jobs.processes import Processes
from wattshed.agent.jobs.procfs import exists
from wattshed.agent.jobs.resolve import JobResolver
from wattshed.agent.jobs.slurm import Slurm
from wattshed.agent.meters.meter import NvmlMeter
from wattshed.agent.meters.nvml import Nvml
from wattshed.agent.meters.sampler import Sampler
from wattshed.agent.meters.schedule import Rates

if TYPE_CHECKING:
    from wattshed.agent.clock import Clock
    from wattshed.agent.simulation.node import SimulatedNode

HOST = "simulated"
FOR_GOOD_US = 10**12


def live(node: SimulatedNode, clock: Clock, seconds: float) -> dict[str, tuple[float, float]]:
    """Let an agent live on a node for so long; returns joules and sigma by job.

    Its parts are those that `wattshed run` assembles, but for what takes threads of its own: the server, the recorder
    and the state file. A change of the mapping folder is seen at once, as the kernel's notification would have it.
    """
    with ExitStack() as opened:
        meter = NvmlMeter(Nvml(clock, node.library), clock, HOST, simulated=True, proc_root=node.proc_root)
        meter.open()
        processes = Processes(node.proc_root, clock.now_us)
        sampler = Sampler(meter, clock, HOST, Rates(), alive=partial(exists, node.proc_root), meet=processes.meet)
        opened.callback(sampler.close)
        resolver = JobResolver(processes, Slurm(clock.now_us, HOST, _followed(node, clock), squeue=()))
        opened.callback(resolver.close)
        accounts = Accounts(ledger=Ledger(10_000), live=True)
        publisher = Publisher(HOST, "", "simulated", "simulated", clock.now_us())
        board = Board(publisher.empty(clock.now_us()))
        Daemon(
            windows=sampler,
            resolver=resolver,
            accounts=accounts,
            calibrator=Calibrator(),
            publisher=publisher,
            board=board,
            recorder=None,
            state=None,
            notifier=Notifier({}),
            faults=Faults(),
            limits=LoopLimits(FOR_GOOD_US, round(seconds * 1e6)),
            extra_faults=lambda: {**sampler.faults, **resolver.faults()},
        ).run()
        sigmas = {facts.job: facts.sigma_j for facts in board.current().jobs}
        return {
            job.key: (
                sum(line.static_hnj + line.dynamic_hnj for line in job.lines.values()) / 2e9,
                sigmas.get(job.key) or 0.0,
            )
            for job in accounts.ledger.jobs.values()
        }


def _followed(node: SimulatedNode, clock: Clock) -> MappingDirectory:
    mapping = MappingDirectory(node.mapping_dir, clock.now_us, at_us=lambda stamp_ns: stamp_ns // 1000)
    mapping.scan()
    node.tree.followed = mapping.scan
    return mapping
