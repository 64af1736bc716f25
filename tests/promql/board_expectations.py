"""What each query of each board must give: title and reference of the query -> the answer out of the truth."""

from tests.promql.answers import (
    TARGET,
    by_named_gpu,
    each,
    exactly,
    held,
    kwh,
    largest,
    with_labels,
)
from tests.promql.truth import WHOLE, account, by_instance, by_job, namespace, over, real, user
from tests.promql.two_hosts import LENGTH_S, POD, STEPS_A_SECOND

PRICE = 0.25
LIMITS = {"a": (3, 700), "b": (4, 300)}
WHO = ("user", "account")


def times(answer, factor):
    return {key: (value * factor, slack * factor) for key, (value, slack) in answer.items()}


def hours(answer):
    return times(answer, 1 / 3600)


def money(answer):
    return times(kwh(answer), PRICE)


def jobs(t):
    return t.energy(only=real)


def nobody(job):
    return job in ("_idle", "_unattributed")


def memory_meters(t):
    """What the driver shows of the memory of host a's boards, 49 W each; those of host b do not meter theirs."""
    target = {**dict(TARGET), "instance": "a:9961", "source": "nvml"}
    return exactly(*(({**target, "domain": f"memory-{i}"}, 49) for i in range(3)))


def count(number, slack=0.0):
    return lambda t: exactly(({}, number), slack=slack)


def by_gpu(host, uuid):
    """GPUs by what a legend says."""
    name = host.instance.partition(":")[0]
    return (("gpu", str(int(uuid[-12:]))), ("host", name), ("instance", host.instance))


def used_gpus(t):
    """Those that jobs run on at the end: all but one, whose container has ended."""
    return {key: one for key, one in t.gpu_power(by_named_gpu).items() if ("gpu", "3") not in key}


def job_power_by_gpu(t):
    """Watts of jobs on each GPU: all of it there, but for what is beyond the cap."""
    return {key: one for key, one in t.gpu_power(by_gpu, 60).items() if ("gpu", "3") not in key}


def by_host(*values, **labels):
    return exactly(*(({"host": name, **labels}, value) for name, value in zip("ab", values, strict=True)))


def of_limit(answer, slack=0.0):
    """Watts of GPUs as parts of their limits."""
    return {
        key: (value / LIMITS[dict(key)["host"]][1], slack or other / LIMITS[dict(key)["host"]][1])
        for key, (value, other) in answer.items()
    }


def owners(label, of=None):
    """What a table gives: an owner a row, and all other jobs together."""

    def expect(t):
        energy = of or t.energy
        return energy(label) | energy(lambda host, job: () if real(job) and label(host, job) is None else None)

    return expect


def owners_held(label):
    return lambda t: hours(owners(label, lambda group: t.gpu_seconds(group, "held"))(t))


def agents(t):
    """Labels of the agents that have GPUs."""
    return exactly(*(({**dict(TARGET), "instance": host.instance}, 0.0) for host in t.hosts))


def sampled(t):
    return exactly(*(({"instance": host.instance}, 0.0) for host in t.hosts))


def all_labels(t):
    """The table of labels: all that is known of a job, and its title with what it is made of."""
    made = {}
    for host in t.hosts:
        for job, labels in t.labels(host.instance).items():
            title = dict(t.titled()(host, job))["title"]
            parts = {
                "named": f"{labels.get('name', '')} ({job}",
                "of_pod": f"{labels.get('pod', '')}/{labels.get('container', '')}",
            }
            key = {**labels, **parts, "title": title, "instance": host.instance, "stratum": "test"}
            made[tuple(sorted(key.items()))] = (1, 0)
    return made


HOST = {
    "banner A": count(0),
    "Power now A": lambda t: t.gpu_power(last_s=60),
    "Of power limit A": lambda t: times(t.gpu_power(last_s=60), 1 / 3300),
    "Energy A": lambda t: hours(t.gpu_energy()),
    "Cost, $currency A": lambda t: money(t.gpu_energy()),
    "GPUs unreadable A": count(0),
    # 4016 ended within five minutes, and is shown still; _other holds the container.
    "Jobs running A": count(5),
    "Idle share A": lambda t: over(t.energy(only=lambda job: job == "_idle"), t.gpu_energy(), 0.004),
    "Unattributed A": lambda t: over(t.energy(only=lambda job: job == "_unattributed"), t.gpu_energy(), 0.004),
    "Power by GPU A": lambda t: t.gpu_power(by_named_gpu, 60),
    "Power by GPU B": count(3300),
    "Power by job A": lambda t: t.power(t.titled(), 60),
    "Power by job B": lambda t: t.power(by_job, 60, only=lambda job: not real(job)),
    # Loads swing by up to 250 W around their means.
    "Reading now, and limit A": lambda t: with_labels(t.gpu_power(by_named_gpu, 60), 260, reading="instant"),
    "Reading now, and limit B": lambda t: by_host(700, 300),
    "Highest second of the last minute, by limit A": lambda t: of_limit(t.gpu_power(by_gpu_alone, 60), 0.9),
    "Steepest change within a second A": lambda t: each(
        by_host(0, 0, direction="up") | by_host(0, 0, direction="down"), 450, 250
    ),
    "Jobs in this range A": lambda t: kwh(t.energy(t.titled(*WHO))),
    "Jobs in this range B": lambda t: money(t.energy(t.titled(*WHO))),
    "Where all the energy went A": lambda t: hours(
        {(): (sum(v for k, (v, _) in t.shown("wattshed_job_energy_joules_total", "job").items() if real(k[0][1])), 1.0)}
    ),
    "Where all the energy went B": lambda t: hours(
        {(): (sum(v for v, _ in t.shown("wattshed_ended_jobs_energy_joules_total").values()), 1.0)}
    ),
    "Where all the energy went C": lambda t: hours(
        {
            key: one
            for key, one in t.shown("wattshed_job_energy_joules_total", "job", slack=1e-9).items()
            if not real(key[0][1])
        }
    ),
    "Node by parts A": lambda t: with_labels(t.gpu_power(by_instance, 60), 30, part="gpu"),  # no meter of a node here
    "Each meter of the host A": memory_meters,
    "Each meter of the host B": lambda t: t.gpu_power(by_instance, 60),
    "Utilisation, and time held back A": lambda t: each(t.gpu_power(by_named_gpu), 0.5, 0.51),
    "Utilisation, and time held back B": lambda t: {},  # no simulated board is throttled
    "Memory in use A": lambda t: each(t.gpu_power(by_named_gpu), 0.5, 0.51),
    "Temperature A": lambda t: each(with_labels(t.gpu_power(by_named_gpu), 0, sensor="gpu"), 60, 40),
    "Clock of the multiprocessors A": lambda t: each(with_labels(t.gpu_power(by_named_gpu), 0, clock="sm"), 1.2e9, 1e9),
    "State of each GPU A": lambda t: each(t.gpu_power(by_named_gpu), 0.0),
    "Meter disagreement A": lambda t: each(t.gpu_power(by_named_gpu), 0.0, 0.01),
    "Time without data A": lambda t: each(t.gpu_power(by_named_gpu), 0.0),
    "Rejected readings per minute A": sampled,
    "Driver calls, 95th percentile A": lambda t: each(t.shown("wattshed_nvml_call_seconds_count", "call"), 0.0, 0.001),
    "Lateness and duty of the sampler A": lambda t: each(agents(t), 0.0, 0.01),
    "Lateness and duty of the sampler B": lambda t: each(agents(t), 0.0, 0.05),
    "Faults in five minutes A": sampled,
}


def by_gpu_alone(host, uuid):
    """Of two metrics, divided: what they share."""
    name = host.instance.partition(":")[0]
    return tuple(
        sorted((("gpu", str(int(uuid[-12:]))), ("gpu_uuid", uuid), ("host", name), ("instance", host.instance)))
    )


def joules_per_step(t):
    """Watts of both hosts by the steps that both tell."""
    watts = t.power(t.titled(), 60, only=lambda job: job == "slurm:4031")
    return {
        tuple(sorted({**dict(key), "unit": "steps"}.items())): (both / 2 / STEPS_A_SECOND, 0.003 * both)
        for key, (both, _) in watts.items()
    }


ALL = (*WHO, "namespace")
JOB = {
    "banner A": count(0),
    "Power now A": lambda t: t.power(last_s=60, only=real),
    "Energy A": lambda t: hours(jobs(t)),
    "Cost, $currency A": lambda t: money(jobs(t)),
    "Since its start A": lambda t: hours(jobs(t)),
    "Uncertainty A": count(0.1, 0.09),
    "Dynamic share A": count(0.75, 0.15),
    "GPUs held now A": count(7.0, 0.1),
    "Held idle A": count(1.0, 0.05),
    "Power by job A": lambda t: t.power(t.titled(), 60),
    "Power by GPU A": job_power_by_gpu,
    "Power by component A": lambda t: t.components(60),
    "GPUs held and active A": lambda t: exactly(
        *(
            ({**dict(t.titled()(t.hosts[place], job)), "state": state}, gpus)
            for place, job, state, gpus in (
                (0, "slurm:4031", "active", 3.0),
                (0, "slurm:4032", "active", 1.0),
                (0, "slurm:4033", "active", 1.0),
                (1, f"k8s:{POD}/386136663163", "active", 1.0),
                (1, "slurm:4034", "held", 1.0),
            )
        ),
        slack=0.05,
    ),
    "Energy per unit of work A": joules_per_step,
    "Utilisation A": lambda t: each(used_gpus(t), 0.5, 0.51),
    "Memory in use A": lambda t: each(used_gpus(t), 0.5, 0.51),
    "Temperature A": lambda t: each(with_labels(used_gpus(t), 0, sensor="gpu"), 60, 40),
    "Jobs in this range A": lambda t: kwh(t.energy(t.titled(*ALL))),
    "Jobs in this range B": lambda t: money(t.energy(t.titled(*ALL))),
    "Jobs in this range C": lambda t: hours(t.gpu_seconds(t.titled(*ALL))),
    "Jobs in this range D": lambda t: hours(t.gpu_seconds(t.titled(*ALL), "held")),
    "Labels of the jobs A": all_labels,
}
OWNERS = {
    "banner A": count(0),
    "Energy A": lambda t: hours(jobs(t)),
    "Cost, $currency A": lambda t: money(jobs(t)),
    "Jobs A": lambda t: exactly(({}, len({key for key, (j, _) in t.energy(by_job, only=real).items() if j})), slack=1),
    "GPU hours held idle A": lambda t: {(): hours(held(t, ("held", ""), WHOLE))[(("held", ""),)]},
    "No job's energy A": lambda t: hours(t.energy(only=nobody)),
    "No job's cost, $currency A": lambda t: money(t.energy(only=nobody)),
    **{
        f"By {name} {ref}": expect
        for name, label in (("user", user), ("account", account), ("namespace", namespace))
        for ref, expect in (
            ("A", lambda t, label=label: kwh(owners(label)(t))),
            ("B", lambda t, label=label: money(owners(label)(t))),
            ("C", owners_held(label)),
        )
    },
    "The twenty jobs that used most A": lambda t: largest(kwh(t.energy(t.titled(*WHO))), 20),
    "The twenty jobs that used most B": lambda t: largest(money(t.energy(t.titled(*WHO))), 20),
    "Power by user A": lambda t: t.power(user, 60),
    "Power by account A": lambda t: t.power(account, 60),
}
FLEET_PAGE = {"boundary": "gpu", "instance": "fleet:9962", **dict(TARGET)}
FLEET = {
    "Power now A": count(1000.0),
    "Half interval A": count(0.1, 1e-9),
    "Energy A": count(1000.0 * LENGTH_S / 3600, 1000.0 * 15 / 3600),
    "Cost, $currency A": count(1000.0 * LENGTH_S / 3.6e6 * PRICE, 0.002),
    "Hosts known A": count(10),
    "Hosts reporting A": count(9),
    "Of the supply A": count(1100 / 1200, 1e-9),
    "Highest 15 minutes A": count(1050),
    **{
        f"Power with its interval {ref}": lambda t, bound=bound, watts=watts: exactly(
            ({**FLEET_PAGE, "bound": bound}, watts)
        )
        for ref, bound, watts in (("A", "mean", 1000), ("B", "upper", 1100), ("C", "lower", 900))
    },
    "Power with its interval D": lambda t: exactly(({"boundary": "gpu"}, 1200)),
    "Hosts A": lambda t: exactly(({"state": "known"}, 10), ({"state": "reporting"}, 9)),
    "Hosts by state A": lambda t: exactly(*(({"state": s}, n) for s, n in (("busy", 7), ("idle", 2), ("down", 1)))),
    "Peak A": lambda t: exactly(({**FLEET_PAGE, "window": "15m"}, 1050)),
}
BOARDS = {
    f"wattshed-{board}: {title}": expect
    for board, panels in (("host", HOST), ("job", JOB), ("owners", OWNERS), ("fleet", FLEET))
    for title, expect in panels.items()
}
