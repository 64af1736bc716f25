"""Slurm on this node: the mapping directory's exact edges, joined with the queue's names and shares."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agent.jobs.background import Background
from agent.jobs.mapping import POLL_S, Hold, MappingDirectory
from agent.jobs.queue import QueuedJob, ask
from agent.jobs.reservations import WHOLE_PPM, Reservation
from agent.jobs.text import printable
from agent.window import MISSING, JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.window import Device

REFRESH_S = 30.0
"""How often the queue is read while no new job appears; a job that is not known yet makes it read within a second."""
REFRESH_ALONE_S = 10.0
"""The same without a mapping directory, when the queue alone tells who holds a GPU."""
STALE_S = 120.0
"""A queue that has not answered for so long no longer tells who holds a GPU; what it said of names stays true."""
_TRIES = 3
_MOST_KEPT = 20_000


class Slurm:
    """What is known of Slurm's jobs without waiting.

    Parameters
    ----------
    clock : callable
        Now, in microseconds on the time line of the windows.
    node : str
        This node's name in Slurm.
    mapping_dir : Path, optional
        Written by the prolog; without it GPUs that are held idle are known from the queue only, late and by minor.
    squeue, scontrol : sequence of str
        The commands; empty: the queue is never asked.

    Attributes
    ----------
    on_change : callable or None
        Called, from a thread, whenever a job took or left a GPU: the moment to read the process lists anew.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        node: str,
        mapping_dir: Path | None = None,
        squeue: Sequence[str] = ("squeue",),
        scontrol: Sequence[str] = ("scontrol",),
    ) -> None:
        self._mapping = MappingDirectory(mapping_dir, clock) if mapping_dir is not None else None
        self._queue: Background[dict[str, QueuedJob]] | None = None
        self._folder: Background[int] | None = None
        self.on_change: Callable[[], None] | None = None
        self._stopped = threading.Event()
        self._kept: dict[str, QueuedJob] = {}
        self._lacked: dict[str, int] = {}
        if self._mapping is not None:
            self._folder = Background("mapping", self._look, 0, POLL_S, POLL_S)
        if squeue:
            period_s = REFRESH_S if mapping_dir is not None else REFRESH_ALONE_S
            self._queue = Background("squeue", lambda: ask(squeue, scontrol, node, self._stopped), {}, period_s)

    @property
    def events(self) -> int:
        """How often a job took or left a GPU so far."""
        return self._mapping.changes if self._mapping is not None else 0

    def labels(self, job: str) -> dict[str, str]:
        """Return what is known of a job so far; asks the queue in the background for one that is new."""
        known = self._job(job)
        wrote = self._mapping.labels(job) if self._mapping is not None else {}
        wrote.pop("uid", None)
        return {**wrote, **(known.labels if known is not None else {})}

    def uid(self, job: str) -> int:
        """Return the user id that a job runs as; -1 unknown."""
        wrote = self._mapping.labels(job).get("uid", "") if self._mapping is not None else ""
        if wrote.isdecimal():
            return int(wrote)
        known = self._job(job)
        return known.uid if known is not None else MISSING

    def reservations(self, devices: Sequence[Device], start_us: int, end_us: int) -> list[Reservation]:
        """Return who held which GPU during a stretch."""
        if self._mapping is None:
            return self._from_queue(devices, start_us, end_us)
        places = {device.index: place for place, device in enumerate(devices)}
        holds = [hold for hold in self._mapping.holds(start_us, end_us) if hold.index in places]
        found = []
        for hold in holds:
            place = places[hold.index]
            share = MISSING
            if not hold.instance:
                share = self._share(hold.job, devices[place])
                # Several jobs on one GPU and nobody to say how it is divided: evenly.
                share = share if share != MISSING else WHOLE_PPM // max(1, _beside(hold, holds))
            found.append(
                Reservation(
                    place,
                    _owner(hold.job),
                    max(hold.start_us, start_us),
                    end_us if hold.end_us is None else min(hold.end_us, end_us),
                    share,
                    hold.instance,
                    self.uid(hold.job),
                )
            )
        return found

    def faults(self) -> Mapping[str, int]:
        """Return failures of ``squeue`` and ``mapping``."""
        return {part.name: part.faults for part in (self._queue, self._folder) if part is not None and part.faults}

    def close(self) -> None:
        """Stop the threads, and a command that still runs."""
        self._stopped.set()
        for part in (self._queue, self._folder):
            if part is not None:
                part.close()

    def _look(self) -> int:
        before = self.events
        after = self._mapping.scan() if self._mapping is not None else before
        if after != before and self.on_change is not None:
            self.on_change()
        return after

    def _job(self, job: str) -> QueuedJob | None:
        if self._queue is None:
            return None
        answer = self._queue.answer
        known = answer.get(job)
        if known is not None:
            if len(self._kept) + len(self._lacked) > _MOST_KEPT:
                self._kept.clear()
                self._lacked.clear()
            self._kept[job] = known
        elif job not in self._kept and self._lacked.setdefault(job, self._queue.answers) + _TRIES > self._queue.answers:
            self._queue.hurry()
        return self._kept.get(job)

    def _share(self, job: str, device: Device) -> int:
        known = self._job(job)
        slot = device.minor if device.minor != MISSING else device.index
        return known.gpus.get(slot, MISSING) if known is not None else MISSING

    def _from_queue(self, devices: Sequence[Device], start_us: int, end_us: int) -> list[Reservation]:
        if self._queue is None or self._queue.age_s() > STALE_S:
            return []
        slots = {
            device.minor if device.minor != MISSING else device.index: place for place, device in enumerate(devices)
        }
        return [
            Reservation(slots[slot], _owner(number), start_us, end_us, share, "", job.uid)
            for number, job in self._queue.answer.items()
            for slot, share in job.gpus.items()
            if slot in slots
        ]


def _owner(job: str) -> Owner:
    key = f"slurm:{job}" if job.isdecimal() else f"job:{printable(job)}"
    return Owner(JobKey(key), {"manager": "slurm" if job.isdecimal() else "mapping"})


def _beside(hold: Hold, holds: Sequence[Hold]) -> int:
    """Count the jobs that shared this GPU at any time of this hold, itself included."""
    end_us = hold.end_us
    return len(
        {
            other.job
            for other in holds
            if (other.index, other.instance) == (hold.index, hold.instance)
            and (end_us is None or other.start_us < end_us)
            and (other.end_us is None or hold.start_us < other.end_us)
        }
    )
