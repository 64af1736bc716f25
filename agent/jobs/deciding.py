"""Who owns a process on a GPU, decided again whenever something better is known.

What names an owner arrives in its own time: squeue may be slow, a mapping file may be written late, a pod's name comes
with the kubelet's next answer. So an owner is not fixed at first sight: it gives way to a better-founded one, from then
on, and never to a weaker one. A scheduler that falls silent, or takes a hold back, changes no process's owner.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from wattshed.agent.jobs.holding import is_of_roots_engine, works_for
from wattshed.agent.jobs.identity import NOBODY
from wattshed.agent.jobs.naming import job_of
from wattshed.agent.jobs.reservations import holders
from wattshed.agent.window import MISSING, JobKey, Owner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.jobs.identity import CgroupIdentity
    from wattshed.agent.jobs.kubernetes import Pods
    from wattshed.agent.jobs.processes import Process, Processes
    from wattshed.agent.jobs.reservations import Reservation
    from wattshed.agent.jobs.slurm import Slurm
    from wattshed.agent.window import Device

HOLD_NOTICED_US = 15_000_000
"""A hold whose beginning no file has may be this much older than the first that was heard of it."""
_SETTLES_US = 10_000_000
"""So long after its start a process may still be put into its job's cgroup."""
_MOST_CONTAINERS = 10_000
_MOST_WORKERS = 10_000
_POD_LABELS = ("namespace", "pod", "container", "pod_uid", "container_id")
_NOBODY = Owner(JobKey(""))
_UNDECIDED, _OWN, _GUESSED, _HELD, _NAMED = range(5)
"""What an owner rests on, weakest first: nothing yet; the process itself; who holds the GPU that a container is on; who
holds it as the process's user or batch system; the cgroup or the kubelet."""

Place: TypeAlias = tuple[tuple[str, int, int], int, str]
"""Key of a process, GPU, MIG instance."""
_Holds: TypeAlias = tuple[tuple[JobKey, int, int, str, int], ...]


@dataclass(slots=True)
class Presence:
    """One process on one GPU (or MIG instance).

    Attributes
    ----------
    process : Process
    seen_us, last_us : int, us
        Since when it is known to be there, and when it was reported last.
    begin_us : int, us
        Since when it is its owner's.
    ppm : int
        SMs of the instance, in millionths of the GPU's.
    memory_bytes : int
        Of the GPU, as reported last; -1 unknown.
    end_us : int or None, us
        When it left.
    owner : Owner
    before : (Owner, int) or None
        Whose it was in this window until ``begin_us``, and since when.
    told : tuple or None
        The holds of its GPU by which it was decided: as long as they are the same, so is the owner.
    """

    process: Process
    seen_us: int
    begin_us: int
    last_us: int
    ppm: int
    end_us: int | None = None
    owner: Owner = _NOBODY
    basis: int = _UNDECIDED
    hint: str | None = None
    before: tuple[Owner, int] | None = None
    told: _Holds | None = None
    memory_bytes: int = MISSING

    def go_on_from(self, earlier: Presence) -> None:
        """Take over what was decided of the same process before it left this GPU for a while."""
        self.seen_us, self.owner, self.basis, self.hint = earlier.seen_us, earlier.owner, earlier.basis, earlier.hint

    @property
    def here_us(self) -> int:
        """Since when it is there, as far as this window can still say."""
        return self.begin_us if self.before is None else self.before[1]

    def stretches(self, from_us: int, to_us: int) -> list[tuple[Owner, int, int]]:
        """Return whose it was when, within a stretch; one that ended before the owner came is empty, at its end."""
        if self.before is None or from_us >= self.begin_us:
            return [(self.owner, min(max(from_us, self.begin_us), to_us), to_us)]
        owner, since_us = self.before
        then = owner, min(max(from_us, since_us), to_us), min(to_us, self.begin_us)
        return [then] if to_us <= self.begin_us else [then, (self.owner, self.begin_us, to_us)]


class Deciding:
    """Decides owners; it remembers what it has to from window to window.

    Parameters
    ----------
    processes : Processes
    slurm : Slurm or None
    pods : Pods or None
    environ : bool
        As for `agent.jobs.resolve.JobResolver`.

    Attributes
    ----------
    slurmd_pods : set of JobKey
        Pods in which a slurmd runs jobs.
    """

    def __init__(self, processes: Processes, slurm: Slurm | None, pods: Pods | None, *, environ: bool) -> None:
        self._processes = processes
        self._slurm = slurm
        self._pods = pods
        self._environ = environ
        self._held_since: dict[tuple[int, str, JobKey], int] = {}
        self._containers: dict[tuple[int, JobKey], int] = {}
        self._worked: dict[Place, tuple[Owner, int]] = {}  # whom a process was taken to work for, and on what grounds
        self._devices: Sequence[Device] = ()
        self._jobs: Mapping[str, Reservation] = {}
        self.slurmd_pods: set[JobKey] = set()

    def decide(
        self,
        present: Mapping[Place, Presence],
        held: Sequence[Reservation],
        devices: Sequence[Device],
        start_us: int,
        end_us: int,
    ) -> None:
        """Give each process of a window its owner.

        Parameters
        ----------
        present : mapping of Place to Presence
            Changed in place.
        held : sequence of Reservation
            Of batch systems, in this window.
        devices : sequence of Device
        start_us, end_us : int, us
        """
        self._devices = devices
        on: dict[int, list[Reservation]] = {}
        for one in self._dated(held, start_us):
            on.setdefault(one.gpu, []).append(one)
        lasting = {gpu: _lasting(holds, start_us, end_us) for gpu, holds in on.items()}
        ids = [(one.owner.key.partition(":")[2], one) for one in held]
        # A path may leave out PBS's server.
        servers = [(name.partition(".")[0], one) for name, one in ids if one.owner.key.startswith("pbs:")]
        self._jobs = dict(servers + ids)
        for place, presence in present.items():
            gpu, instance = place[1:]
            presence.before = None
            if presence.basis == _UNDECIDED and place in self._worked:
                # It left the GPU for so long that it was forgotten: who holds it now is not who started the process.
                presence.owner, presence.basis = self._worked[place]
            if presence.basis == _NAMED:
                continue
            first, process = presence.basis == _UNDECIDED, presence.process
            young = not first and process.started_us is not None and end_us - process.started_us < _SETTLES_US
            identity = self._processes.identify_again(process) if young else process.identity
            open_ = first or young or identity.sluid or presence.hint or identity.runtime == "kubernetes"
            told = lasting.get(gpu)
            if not open_ and (gpu not in on or (told is not None and told == presence.told)):
                continue
            presence.told = None if first else told
            from_us, to_us = (presence.begin_us, presence.last_us) if first else (start_us, end_us)
            to_us = to_us if presence.end_us is None else presence.end_us
            here = holders(on.get(gpu, ()), gpu, instance, from_us, to_us)
            owner, basis, since_us = self._owner(presence, gpu, instance, here)
            better = basis > presence.basis or (basis == presence.basis and _passed_on(presence, owner, here))
            if not better and not self._refuted(presence, here):
                continue
            if not first and owner.key != presence.owner.key:
                presence.before = presence.owner, presence.begin_us
                presence.begin_us = min(max(presence.begin_us, start_us, since_us), end_us)
            presence.owner, presence.basis = owner, basis
            if basis in {_GUESSED, _HELD}:
                if first:  # for whom it worked when nobody looked, nobody can say
                    presence.begin_us = max(presence.begin_us, start_us - _SETTLES_US)
                self._worked[place] = owner, basis
                if len(self._worked) > _MOST_WORKERS:
                    del self._worked[next(iter(self._worked))]  # the oldest

    def owner_beside(self, process: Process) -> Owner:
        """Return whose a process is by what its cgroup says alone: it is on no GPU, so nobody's hold says anything."""
        identity = process.identity
        if identity.runtime == "kubernetes" and self._pods is not None:
            return self._pods.named(identity)
        if identity.job_id is None and identity.sluid is not None and self._slurm is not None:
            identity = replace(identity, job_id=self._slurm.job_of(identity.sluid) or None)
        uid, command = process.uid, process.command
        owner = job_of(identity, lambda: MISSING if uid is None else uid, lambda: command or process.comm)
        return self._as_mapped(owner, identity, process) if identity.job_id is not None else owner

    def _dated(self, held: Sequence[Reservation], start_us: int) -> list[Reservation]:
        """Fill in since when each job holds its GPU, as far as that is known."""
        known: dict[tuple[int, str, JobKey], int] = {}
        dated = []
        for one in held:
            if one.since_us != MISSING:
                dated.append(one)
                continue
            place = one.gpu, one.instance, one.owner.key
            known[place] = self._held_since.get(place, start_us - HOLD_NOTICED_US)
            dated.append(replace(one, since_us=known[place]))
        self._held_since = known
        return dated

    def _owner(
        self, presence: Presence, gpu: int, instance: str, here: Sequence[Reservation]
    ) -> tuple[Owner, int, int]:
        """Find who owns a process, what that rests on, and since when (us) it can be so."""
        process, identity = presence.process, presence.process.identity
        if identity.runtime == "kubernetes" and self._pods is not None:
            pod = self._pods.owner(identity, self._devices, gpu, instance)
            return pod, _NAMED if "pod" in pod.labels else _OWN, 0
        if identity.job_id is None and identity.sluid is not None and self._slurm is not None:
            identity = replace(identity, job_id=self._slurm.job_of(identity.sluid) or None)
        owner = job_of(identity, lambda: self._processes.uid(process), lambda: self._processes.command(process))
        if identity.runtime == "slurm" and identity.pod_uid is not None:
            owner = Owner(owner.key, {**self._around(identity, gpu, instance), **owner.labels})
        if identity.job_id is not None:
            return self._as_mapped(owner, identity, process), _NAMED, 0
        seen_us = presence.seen_us
        if is_of_roots_engine(identity):
            if len(self._containers) > _MOST_CONTAINERS:
                self._containers.clear()
            # A container that was there before the job is not the job's, whatever it starts meanwhile.
            seen_us = self._containers.setdefault((gpu, owner.key), seen_us)
        found = works_for(identity, self._processes.uid(process), seen_us, here) if here else None
        if found is not None:
            one, guessed = found
            labels = {**one.owner.labels, "assumed": owner.key} if guessed else one.owner.labels
            return Owner(one.owner.key, labels), _GUESSED if guessed else _HELD, one.start_us
        if self._environ and self._slurm is not None and identity.runtime in {"none", "systemd", "systemd-user"}:
            if presence.hint is None:
                presence.hint = self._processes.environ(process, "SLURM_JOB_ID")
            hint = presence.hint
            if hint.isdecimal() and 0 <= self._slurm.uid(hint) == self._processes.uid(process):
                return Owner(JobKey(f"slurm:{int(hint)}"), {"manager": "slurm"}), _HELD, 0
        return owner, _OWN, 0

    def _refuted(self, presence: Presence, here: Sequence[Reservation]) -> bool:
        """Return whether a process was taken for a job's while nobody knew whose job that is, and it is another's."""
        if presence.basis != _HELD:
            return False
        identity = presence.process.identity
        who = self._processes.uid(presence.process) if identity.uid is None else identity.uid
        return any(one.owner.key == presence.owner.key and one.uid not in {MISSING, who} for one in here)

    def _as_mapped(self, owner: Owner, identity: CgroupIdentity, process: Process) -> Owner:
        """Give a job that the cgroup names the key that the mapping gives it, where that knows its bare id only."""
        twin = self._jobs.get(identity.job_id or "")
        if twin is None or twin.owner.key == owner.key or identity.runtime == "slurm":
            return owner
        return Owner(twin.owner.key, owner.labels) if twin.uid in {MISSING, self._processes.uid(process)} else owner

    def _around(self, identity: CgroupIdentity, gpu: int, instance: str) -> Mapping[str, str]:
        """Name the pod in which a slurmd runs: what it was granted, it lends to its jobs."""
        if self._pods is None:
            return {}
        pod = replace(NOBODY, runtime="kubernetes", pod_uid=identity.pod_uid, container_id=identity.container_id)
        around = self._pods.owner(pod, self._devices, gpu, instance)
        self.slurmd_pods.add(around.key)
        return {label: around.labels[label] for label in _POD_LABELS if label in around.labels}


def _lasting(holds: Sequence[Reservation], start_us: int, end_us: int) -> _Holds | None:
    """Describe the holds of a GPU that last all of a window; None if any begins or ends in it."""
    if any(one.start_us > start_us or one.end_us < end_us for one in holds):
        return None
    return tuple((one.owner.key, one.uid, one.share_ppm, one.instance, one.since_us) for one in holds)


def _passed_on(presence: Presence, now: Owner, here: Sequence[Reservation]) -> bool:
    """Return whether the job that a process was taken to work for is over, and another one can be shown to have it now.

    That is another job of the same user, or for a container the one that holds the GPU since before it was seen: the
    queue, asked every ten seconds, may have named the job before.
    """
    if presence.basis not in {_GUESSED, _HELD} or now.key == presence.owner.key:
        return False
    over = all(one.owner.key != presence.owner.key for one in here)
    return over and (presence.basis == _GUESSED or all(one.uid != MISSING for one in here))
