"""A recording's history, row by row what the agent wrote live; and the joules of whatever else is replayed."""

import json
import time
from collections import defaultdict
from itertools import zip_longest

import pytest

from tests.depth import deep
from tests.laws.test_laws_of_a_life import CHURN
from tests.virtual import agent, simulated
from wattshed.agent.__main__ import main
from wattshed.agent.accounts.split_rule import SplitRule
from wattshed.agent.clock import VirtualClock
from wattshed.agent.history.database import Database
from wattshed.agent.history.part_rows import PART_COLUMNS, part_of
from wattshed.agent.history.profile import PowerProfile
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.exporters.units import HNJ_PER_JOULE

JOBS = "SELECT key, run_us, start_us, end_us, uid, labels FROM job ORDER BY key, run_us"


def rows_of(path):
    """All parts in their order, and who their jobs are."""
    database = Database(path, read_only=True)
    rows = database.rows(
        f"SELECT {PART_COLUMNS} FROM part JOIN job ON job.id = part.job JOIN gpu ON gpu.id = part.gpu ORDER BY seq"
    )
    jobs = {(key, run): rest for key, run, *rest in database.rows(JOBS)}
    database.close()
    return [part_of(row) for row in rows], jobs


def powers_of(path):
    database = Database(path, read_only=True)
    rows = database.rows("SELECT key, run_us, power FROM job WHERE power <> ''")
    database.close()
    return {(key, run_us): PowerProfile.of_text(text) for key, run_us, text in rows}


@pytest.fixture
def recorded(tmp_path):
    """Eight minutes over an hour's end, in two lives of an agent that records and keeps a history."""
    script = tmp_path / "churn.toml"
    script.write_text(CHURN)
    clock = VirtualClock(1_767_225_600_000_000 + 3_400_000_000)
    node, clock = simulated(tmp_path, str(script), clock)
    for seconds in (300, 460):
        recorder = Recorder(tmp_path / "recording", "sim", max_bytes=0, max_age_s=0)
        one = agent(
            node, clock, state=tmp_path / "state", recorder=recorder, seconds=seconds, history=tmp_path / "live.db",
            split=SplitRule(learned=True),
        )  # fmt: skip
        one.daemon.restore()
        one.daemon.run()
        end = time.monotonic() + 20
        while one.history.busy():
            assert time.monotonic() < end
            time.sleep(0.01)
        one.close()
        recorder.close()
        assert not one.faults.counts
        clock.sleep_until(clock.now_us() + 7_000_000)
    return tmp_path


def test_a_replay_writes_what_the_agent_wrote_row_by_row(recorded, capsys):
    path = recorded / "again.db"
    asked = ["--history", str(path), "--watts", "learned", "--format", "json"]
    assert main(["replay", str(recorded / "recording"), *asked]) == 0
    total = json.loads(capsys.readouterr().out)["total_j"]
    live, live_jobs = rows_of(recorded / "live.db")
    again, jobs = rows_of(path)
    assert len(live) > 10
    assert any(part.watts_mw for part in live)
    for number, (mine, theirs) in enumerate(zip_longest(live, again[: len(live)])):
        assert mine == theirs, number
    ended = {job for job, (_, end_us, *_) in live_jobs.items() if end_us >= 0}
    assert {job: live_jobs[job] for job in ended} == {job: jobs[job] for job in ended}
    assert len(ended) > 2
    powers, powers_again = powers_of(recorded / "live.db"), powers_of(path)
    for job in ended:
        assert powers_again[job].energy_hnj == powers[job].energy_hnj
        assert powers_again[job].energy_hnj == sum(part.energy_hnj for part in live if (part.job, part.run_us) == job)
        assert [at[:2] for at in powers_again[job].segments()] == [at[:2] for at in powers[job].segments()]
    # And then what was not cut when the recording ended, so that all of it is there.
    assert sum(part.energy_hnj for part in again) / HNJ_PER_JOULE == pytest.approx(total, abs=1e-5)
    assert sum(part.energy_hnj for part in live) < sum(part.energy_hnj for part in again)


@deep
def test_a_history_that_is_there_is_never_touched(recorded, capsys):
    path = recorded / "live.db"
    before = path.read_bytes()
    assert main(["replay", str(recorded / "recording"), "--history", str(path)]) == 2
    assert "live.db: is there already" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["replay", str(recorded / "recording"), "--history", str(recorded / "no/folder/x.db")]) in {0, 2}


def test_a_log_of_another_tool_with_a_jobs_file(tmp_path, capsys):
    log = tmp_path / "log.csv"
    lines = ["time,gpu,power"] + [f"{1_772_323_000 + n},GPU-1,{300 if n < 5000 else 100}" for n in range(9000)]
    log.write_text("\n".join(lines))
    jobs = tmp_path / "jobs.csv"
    jobs.write_text(
        "job,host,gpu,start,end,user\n1,n1,GPU-1,1772323000,1772327999,ada\n2,n1,GPU-1,1772330000,1772340000,bob\n"
    )
    path = tmp_path / "history.db"
    asked = ["replay", f"{log}@n1", "--jobs", str(jobs), "--history", str(path), "--format", "json"]
    assert main([*asked, "--columns", "time=time:s,gpu=gpu,power=power:W"]) == 0
    answer = json.loads(capsys.readouterr().out)
    parts, records = rows_of(path)
    energy = defaultdict(int)
    for part in parts:
        energy[part.job] += part.energy_hnj
        assert part.from_us // 3_600_000_000 >= (part.to_us - 61_000_000) // 3_600_000_000, "a part is of one hour"
    for job in answer["jobs"]:
        assert energy[job["job"]] / HNJ_PER_JOULE == pytest.approx(job["energy_j"], abs=1e-6)
    ended = {key: end_us >= 0 for (key, _), (_, end_us, *_) in records.items() if not key.startswith("_")}
    assert list(ended.values()) == [True, False]
