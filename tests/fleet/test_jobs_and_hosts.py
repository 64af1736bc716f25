"""Whether hosts or their jobs were drawn, and what the sampling unit then is."""

from dataclasses import replace

import numpy as np
import pytest

from tests.fleet.test_estimators import population, sample
from wattshed.agent.errors import InputError
from wattshed.agent.fleet.estimate.estimators import estimate

N, SIZE = 600, 20


def of_jobs(chosen, values, *, sizes=True):
    """Hosts by number, twenty to a job."""
    one = sample(population(N), [float(values[i]) for i in chosen])
    columns = {"job": tuple(f"j{i // SIZE}" for i in chosen)}
    if sizes:
        columns["job_hosts"] = (str(SIZE),) * len(chosen)
    return replace(one, columns=columns)


@pytest.fixture
def fleet_of_jobs():
    """Power of 600 hosts: jobs differ, hosts of a job hardly."""
    random = np.random.default_rng(6)
    return np.repeat(random.normal(5000, 1500, N // SIZE), SIZE) * random.normal(1, 0.02, N)


def whole(random, jobs):
    """Numbers of the hosts of so many jobs."""
    return np.concatenate([np.arange(SIZE) + SIZE * j for j in random.choice(N // SIZE, jobs, replace=False)]).tolist()


def test_whole_jobs_are_few_observations(fleet_of_jobs):
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(60):
        chosen = whole(random, 8)
        found = estimate(of_jobs(chosen, fleet_of_jobs), "stratified")
        assert found.sampling_unit == "job"
        assert found.df == pytest.approx(7)
        assert "the job is the sampling unit" in found.warnings[0]
        hits += found.lower <= fleet_of_jobs.sum() <= found.upper
    assert hits >= 51
    plain = estimate(sample(population(N), [float(fleet_of_jobs[i]) for i in chosen]), "stratified")
    assert found.total == pytest.approx(plain.total)
    assert found.se > 3 * plain.se
    jobs = np.array([sum(fleet_of_jobs[i] for i in chosen[k : k + SIZE]) for k in range(0, 160, SIZE)])
    naive = (N / 160) * (8 / 7 * (1 - 160 / N) * ((jobs - jobs.mean()) ** 2).sum()) ** 0.5
    assert found.se == pytest.approx(naive)


def test_random_hosts_stay_hosts(fleet_of_jobs):
    random = np.random.default_rng(2)
    units = [
        estimate(of_jobs(random.choice(N, n, replace=False).tolist(), fleet_of_jobs), "stratified").sampling_unit
        for n in (30, 60, 150, 400)
        for _ in range(25)
    ]
    assert units.count("job") <= 3


def test_one_job_has_no_interval(fleet_of_jobs):
    for sizes in (True, False):
        found = estimate(of_jobs(range(SIZE), fleet_of_jobs, sizes=sizes), "stratified")
        assert (found.lower, found.upper, found.se) == (None, None, None)
        assert found.total == pytest.approx(fleet_of_jobs[:SIZE].mean() * N)
        assert any("one measured job that represents more" in w for w in found.warnings)


def test_without_the_size_of_jobs_the_job_is_the_unit(fleet_of_jobs):
    chosen = whole(np.random.default_rng(3), 6)
    found = estimate(of_jobs(chosen, fleet_of_jobs, sizes=False), "stratified")
    assert found.sampling_unit == "job"
    assert "add a column job_hosts" in found.warnings[0]
    assert found.se == estimate(of_jobs(chosen, fleet_of_jobs), "stratified").se


def test_hosts_of_different_jobs_need_no_judgement(fleet_of_jobs):
    chosen = list(range(0, N, SIZE))
    found = estimate(of_jobs(chosen, fleet_of_jobs, sizes=False), "stratified")
    assert found.sampling_unit == "host"
    idle = replace(of_jobs(chosen, fleet_of_jobs, sizes=False), columns={"job": ("",) * len(chosen)})
    assert estimate(idle, "stratified").sampling_unit == "host"


def test_all_hosts_are_no_sample(fleet_of_jobs):
    found = estimate(of_jobs(range(N), fleet_of_jobs, sizes=False), "stratified")
    assert (found.sampling_unit, found.se) == ("host", 0.0)


def test_a_size_of_a_job_that_is_none(fleet_of_jobs):
    one = of_jobs([0, 1, 30], fleet_of_jobs)
    with pytest.raises(InputError, match="job_hosts: '0' of 'h0' is not a whole number above 0"):
        estimate(replace(one, columns={**one.columns, "job_hosts": ("0", "20", "20")}), "stratified")
