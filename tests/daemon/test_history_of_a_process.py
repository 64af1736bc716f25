"""``wattshed run`` with jobs of a second, killed in the midst of them: its history is what its accounts were."""

import random
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from functools import partial

from tests.accounts.test_cuts import not_cut
from tests.daemon.process import Agent
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.state import StateFile
from wattshed.exporters.units import HNJ_PER_JOULE

JOB = """[[job]]
name = "{name}"
manager = "slurm"
gpus = [{gpu}]
start_s = {start}
end_s = {end}
load = [[1.0, 300.0, 80]]
"""


def has_written(agent, parts):
    return sum(agent.metric("wattshed_history_parts_total").values()) >= parts


def test_a_process_that_is_killed_among_short_jobs(tmp_path):
    scenario = tmp_path / "short.toml"
    jobs = [JOB.format(name=1000 + n, gpu=n % 4, start=0.2 * n, end=0.2 * n + 1.3) for n in range(290)]
    scenario.write_text("gpus = 4\ncycle_s = 60\n" + "".join(jobs))
    flags = ("--meter", f"simulated:{scenario}")
    state_dir, draw = tmp_path / "state", random.Random(3)
    environ = {"WATTSHED_STATE_DIR": str(state_dir)}
    written = 0
    for life in range(3):
        with Agent(tmp_path, *flags, config="[jobs]\nkeep_ended_s = 1\n", environ=environ) as agent:
            agent.ready()
            want = 8 + draw.randrange(5)
            agent.wait(partial(has_written, agent, want))
            agent.law()
            if life == 2:
                assert agent.stop() == 0
            else:
                agent.process.kill()
                agent.process.wait(10)
            assert "history" not in agent.log
            written += want
    accounts, host = Accounts(live=True), None
    with closing(sqlite3.connect(state_dir / "simulated-history.db")) as connection:
        ((host,),) = connection.execute("SELECT DISTINCT host FROM store")
        rows = connection.execute(
            "SELECT part.seq, job.key, job.run_us, part.flags, gpu.uuid, part.static_j + part.dynamic_j, "
            "part.static_r + part.dynamic_r FROM part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu"
        ).fetchall()
    found = StateFile(state_dir, host, "", "simulated").restore(accounts, Calibrator())
    kept, left, ends = defaultdict(int), not_cut(accounts, found.cuts), Counter()
    for _, key, run_us, flags_of, gpu, joules, rest in rows:
        kept[gpu] += joules * HNJ_PER_JOULE + rest
        ends[key, run_us] += flags_of & 1
    numbers = {row[0] for row in rows}
    for part in found.cuts.outbox:  # nobody may have told the state that a part was written
        kept[part.gpu] += 0 if part.seq in numbers else part.energy_hnj
    assert len(rows) >= written
    assert set(ends.values()) == {1}, "each ended once, and is there once"
    for key, account in accounts.gpus.items():
        assert account.energy_hnj > 0
        assert kept[key.gpu] + left[key.gpu] == account.energy_hnj
