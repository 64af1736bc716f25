"""The two laws of the metrics, on every scrape and on a real Prometheus, over 35 minutes of jobs that come and go."""

import re
from collections import defaultdict
from decimal import Decimal

import pytest

from tests.depth import deep
from tests.promql import server
from tests.promql.expressions import ALL, RULES, documents, panels, rules
from tests.promql.server import Ruler, samples
from tests.promql.truth import KWH, Truth, account, assert_right, user
from tests.promql.two_hosts import END_S, SCRAPE_S, START_S, live, write

pytestmark = deep

ENERGY = re.compile(
    r"^wattshed_(gpu|job|ended_jobs)_energy_joules_total\{[^}]*gpu_uuid=\"([^\"]*)\"[^}]*\} ([0-9.]+)$", re.MULTILINE
)
MOMENTS = range(START_S + 120, END_S + 1, 30)


def test_on_every_scrape_the_parts_are_the_whole(hosts):
    compared = 0
    for host in hosts:
        for page in filter(None, host.pages.values()):
            sums = defaultdict(Decimal)
            for what, gpu, joules in ENERGY.findall(page.decode()):
                sums[gpu] += Decimal(joules) * (1 if what == "gpu" else -1)
            assert set(sums.values()) <= {Decimal(0)}
            compared += len(sums)
    assert compared > 900


def test_jobs_come_and_go_in_this_life(hosts):
    """What the laws are about happens: series end, an account is closed, a job is beyond the cap, an agent restarts."""
    names = [{labels.get("job") for labels, _ in samples(page.decode())} for page in hosts[0].pages.values() if page]
    assert any("slurm:4001" in shown for shown in names)
    assert "slurm:4001" not in names[-1]
    assert None in hosts[0].pages.values()
    last = [*hosts[1].pages.values()][-1].decode()
    assert 'job="_other"' in last
    assert re.search(r"^wattshed_ended_jobs_energy_joules_total\{[^}]*\} [1-9]", last, re.MULTILINE)


@pytest.mark.real
def test_no_series_rises_faster_than_its_gpus_draw(prometheus, hosts):
    """``rate`` of an owner on a GPU is at most what that GPU drew between any two scrapes of the window."""
    compared = 0
    for moment in MOMENTS:
        found = prometheus.query(
            'sum by (instance, gpu_uuid, job) (rate(wattshed_job_energy_joules_total{simulated=""}[2m]))', moment
        )
        most = {host.instance: host.peaks(2, 120 + SCRAPE_S, moment) for host in hosts}
        for key, watts in found.items():
            labels = dict(key)
            assert watts <= most[labels["instance"]][labels["gpu_uuid"]] * 1.001 + 0.01, (moment - START_S, labels)
            compared += 1
    assert compared > 1000


@pytest.mark.real
@pytest.mark.parametrize("minutes", [2, 5, 15, 30])
def test_increases_of_the_jobs_add_up_to_the_gpus(prometheus, hosts, minutes):
    """Within what owners that come or go may lose or gain: a scrape interval of theirs each."""
    truth, compared = Truth(hosts), 0
    for moment in MOMENTS:
        if moment < START_S + minutes * 60 + 60:
            continue
        jobs, gpus = (
            prometheus.query(f'sum(increase(wattshed_{what}_energy_joules_total{{simulated=""}}[{minutes}m]))', moment)
            for what in ("job", "gpu")
        )
        slack = truth.slack_of_edges(minutes * 60, moment)
        assert abs(jobs[()] - gpus[()]) <= slack, (moment - START_S, jobs, gpus, slack)
        compared += 1
    assert compared >= 9


@pytest.mark.real
def test_recorded_power_of_all_jobs_is_never_above_the_gpus(prometheus, hosts):
    for moment in MOMENTS:
        jobs = sum(prometheus.query("wattshed:job_power_watts:rate2m", moment).values())
        most = sum(sum(host.peaks(2, 120 + SCRAPE_S, moment).values()) for host in hosts)
        assert jobs <= most * 1.02, moment - START_S


STEADY = """
gpus = 1
cycle_s = 600
[[job]]
name = "7001"
gpus = [0]
load = [[10.0, 514.0, 90]]
[[fault]]
kind = "latency"
value = 60000
at_s = 60
"""
WATTS = 584.0


BOARD = ALL | {"__rate_interval": "1m", "nodes": "0?"}
POWERS = {
    "wattshed:gpu_power_watts:rate2m",
    "wattshed:job_power_watts:rate2m",
    "wattshed:host_gpu_power_watts",
    "wattshed-host: Power now A",
    "wattshed-host: Power by GPU A",
    "wattshed-host: Power by job A",
    "wattshed-job: Power now A",
    "wattshed-job: Power by job A",
}


@pytest.mark.real
def test_power_is_steady_where_sampling_is_backed_off(tmp_path):
    """A driver whose calls are slow is read every 4 s: joules by the clock's seconds swing then."""
    host = live(tmp_path / "slow", "slow:9961", 3.2, STEADY, cap=9, restart=False, length_s=600)
    by_clock = []
    with server.prometheus(tmp_path) as one:
        write(one, Ruler(one, []), host, length_s=600)
        powers = {name: expr for name, expr in [*rules(), *panels(**BOARD)] if name in POWERS}
        assert powers.keys() == POWERS
        for moment in range(START_S + 300, START_S + 600, 15):
            by_clock += one.query("rate(wattshed_gpu_energy_joules_total[1m])", moment).values()
            for name, expr in powers.items():
                found = [watts for watts in one.query(expr, moment).values() if watts]
                assert found == [pytest.approx(WATTS, rel=0.005)], (name, moment - START_S)
    assert max(by_clock) - min(by_clock) > 0.05 * WATTS  # the sampling was backed off indeed


@pytest.mark.real
def test_a_month_is_the_sum_of_its_recorded_hours(tmp_path, hosts):
    """Hours are recorded every five minutes; the query takes those at whole hours, so that none is counted twice."""
    (expr,) = (expr for name, expr in documents() if "A month by account" in name)
    with server.prometheus(tmp_path) as one:
        ruler = Ruler(one, RULES, "wattshed-energy")
        write(one, ruler, *hosts)
        for host in hosts:
            one.scrape(END_S + SCRAPE_S, None, job="wattshed", instance=host.instance)
        for second in range(END_S + 300, START_S + 2 * 3600 + 1, 300):
            ruler.evaluate(second)
        found = one.query(expr, START_S + 2 * 3600 + 60)
        assert_right(
            found, {key: (j * KWH, slack * KWH) for key, (j, slack) in Truth(hosts).energy(account).items()}, expr
        )


@pytest.mark.real
def test_victoria_metrics_tells_every_joule(tmp_path, hosts, beside):
    """It counts jobs from 0 and does not extrapolate: the same queries give the books' own joules."""
    with server.victoria_metrics(tmp_path) as one:
        write(one, Ruler(one, []), *hosts, *beside)
        one.flush()
        truth = Truth(hosts)
        for page, group in (("docs/promql.md: Energy of the last day", account), ("docs/promql.md: Cost by", user)):
            (expr,) = (expr for name, expr in documents() if name.startswith(page))
            wanted = {key: (joules, 1e-6 * joules) for key, (joules, _) in truth.energy(group).items()}
            times = 0.25 * 1.3 if group is user else 1.0
            found = {key: value / KWH / times for key, value in one.query(expr, END_S).items()}
            assert_right(found, wanted, page)
