"""Ways to say what a query must give: labels -> (value, slack), out of the truth."""

from tests.promql.truth import KWH, Some, by_job
from tests.promql.two_hosts import ACCOUNTS, END_S, START_S, job_of

TARGET = (("job", "wattshed"), ("stratum", "test"))
"""What the scrape adds, besides the instance; honor_labels keeps the job of a series that has one."""


def by_gpu(host, uuid):
    return tuple(sorted((("gpu_uuid", uuid), *TARGET, ("instance", host.instance))))


def by_named_gpu(host, uuid):
    """As the boards do: its index and its host's name, without the port, beside its own labels."""
    name = host.instance.partition(":")[0]
    return tuple(sorted((("gpu", str(int(uuid[-12:]))), ("host", name), *by_gpu(host, uuid))))


def by_stratum(host, _):
    return (("stratum", "test"),)


def by_stratum_and_host(host, _):
    return (("instance", host.instance), ("stratum", "test"))


def nobody_pays(host, job):
    return by_job(host, job) if job_of(job) not in ACCOUNTS else None


def one_job(host, job):
    return () if job == "slurm:4001" else None


def kwh(answer):
    return {key: (value * KWH, slack * KWH) for key, (value, slack) in answer.items()}


def largest(answer, count):
    found = Some(answer)
    found.count = count
    return found


def with_labels(answer, slack, **labels):
    """The same with further labels, and another slack."""
    return {tuple(sorted((*key, *labels.items()))): (value, slack) for key, (value, _) in answer.items()}


def each(answer, value, slack=0.0):
    """The same labels with one value."""
    return dict.fromkeys(answer, (value, slack))


def exactly(*rows, slack=0.0):
    return {tuple(sorted(labels.items())): (value, slack) for labels, value in rows}


def held(t, group, last_s):
    """GPU-seconds of the one job that holds a GPU and does nothing: 5 to 560 s of each cycle."""
    lives = [(START_S + cycle * 600 + 5, START_S + cycle * 600 + 560) for cycle in range(4)]
    seconds = sum(max(0, min(until, END_S) - max(since, END_S - last_s)) for since, until in lives)
    return {(group,): (seconds, 15.0 * len(lives))}
