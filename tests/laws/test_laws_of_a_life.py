"""Thirty minutes of a whole agent in virtual time: both laws on every window and on every scrape, whatever happens."""

import itertools

import pytest

from tests.accounts.old_state import as_version_1
from tests.depth import few
from tests.laws.published import Laws, see_page
from tests.virtual import agent, simulated
from wattshed.exporters.formats import prometheus
from wattshed.exporters.formats.exposition import Writer

CHURN = """
gpus = 3
cycle_s = 420
[[job]]
name = "100"
gpus = [0, 1]
start_s = 11.3
end_s = 51.7
load = [[3.0, 400.0, 80], [0.5, 100.0, 20]]
[[job]]
name = "200"
gpus = [1]
load = [[1.0, 250.0, 50]]
start_s = 2.0
end_s = 300.0
[[job]]
name = "300"
gpus = [1]
start_s = 30.7
end_s = 38.7
load = [[1.0, 200.0, 40]]
[[job]]
name = "shell"
manager = "user"
command = "train"
uid = 1007
gpus = [0]
start_s = 200.0
end_s = 221.2
load = [[1.0, 300.0, 90]]
[[job]]
name = "lasting"
manager = "systemd"
gpus = [2]
load = [[7.0, 400.0, 80], [3.0, 100.0, 20]]
"""
FAULTS = """
[[fault]]
kind = "latency"
at_s = 100.0
for_s = 200.0
value = 9000
[[fault]]
kind = "gpu-lost"
gpu = 0
at_s = 320.0
for_s = 45.0
[[fault]]
kind = "counter-reset"
gpu = 1
at_s = 700.0
[[fault]]
kind = "counter-stuck"
gpu = 2
at_s = 800.0
for_s = 20.0
[[fault]]
kind = "not-ready"
gpu = 1
at_s = 900.0
for_s = 100.0
[[fault]]
kind = "driver-reload"
at_s = 1150.0
for_s = 30.0
[[fault]]
kind = "zero-power"
gpu = 0
at_s = 1400.0
for_s = 60.0
"""
LIVES = (("kill", 250), ("clean", 260), ("upgrade", 330), ("kill", 400), ("clean", 560))


@pytest.mark.parametrize("cap", few([10_000, 2]))
def test_both_laws_hold_for_thirty_minutes_of_jobs_faults_and_restarts(tmp_path, cap):
    script = tmp_path / "churn.toml"
    script.write_text(CHURN + FAULTS)
    node, clock = simulated(tmp_path, str(script))
    laws, scrapes, created = Laws(), Laws(), {}
    scraped_us, writer = 0, Writer(openmetrics=True, on_fault=lambda *_: None)
    for end, seconds in LIVES:
        one = agent(node, clock, state=tmp_path / "state", cap=cap, keep_us=60_000_000, seconds=seconds)
        one.daemon.restore()
        show, last = one.board.show, None

        def check(snapshot, show=show):
            nonlocal scraped_us, last
            last = snapshot
            laws.see(snapshot)
            if snapshot.time_us - scraped_us >= 15_000_000:
                scraped_us = snapshot.time_us
                scrapes.see(snapshot)
                see_page(writer.write(snapshot, prometheus.families(snapshot)).decode())
            for job in snapshot.jobs:
                created.setdefault(job.job, {})[job.started_us] = snapshot.time_us
            show(snapshot)

        one.board.show = check
        if end == "clean":
            one.daemon.run()
        else:  # no shutdown, no final save
            begun = clock.now_us()
            while clock.now_us() - begun < seconds * 1_000_000:
                one.daemon.step()
            one.state.release()
        one.close()
        assert not set(one.faults.counts), one.faults.counts
        if end == "upgrade":
            scrapes.see(last)
            scraped_us = last.time_us
            for seen in (laws, scrapes):
                seen.as_version_1_showed_it(last)
            assert as_version_1(tmp_path / "state/state.json")
        clock.sleep_until(clock.now_us() + 7_000_000)
    assert laws.seen > 900
    assert scrapes.seen >= 100
    if cap > 2:
        (back,) = (job for job in created if job.startswith("user:1007/"))
        assert laws.ended[back] >= 3  # it went, and came back, and went
        assert any(gpu.ended_hnj for gpu in last.gpus)
        # A series that came back says that it began after the one before it was seen last.
        starts = sorted(created[back].items())
        assert len(starts) >= 3
        assert all(seen_us < began_us for (_, seen_us), (began_us, _) in itertools.pairwise(starts))
    else:
        assert any(share.job == "_other" and share.dynamic_hnj for share in last.energy)
