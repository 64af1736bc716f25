"""Bills by either watts come of one reading, and are those of two replays."""

from dataclasses import replace

import pytest

from wattshed.agent.bench.split.patterns import told
from wattshed.agent.bench.split.running import windows
from wattshed.agent.replay.given import settings_from
from wattshed.agent.replay.running import replay
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import Chain, find

SECONDS = 90


@pytest.fixture
def recording(tmp_path):
    recorder = Recorder(tmp_path / "recording", "simulated", max_bytes=0, max_age_s=0)
    for window in windows(told("bursty", 4.0, 1, SECONDS)):
        assert recorder.append(window)
    recorder.close()
    return tmp_path / "recording"


@pytest.fixture
def table(tmp_path):
    """A log and a table of jobs that share its GPU, by their number of GPUs or by its name."""
    log, jobs = tmp_path / "log.csv", tmp_path / "jobs.csv"
    rows = [f"{1_700_000_000 + t},0,{200 + 40 * (t % 7)}" for t in range(SECONDS)]
    log.write_text("\n".join(["time_s,gpu,power_w", *rows]) + "\n")
    jobs.write_text(
        "job,start,end,gpu,share\n"
        "1,1700000010,1700000060,0,0.5\n"
        "2,1700000030,1700000080,0,0.25\n"
        "3,1700000085,1700000200,0,1\n"
    )  # fmt: skip
    return log, jobs


def done(path, jobs=None, *, split="learned", compare=False):
    settings = replace(settings_from(Options(), jobs=jobs, split=split), compare=compare)
    return replay(find([str(path)], settings.options), settings)


@pytest.mark.parametrize("with_jobs", [False, True])
def test_one_reading_is_two_replays(with_jobs, recording, table, monkeypatch):
    path, jobs = table if with_jobs else (recording, None)
    learned, common = done(path, jobs), done(path, jobs, split="common")
    read = []
    for name in ("windows", "batches"):
        plain = getattr(Chain, name)
        monkeypatch.setattr(Chain, name, lambda *args, plain=plain: (read.append(1), plain(*args))[1])
    both = done(path, jobs, compare=True)
    assert len(read) == 1
    document = both.document()
    rows = document.pop("compare_watts")
    assert document == learned.document()
    assert both.part.common.ledger.jobs == common.part.accounts.ledger.jobs
    expected = {job["job"]: (job["energy_j"], job["sigma_j"]) for job in common.document()["jobs"]}
    assert {row["job"]: (row["common_j"], row["common_sigma_j"]) for row in rows} == expected
    assert len(expected) == (3 if with_jobs else 2)


def test_jobs_that_are_billed_apart_say_so(recording):
    rows = done(recording, compare=True).document()["compare_watts"]
    assert all(row["common_j"] != row["learned_j"] and row["watts"] > 0 for row in rows)


def test_a_table_of_runs_has_nothing_to_compare(tmp_path, wattshed):
    runs = tmp_path / "emissions.csv"
    runs.write_text(
        "timestamp,project_name,run_id,duration,emissions,gpu_power,gpu_energy,gpu_count,gpu_model\n"
        "2026-03-01T00:00:00,p,r,60,0.1,100,0.00166,1,1 x NVIDIA H100\n"
    )
    code, _, said = wattshed("replay", runs, "--compare-watts")
    assert code == 2
    assert "power over time" in said
