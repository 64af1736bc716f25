"""Cuts cumulative accounts into parts: what each owner used on each GPU since it was cut last.

Parts are differences, so they telescope: whenever and however often is cut, all parts of an owner and what is not cut
yet are its account, to the last half-nanojoule. Owners that last are cut at whole slots of UTC, so that each hour, day
and month has its own; a job is cut for the last time when its account is closed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.known_watts import KnownWatts
from wattshed.agent.accounts.ledger import GpuKey
from wattshed.agent.accounts.used import CUT_COLUMNS, AmountUsed, Cut, used_by, used_by_nobody
from wattshed.agent.window import IDLE, OTHER, UNATTRIBUTED, JobKey
from wattshed.agent.wire import parts_json
from wattshed.agent.wire.parts import END, JobPart, JobRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.accounts.ledger import JobAccount

MOST = 256
"""Parts a window, at most: what is left is cut with the next ones, so that no window waits for an hour's end."""
MOST_WAITING = 10_000
"""Parts in the outbox before they are joined."""
MOST_KEPT = 20_000
"""Parts in the outbox that have a job's name once they are joined: all of them are in every state that is saved."""
LATE_US = 10_000_000
"""Who is on a GPU whose energy is not known for longer than this is cut when it is: a part is not of another time."""


@dataclass(slots=True)
class Cuts:
    """The cuts of one host, and the parts that nobody has taken over yet.

    Attributes
    ----------
    slot_us : int, us
        Owners are cut at whole multiples of it.
    store_id : str
        Who numbers the parts; a new one where the numbers start again.
    next_seq : int
        Of the next part: 1, 2, 3, ...
    cuts : dict of (owner, GPU) to Cut
    runs : dict of job to int, us
        When each job that was cut began, as it was known then: its start may still be found to be earlier.
    power : dict of job to str
        Power over time of each open job, as whoever follows it wrote it.
    watts : KnownWatts
        What each job draws, as parts tell it.
    outbox : deque of JobPart
        In the order of their numbers, until they are acknowledged.
    records : dict of (job, run) to JobRecord
        Who the jobs of the parts in the outbox are.
    """

    slot_us: int = 3_600_000_000
    store_id: str = ""
    next_seq: int = 1
    cuts: dict[tuple[str, GpuKey], Cut] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    power: dict[str, str] = field(default_factory=dict)
    watts: KnownWatts = field(default_factory=KnownWatts)
    outbox: deque[JobPart] = field(default_factory=deque)
    records: dict[tuple[str, int], JobRecord] = field(default_factory=dict)
    _due: deque[tuple[str, GpuKey]] = field(default_factory=deque)
    _slot: int = -1
    _at_us: int = -1

    def follow(
        self,
        jobs: Mapping[JobKey, JobAccount],
        gpus: Mapping[GpuKey, GpuAccount],
        since_us: int,
        now_us: int,
        known_us: Mapping[GpuKey, int] | None = None,
    ) -> None:
        """Cut everybody once a slot is over, `MOST` parts a window.

        Parameters
        ----------
        jobs : mapping of key to JobAccount
            All that are open.
        gpus : mapping of GpuKey to GpuAccount
        since_us, now_us : int, us
            When these accounts began, and the end of the window.
        known_us : mapping of GpuKey to int, us
            Until when the energy of each GPU is known; without, until now.
        """
        for gpu, new in gpus.items():
            if (IDLE, gpu) not in self.cuts:  # nobody has used anything yet, whenever that is booked
                begin = Cut(min(max(since_us, new.here_since_us), now_us))
                self.cuts[IDLE, gpu] = self.cuts[UNATTRIBUTED, gpu] = begin
        if now_us < self._at_us:
            self._set_back(jobs, gpus, now_us)
        self.watts.follow(jobs, self._at_us)
        self._at_us = now_us
        slot = now_us // self.slot_us
        if slot != self._slot:
            if self._slot >= 0:
                self._due = deque(_everybody(jobs, gpus))
            self._slot = slot
        for _ in range(min(MOST, len(self._due))):
            owner, gpu = due = self._due.popleft()
            if known_us is not None and known_us.get(gpu, now_us) < now_us - LATE_US:
                self._due.append(due)
            elif (account := gpus.get(gpu)) is None:
                continue
            elif owner in {IDLE, UNATTRIBUTED}:
                self._cut_nobody(owner, gpu, account, now_us)
            elif (job := jobs.get(JobKey(owner))) is not None and gpu in job.lines:
                self._cut_job(job, gpu, account, now_us)

    def _set_back(self, jobs: Mapping[JobKey, JobAccount], gpus: Mapping[GpuKey, GpuAccount], now_us: int) -> None:
        """Cut everybody where the wall clock stood before it was set back: what follows begins where it stands now."""
        self.cut_everybody(jobs, gpus, self._at_us)
        self.cuts = {place: replace(cut, at_us=min(cut.at_us, now_us)) for place, cut in self.cuts.items()}

    def cut_everybody(self, jobs: Mapping[JobKey, JobAccount], gpus: Mapping[GpuKey, GpuAccount], now_us: int) -> None:
        """Cut everybody at once."""
        for owner, gpu in _everybody(jobs, gpus):
            if owner in {IDLE, UNATTRIBUTED}:
                self._cut_nobody(owner, gpu, gpus[gpu], now_us)
            else:
                self._cut_job(jobs[JobKey(owner)], gpu, gpus[gpu], now_us)

    def close(self, jobs: Iterable[JobAccount], gpus: Mapping[GpuKey, GpuAccount]) -> None:
        """Cut jobs for the last time, whose accounts are closed: the last part of each says so, whatever it holds."""
        for job in jobs:
            last = len(job.lines) - 1
            for place, gpu in enumerate(job.lines):
                self._cut_job(job, gpu, gpus[gpu], job.end_us, END if place == last else 0)
                self.cuts.pop((job.key, gpu), None)
            self.runs.pop(job.key, None)
            self.power.pop(job.key, None)
            self.watts.kept.pop(job.key, None)

    def acknowledge(self, seq: int) -> None:
        """Forget the parts up to this number: they are where they outlive a power cut."""
        if not self.outbox or self.outbox[0].seq > seq:
            return
        while self.outbox and self.outbox[0].seq <= seq:
            self.outbox.popleft()
        self._forget_records()

    def begin_here(self, jobs: Mapping[JobKey, JobAccount], gpus: Mapping[GpuKey, GpuAccount], now_us: int) -> None:
        """Cut everybody without a part: what was used before is in nobody's history, or in another one."""
        for gpu, account in gpus.items():
            for owner in (IDLE, UNATTRIBUTED):
                self.cuts[owner, gpu] = Cut(now_us, used_by_nobody(owner, account))
        for job in jobs.values():
            for gpu in job.lines:
                self.cuts[job.key, gpu] = Cut(now_us, used_by(job, gpu, gpus[gpu]))

    def begin_store(self, store_id: str) -> None:
        """Start the numbers again, with what waits: the history that knew the old ones is lost."""
        self.store_id, self.next_seq = store_id, len(self.outbox) + 1
        self.outbox = deque(replace(part, seq=seq) for seq, part in enumerate(self.outbox, 1))

    def catch_up(
        self, written: Sequence[JobPart], jobs: Mapping[JobKey, JobAccount], gpus: Mapping[GpuKey, GpuAccount]
    ) -> None:
        """Take over parts that were written, and that these cuts, of an older state, do not know of.

        The accounts will book again what they are of, as far as a counter tells; until then nobody is cut who, so far,
        used less than was written.

        Parameters
        ----------
        written : sequence of JobPart
            In the order of their numbers, the last one included.
        jobs : mapping of key to JobAccount
            All that are open.
        gpus : mapping of GpuKey to GpuAccount
        """
        keys = {key.gpu: key for key in gpus}
        for part in written:
            key = keys.get(part.gpu)
            if key is not None and (part.job in {IDLE, UNATTRIBUTED} or part.job in jobs):
                before = self.cuts.get((part.job, key)) or Cut(part.from_us)
                self.cuts[part.job, key] = Cut(max(part.to_us, before.at_us), before.used.plus(part))
                if part.job in jobs:
                    self.runs[part.job] = part.run_us
        self.next_seq = written[-1].seq + 1
        self.outbox.clear()  # all of it had lower numbers
        self.records.clear()

    def compact(self, after: int) -> int:
        """Join the parts that wait, by owner and GPU: a history that cannot be written for days must not fill memory.

        Where too many are left, the oldest jobs that ended lose their names: their joules are ``_other``'s.

        Parameters
        ----------
        after : int
            Up to this number parts were handed over: they may have come to the disk, and then must not change.

        Returns
        -------
        int
            How many jobs lost their names.
        """
        self._join(after, lambda part: (part.job, part.run_us))
        ended = dict.fromkeys((p.job, p.run_us) for p in self.outbox if p.flags & END and p.seq > after)
        nameless = set(list(ended)[: max(len(self.outbox) - MOST_KEPT, 0)])
        if nameless:
            self._join(
                after, lambda part: (OTHER, 0) if (part.job, part.run_us) in nameless else (part.job, part.run_us)
            )
            self._forget_records()
        return len(nameless)

    def _join(self, after: int, owner: Callable[[JobPart], tuple[str, int]]) -> None:
        """Join what waits beyond a number, by who is to own it."""
        joined: dict[tuple[object, ...], JobPart] = {}
        for part in self.outbox:
            place: tuple[object, ...] = (part.seq,)
            now = part
            if part.seq > after:
                job, run_us = owner(part)
                place = job, run_us, part.gpu
                now = part if job == part.job else replace(part, job=job, run_us=run_us, flags=0, watts_mw=None)
            before = joined.pop(place, None)  # the later number, in the order of the numbers
            joined[place] = now if before is None else before.followed_by(now)
        self.outbox = deque(joined.values())

    def _forget_records(self) -> None:
        needed = {(part.job, part.run_us) for part in self.outbox}
        self.records = {place: record for place, record in self.records.items() if place in needed}

    def _cut_nobody(self, owner: str, gpu: GpuKey, account: GpuAccount, now_us: int) -> None:
        """Cut idle power, or what nobody is known to have used."""
        if (taken := self._take(owner, gpu, used_by_nobody(owner, account), now_us, now_us)) is not None:
            from_us, part = taken
            self._send(owner, 0, gpu, from_us, now_us, part)

    def _cut_job(self, job: JobAccount, gpu: GpuKey, account: GpuAccount, now_us: int, flags: int = 0) -> None:
        line, used = job.lines[gpu], used_by(job, gpu, account)
        began_us = job.start_us if job.start_us >= 0 else now_us
        now_us = min(now_us, job.end_us) if job.end_us >= 0 else now_us  # all of it was used until then
        taken = self._take(job.key, gpu, used, began_us, now_us, even_nothing=bool(flags))
        if taken is None:
            return
        from_us, part = taken
        run_us = self.runs.setdefault(job.key, began_us)
        end_us = job.end_us if flags & END else -1
        power = self.power.get(job.key, "")
        work = job.work.done().text() if job.work is not None else ""
        record = JobRecord(job.key, run_us, began_us, end_us, job.uid, dict(job.labels), power, work)
        self.records[job.key, run_us] = record
        watts_mw = self.watts.of(job.key, gpu)
        self._send(job.key, run_us, gpu, from_us, now_us, part, line.cut_peak_mw, job.method, flags, watts_mw)
        line.cut_peak_mw = 0

    def _take(
        self, owner: str, gpu: GpuKey, used: AmountUsed, began_us: int, now_us: int, *, even_nothing: bool = False
    ) -> tuple[int, AmountUsed] | None:
        """Return since when, and what, was used since the last cut, and cut here; None if that is nothing."""
        before = self.cuts.get((owner, gpu)) or Cut(min(began_us, now_us))
        part = used.less(before.used)
        if part.is_less:
            return (before.at_us, AmountUsed(covered_us=0)) if even_nothing else None
        at_us = max(now_us, before.at_us)
        if part.is_nothing and not even_nothing:
            self.cuts[owner, gpu] = Cut(at_us, before.used)  # what is used later was not used in this time
            return None
        self.cuts[owner, gpu] = Cut(at_us, used)
        return before.at_us, part

    def _send(  # noqa: PLR0917 - the columns of a part
        self,
        owner: str,
        run_us: int,
        gpu: GpuKey,
        from_us: int,
        now_us: int,
        used: AmountUsed,
        peak_mw: int = 0,
        method: int = 0,
        flags: int = 0,
        watts_mw: tuple[int, int] | None = None,
    ) -> None:
        # A clock that was set back hides how long it took: no less than a GPU needs for it, or nobody would believe it.
        until_us = max(now_us, from_us)
        from_us = min(from_us, max(0, until_us - parts_json.least_us(used.static_hnj + used.dynamic_hnj)))
        part = JobPart(
            self.next_seq, owner, run_us, gpu.gpu, from_us, until_us, used.static_hnj, used.dynamic_hnj,
            used.active_us, used.held_us, peak_mw, used.edges, method, used.doubt, flags, used.covered_us,
            watts_mw,
        )  # fmt: skip
        self.outbox.append(part)
        self.next_seq += 1

    def plain(self) -> dict[str, Any]:
        """Lay out as plain values for the state file."""
        return {
            **self.plain_rest(),
            "cuts": [[owner, gpu.gpu, *cut.plain()] for (owner, gpu), cut in self.cuts.items()],
            "runs": self.runs,
            "power": self.power,
            "known_watts": self.watts.kept,
            "outbox": [parts_json.plain(part) for part in self.outbox],
            "records": [parts_json.plain_record(record) for record in self.records.values()],
        }

    def plain_rest(self) -> dict[str, Any]:
        """Lay out what is in none of its tables."""
        return {
            "slot_us": self.slot_us,
            "store_id": self.store_id,
            "next_seq": self.next_seq,
            "slot": self._slot,
            "at_us": self._at_us,
            "due": [{"owner": owner, "gpu": gpu.gpu} for owner, gpu in self._due],
            "columns": CUT_COLUMNS,
        }

    @classmethod
    def of_plain(cls, host: str, values: Mapping[str, Any]) -> Cuts:
        """Read what `plain` laid out; the GPUs are this host's.

        Raises
        ------
        ValueError, KeyError, TypeError
            It is something else.
        """
        if tuple(values["columns"]) != CUT_COLUMNS:
            raise ValueError("cuts have other columns")
        found = cls(int(values["slot_us"]), str(values["store_id"]), int(values["next_seq"]))
        found._slot, found._at_us = int(values["slot"]), int(values["at_us"])
        found._due.extend((str(one["owner"]), GpuKey(host, str(one["gpu"]))) for one in values["due"])
        for owner, gpu, *row in values["cuts"]:
            found.cuts[str(owner), GpuKey(host, str(gpu))] = Cut.of_plain(row)
        found.power = {str(job): str(text) for job, text in values["power"].items()}
        found.watts.restore(values.get("known_watts", {}))  # older agents have none
        found.runs = {str(job): int(run_us) for job, run_us in values["runs"].items()}
        found.outbox.extend(parts_json.own_of_plain(part) for part in values["outbox"])
        for record in map(parts_json.record_of_plain, values["records"]):
            found.records[record.key, record.run_us] = record
        return found


def _everybody(jobs: Mapping[JobKey, JobAccount], gpus: Mapping[GpuKey, GpuAccount]) -> Iterator[tuple[str, GpuKey]]:
    """Name all owners on all GPUs."""
    for gpu in gpus:
        yield IDLE, gpu
        yield UNATTRIBUTED, gpu
    for key, job in jobs.items():
        yield from ((key, gpu) for gpu in job.lines)
