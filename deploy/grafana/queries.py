"""The PromQL that the boards share: which series are meant, what they are called, and whose they are.

Boundary: the GPU board. Power is joules by the seconds that they cover, so that a GPU that is read seldom, or not at
all, draws neither too much nor 0. Energy sums increases of the jobs' own counters; the counter of ended jobs repeats
them and has no part in any rate or increase (docs/promql.md).
"""

from __future__ import annotations

NODES = 'simulated=~"$nodes"'
"""Energies and powers of simulated nodes carry simulated="1", real ones no such label; wattshed_gpu_info has 0 or 1."""
HOST = 'instance=~"$instance"'
JOB = f'{HOST}, job=~"$job"'
OWNER = 'user=~"$user", account=~"$account", namespace=~"$namespace"'
REAL, NO_JOB = 'job!~"_.*"', 'job=~"_.*"'  # jobs, and not _idle, _unattributed or _other
RATE = "[$__rate_interval]"
RANGE = "[$__range]"
JOULES_PER_WH, JOULES_PER_KWH = "3600", "3.6e6"


def _gpus(*more: str) -> str:
    """Tell the GPUs of the nodes that are shown, a 1 each, with the host's name without its port."""
    chosen = ", ".join((HOST, NODES, *more))
    return f'label_replace(wattshed_gpu_info{{{chosen}}}, "host", "$1", "instance", "(.+?)(:[0-9]+)?")'


GPUS = _gpus()
GPU_INFO = _gpus('gpu=~"$gpu"')
OF_GPU = "on (instance, gpu_uuid) group_left"
NAMED = f"* {OF_GPU} (gpu, host) {GPU_INFO}"
CHOSEN = f"* {OF_GPU} () {GPU_INFO}"
"""The GPUs that are chosen, of the nodes that are, with or without their index and host as labels."""


def covered(chosen: str = HOST) -> str:
    """Divide a rate of joules by the seconds that they cover; what covers none has no power."""
    return f"/ {OF_GPU} () (rate(wattshed_gpu_covered_seconds_total{{{chosen}}}{RATE}) > 0)"


def shares(*more: str) -> str:
    """Select the joules of owners, of jobs or not, on the nodes that are shown."""
    return f"wattshed_job_energy_joules_total{{{', '.join((HOST, NODES, *more))}}}"


def label_of(label: str, window: str, chosen: str = HOST) -> str:
    """Tell one label of jobs, a 1 each: of several series of a job the one that was there longest."""
    found = f'count_over_time(wattshed_job_info{{{chosen}, {label}!=""}}{window})'
    return f"topk by (instance, job) (1, {found}) ^ 0"


def longest(window: str, chosen: str = JOB) -> str:
    """Tell all labels of jobs, a 1 each: of several series of a job those that were there longest."""
    return f"topk by (instance, job) (1, count_over_time(wattshed_job_info{{{chosen}}}{window})) ^ 0"


def owners(window: str, chosen: str = JOB) -> str:
    """Tell who the jobs of the chosen owners are, a 1 each, with a ``title``: the name before the id.

    A pod is called by its name and its container's; its id is long and says nothing.
    """
    return titled(f"{longest(window, chosen)} and count_over_time(wattshed_job_info{{{chosen}, {OWNER}}}{window})")


def titled(found: str) -> str:
    """Add the label ``title`` to series that have the labels of ``wattshed_job_info``."""
    found = f'label_replace({found}, "title", "$1", "job", "(.*)")'
    found = (
        f'label_replace(label_join({found}, "of_pod", "/", "pod", "container"), "title", "$1", "of_pod", "([^/]+/.*)")'
    )
    return f'label_replace(label_join({found}, "named", " (", "name", "job"), "title", "$1)", "named", "(.+ [(].+)")'
