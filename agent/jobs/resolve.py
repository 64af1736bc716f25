"""From observations of processes to who held and used each GPU.

What names a job, best first: the kernel's cgroup path; a root-owned mapping directory written by a prolog; what the
kubelet granted; Slurm's queue for names and shares; the environment, if allowed, as a hint; user and command.
Nothing here waits for anything but /proc: squeue, the kubelet and name services are asked by threads of their own.
"""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING

from wattshed.agent.errors import Faults
from wattshed.agent.jobs.arriving import LINGER_US, REACH_BACK_US, arrival_us
from wattshed.agent.jobs.cpu_places import CpuPlaces
from wattshed.agent.jobs.deciding import Deciding, Place, Presence
from wattshed.agent.jobs.reservations import exclusive, holders
from wattshed.agent.jobs.rows import Claims, lay_out
from wattshed.agent.jobs.text import printable
from wattshed.agent.jobs.uses import ProcessUse, uses
from wattshed.agent.window import MISSING, UNATTRIBUTED, JobKey, Owner, Usage, uid_of
from wattshed.exporters.snapshot import InstanceFacts, ProcessFacts, Tenancy

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from wattshed.agent.jobs.cpu_places import CpuPlace
    from wattshed.agent.jobs.kubernetes import Pods
    from wattshed.agent.jobs.processes import Process, Processes
    from wattshed.agent.jobs.reservations import Reservation
    from wattshed.agent.jobs.slurm import Slurm
    from wattshed.agent.window import Device, MigDevice, ProcessObservation


LATE_LABELS_US = 120_000_000
"""A job's labels are still passed on this long after its last row, for metadata that arrives late."""
FIRST_ANSWERS_US = 10_000_000
"""The first windows of an agent's life wait this long for the schedulers' first answers."""
FIRST_NAMES_US = 3_000_000
"""And this long after these for jobs that they do not know yet."""

_ORDER = attrgetter("pid", "gpu", "instance", "from_us", "to_us", "exited", "sm_us")


class JobResolver:
    """The resolver of a live host; it remembers processes from window to window.

    Parameters
    ----------
    processes : Processes
    slurm : Slurm, optional
        The prolog's mapping directory and the queue.
    pods : Pods, optional
        What the kubelet granted.
    mig : callable
        Returns the MIG devices of this node by UUID.
    names : bool
        False leaves out the labels that users write freely: job names and commands.
    environ : bool
        Read ``SLURM_JOB_ID`` of processes that no cgroup names; trusted only if that job runs as the same user.
    """

    def __init__(
        self,
        processes: Processes,
        slurm: Slurm | None = None,
        pods: Pods | None = None,
        *,
        mig: Callable[[], Mapping[str, MigDevice]] = dict,
        names: bool = True,
        environ: bool = False,
    ) -> None:
        self._processes = processes
        self._slurm = slurm
        self._pods = pods
        self._mig = mig
        self._names = names
        self._deciding = Deciding(processes, slurm, pods, environ=environ)
        self._present: dict[Place, Presence] = {}
        self._seen: dict[int, int] = {}
        self._instances: dict[tuple[int, str], int] = {}
        self._published: dict[JobKey, tuple[int, Owner]] = {}
        self._laid_out: dict[tuple[int, JobKey], tuple[int, int]] = {}  # from when and until when an owner has rows
        self._first_us: int | None = None
        self._since_us: int | None = None  # start of the first window
        self._last_us = (0, 0)
        self._sightings: list[tuple[ProcessObservation, Presence | None]] = []  # of the last window
        self._numbers: list[int] = []  # of its GPUs
        self._uuids: list[str] = []
        self._answered_us: int | None = None
        self._places = CpuPlaces(processes)
        self._faults = Faults()

    def ready(self, observations: Sequence[ProcessObservation], end_us: int) -> bool:
        """Look at the processes of a window, and return whether their owners are known as well as they will be soon.

        An agent that starts beside running jobs knows their processes before squeue or the kubelet has answered; within
        the first ten seconds its windows may wait for that, so that no joule goes to a name that is not a job's.

        Parameters
        ----------
        observations : sequence of ProcessObservation
        end_us : int, us
            Of the window.
        """
        self._first_us = end_us if self._first_us is None else self._first_us
        if end_us - self._first_us >= FIRST_ANSWERS_US:
            return True
        sluids = set()
        for pid in {observation.pid for observation in observations}:
            # Whoever ends before the answer comes is known by then.
            process = self._processes.look(pid)
            self._seen[pid] = end_us
            if process is not None and process.identity.job_id is None and process.identity.sluid is not None:
                sluids.add(process.identity.sluid)
        if not all(scheduler.answered for scheduler in (self._slurm, self._pods) if scheduler is not None):
            return False
        self._answered_us = end_us if self._answered_us is None else self._answered_us
        known = self._slurm is None or all(self._slurm.job_of(sluid) for sluid in sluids)
        return known or end_us - self._answered_us >= FIRST_NAMES_US

    def resolve(
        self, observations: Sequence[ProcessObservation], devices: Sequence[Device], start_us: int, end_us: int
    ) -> tuple[tuple[Owner, ...], Usage]:
        """Name the owners of a window, and lay out their time on the GPUs.

        Parameters
        ----------
        observations : sequence of ProcessObservation
            In any order; several of one process add up.
        devices : sequence of Device
        start_us, end_us : int, us
            The window; windows are asked for in ascending order.

        Returns
        -------
        owners : tuple of Owner
            Sorted by key. An owner without a row brings labels that arrived after its job's end.
        usage : Usage
            A pid that /proc does not know has no row, unless one job alone held its GPU: its energy is nobody's.
        """
        held = self._slurm.reservations(devices, start_us, end_us) if self._slurm is not None else []
        # Of a GPU that is found only now it is known who held it since the first window, if its number is no other's.
        self._since_us = start_us if self._since_us is None else self._since_us
        old, self._numbers = self._numbers, [device.index for device in devices]
        self._uuids = [device.uuid for device in devices]
        new = [i for i, n in enumerate(self._numbers) if start_us > self._since_us and i >= len(old) and n not in old]
        if new and self._slurm is not None:
            held += [one for one in self._slurm.reservations(devices, self._since_us, start_us) if one.gpu in new]
        granted = self._pods.reservations(devices, start_us, end_us) if self._pods is not None else []
        ordered = sorted((s for s in observations if 0 <= s.gpu < len(devices)), key=_ORDER)
        presences = [self._see(one, start_us, end_us, self._since_us if one.gpu in new else 0) for one in ordered]
        self._last_us, self._sightings = (start_us, end_us), list(zip(ordered, presences, strict=True))
        self._settle(start_us, end_us)
        self._deciding.decide(self._present, held, devices, start_us, end_us)
        claims = Claims()
        for observation, presence in self._sightings:
            if presence is not None and presence.owner.key and observation.sm_us >= 0:
                _share_out(observation, presence, claims)
        for (_, gpu, instance), presence in self._present.items():
            last_us = end_us if presence.end_us is None else presence.end_us
            for owner, a, b in presence.stretches(presence.here_us, last_us):
                claim = claims.of(gpu, owner)
                claim.live.append((a, b))
                if instance:
                    claim.instances[instance.partition("/")[0]] = presence.ppm
        # What a pod was granted that runs a slurmd is its jobs', where these hold or use it.
        lent = {one.gpu for one in held} | {gpu for gpu, key in claims.found if key.startswith("slurm:")}
        slurmds = self._deciding.slurmd_pods
        reservations = [*held, *(one for one in granted if one.owner.key not in slurmds or one.gpu not in lent)]
        for observation, presence in self._sightings:
            if presence is None:
                self._to_the_only_holder(observation, reservations, claims)
        for one in reservations:
            share = one.share_ppm
            if share == MISSING and one.instance:
                share = self._instance_ppm(devices[one.gpu], one)
            claims.of(one.gpu, one.owner).held.append((one.start_us, one.end_us, share, one.instance))
        self._forget(end_us)
        return self._tables(claims, start_us, end_us, new)

    def _instance_ppm(self, device: Device, held: Reservation) -> int:
        """Return how much of its GPU a MIG instance is, as the driver lists it or its processes showed; -1 unknown."""
        parts = (
            one.share_ppm for one in self._mig().values() if (one.gpu, one.instance) == (device.uuid, held.instance)
        )
        return sum(parts) or self._instances.get((held.gpu, held.instance), MISSING)

    def faults(self) -> Mapping[str, int]:
        """Return how often each part failed since the start: ``unknown_pid``, ``squeue``, ``podresources`` ..."""
        total = Counter(self._faults.counts)
        for scheduler in (self._slurm, self._pods):
            if scheduler is not None:
                total.update(scheduler.faults())
        return dict(total)

    def owner_of(self, process: Process) -> Owner:
        """Return whose a process is that may be on no GPU: its job's, as the last window's processes were decided.

        Parameters
        ----------
        process : Process
            Of whoever asks the agent; found by the same /proc, by anybody's `Processes`.
        """
        mine = (one.owner for one in self._present.values() if one.process.key == process.key and one.owner.key)
        return self._labelled(next(mine, None) or self._deciding.owner_beside(process))

    def uses(self) -> list[ProcessUse]:
        """Return what each process did on each GPU in the last window; see `ProcessUse`."""
        return uses(self._present, self._sightings, self._uuids, self._last_us)

    def tenancy(self) -> Tenancy:
        """Return who was on the GPUs at the end of the last window, and their MIG instances."""
        return Tenancy(
            tuple(
                ProcessFacts(
                    one.owner.key or UNATTRIBUTED,
                    one.process.pid,
                    self._uuids[gpu],
                    instance,
                    one.memory_bytes if one.memory_bytes >= 0 else None,
                    one.process.started_us,
                )
                for (_, gpu, instance), one in self._present.items()
                if one.end_us is None and gpu < len(self._uuids)
            ),
            tuple(InstanceFacts(uuid, one.gpu, one.instance, one.share_ppm / 1e6) for uuid, one in self._mig().items()),
        )

    def cpu_places(self) -> list[CpuPlace]:
        """Return where the CPU time of those is counted who held or used a GPU in the last window."""
        end_us = self._last_us[1]
        holders = {key for key, (last_us, _) in self._published.items() if last_us == end_us}
        there = ((one.process, one.owner) for one in self._present.values() if one.end_us is None and one.owner.key)
        return self._places.find(there, holders)

    def close(self) -> None:
        """Stop all threads."""
        self._processes.close()
        for scheduler in (self._slurm, self._pods):
            if scheduler is not None:
                scheduler.close()

    def _see(self, observation: ProcessObservation, start_us: int, end_us: int, since_us: int) -> Presence | None:
        """Find or make the presence of a sighted process; None if nobody can say who that was. See `arrival_us`."""
        before = self._processes.last(observation.pid)
        process = self._processes.look(observation.pid)
        if process is not None and process is not before and (process.started_us or 0) > observation.to_us:
            # The pid has a new process already; this report is about the one before it.
            process = before
        process = process or before
        if process is None:
            self._faults.note(
                "unknown_pid",
                f"the driver names pid {observation.pid}, which /proc does not know (another pid namespace, or a "
                "driver that scrambles pids)",
                "such energy stays unattributed",
            )
            return None
        self._seen[observation.pid] = end_us
        place = (process.key, observation.gpu, observation.instance)
        presence = self._present.get(place)
        back = process.ended_us is None and not observation.exited
        if presence is not None and presence.end_us is not None and presence.end_us < observation.to_us and back:
            presence = None  # it had left this GPU and came back
        if presence is None:
            begin_us = arrival_us(process, observation, start_us, since_us)
            seen_us = max(begin_us, min(start_us - REACH_BACK_US, observation.from_us or start_us))
            presence = Presence(
                process, seen_us, begin_us, observation.to_us, observation.instance_ppm, process.ended_us
            )
            if place in self._present:
                presence.go_on_from(self._present[place])
            self._present[place] = presence
            if observation.instance and observation.instance_ppm > 0:
                self._instances[observation.gpu, observation.instance.partition("/")[0]] = observation.instance_ppm
        presence.last_us = max(presence.last_us, observation.to_us)
        if observation.memory_bytes >= 0:
            presence.memory_bytes = observation.memory_bytes
        if observation.exited:
            presence.end_us = min(filter(None, (presence.end_us, process.ended_us, observation.to_us)))
        return presence

    def _settle(self, start_us: int, end_us: int) -> None:
        """Find out which processes are gone, and when they went."""
        for place, presence in list(self._present.items()):
            if presence.end_us is None:
                ended_us = presence.process.ended_us
                if end_us - presence.last_us > LINGER_US and (ended_us is None or ended_us > end_us):
                    presence.end_us = presence.last_us
                elif ended_us is not None:
                    presence.end_us = ended_us
                elif not self._processes.alive(presence.process):
                    # No pidfd reported it: halfway between the last proof of life and the last report.
                    proof_us = min(max(presence.process.alive_us, start_us), end_us)
                    presence.end_us = (proof_us + max(proof_us, min(presence.last_us, end_us))) // 2
            if presence.end_us is not None and presence.end_us < start_us:
                del self._present[place]

    def _forget(self, end_us: int) -> None:
        self._seen = {pid: seen for pid, seen in self._seen.items() if end_us - seen <= LATE_LABELS_US}
        self._processes.forget(set(self._seen) | {presence.process.pid for presence in self._present.values()})

    @staticmethod
    def _to_the_only_holder(
        observation: ProcessObservation, reservations: Sequence[Reservation], claims: Claims
    ) -> None:
        """Charge a process that nobody knows to the job that has the GPU to itself, if nobody else is seen on it."""
        begin_us, stop_us = observation.from_us or observation.to_us, observation.to_us
        alone = exclusive(holders(reservations, observation.gpu, observation.instance, begin_us, stop_us))
        part = observation.instance.partition("/")[0]
        seen = {key for (gpu, key), claim in claims.found.items() if gpu == observation.gpu and claim.is_on(part)}
        if alone is not None and seen <= {alone.owner.key}:
            claim = claims.of(observation.gpu, alone.owner)
            claim.live.append((begin_us, stop_us))
            if observation.sm_us >= 0:
                claim.add_work(begin_us, stop_us, observation.sm_us, observation.tensor_us, observation.dram_us)

    def _tables(
        self, claims: Claims, start_us: int, end_us: int, new: Collection[int]
    ) -> tuple[tuple[Owner, ...], Usage]:
        earliest_us = start_us - REACH_BACK_US
        self._laid_out = {place: laid for place, laid in self._laid_out.items() if laid[1] > earliest_us}
        rows = []
        for place, found in sorted(claims.found.items()):
            known = self._laid_out.get(place)
            if known is None:
                since_us = (self._since_us or 0) if place[0] in new else min(found.live)[0] if found.live else start_us
                stretch = lay_out(found, min(earliest_us, since_us), end_us)
            else:
                # What was missed before the owner's first row; never a stretch that it has a row of already.
                missed = lay_out(found, earliest_us, known[0]) if known[0] > earliest_us else []
                stretch = [*missed, *lay_out(found, start_us, end_us)]
            rows += [(*place, row) for row in stretch]
            if stretch:
                first_us = stretch[0].start_us
                self._laid_out[place] = min(first_us, known[0]) if known else first_us, stretch[-1].end_us
        for key in {key for _, key, _ in rows}:
            self._published[key] = (end_us, self._labelled(claims.owners[key]))
        published = []
        for key, (last_us, owner) in sorted(self._published.items()):
            if last_us == end_us:
                published.append(owner)
                continue
            late = self._labelled(owner)
            if late != owner:
                published.append(late)
                self._published[key] = (last_us, late)
            if end_us - last_us > LATE_LABELS_US:
                del self._published[key]
        index = {owner.key: place for place, owner in enumerate(published)}
        return tuple(published), Usage.of([(gpu, index[key], *row) for gpu, key, row in rows])

    def _labelled(self, owner: Owner) -> Owner:
        labels = dict(owner.labels)
        manager, _, name = owner.key.partition(":")
        if manager == "slurm" and self._slurm is not None:
            # In cgroup v1 the path itself names the user.
            labels = {**labels, **self._slurm.labels(name), **({"uid": labels["uid"]} if "uid" in labels else {})}
        elif manager == "k8s" and self._pods is not None:
            labels.update(self._pods.labels(owner.key))
        if "user" not in labels and (uid := uid_of(labels.get("uid", ""))) != MISSING:
            user = self._processes.user(uid)
            labels |= {"user": printable(user)} if user else {}
        if not self._names:
            labels = {label: value for label, value in labels.items() if label not in {"name", "command"}}
        return Owner(owner.key, labels)


def _share_out(observation: ProcessObservation, presence: Presence, claims: Claims) -> None:
    """Give a process's activity to its owner: to those it had one after the other, by time."""
    stop_us = observation.to_us if presence.end_us is None else min(observation.to_us, presence.end_us)
    begin_us = min(max(observation.from_us, presence.here_us), stop_us)
    amounts = observation.sm_us, observation.tensor_us, observation.dram_us
    left = list(amounts)
    for owner, a, b in reversed(presence.stretches(begin_us, stop_us)):
        parts = [
            rest if a == begin_us or whole < 0 else whole * (b - a) // (stop_us - begin_us)
            for whole, rest in zip(amounts, left, strict=True)
        ]
        claims.of(observation.gpu, owner).add_work(a, b, *parts)
        left = [rest - part if rest >= 0 else rest for rest, part in zip(left, parts, strict=True)]
