"""Jobs that hold a part of a GPU beside others are billed within what sigma says: whole agents against truth."""

import pytest

from tests.laws.test_outages import Lives, job


def held(name, **about):
    return job(f'name = "{name}"', load="load = []", **about)


def busy(name, **about):
    return job(f'name = "{name}"', load="load = [[1.0, 250.0, 90]]", **about)


@pytest.mark.parametrize("idle_w", [22.0, 58.0])
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
