"""What Slurm's own commands say about the jobs of this node: who, what for, and how much of which GPU.

Understands ``squeue --json`` of Slurm 21.08 to 26.05 (numbers plain, or as ``{"set", "infinite", "number"}``; a job's
state as one word or a list; its nodes as a host list, or one by one in ``job_resources``) and the text of
``scontrol -o show node``. From 24.05 on squeue is asked for this node's jobs only; before, it answers with all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.jobs import gres, nodes
from wattshed.agent.jobs.commands import run
from wattshed.agent.jobs.gres import per_gpu
from wattshed.agent.jobs.text import printable
from wattshed.agent.jobs.this_node import ThisNode
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Queue", "QueueAnswer", "QueuedJob", "parse", "per_gpu"]

_HOLDING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "CONFIGURING", "SIGNALING", "STAGE_OUT"}
"""A suspended job keeps its GPUs (select/cons_tres releases its cores only)."""
_SLUID = re.compile(r"s[0-9A-Z]{13}", re.IGNORECASE)
_FILTERS = (24, 5)
"""From this version on ``squeue --json`` heeds its other options."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One job as the queue shows it.

    Attributes
    ----------
    labels : mapping of str to str
        user, account, partition, name, qos, array, het_job, cluster, nodes (how many), restart (from the first requeue
        on); what is unknown is left out.
    uid : int
        -1 unknown.
    gpus : mapping of int to int, index -> ppm
        Slurm's own GPU indices on this node (device minors, or the order in gres.conf), and the share of each; -1 where
        that is not known.
    sluid : str
        The identifier that Slurm 26.05 names cgroups by; empty before.
    here : bool
        It has resources of this node now.
    """

    labels: Mapping[str, str]
    uid: int = MISSING
    gpus: Mapping[int, int] = field(default_factory=dict)
    sluid: str = ""
    here: bool = False

    def after(self, before: QueuedJob) -> QueuedJob:
        """Return it with what an earlier answer knew better.

        Once it is over, or between two runs, rows that come late are still about the GPUs that it had; and while it is
        completing, Slurm counts only the nodes that are not done.
        """
        labels = dict(self.labels)
        if labels.get("restart") == before.labels.get("restart"):
            counts = [int(job.labels["nodes"]) for job in (self, before) if "nodes" in job.labels]
            labels |= {"nodes": str(max(counts))} if counts else {}
        return replace(self, labels=labels, gpus=self.gpus if self.here else before.gpus)


@dataclass(frozen=True, slots=True)
class QueueAnswer:
    """What the queue said.

    Attributes
    ----------
    jobs : mapping of job id to QueuedJob
    asked_us : int, us
        When the question began: what was true then is in the answer.
    node : ThisNode
        What was known of this node.
    whole : bool
        A job of this node that is missing does not exist; otherwise it may be hidden from whoever asked.
    """

    jobs: Mapping[str, QueuedJob] = field(default_factory=dict)
    asked_us: int = 0
    node: ThisNode = field(default_factory=ThisNode)
    whole: bool = False


class Queue:
    """Asks Slurm; slow, and may fail: to be called in a thread of its own.

    Parameters
    ----------
    squeue : sequence of str
        The command, with the options of its own that it needs.
    node : callable
        What is known of this node by now.
    clock : callable
        Now, in microseconds on the time line of the windows.
    stopped : threading.Event
        Ends a command that still runs.
    """

    def __init__(
        self,
        squeue: Sequence[str],
        node: Callable[[], ThisNode],
        clock: Callable[[], int],
        stopped: threading.Event,
    ) -> None:
        self._squeue, self._node, self._clock, self._stopped = squeue, node, clock, stopped
        self._filters = False

    def ask(self) -> QueueAnswer:
        """Ask once.

        Raises
        ------
        OSError, subprocess.SubprocessError, ValueError
            If squeue is missing, fails, hangs or answers nonsense.
        """
        asked_us, node = self._clock(), self._node()
        answer = _read(self._text(node))
        self._filters = _version(answer) >= _FILTERS
        jobs = _parsed(answer, node.name, node.parts)
        others = any(job.here and job.uid not in {MISSING, os.geteuid()} for job in jobs.values())
        whole = not answer.get("errors") and (others or (node.certain and node.open))
        return QueueAnswer(jobs, asked_us, node, whole)

    def _text(self, node: ThisNode) -> str:
        # Partitions that are hidden from ordinary users too; of a federation, this cluster only.
        command = [*self._squeue, "--json", "--all", "--local"]
        if self._filters and node.certain:
            try:
                return run([*command, f"--nodelist={node.name}"], self._stopped)
            except subprocess.SubprocessError:
                # A name that Slurm does not know any more is an error too; if it is another one, it shows at once.
                pass
        return run(command, self._stopped)


def parse(text: str, node: str, parts: Mapping[str, int]) -> dict[str, QueuedJob]:
    """Read ``squeue --json``.

    Parameters
    ----------
    text : str
    node : str
        This node's name in Slurm. A job whose nodes are others, or are unknown, holds nothing.
    parts : mapping of str to int
        From :func:`agent.jobs.gres.per_gpu`.

    Returns
    -------
    dict of job id -> QueuedJob

    Raises
    ------
    ValueError
        If it is not JSON, or not an answer of squeue.
    """
    return _parsed(_read(text), node, parts)


def _read(text: str) -> dict[str, Any]:
    # A job's name may hold control characters, which strict JSON forbids and some versions pass through. Asked for
    # another cluster (squeue -M) a line with its name comes first.
    answer = json.loads(text[max(0, text.find("{")) :], strict=False)
    jobs = answer.get("jobs") if isinstance(answer, dict) else None
    if not isinstance(jobs, list):
        message = 'squeue --json answered without "jobs"'
        raise ValueError(message)  # noqa: TRY004 - a wrong answer, not a wrong call
    if answer.get("errors") and not jobs:
        # Up to 23.11 it ends with 0 even where it did not reach the controller.
        message = f"squeue --json answered with an error: {printable(json.dumps(answer['errors']))}"
        raise ValueError(message)
    return dict(answer)


def _parsed(answer: Mapping[str, Any], node: str, parts: Mapping[str, int]) -> dict[str, QueuedJob]:
    found = (_job(job, node, parts) for job in answer["jobs"] if isinstance(job, dict))
    return dict(pair for pair in found if pair is not None)


def _version(answer: Mapping[str, Any]) -> tuple[int, int]:
    meta = answer.get("meta")
    told = (meta.get("slurm") or meta.get("Slurm")) if isinstance(meta, dict) else None
    version = told.get("version") if isinstance(told, dict) else None
    if not isinstance(version, dict):
        return 0, 0
    return _number(version.get("major")) or 0, _number(version.get("minor")) or 0


def _job(job: Mapping[str, Any], node: str, parts: Mapping[str, int]) -> tuple[str, QueuedJob] | None:
    step = job.get("step_id")
    step = step if isinstance(step, dict) else {}
    number = _number(job.get("job_id")) or _number(step.get("job_id"))
    if not number:
        return None
    given = {
        "user": job.get("user_name"),
        "account": job.get("account"),
        "partition": job.get("partition"),
        "name": job.get("name"),
        "qos": job.get("qos"),
        "cluster": job.get("cluster"),
    }
    labels = {label: printable(value) for label, value in given.items() if isinstance(value, str) and value}
    array, task = _number(job.get("array_job_id")), _number(job.get("array_task_id"))
    if array and task is not None:
        labels["array"] = f"{array}_{task}"
    het, offset = _number(job.get("het_job_id")), _number(job.get("het_job_offset"))
    if het:
        labels["het_job"] = f"{het}+{offset or 0}"
    if count := _number(job.get("node_count")):
        labels["nodes"] = str(count)
    if restarts := _number(job.get("restart_cnt")):
        labels["restart"] = str(restarts)
    place = _place(job, node) if _states(job) & _HOLDING else None
    uid = _number(job.get("user_id"))
    sluid = step.get("sluid")
    sluid = sluid if isinstance(sluid, str) and _SLUID.fullmatch(sluid) else ""
    gpus = {} if place is None else _gpus(job, place, parts)
    return str(number), QueuedJob(labels, MISSING if uid is None else uid, gpus, sluid, place is not None)


def _states(job: Mapping[str, Any]) -> set[str]:
    states = job.get("job_state")
    return {s for s in (states if isinstance(states, list) else [states]) if isinstance(s, str)}


def _place(job: Mapping[str, Any], node: str) -> tuple[int, int] | None:
    """Return where this node stands among the job's nodes, and how many these are; None if it is none of them.

    While a job is completing, ``nodes`` shrinks to those that are not done; ``gres_detail`` keeps the order of all.
    """
    told = [names for names in _nodes(job) if names]
    places = [nodes.place(node, names) for names in told]
    if not told or None in places:
        return None
    return places[0] or 0, len(told[0])


def _gpus(job: Mapping[str, Any], place: tuple[int, int], parts: Mapping[str, int]) -> dict[int, int]:
    details = job.get("gres_detail")
    # One entry for each node of the job, in the order of its nodes.
    if not isinstance(details, list) or len(details) != place[1] or not isinstance(details[place[0]], str):
        return {}
    return gres.shares(details[place[0]], parts)


def _nodes(job: Mapping[str, Any]) -> list[list[str]]:
    """Return the job's nodes in every spelling that it is written in, the fullest first."""
    resources = job.get("job_resources")
    resources = resources if isinstance(resources, dict) else {}
    listed = resources.get("nodes")
    one_by_one = resources.get("allocated_nodes")
    if isinstance(listed, dict):
        one_by_one, listed = listed.get("allocation") or one_by_one, listed.get("list")
    names = [
        str(name)
        for entry in (one_by_one if isinstance(one_by_one, list) else [])
        if isinstance(entry, dict) and (name := entry.get("nodename") or entry.get("name"))
    ]
    told = [names, *(nodes.expand(text) for text in (listed, job.get("nodes")) if isinstance(text, str))]
    host = job.get("batch_host")
    return told if any(told) else [[host]] if isinstance(host, str) and host else []


def _number(value: object) -> int | None:
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
