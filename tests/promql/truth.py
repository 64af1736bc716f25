"""What a query must give: the books' joules, with the slack that Prometheus' own arithmetic needs.

``increase`` misses what a series had at its first scrape, and extrapolates by half a scrape interval at either end:
together less than what the owner draws within one scrape interval, at its highest power. What a scrape shows ends with
the last window that is accounted for, so two scrapes may be a window further apart than their times. ``rate`` over a
window that a series fills is the difference of its last and first sample there by their distance, known exactly.
"""

from collections import Counter, defaultdict
from functools import cache

from tests.promql.server import samples
from tests.promql.two_hosts import ACCOUNTS, END_S, NAMESPACE, SCRAPE_S, USERS, job_of

KWH = 1 / 3.6e6
WHOLE = 10**9
"""Of a window that holds all that ever happened."""
SHOWN_S = SCRAPE_S + 1
"""Between what two scrapes show, at most."""
MOST_GPUS = 4  # of a job here, over its hosts; increase errs by a scrape interval at either end of a series


def account(host, job):
    return _known("account", ACCOUNTS.get(job_of(job)))


def user(host, job):
    return _known("user", USERS.get(job_of(job)))


def partition(host, job):
    return _known("partition", "gpu" if job.startswith("slurm:") else None)


def namespace(host, job):
    return _known("namespace", NAMESPACE if job.startswith("k8s:") else None)


def array_job(host, job):
    return _known("array_job", "77" if job_of(job) in ("4005", "4006") else None)


def by_job(host, job):
    return (("job", job),)


def by_instance(host, job):
    return (("instance", host.instance),)


def by_instance_and_job(host, job):
    return (("instance", host.instance), ("job", job))


def everything(host, job):
    return ()


def _known(label, value):
    return None if value is None else ((label, value),)


def real(job):
    return not job.startswith("_")


class Truth:
    """The books of some hosts, as answers: labels -> (value, slack)."""

    def __init__(self, hosts):
        self.hosts = hosts

    def energy(self, group=everything, last_s=WHOLE, *, only=lambda job: True, times=1.0):
        """Joules of owners, as ``increase`` over a window may tell them."""
        found = defaultdict(lambda: [0.0, 0.0])
        for host in self.hosts:
            peaks = host.peaks()
            for (job, gpu), joules in host.joules(last_s).items():
                key = group(host, job)
                if key is not None and only(job):
                    found[key][0] += joules * times
                    found[key][1] += SHOWN_S * peaks[job, gpu] * times * (joules > 0)
        return {key: (value, slack) for key, (value, slack) in found.items()}

    def power(self, group=everything, last_s=120, *, only=lambda job: True):
        """Watts of owners, as ``rate`` over a window tells them; to 2 %, since readings come a second late or so.

        Who came within the window has the slack of his energy.
        """
        found = defaultdict(lambda: [0.0, 0.5])
        for host in self.hosts:
            before, within, peaks = host.joules(until_s=END_S - last_s), host.joules(last_s), host.peaks()
            for (job, gpu), watts in host.watts(last_s).items():
                key = group(host, job)
                if key is None or not only(job) or not within[job, gpu]:
                    continue
                came = not before.get((job, gpu))
                found[key][0] += within[job, gpu] / last_s if came else watts
                found[key][1] += SHOWN_S * peaks[job, gpu] / last_s if came else 0.02 * watts
        return {key: (value, slack) for key, (value, slack) in found.items()}

    def gpu_energy(self, group=everything, last_s=WHOLE, times=1.0):
        """Joules of GPUs; ``group`` is asked with the GPU's UUID."""
        found = defaultdict(lambda: [0.0, 0.0])
        for host in self.hosts:
            peaks = host.peaks(2)
            for gpu, joules in host.gpu_joules(last_s).items():
                found[group(host, gpu)][0] += joules * times
                found[group(host, gpu)][1] += SCRAPE_S * peaks[gpu] * times
        return {key: (value, slack) for key, (value, slack) in found.items()}

    def gpu_power(self, group=everything, last_s=120):
        """Watts of GPUs, as ``rate`` tells them."""
        found = defaultdict(float)
        for host in self.hosts:
            for gpu, watts in host.watts(last_s, what=2).items():
                found[group(host, gpu)] += watts
        return {key: (watts, 0.02 * watts + 0.5) for key, watts in found.items()}

    def slack_of_edges(self, last_s, until_s):
        """What owners that came or went within a window may lose or gain in ``increase``, J."""
        slack = 10.0
        for host in self.hosts:
            within, peaks = host.joules(last_s, until_s), host.peaks(1, last_s + SCRAPE_S, until_s)
            slack += SCRAPE_S * sum(peaks[one] for one, joules in within.items() if joules)
        return slack

    def shown(self, name, *by, slack=0.0):
        """Sum of a metric on the last pages by some labels, all of them if none are named."""
        found = defaultdict(float)
        for host in self.hosts:
            for labels, value in _page(host, END_S):
                if labels.pop("__name__") == name:
                    found[tuple(sorted((k, labels[k]) for k in by or labels))] += value
        return {key: (value, slack * value) for key, value in found.items()}

    @cache  # noqa: B019 - as long as the truth
    def labels(self, instance):
        """Labels of each job of a host that it had on most pages: job -> labels."""
        (host,) = (host for host in self.hosts if host.instance == instance)
        found = defaultdict(Counter)
        for page in filter(None, host.pages.values()):
            for labels, _ in samples(page.decode()):
                if labels.pop("__name__") == "wattshed_job_info":
                    found[labels["job"]][tuple(sorted((k, v) for k, v in labels.items() if v))] += 1
        return {job: dict(sets.most_common(1)[0][0]) for job, sets in found.items()}

    def titled(self, *more):
        """Group by job, title and further labels, as the boards do; nothing that is no job."""

        def group(host, job):
            if job not in (known := self.labels(host.instance)):
                return None
            labels = known[job]
            title = f"{labels['name']} ({job})" if "name" in labels else job
            return tuple(sorted({"job": job, "title": title, **{k: labels[k] for k in more if k in labels}}.items()))

        return group

    def gpu_seconds(self, group, state=None):
        """GPU-seconds of jobs, as the pages count them; one that came again began anew at 0."""
        found = defaultdict(lambda: [0.0, 0.0])
        for host in self.hosts:
            total, last = defaultdict(float), {}
            for page in filter(None, host.pages.values()):
                for labels, value in samples(page.decode()):
                    if labels["__name__"] == "wattshed_job_gpu_seconds_total" and state in (None, labels["state"]):
                        one = labels["job"], labels["state"]
                        before = last.get(one, 0.0)
                        total[one] += value - before if value >= before else value
                        last[one] = value
            for (job, _), value in total.items():
                if (key := group(host, job)) is not None:
                    found[key][0] += value
                    found[key][1] += MOST_GPUS * SHOWN_S * (value > 0)
        return {key: (value, slack) for key, (value, slack) in found.items()}

    def components(self, last_s):
        """Watts of jobs by component, between two pages that show the same jobs, or jobs that ended before."""
        found = defaultdict(float)
        for host in self.hosts:
            times = [at_s for at_s in host.pages if END_S - last_s <= at_s <= END_S]
            first, last = (
                {
                    tuple(sorted(labels.items())): (labels, value)
                    for labels, value in _page(host, at_s)
                    if labels["__name__"] == "wattshed_job_energy_joules_total" and real(labels["job"])
                }
                for at_s in (times[0], times[-1])
            )
            for key in first.keys() & last.keys():
                labels, value = last[key]
                found[(("component", labels["component"]),)] += (value - first[key][1]) / (times[-1] - times[0])
        return {key: (watts, 0.02 * watts + 0.5) for key, watts in found.items()}


def over(parts, whole, slack):
    """Quotient of two truths."""
    return {key: (parts[key][0] / whole[key][0], slack) for key in parts if key in whole}


def _page(host, time_s):
    """Samples of the last page until then: (labels, value)."""
    page = host.pages[max(at_s for at_s in host.pages if at_s <= time_s)]
    return [
        ({k: v for k, v in {"instance": host.instance, "stratum": "test", **labels}.items() if v}, value)
        for labels, value in samples(page.decode())
    ]


class Some(dict):
    """An answer of which a query gives ``count`` rows: which ones depends on what is nearly equal."""

    count = 0


def assert_right(found, wanted, name):
    """Compare an answer with a truth: the same labels, values within their slack; nothing and 0 J are the same."""
    if isinstance(wanted, Some):
        assert len(found) == wanted.count, (name, found)
    else:
        for key, (value, slack) in wanted.items():
            assert key in found or value <= slack, (name, "misses", key, value)
    strange = {key: value for key, value in found.items() if key not in wanted and value != 0.0}
    assert not strange, (name, "strangers", strange)
    for key in found.keys() & wanted.keys():
        value, slack = wanted[key]
        assert abs(found[key] - value) <= slack, (name, key, found[key], value, slack)
