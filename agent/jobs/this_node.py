"""What Slurm knows of the node that the agent runs on: its name, its GPUs, and whether its jobs are hidden."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed.agent.jobs import gres, nodes
from wattshed.agent.jobs.commands import run

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class ThisNode:
    """The agent's node as Slurm sees it.

    Attributes
    ----------
    name : str
        Its NodeName; empty if Slurm lists no such node, or several on this host: then no job is taken for one of ours.
    certain : bool
        Slurm itself gave the name; otherwise it is the host's.
    parts : mapping of str to int
        From :func:`agent.jobs.gres.per_gpu`.
    gpus : int
        How many Slurm counts here; -1 unknown.
    open : bool
        Everybody sees all jobs (``PrivateData`` does not hide them).
    """

    name: str = ""
    certain: bool = False
    parts: Mapping[str, int] = field(default_factory=dict)
    gpus: int = -1
    open: bool = False


class UnknownNodeError(LookupError):
    """Slurm lists no node of this name, or several on this host."""


def look(scontrol: Sequence[str], host: str, stopped: threading.Event) -> ThisNode:
    """Ask Slurm; slow, and may fail: to be called in a thread of its own.

    Parameters
    ----------
    scontrol : sequence of str
        The command, with the options of its own that it needs.
    host : str
        The node's name in Slurm, or the host's.
    stopped : threading.Event
        Ends a command that still runs.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If a command is missing, fails or hangs.
    UnknownNodeError
        If Slurm does not list this node.
    """
    name, text = _description([*scontrol, "-o", "show", "node"], host, stopped)
    try:
        config = run([*scontrol, "show", "config"], stopped)
    except subprocess.SubprocessError:
        config = ""
    private = re.search(r"^PrivateData\s*=\s*(\S+)", config, re.MULTILINE)
    visible = private is not None and "jobs" not in private[1].split(",")
    return ThisNode(name, certain=True, parts=gres.per_gpu(text), gpus=gres.devices(text), open=visible)


def _description(show: Sequence[str], host: str, stopped: threading.Event) -> tuple[str, str]:
    for name in dict.fromkeys((host, host.partition(".")[0])):
        try:
            text = run([*show, name], stopped)
        except subprocess.SubprocessError as fault:
            # "Node x not found" goes to standard output; anything else is said on standard error.
            if "no reason given" not in str(fault) and "not found" not in str(fault):
                raise
            continue
        # A wrapper that answers for one node only need not repeat its name.
        if found := nodes.named(text, name) or ("" if "NodeName=" in text or "not found" in text else name):
            return found, text
    text = run(show, stopped)
    here = sorted(nodes.on_host(text, host))
    if len(here) == 1:
        return here[0], next(line for line in text.split("\n") if nodes.named(line, here[0]))
    told = f"several nodes on this host ({', '.join(here[:8])})" if here else "no node of this name"
    message = f"Slurm lists {told}: {host}; set slurm.node, until then the queue bills nobody for this node's GPUs"
    raise UnknownNodeError(message)
