"""A simulated node of known CPU use: the estimate of each job's share of it, live, replayed, and over a restart."""

import pytest

from tests.accounts.test_modules import book
from tests.virtual import agent, simulated
from wattshed.agent.accounts.node import PARTS
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find
from wattshed.agent.window import IDLE

SCRIPT = """
gpus = 4
cycle_s = 6000
[[job]]
name = "7"
gpus = [0, 1]
start_s = 0
end_s = 5000
cores = 36
load = [[1.0, 400.0, 80], [0.5, 100.0, 20]]
[[job]]
name = "train.service"
manager = "systemd"
gpus = [3]
start_s = 0
end_s = 5000
cores = 18
load = [[1.0, 200.0, 80]]
[host]
cpu = [95, 0.0]
rest = [420, 0.12]
[[host_meter]]
source = "rapl"
[[host_meter]]
source = "cray"
"""
SLURM, UNIT = "slurm:7", "unit:train.service"


def lived(tmp_path, seconds):
    (tmp_path / "s.toml").write_text(SCRIPT)
    node, clock = simulated(tmp_path, str(tmp_path / "s.toml"))
    recorder = Recorder(tmp_path / "recording", "sim")
    one = agent(node, clock, seconds=seconds, share=True, recorder=recorder)
    one.daemon.run()
    one.close()
    recorder.close()
    return node, one


def estimates(accounts, host="sim"):
    found = {job.key: dict(job.node_hnj) for job in accounts.ledger.jobs.values()}
    return found | accounts.beside[host].shares.nobodys_hnj


def test_known_shares_of_the_cpus(tmp_path):
    node, one = lived(tmp_path, 60)
    shares = estimates(one.accounts)
    books = one.accounts.beside["sim"].node
    print(shares, books.parts_hnj, one.faults.counts)
    for part in PARTS[1:]:
        assert sum(parts.get(part, 0) for parts in shares.values()) == books.parts_hnj[part]
    cpus = node.cgroups.cpus
    for key, cores in ((SLURM, 36), (UNIT, 18)):
        assert shares[key]["cpu"] / books.cpu_hnj == pytest.approx(cores / cpus, rel=0.01)
