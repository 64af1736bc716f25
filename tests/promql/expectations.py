"""What each query must give: a table of every PromQL in README, docs, dashboards and rules.

Keys are how a query's name begins (`tests.promql.expressions`); values make the answer out of the truth.
"""

from tests.promql.truth import (
    KWH,
    WHOLE,
    Some,
    account,
    array_job,
    by_instance,
    by_instance_and_job,
    by_job,
    namespace,
    over,
    partition,
    real,
    user,
)
from tests.promql.two_hosts import ACCOUNTS, END_S, LENGTH_S, POD, START_S, job_of

TARGET = (("job", "wattshed"), ("stratum", "test"))
"""What the scrape adds, besides the instance; honor_labels keeps the job of a series that has one."""


def by_gpu(host, uuid):
    return tuple(sorted((("gpu_uuid", uuid), *TARGET, ("instance", host.instance))))


def by_named_gpu(host, uuid):
    return tuple(sorted((("gpu", str(int(uuid[-12:]))), *by_gpu(host, uuid))))


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


def agents(t):
    """Labels of each agent's own series; the simulated node's, the unmetered host's and the fleet's are shown too."""
    names = [*(host.instance for host in t.hosts), "c:9961", "d:9961", "fleet:9962"]
    return exactly(*(({**dict(TARGET), "instance": name}, 0.0) for name in names))


def owners(label):
    """What a board's table gives: an owner a row, and all other jobs together."""

    def expect(t):
        return t.energy(label) | t.energy(
            lambda host, job: () if real(job) and label(host, job) is None else None,
        )

    return expect


DOCUMENTS = {
    "docs/promql.md: Energy of the last day by account": lambda t: kwh(t.energy(account)),
    "docs/promql.md: By user, as money": lambda t: {
        key: (value * 0.25 * 1.3, slack * 0.25 * 1.3) for key, (value, slack) in kwh(t.energy(user)).items()
    },
    "docs/promql.md: By partition": lambda t: kwh(t.energy(partition)),
    "docs/promql.md: By Kubernetes namespace": lambda t: kwh(t.energy(namespace)),
    "docs/tutorials/kubernetes.md: Energy of the last day by namespace": lambda t: kwh(t.energy(namespace)),
    "docs/promql.md: What no account pays for": lambda t: kwh(t.energy(nobody_pays)),
    "docs/promql.md: All GPUs together": lambda t: kwh(t.gpu_energy()),
    # Evaluated at whole hours only, and this life is not an hour long: test_a_month_of_recorded_hours.
    "docs/promql.md: A month by account": lambda t: {},
    "docs/promql.md: The ten jobs": lambda t: largest(kwh(t.energy(by_job, only=real)), 10),
    "docs/promql.md: One job": lambda t: kwh(t.energy(one_job)),
    "docs/promql.md: Power now by job": lambda t: t.power(by_job, only=real),
    "docs/promql.md: The same from the recording rules": lambda t: t.power(by_job, only=real),
    "docs/promql.md: Joules by array job": lambda t: t.energy(array_job),
    "docs/promql.md: GPUs that are held now": lambda t: exactly(({"user": "barbara"}, 1.0), slack=0.1),
    "docs/promql.md: GPU-hours held": lambda t: (
        {key: (value / 3600, slack / 3600) for key, (value, slack) in held(t, ("account", "physics"), WHOLE).items()}
        | exactly(({"account": "chemistry"}, 0.0), ({"account": "biology"}, 0.0), slack=0.02)
    ),
    "docs/promql.md: Idle power": lambda t: t.power(by_instance, 300, only=lambda job: job == "_idle"),
    "docs/promql.md: Share of the last hour": lambda t: over(
        t.energy(by_instance, only=lambda job: job == "_unattributed"), t.gpu_energy(by_instance), 0.004
    ),
    "docs/promql.md: Hosts that serve": lambda t: {},
    "docs/promql.md: Simulated nodes": lambda t: exactly(({"instance": "c:9961"}, 1)),
    "docs/metrics.md: Names, users and pods": lambda t: t.power(user, 300),
}
HOST = {
    "Power A": lambda t: t.gpu_power(last_s=60),
    "Energy in this range A": lambda t: t.gpu_energy(),
    "GPUs up A": lambda t: exactly(({}, 7)),
    # The five that run, the user's and 4016 that ended within five minutes; _other holds the container.
    "Jobs A": lambda t: exactly(({}, 7)),
    "Idle share A": lambda t: exactly(({}, 0.0), slack=0.001),
    "Unattributed share A": lambda t: exactly(({}, 0.0), slack=0.001),
    "Power by GPU A": lambda t: t.gpu_power(by_named_gpu, 60),
    "Power by job A": lambda t: t.power(by_job, 60),
    # Loads swing by up to 250 W around their means.
    "Reading, peak and limit A": lambda t: with_labels(t.gpu_power(by_named_gpu, 60), 260, reading="instant"),
    "Reading, peak and limit B": lambda t: with_labels(t.gpu_power(by_named_gpu, 60), 260, window="1s"),
    "Reading, peak and limit C": lambda t: {
        key: (700 if ("instance", "a:9961") in key else 300, 0)
        for key in with_labels(t.gpu_power(by_named_gpu), 0, limit="enforced")
    },
    "Steepest ramp within a second A": lambda t: exactly(
        *(({"instance": i, "direction": way}, 450) for i in ("a:9961", "b:9961") for way in ("up", "down")), slack=250
    ),
    "Meter disagreement A": lambda t: each(t.gpu_power(by_named_gpu), 0.0, 0.01),
    "Time without data A": lambda t: each(t.gpu_power(by_named_gpu), 0.0),
    "Rejected readings per second A": lambda t: exactly(({}, 0.0)),
    "Driver calls, 95th percentile A": lambda t: each(t.shown("wattshed_nvml_call_seconds_count", "call"), 0.0, 0.001),
    "Lateness and duty of the sampler A": lambda t: each(agents(t), 0.0, 0.01),
    "Lateness and duty of the sampler B": lambda t: each(agents(t), 0.0, 0.05),
    "Faults in the last five minutes A": lambda t: exactly(({}, 0.0), ({"part": "scrambled_pid"}, 0.0)),
}
JOB = {
    "Power A": lambda t: t.power(last_s=60),
    "Energy so far A": lambda t: {
        (): (sum(value for value, _ in t.shown("wattshed_job_energy_joules_total", "job").values()), 1.0)
    },
    "Dynamic share A": lambda t: exactly(({}, 0.67), slack=0.1),
    "GPUs in use A": lambda t: exactly(({}, 7.0), slack=0.1),
    "Power by job A": lambda t: t.power(by_job, 60),
    "Power by GPU and component A": lambda t: t.components(60),
    "GPUs held and active A": lambda t: exactly(
        ({"job": "slurm:4031", "state": "active"}, 3.0),
        ({"job": "slurm:4032", "state": "active"}, 1.0),
        ({"job": "slurm:4033", "state": "active"}, 1.0),
        ({"job": f"k8s:{POD}/386136663163", "state": "active"}, 1.0),
        ({"job": "slurm:4034", "state": "held"}, 1.0),
        slack=0.05,
    ),
    "Uncertainty of the energy A": lambda t: t.shown("wattshed_job_energy_sigma_joules", "job", slack=1e-6),
    "Labels of the jobs A": lambda t: t.shown("wattshed_job_info"),
    "Energy by job A": lambda t: t.energy(by_job),
    "By user A": owners(user),
    "By account A": owners(account),
    "By namespace A": owners(namespace),
}
FLEET_PAGE = {"boundary": "gpu", "instance": "fleet:9962", **dict(TARGET)}
FLEET = {
    "Largest boundary A": lambda t: exactly(({}, 1000.0)),
    "Half width of the interval A": lambda t: exactly(({}, 0.1), slack=1e-9),
    "Energy in this range A": lambda t: exactly(({}, 1000.0 * LENGTH_S), slack=1000.0 * 15),
    "Hosts known A": lambda t: exactly(({}, 10)),
    "Hosts reporting A": lambda t: exactly(({}, 9)),
    "Of the supply A": lambda t: exactly(({}, 1100 / 1200), slack=1e-9),
    "Power with its interval A": lambda t: exactly(
        *(({**FLEET_PAGE, "bound": bound}, watts) for bound, watts in (("mean", 1000), ("lower", 900), ("upper", 1100)))
    ),
    "Hosts A": lambda t: exactly(({"state": "known"}, 10), ({"state": "reporting"}, 9)),
    "Peak A": lambda t: exactly(({**FLEET_PAGE, "window": "15m"}, 1050)),
}
RECORDED = {
    "wattshed:host_gpu_power_watts": lambda t: t.gpu_power(by_stratum_and_host, 60),
    "wattshed:host_gpus": lambda t: exactly(
        ({"instance": "a:9961", "stratum": "test"}, 3), ({"instance": "b:9961", "stratum": "test"}, 4)
    ),
    "wattshed:host_gpu_limit_watts": lambda t: exactly(
        ({"instance": "a:9961", "stratum": "test"}, 2100), ({"instance": "b:9961", "stratum": "test"}, 1200)
    ),
    "wattshed:stratum_gpu_power_watts": lambda t: t.gpu_power(by_stratum, 60),
    "wattshed:gpu_power_watts:rate2m": lambda t: t.gpu_power(by_gpu),
    "wattshed:job_power_watts:rate2m": lambda t: t.power(by_instance_and_job),
    "wattshed:instance_power_watts:rate2m": lambda t: t.gpu_power(by_instance),
    "wattshed:user_power_watts:rate2m": lambda t: t.power(user),
    "wattshed:account_power_watts:rate2m": lambda t: t.power(account),
    "wattshed:namespace_power_watts:rate2m": lambda t: t.power(namespace),
    "wattshed:job_energy_joules:increase1h": lambda t: t.energy(by_instance_and_job),
    "wattshed:user_energy_joules:increase1h": lambda t: t.energy(user),
    "wattshed:account_energy_joules:increase1h": lambda t: t.energy(account),
    "wattshed:namespace_energy_joules:increase1h": lambda t: t.energy(namespace),
    "wattshed:unattributed_energy:ratio1h": lambda t: over(
        t.energy(by_instance, only=lambda job: job == "_unattributed"), t.gpu_energy(by_instance), 0.004
    ),
}
ALERTS = {
    "WattshedFleetNearSupply": lambda t: exactly(({"boundary": "gpu"}, 1100 / 1200), slack=1e-9),
    "WattshedFleetHostsMissing": lambda t: exactly(({"instance": "fleet:9962", **dict(TARGET)}, 0.9), slack=1e-9),
    "WattshedDown": lambda t: {},
    "WattshedNothingMetered": lambda t: exactly(({"instance": "d:9961", **dict(TARGET)}, 0)),
    "WattshedSimulatedNode": lambda t: exactly(({"instance": "c:9961"}, 1)),
    "WattshedLate": lambda t: {},
    "WattshedSamplerLate": lambda t: {},
    "WattshedGpuLost": lambda t: {},
    "WattshedMeterDisagreement": lambda t: {},
    # Nobody holds a GPU for half an hour: 4004 comes anew every ten minutes.
    "WattshedGpuHeldIdle": lambda t: {},
    "WattshedUnattributed": lambda t: {},
    "WattshedGpuNearPowerLimit": lambda t: {},
    "WattshedFastRamp": lambda t: {},
    "WattshedFaults": lambda t: {},
}
EXPECTED = {
    **DOCUMENTS,
    **{f"wattshed-host: {title}": expect for title, expect in HOST.items()},
    **{f"wattshed-job: {title}": expect for title, expect in JOB.items()},
    **{f"wattshed-fleet: {title}": expect for title, expect in FLEET.items()},
    **RECORDED,
    **ALERTS,
}
