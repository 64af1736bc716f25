"""The cgroups of batch systems, as each of them lays them out: a new scheduler begins here.

All patterns start at the root of a host (or of a container that runs a manager of its own), since root alone can make
folders there. Nothing below a job's own folder is looked at: HTCondor hands it to the user (``chown``), and what a job
starts is the job's.

Layouts: Slurm's ``src/plugins/cgroup`` and ``src/common/sluid.c``; OpenPBS' ``pbs_cgroups.PY``; HTCondor's
``vanilla_proc.cpp`` and ``proc_family_direct_cgroup_v2.cpp``; Open Cluster Scheduler's ``ocs_Job.cc``; Nomad's
``client/lib/cgroupslib``; flux-core's ``libsubprocess/bulk-exec.c``; OAR's ``job_resource_manager_cgroups.pl``.
"""

from __future__ import annotations

import re

from .identity import CgroupIdentity

_NODE = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_END = r"(?![^/])"
# 64 bits, five at a time: "s" and 13 digits of Crockford's base 32, which has no I, L, O and U.
_SLUID = r"s[0-9A-HJKMNP-TV-Z]{13}"
_JOB = (
    rf"/(?:job_(?P<job>[0-9]{{1,20}})|(?P<sluid>{_SLUID}))"
    rf"(?:/step_(?P<step>[A-Za-z0-9+._-]+)(?:/(?:user/)?task_(?P<task>[A-Za-z0-9]+))?)?{_END}"
)
# system.slice, or where CgroupSlice= says; a slurmd that is the first process of a container makes the pair twice.
_SLICES = r"(?:/(?![^/]*kubepods)[^/]+\.slice)*"
_SCOPE = rf"(?:{_NODE}_)?slurmstepd\.scope"
_SLURM_V1 = re.compile(rf"/slurm(?:_(?P<node>{_NODE}))?/uid_(?P<uid>[0-9]{{1,10}}){_JOB}")
_SLURM_V2 = re.compile(rf"(?:{_SLICES}/{_SCOPE})?{_SLICES}/(?:(?P<node>{_NODE})_)?slurmstepd\.scope{_JOB}")
_SLURM_DAEMON = re.compile(rf"(?:{_SLICES}/(?P<unit>{_SCOPE})|/slurm(?:_{_NODE})?){_END}")

_OAR3 = re.compile(
    r"/oar\.slice(?:/oar-u[0-9]+\.slice)?"
    rf"/oar-u(?P<uid>[0-9]{{1,10}})-j(?P<job>[0-9]+)(?:-s[0-9]+)?(?:\.slice|\.scope)?{_END}"
)
_OAR2 = re.compile(rf"/oar/[^/]+[_,](?P<job>[0-9]+){_END}")

_PBS_JOB = r"(?P<job>[0-9]+(?:\[[0-9]*\])?(?:\.[A-Za-z0-9][A-Za-z0-9._-]*)?)"
# The prefix is the site's (cgroup_prefix): pbs_jobs, pbspro, pbs ... Hooks before 2019 and TORQUE have no service.
_PBS = re.compile(rf"/(?P<unit>[A-Za-z0-9_.-]+\.service)/(?:jobid|jobs)/{_PBS_JOB}{_END}")
_PBS_OLD = re.compile(rf"/(?:pbs(?:pro|_jobs)?|torque)/(?:jobid/|jobs/)?{_PBS_JOB}{_END}")

# BASE_CGROUP is htcondor, beside the service or (cgroup v1) at the top; the folder is named after EXECUTE and the slot.
_HTCONDOR = re.compile(
    r"(?:/system\.slice(?:/condor\.service)?)?(?:/(?![^/]*\.(?:service|scope|slice)/)[^/]+|(?<=/condor\.service))/condor"
    rf"(?:_[^/]*?)?"
    rf"_(?P<slot>slot[0-9]+(?:_[0-9]+)?(?:@[^/]+)?|[^_/@]*[0-9](?:_[0-9]+)?@[^/]+){_END}"
)

_GRIDENGINE = re.compile(
    r"(?:/[^/]+\.slice)*?/(?P<name>[^/]+)\.slice/(?P=name)-jobs\.slice(?:/(?P=name)-jobs-[^/]+\.slice)?"
    rf"/(?P=name)\.(?P<job>[0-9]+)(?:\.(?P<task>[0-9]+)(?=\.))?(?:[.-][^/]+)?\.scope{_END}"
)
# Univa's and Son of Grid Engine's own cpusets: JOB.TASK, below a folder that is always called so.
_GRIDENGINE_OLD = re.compile(rf"/(?:UGE|uge|SGE|sge|AGE|age)/(?P<job>[0-9]+)\.(?P<task>[0-9]+|undefined){_END}")

_ALLOCATION = r"(?P<job>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_NOMAD = re.compile(
    rf"/(?:(?:nomad\.slice|[^/]+\.slice/(?:share|reserve)\.slice)/{_ALLOCATION}\.(?P<task>[^/]+)\.scope"
    rf"|nomad(?:/(?:shared?|reserved?))?/{_ALLOCATION.replace('job', 'job1')}(?:[.-](?P<task1>[^/]+))?){_END}"
)

_FLUX = re.compile(
    r"/user\.slice/user-(?P<uid>[0-9]{1,10})\.slice/user@(?P=uid)\.service(?:/app\.slice)?"
    rf"/imp-shell-[0-9]+-(?P<job>[f\u0192][1-9A-HJ-NP-Za-km-z]+)\.service{_END}"
)
_FIRST_PERSON = 1000
"""UID_MIN of login.defs(5): accounts below are the system's, and no person's."""


def job_of_path(path: str) -> CgroupIdentity | None:
    """Find the job of a batch system in a path that begins at the root of a host."""
    if job := _SLURM_V2.match(path):
        return CgroupIdentity("slurm", job["job"], job["step"], job["task"], job["node"], sluid=job["sluid"])
    if job := _SLURM_V1.match(path):
        uid = int(job["uid"])
        return CgroupIdentity("slurm", job["job"], job["step"], job["task"], job["node"], uid=uid, sluid=job["sluid"])
    if daemon := _SLURM_DAEMON.match(path):
        return CgroupIdentity("slurm-daemon", unit=daemon["unit"])
    if job := _OAR3.match(path):
        return CgroupIdentity("oar", job["job"], uid=int(job["uid"]))
    if job := _OAR2.match(path):
        return CgroupIdentity("oar", job["job"])
    if job := _PBS.match(path):
        return CgroupIdentity("pbs", job["job"], unit=job["unit"])
    if job := _PBS_OLD.match(path):
        return CgroupIdentity("pbs", job["job"])
    if job := _HTCONDOR.match(path):
        return CgroupIdentity("htcondor", slot=job["slot"])
    if job := _GRIDENGINE.match(path) or _GRIDENGINE_OLD.match(path):
        return CgroupIdentity("gridengine", job["job"], task=None if job["task"] == "undefined" else job["task"])
    if job := _NOMAD.match(path):
        return CgroupIdentity("nomad", job["job"] or job["job1"], task=job["task"] or job["task1"])
    return None


def flux_job(path: str, flux_uid: int | None = None) -> CgroupIdentity | None:
    """Find a job that Flux runs in its own user manager; the process's own user is the job's.

    Parameters
    ----------
    path : str
        Below ``user.slice``.
    flux_uid : int, optional
        The user that runs Flux and everybody's jobs; unknown: any account of the system.
    """
    job = _FLUX.match(path)
    if job is None:
        return None
    uid = int(job["uid"])
    ours = uid == flux_uid if flux_uid is not None else uid < _FIRST_PERSON
    return CgroupIdentity("flux", job["job"]) if ours else None
