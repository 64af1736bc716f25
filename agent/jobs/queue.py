"""What Slurm's own commands say about the jobs of this node: who, what for, and how much of which GPU.

Understands ``squeue --json`` of Slurm 21.08 to 25.11 (numbers plain, or as ``{"set", "infinite", "number"}``; a job's
state as one word or a list) and the text of ``scontrol -o show node``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.jobs.reservations import WHOLE_PPM
from agent.jobs.text import printable
from agent.window import MISSING

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

TIMEOUT_S = 10
"""A command that takes longer is killed."""
LARGEST_ANSWER = 64 << 20
_HOLDING = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "CONFIGURING", "SIGNALING", "STAGE_OUT"}
_GRES = re.compile(
    r"(?:gres[:/])?(?P<name>gpu|shard|mps)(?::(?P<type>[^:(,]+))?:(?P<count>[0-9]+)(?:\(IDX:(?P<idx>[^)]*)\))?"
)
_TOTAL = re.compile(r"(?:gres[:/])?(?P<name>gpu|shard|mps)(?::[^:(,]+)?:(?P<count>[0-9]+)")


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """One job as the queue shows it.

    Attributes
    ----------
    labels : mapping of str to str
        user, account, partition, name, qos, array, het_job; what is unknown is left out.
    uid : int
        -1 unknown.
    gpus : mapping of int to int, index -> ppm
        Slurm's own GPU indices on this node (device minors, or the order in gres.conf), and the share of each.
    """

    labels: Mapping[str, str]
    uid: int = MISSING
    gpus: Mapping[int, int] = field(default_factory=dict)


def ask(squeue: Sequence[str], scontrol: Sequence[str], node: str, stopped: threading.Event) -> dict[str, QueuedJob]:
    """Ask Slurm; slow, and may fail: call it in a thread of its own.

    Parameters
    ----------
    squeue, scontrol : sequence of str
        The commands, with the options of their own that they need; scontrol may be empty.
    node : str
        The node's name in Slurm.
    stopped : threading.Event
        Ends a command that still runs.

    Raises
    ------
    OSError, subprocess.SubprocessError, ValueError
        If a command is missing, fails, hangs or answers nonsense.
    """
    parts: dict[str, int] = {}
    text = _run([*squeue, "--json"], stopped)
    if scontrol and ("shard:" in text or "mps:" in text):
        parts = per_gpu(_run([*scontrol, "-o", "show", "node", node], stopped))
    return parse(text, node, parts)


def per_gpu(text: str) -> dict[str, int]:
    """Read ``scontrol -o show node``: how many shards and MPS shares one GPU of the node has."""
    line = re.search(r"\bGres=(\S+)", text)
    totals: dict[str, int] = {}
    for gres in _TOTAL.finditer(line[1] if line else ""):
        totals[gres["name"]] = totals.get(gres["name"], 0) + int(gres["count"])
    gpus = totals.pop("gpu", 0)
    return {name: total // gpus for name, total in totals.items()} if gpus else {}


def parse(text: str, node: str, parts: Mapping[str, int]) -> dict[str, QueuedJob]:
    """Read ``squeue --json``.

    Parameters
    ----------
    text : str
    node : str
    parts : mapping of str to int
        From :func:`per_gpu`.

    Returns
    -------
    dict of job id -> QueuedJob

    Raises
    ------
    ValueError
        If it is not JSON, or not an answer of squeue.
    """
    # A job's name may hold control characters, which strict JSON forbids and some versions pass through.
    answer = json.loads(text, strict=False)
    jobs = answer.get("jobs") if isinstance(answer, dict) else None
    if not isinstance(jobs, list):
        message = 'squeue --json answered without "jobs"'
        raise ValueError(message)  # noqa: TRY004 - a wrong answer, not a wrong call
    found = (_job(job, node, parts) for job in jobs if isinstance(job, dict))
    return dict(pair for pair in found if pair is not None)


def _job(job: Mapping[str, Any], node: str, parts: Mapping[str, int]) -> tuple[str, QueuedJob] | None:
    number = _number(job.get("job_id"))
    if number is None:
        return None
    given = {
        "user": job.get("user_name"),
        "account": job.get("account"),
        "partition": job.get("partition"),
        "name": job.get("name"),
        "qos": job.get("qos"),
    }
    labels = {label: printable(value) for label, value in given.items() if isinstance(value, str) and value}
    array, task = _number(job.get("array_job_id")), _number(job.get("array_task_id"))
    if array and task is not None:
        labels["array"] = f"{array}_{task}"
    het, offset = _number(job.get("het_job_id")), _number(job.get("het_job_offset"))
    if het:
        labels["het_job"] = f"{het}+{offset or 0}"
    states = job.get("job_state")
    states = (
        {states}
        if isinstance(states, str)
        else {s for s in states if isinstance(s, str)}
        if isinstance(states, list)
        else set()
    )
    gpus = _gpus(job, node, parts) if states & _HOLDING else {}
    uid = _number(job.get("user_id"))
    return str(number), QueuedJob(labels, MISSING if uid is None else uid, gpus)


def _gpus(job: Mapping[str, Any], node: str, parts: Mapping[str, int]) -> dict[int, int]:
    details = job.get("gres_detail")
    if not isinstance(details, list):
        return {}
    nodes = _nodes(job)
    # One entry for each node of the job, in the order of its nodes.
    place = nodes.index(node) if node in nodes else 0 if len(details) == 1 else None
    if place is None or place >= len(details) or not isinstance(details[place], str):
        return {}
    shares: dict[int, int] = {}
    for gres in _GRES.finditer(details[place]):
        indices = _ranges(gres["idx"] or "")
        for index in indices:
            if gres["name"] == "gpu":
                shares[index] = WHOLE_PPM
            elif per := parts.get(gres["name"]):
                # Several GPUs at once share the count evenly: the queue does not say how it was laid out.
                shares[index] = min(WHOLE_PPM, int(gres["count"]) * WHOLE_PPM // (per * len(indices)))
            else:
                shares[index] = MISSING
    return shares


def _nodes(job: Mapping[str, Any]) -> list[str]:
    resources = job.get("job_resources")
    if not isinstance(resources, dict):
        return []
    nodes = resources.get("allocated_nodes")
    if nodes is None and isinstance(resources.get("nodes"), dict):
        nodes = resources["nodes"].get("allocation")
    if not isinstance(nodes, list):
        return []
    return [str(n.get("nodename") or n.get("name") or "") for n in nodes if isinstance(n, dict)]


def _ranges(text: str) -> list[int]:
    """Read ``0-2,5``."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first.isdecimal() and (not dash or last.isdecimal()):
            found.extend(range(int(first), min(int(last) if dash else int(first), int(first) + 4096) + 1))
    return found


def _number(value: object) -> int | None:
    if isinstance(value, dict):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _run(argv: Sequence[str], stopped: threading.Event) -> str:
    """Run a command within bounds of time and size; whatever it started ends with it."""
    deadline_s = time.monotonic() + TIMEOUT_S
    answer: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    with (
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        ) as process,
        selectors.DefaultSelector() as ready,
    ):
        ready.register(process.stdout, selectors.EVENT_READ, "out")  # type: ignore[arg-type] # it is a pipe
        ready.register(process.stderr, selectors.EVENT_READ, "err")  # type: ignore[arg-type]
        try:
            while ready.get_map():
                for key, _ in ready.select(timeout=0.1):
                    chunk = os.read(key.fd, 1 << 20)
                    if not chunk:
                        ready.unregister(key.fileobj)
                    answer[key.data] += chunk
                _bounded(argv[0], deadline_s, sum(map(len, answer.values())), stopped)
            process.wait(timeout=TIMEOUT_S)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        words = answer["err"].decode("utf-8", "replace").strip().splitlines()
        message = f"{argv[0]} ended with {process.returncode}: {printable(words[-1]) if words else 'no reason given'}"
        raise subprocess.SubprocessError(message)
    return answer["out"].decode("utf-8", "replace")


def _bounded(command: str, deadline_s: float, size: int, stopped: threading.Event) -> None:
    if stopped.is_set():
        why = "was stopped"
    elif time.monotonic() > deadline_s:
        why = f"did not answer within {TIMEOUT_S} s"
    elif size > LARGEST_ANSWER:
        why = "answered without end"
    else:
        return
    message = f"{command} {why}"
    raise subprocess.SubprocessError(message)
