"""What each query must give: a table of every PromQL in README, docs, dashboards and rules.

Keys are how a query's name begins (`tests.promql.expressions`); values make the answer out of the truth.
"""

from tests.promql.answers import (
    TARGET,
    by_gpu,
    by_stratum,
    by_stratum_and_host,
    exactly,
    held,
    kwh,
    largest,
    nobody_pays,
    one_job,
)
from tests.promql.board_expectations import BOARDS
from tests.promql.truth import (
    WHOLE,
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
from tests.promql.two_hosts import STEPS_A_SECOND

DOCUMENTS = {
    "docs/promql.md: Energy of the last day by account": lambda t: kwh(t.energy(account)),
    "docs/promql.md: Cost by user": lambda t: {
        key: (value * 0.25 * 1.3, slack * 0.25 * 1.3) for key, (value, slack) in kwh(t.energy(user)).items()
    },
    "docs/promql.md: By partition": lambda t: kwh(t.energy(partition)),
    "docs/promql.md: By Kubernetes namespace": lambda t: kwh(t.energy(namespace)),
    "docs/tutorials/kubernetes.md: Energy of the last day by namespace": lambda t: kwh(t.energy(namespace)),
    "docs/promql.md: Energy without an account": lambda t: kwh(t.energy(nobody_pays)),
    "docs/promql.md: All GPUs together": lambda t: kwh(t.gpu_energy()),
    # Evaluated at whole hours only, and this life is not an hour long: test_a_month_of_recorded_hours.
    "docs/promql.md: A month by account": lambda t: {},
    "docs/promql.md: The ten jobs": lambda t: largest(kwh(t.energy(by_job, only=real)), 10),
    "docs/promql.md: One job": lambda t: kwh(t.energy(one_job)),
    "docs/promql.md: Current power by job": lambda t: t.power(by_job, only=real),
    "docs/promql.md: The same from the recording rules": lambda t: t.power(by_job, only=real),
    "docs/promql.md: Joules by array job": lambda t: t.energy(array_job),
    "docs/promql.md: GPUs that are currently held": lambda t: exactly(({"user": "barbara"}, 1.0), slack=0.1),
    "docs/promql.md: GPU-hours held": lambda t: (
        {key: (value / 3600, slack / 3600) for key, (value, slack) in held(t, ("account", "physics"), WHOLE).items()}
        | exactly(({"account": "chemistry"}, 0.0), ({"account": "biology"}, 0.0), slack=0.02)
    ),
    "docs/promql.md: Idle power": lambda t: t.power(by_instance, 300, only=lambda job: job == "_idle"),
    "docs/promql.md: Share of the energy of the last hour": lambda t: over(
        t.energy(by_instance, only=lambda job: job == "_unattributed"), t.gpu_energy(by_instance), 0.004
    ),
    "docs/promql.md: Agents that run": lambda t: {},
    "docs/promql.md: Simulated nodes": lambda t: exactly(({"instance": "c:9961"}, 1)),
    "docs/metrics.md: Names, users and pods": lambda t: t.power(user, 300),
}


def joules_per_step(t):
    """Watts by steps a second; the job's run of the cycle before, which ended within the ten minutes, had the same."""
    watts = t.power(by_instance_and_job, only=lambda job: job == "slurm:4031")
    return {
        tuple(sorted({**dict(key), "job": job, "unit": "steps"}.items())): (each / STEPS_A_SECOND, 0.006 * each)
        for key, (each, _) in watts.items()
        for job in ("slurm:4031", "slurm:4021")
    }


RECORDED = {
    "wattshed:host_gpu_power_watts": lambda t: t.gpu_power(by_stratum_and_host, 60),
    "wattshed:host_gpus": lambda t: exactly(
        ({"instance": "a:9961", "stratum": "test"}, 3), ({"instance": "b:9961", "stratum": "test"}, 4)
    ),
    "wattshed:host_gpu_limit_watts": lambda t: exactly(
        ({"instance": "a:9961", "stratum": "test"}, 2100), ({"instance": "b:9961", "stratum": "test"}, 1200)
    ),
    "wattshed:host_node_power_watts": lambda t: {},  # these hosts have no meter of the node
    "wattshed:host_state": lambda t: {},  # all of them answer at the end: test_an_agent_that_is_away_...
    "wattshed:stratum_gpu_power_watts": lambda t: t.gpu_power(by_stratum, 60),
    "wattshed:gpu_power_watts:rate2m": lambda t: t.gpu_power(by_gpu),
    "wattshed:job_power_watts:rate2m": lambda t: t.power(by_instance_and_job),
    "wattshed:instance_power_watts:rate2m": lambda t: t.gpu_power(by_instance),
    "wattshed:user_power_watts:rate2m": lambda t: t.power(user),
    "wattshed:account_power_watts:rate2m": lambda t: t.power(account),
    "wattshed:namespace_power_watts:rate2m": lambda t: t.power(namespace),
    "wattshed:job_joules_per_work:10m": joules_per_step,
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
    "WattshedGpuSick": lambda t: {},
    "WattshedGpuWantsRecovery": lambda t: {},
    "WattshedGpuXid": lambda t: {},
    "WattshedGpuUnmeterable": lambda t: {},
    "WattshedGpuReleased": lambda t: {},
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
    **BOARDS,
    **RECORDED,
    **ALERTS,
}
