"""A thousand short jobs a minute, and an agent that is killed again and again: each job is in the history once."""

import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import suppress

import pytest

from tests.accounts.test_cuts import not_cut
from tests.daemon import short_jobs
from tests.daemon.process import ROOT
from tests.daemon.short_jobs import GPUS, MW, S, restored, times_of
from tests.depth import deep
from wattshed.agent.history.database import Database
from wattshed.exporters.units import HNJ_PER_JOULE

FOLDER, WINDOWS, A_MINUTE, KEEP_S = "state", 160, 1_000, 20


def life(folder, *, count=WINDOWS, keep_s=KEEP_S, kill_after_s=None):
    """Let the agent live, until it is killed or ends; returns whether it ended by itself, and what it said."""
    command = [sys.executable, "-m", short_jobs.__name__, str(folder), str(count), str(A_MINUTE), str(keep_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        if kill_after_s is not None:
            end = time.monotonic() + 60
            before = moment_of(folder)
            while child.poll() is None and moment_of(folder) == before:
                assert time.monotonic() < end
                time.sleep(0.001)
            time.sleep(kill_after_s)
            child.kill()
        said, _ = child.communicate(timeout=120)
    return child.returncode == 0, said


def moment_of(folder):
    """When the state was saved last."""
    times = []
    for path in folder.glob("state.j*"):
        with suppress(FileNotFoundError):  # written whole this very moment
            times.append(path.stat().st_mtime_ns)
    return max(times, default=0)


def stored(folder):
    """Energy of each GPU in the history, and the runs of each job there with how many ends."""
    database = Database(folder / "history.db", read_only=True)
    energy, ends = defaultdict(int), Counter()
    runs = Counter(key for (key,) in database.rows("SELECT key FROM job WHERE substr(key, 1, 1) <> '_'"))
    for key, uuid, joules, rest, flags in database.rows(
        "SELECT job.key, gpu.uuid, part.static_j + part.dynamic_j, part.static_r + part.dynamic_r, part.flags "
        "FROM part JOIN gpu ON gpu.id = part.gpu JOIN job ON job.id = part.job"
    ):
        energy[uuid] += joules * HNJ_PER_JOULE + rest
        ends[key] += flags & 1
    ((bad,),) = database.rows("SELECT count(*) FROM part WHERE to_us < from_us OR static_j < 0 OR dynamic_j < 0")
    assert not bad
    assert database.rows("PRAGMA integrity_check") == [("ok",)]
    database.close()
    return energy, runs, {key: ended for key, ended in ends.items() if not key.startswith("_")}


@deep
@pytest.mark.parametrize("seed", [1])
def test_killed_ten_times_each_of_thousands_of_jobs_is_there_once(tmp_path, seed):
    folder, draw = tmp_path / FOLDER, random.Random(seed)
    folder.mkdir()
    kills = 0
    for _ in range(10):
        ended, _ = life(folder, kill_after_s=draw.uniform(0.0, 0.35))
        kills += not ended
    ended, said = life(folder)
    assert ended, said
    assert kills == 10
    accounts, found = restored(folder)
    energy, runs, ends = stored(folder)
    jobs = (WINDOWS - 20) * A_MINUTE // 60
    expected = {f"slurm:{number}" for number in range(jobs + 1) if times_of(number, A_MINUTE)[0] < (WINDOWS - 20) * S}
    left = {str(key) for key in accounts.ledger.jobs}
    assert set(runs) | left == expected
    assert set(runs.values()) == {1}
    assert all(ends[key] == (key not in left) for key in runs)
    uncut = not_cut(accounts, found.cuts)
    for key, account in accounts.gpus.items():
        waiting = sum(part.energy_hnj for part in found.cuts.outbox if part.gpu == key.gpu)
        assert energy[key.gpu] + waiting + uncut[key.gpu] == account.energy_hnj
        # And that is what its counter counted, whatever was killed: from the first reading to the last.
        assert account.energy_hnj == (WINDOWS - 1) * MW * HNJ_PER_JOULE // 1000
    assert len(accounts.gpus) == GPUS
