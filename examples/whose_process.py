"""Which job does a process belong to? Its cgroup says: the text of /proc/PID/cgroup is all that is read.

$ python examples/whose_process.py
slurm         job_id=4001 step=0 task=0
kubernetes    pod_uid=8c9f1b1e-2f4d-4b0c-9a53-0d6f5a3b7c11 container_id=4f5e6d7c8b9a qos=burstable
docker        container_id=4f5e6d7c8b9a
systemd-user  unit=app-jupyter.scope uid=1000
none
"""

from dataclasses import asdict

from wattshed.agent.jobs.cgroup import identify

CONTAINER = "4f5e6d7c8b9a" + 52 * "0"
TEXTS = [
    "0::/system.slice/slurmstepd.scope/job_4001/step_0/user/task_0",
    f"0::/kubepods/burstable/pod8c9f1b1e-2f4d-4b0c-9a53-0d6f5a3b7c11/{CONTAINER}",
    f"0::/system.slice/docker-{CONTAINER}.scope",
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-jupyter.scope",
    "0::/",
]

for text in TEXTS:
    runtime, *rest = asdict(identify(text)).items()
    known = " ".join(f"{name}={str(value).removesuffix(52 * '0')}" for name, value in rest if value is not None)
    print(f"{runtime[1]:12}  {known}".rstrip())
