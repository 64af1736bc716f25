"""Slurm on this node: the mapping directory's exact edges, joined with the queue's names and shares."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from wattshed.agent.errors import Faults
from wattshed.agent.jobs.background import Background
from wattshed.agent.jobs.doorbell import Doorbell
from wattshed.agent.jobs.following import Following
from wattshed.agent.jobs.mapping import Hold, MappingDirectory, owner_of
from wattshed.agent.jobs.nodes import same
from wattshed.agent.jobs.queue import Queue, QueueAnswer, QueuedJob
from wattshed.agent.jobs.reservations import WHOLE_PPM, Reservation
from wattshed.agent.jobs.stale import StaleHolds
from wattshed.agent.jobs.this_node import ThisNode, UnknownNodeError, look
from wattshed.agent.window import MISSING, uid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from wattshed.agent.window import Device, MigDevice

REFRESH_S = 30.0
"""How often the queue is read while no new job appears; a job that is not known yet makes it read within a second."""
REFRESH_ALONE_S = 10.0
"""The same without a mapping directory, when the queue alone says who holds a GPU."""
NODE_S = 300.0
"""How often Slurm is asked about the node itself: shares of a GPU and names change with slurm.conf."""
STALE_S = 120.0
"""A queue that has not answered for so long no longer says who holds a GPU; the names that it gave stay valid."""
_TRIES = 3
_MOST_KEPT = 20_000
_NO_LABELS = ("uid", "node")
"""What a prolog writes for `Slurm.uid`, and to tell the nodes of a host apart."""


class Slurm:
    """What is known of Slurm's jobs without waiting.

    Parameters
    ----------
    clock : callable
        Now, in microseconds on the time line of the windows.
    node : str
        This node's name in Slurm, or the host's: then Slurm is asked for the name.
    mapping_dir : Path or MappingDirectory, optional
        Written by the prolog; without it GPUs that are held idle are known from the queue only, late and by minor.
        Whoever hands over a `MappingDirectory` lets it look for changes; a path is followed in a thread.
    squeue, scontrol : sequence of str
        The commands; empty: the queue, or the node, is never asked.
    mig : callable
        Returns the MIG devices of this node by UUID: the mapping may name its files so.

    Attributes
    ----------
    on_change : callable or None
        Called, from a thread, whenever a job took or left a GPU: the moment to read the process lists again.
    """

    def __init__(
        self,
        clock: Callable[[], int],
        node: str,
        mapping_dir: Path | MappingDirectory | None = None,
        squeue: Sequence[str] = ("squeue",),
        scontrol: Sequence[str] = ("scontrol",),
        *,
        mig: Callable[[], Mapping[str, MigDevice]] = dict,
    ) -> None:
        self._clock, self._mig = clock, mig
        self._mapping: MappingDirectory | None
        if mapping_dir is None or isinstance(mapping_dir, MappingDirectory):
            self._mapping = mapping_dir
        else:
            self._mapping = MappingDirectory(mapping_dir, clock)
        self._queue: Background[QueueAnswer] | None = None
        self._folder: Following | None = None
        self._described: Background[ThisNode] | None = None
        self.on_change: Callable[[], None] | None = None
        self._faults = Faults()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._node = ThisNode(node)
        self._kept: dict[str, QueuedJob] = {}
        self._sluids: dict[str, str] = {}
        self._lacked: dict[str, int] = {}
        self._looked_for: dict[str, int] = {}  # SLUIDs that no prolog had written by so many changes
        self._stale = StaleHolds()
        if self._mapping is not None and self._mapping is not mapping_dir:
            self._folder = Following(self._mapping, Doorbell(str(mapping_dir)), self._faults, self._changed)
        if squeue and scontrol:
            self._described = Background(
                "scontrol", lambda: self._describe(scontrol, node), self._node, NODE_S, self._faults
            )
        if squeue:
            period_s = REFRESH_S if mapping_dir is not None else REFRESH_ALONE_S
            queue = Queue(squeue, lambda: self._node, clock, self._stopped)
            self._queue = Background("squeue", lambda: self._ask(queue), QueueAnswer(), period_s, self._faults)

    @property
    def events(self) -> int:
        """How often a job took or left a GPU so far."""
        return self._mapping.changes if self._mapping is not None else 0

    @property
    def answered(self) -> bool:
        """Whether the queue has answered, and said of every line of the mapping directory whether it is stale."""
        if self._queue is None:
            return True
        now_us = self._clock()
        holds = self._mapping.holds(now_us, now_us + 1) if self._mapping is not None else []
        undecided = [hold for hold in holds if self._stale.judge(hold, ours=self._ours(hold.job))[1]]
        if undecided:
            self._queue.hurry()
        return self._queue.answers > 0 and not undecided

    def labels(self, job: str) -> dict[str, str]:
        """Return what is known of a job so far; asks the queue in the background for one that is new.

        ``uid`` decides who may see the job: it is root's word, or the controller's.
        """
        known, uid = self._job(job), self.uid(job)
        wrote = {label: value for label, value in self._wrote(job).items() if label not in _NO_LABELS}
        told = {**wrote, **(known.labels if known is not None else {})}
        return told if uid == MISSING else {**told, "uid": str(uid)}

    def uid(self, job: str) -> int:
        """Return the user id that a job runs as; -1 unknown."""
        wrote = uid_of(self._wrote(job).get("uid", ""))
        if wrote != MISSING:
            return wrote
        known = self._job(job)
        return known.uid if known is not None else MISSING

    def job_of(self, sluid: str) -> str:
        """Return the id of the job that Slurm 26.05 names cgroups by; empty while unknown: then the queue hurries.

        A job that has ended is still known.
        """
        known = self._sluids.get(sluid.upper()) or self._mapped(sluid.upper())
        if known is None:
            self._hurry(sluid)
        return known or ""

    def _mapped(self, sluid: str) -> str | None:
        """Look for a SLUID in what prologs wrote; once for each change there, since a job may have many processes."""
        if self._mapping is None:
            return None
        changes = self._mapping.changes
        if self._looked_for.get(sluid) == changes:
            return None
        held = {hold.job for hold in self._mapping.holds(0, self._clock() + 1)}
        known = next((job for job in held if self._wrote(job).get("sluid", "").upper() == sluid), None)
        if known is not None:
            self._remember({}, {sluid: known})
        else:
            self._looked_for[sluid] = changes
            while len(self._looked_for) > _MOST_KEPT:
                del self._looked_for[next(iter(self._looked_for))]
        return known

    def reservations(self, devices: Sequence[Device], start_us: int, end_us: int) -> list[Reservation]:
        """Return who held which GPU during a stretch."""
        if self._mapping is None:
            return self._from_queue(devices, start_us, end_us)
        mig = self._mig()
        believed = [hold.located(mig) for hold in self._believed(self._mapping.holds(start_us, end_us), start_us)]
        placed = [(hold, hold.place(devices)) for hold in believed]
        holds = [(hold, place) for hold, place in placed if place is not None]
        for hold in (hold for hold, place in placed if place is None):
            self._mapping.nowhere(hold)
        found = []
        for hold, place in holds:
            share = MISSING
            if not hold.instance:
                share = self._share(hold.job, devices, place)
                # Of several jobs on one GPU those whose share is not known divide what the others leave; the accounts
                # do that. One alone has all.
                share = WHOLE_PPM if share == MISSING and _beside(hold, place, holds) == 1 else share
            uid = self.uid(hold.job)
            uid = hold.uid if uid == MISSING else uid
            found.append(
                Reservation(
                    place,
                    owner_of(hold.job, self._mapping.labels(hold.job), uid),
                    max(hold.start_us, start_us),
                    end_us if hold.end_us is None else min(hold.end_us, end_us),
                    share,
                    hold.instance,
                    uid,
                    hold.start_us,
                )
            )
        return found

    def faults(self) -> Mapping[str, int]:
        """Return failures of ``squeue``, ``scontrol`` and ``mapping``."""
        faults = Counter(self._faults.counts)
        faults["mapping"] += self._mapping.refused if self._mapping is not None else 0
        return {name: count for name, count in faults.items() if count}

    def close(self) -> None:
        """Stop the threads, and a command that still runs."""
        self._stopped.set()
        for part in self._parts():
            part.close()

    def _parts(self) -> list[Background[QueueAnswer] | Background[ThisNode] | Following]:
        return [part for part in (self._queue, self._described, self._folder) if part is not None]

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()

    def _describe(self, scontrol: Sequence[str], host: str) -> ThisNode:
        before = self._node
        try:
            self._node = look(scontrol, host, self._stopped)
        except UnknownNodeError:
            # Slurm knows no such node: then no job of Slurm's is ours.
            self._node = ThisNode()
            raise
        finally:
            if self._node != before and self._queue is not None:
                self._queue.hurry()
        return self._node

    def _ask(self, queue: Queue) -> QueueAnswer:
        if self._described is not None:
            # At the start only: jobs are matched by the node's name.
            self._described.tried(2.0)
        answer = queue.ask()
        kept = {number: job for number, job in answer.jobs.items() if job.here or number in self._kept}
        for number, job in kept.items():
            if (before := self._kept.get(number)) is not None:
                kept[number] = job.after(before)
        self._remember(kept, {job.sluid.upper(): number for number, job in answer.jobs.items() if job.sluid})
        self._stale.hear(answer)
        return answer

    def _remember(self, jobs: Mapping[str, QueuedJob], sluids: Mapping[str, str]) -> None:
        with self._lock:
            self._kept.update(jobs)
            self._sluids.update(sluids)
            for known in (self._kept, self._sluids, self._lacked):
                while len(known) > _MOST_KEPT:
                    del known[next(iter(known))]  # the oldest

    def _hurry(self, wanted: str) -> None:
        """Ask again soon for what the last answer lacks, a few times; then it is asked for with all the rest."""
        if self._queue is None:
            return
        if self._lacked.setdefault(wanted, self._queue.answers) + _TRIES > self._queue.answers:
            self._queue.hurry()

    def _wrote(self, job: str) -> dict[str, str]:
        return self._mapping.labels(job) if self._mapping is not None else {}

    def _job(self, job: str) -> QueuedJob | None:
        if self._queue is None:
            return None
        known = self._kept.get(job)
        if known is None:
            known = self._queue.answer.jobs.get(job)
            if known is None:
                self._hurry(job)
                return None
            self._remember({job: known}, {})
        if not known.here and not known.gpus:
            # It was seen before it had begun here.
            self._hurry(f"{job} here")
        return known

    def _share(self, job: str, devices: Sequence[Device], place: int) -> int:
        known = self._job(job)
        if known is None:
            return MISSING
        given = set(known.gpus.values())
        if len(given) == 1:
            # Alike on all its GPUs: in which order Slurm counts them does not matter.
            return next(iter(given))
        return known.gpus.get(_slots(devices, self._node)[place], MISSING)

    def _believed(self, holds: Sequence[Hold], start_us: int) -> list[Hold]:
        """Return the holds that still are ones by what the queue says."""
        found = []
        for written in holds:
            hold, undecided = self._stale.judge(written, ours=self._ours(written.job))
            if undecided and self._queue is not None:
                self._queue.hurry()
            if hold.end_us is None or hold.end_us > start_us:
                found.append(hold)
        return found

    def _ours(self, job: str) -> bool:
        """Return whether this node's queue can know a job of the mapping directory."""
        if self._queue is None or not job.isdecimal():
            return False
        wrote = self._wrote(job)
        return wrote.get("manager", "slurm") == "slurm" and same(wrote.get("node", self._node.name), self._node.name)

    def _from_queue(self, devices: Sequence[Device], start_us: int, end_us: int) -> list[Reservation]:
        if self._queue is None or self._queue.age_s() > STALE_S:
            return []
        slots = {slot: place for place, slot in enumerate(_slots(devices, self._node)) if slot != MISSING}
        return [
            Reservation(slots[slot], owner_of(number, uid=job.uid), start_us, end_us, share, "", job.uid)
            for number, job in self._queue.answer.jobs.items()
            for slot, share in job.gpus.items()
            if slot in slots
        ]


def _slots(devices: Sequence[Device], node: ThisNode) -> list[int]:
    """Return the index by which Slurm counts each GPU; all -1 where that is not known.

    Slurm counts what gres.conf lists, in its order. That is taken for the order of device minors, which holds for
    ``File=/dev/nvidia[0-7]``; it cannot where the list has instances of a GPU, or more GPUs than there are.
    """
    mig = any(device.capabilities.get("mig") == "" for device in devices)
    if mig or node.gpus > len(devices):
        return [MISSING] * len(devices)
    return [device.minor if device.minor != MISSING else device.index for device in devices]


def _beside(hold: Hold, place: int, holds: Sequence[tuple[Hold, int]]) -> int:
    """Count the jobs that shared this GPU at any time of this hold, itself included."""
    end_us = hold.end_us
    return len(
        {
            other.job
            for other, where in holds
            if (where, other.instance) == (place, hold.instance)
            and (end_us is None or other.start_us < end_us)
            and (other.end_us is None or hold.start_us < other.end_us)
        }
    )
