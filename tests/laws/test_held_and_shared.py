"""Jobs that hold a part of a GPU beside others are billed within what sigma says: whole agents against truth."""

import pytest

from tests.depth import few
from tests.laws.test_outages import Lives, job


def held(name, **about):
    return job(f'name = "{name}"', load="load = []", **about)


def busy(name, **about):
    return job(f'name = "{name}"', load="load = [[1.0, 250.0, 90]]", **about)


@pytest.mark.parametrize("idle_w", few([22.0, 58.0]))
def test_whoever_only_holds_beside_one_that_is_always_busy(tmp_path, idle_w):
    """Idle power can never be learned there: it is a prior of 40 W, and both bills rest on it."""
    gpu = f'[[gpu]]\nindex = 0\narchitecture = "ga100"\nidle_w = {idle_w}\n'
    lives = Lives(tmp_path, gpu + held("7") + busy("8")).live(150)
    truth, billed = lives.truth(), lives.billed()
    for key in ("slurm:7", "slurm:8"):
        off = abs(billed[key] - truth[key])
        assert off > 400
        assert off < 1.96 * lives.sigma(key) < 5 * off
    lives.replays()


def test_a_short_job_that_nobody_could_see_may_have_used_its_part(tmp_path):
    """Half a second, between two process lists, which are dear: it only held the GPU as far as anybody knows."""
    dear = '[[fault]]\nkind = "latency"\ncall = "nvmlDeviceGetComputeRunningProcesses_v3"\nvalue = 2000\n'
    lives = Lives(tmp_path, busy("8") + busy("7", start_s=33.2, end_s=33.7) + dear).live(60)
    truth, billed = lives.truth(), lives.billed()
    assert billed["slurm:7"] < 0.5 * truth["slurm:7"]
    assert abs(billed["slurm:7"] - truth["slurm:7"]) < 1.96 * lives.sigma("slurm:7")
    assert lives.sigma("slurm:8") < 0.05 * billed["slurm:8"]
    lives.replays()


def test_who_holds_for_longer_without_a_process_is_known_not_to_use_it(tmp_path):
    gpu = "[[gpu]]\nindex = 0\nidle_w = 70.0\n"
    lives = Lives(tmp_path, gpu + busy("8") + held("7", start_s=30, end_s=50)).live(60)
    assert lives.billed()["slurm:7"] == pytest.approx(lives.truth()["slurm:7"], rel=0.02)
    lives.replays()
