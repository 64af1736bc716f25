"""Power over time of a job while it ran: at most 120 bins of equal length, which double as the job goes on.

A job's energy grows in its account; its profile says when. It is looked at once a bin, so following it costs next to
nothing, and what it grew by since is spread evenly over the time that was measured meanwhile. Time that nobody
measured has no power: a bin without any is unknown, and never 0. All bins add up to the energy of the account exactly.
"""

from __future__ import annotations

import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from wattshed.exporters.units import HNJ_PER_JOULE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MOST = 120
FIRST_US = 5_000_000
"""Length of the first bins."""
_FULL, _UNKNOWN = 65_534, 65_535
_LONGEST_US, _MOST_HNJ = 2**62, 2**80
_Segment = tuple[float, float, float | None]


class EnergyLine(Protocol):
    """What a job used on one GPU, hnj."""

    static_hnj: int
    dynamic_hnj: int


class FollowedJob(Protocol):
    """An open account of a job."""

    start_us: int
    end_us: int

    @property
    def key(self) -> str:
        """Of the job."""

    @property
    def lines(self) -> Mapping[Any, EnergyLine]:
        """By GPU."""


class KnownEnergy(NamedTuple):
    """How far the energy of a GPU is known: for how much time in all, and until when, us; -1 is never."""

    booked_us: int
    until_us: int


_NEVER = KnownEnergy(0, -1)


@dataclass(slots=True)
class PowerProfile:
    """One job's power over time.

    Attributes
    ----------
    start_us, bin_us : int, us
        Where the first bin begins, and the length of each.
    until_us : int, us
        Up to when the job's energy is in it.
    energy_hnj : int, hnj
        The sum of all bins.
    before_hnj : int, hnj
        What the account held when this began.
    bins : list of int or None, hnj
        None: nothing was measured in it.
    booked_us : list of int, us
        How much of the time of each GPU was measured by then.
    """

    start_us: int
    bin_us: int = FIRST_US
    until_us: int = 0
    energy_hnj: int = 0
    before_hnj: int = 0
    bins: list[int | None] = field(default_factory=list)
    booked_us: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin where the first bin does."""
        self.until_us = max(self.until_us, self.start_us)

    def look(self, account_hnj: int, gpus: Sequence[KnownEnergy], end_us: int) -> None:
        """Enter what an account grew by.

        Parameters
        ----------
        account_hnj : int, hnj
            What it holds now.
        gpus : sequence of KnownEnergy
            Its GPUs, as they are now; further ones come at the end.
        end_us : int, us
            When the job was seen last.
        """
        to_us = max(min(max((gpu.until_us for gpu in gpus), default=end_us), end_us), self.until_us)
        grown_hnj = account_hnj - self.before_hnj - self.energy_hnj
        elapsed_us = to_us - self.until_us
        pairs = zip(gpus, self.booked_us, strict=False)  # of a GPU that is new, nothing is known yet
        measured_us = max((gpu.booked_us - before_us for gpu, before_us in pairs), default=elapsed_us)
        if elapsed_us or not self.booked_us:
            self.booked_us = [gpu.booked_us for gpu in gpus]
        if not grown_hnj and not (elapsed_us and measured_us):
            return  # what was used meanwhile will be known later, or never
        self._add(grown_hnj, to_us - min(measured_us or elapsed_us, elapsed_us), to_us)

    def _add(self, hnj: int, from_us: int, to_us: int) -> None:
        """Enter an energy that was used evenly in a stretch; one without a length is the last bin's."""
        while to_us > self.start_us + MOST * self.bin_us:
            self._double()
        from_us = min(from_us, to_us)
        first = max(from_us - self.start_us, 0) // self.bin_us
        last = max(to_us - 1 - self.start_us, 0) // self.bin_us
        first = min(first, last)
        self.bins += [None] * (last + 1 - len(self.bins))
        done_hnj = 0
        for place in range(first, last + 1):
            end_us = self.start_us + (place + 1) * self.bin_us
            by_then_hnj = hnj if place == last else hnj * (end_us - from_us) // (to_us - from_us)
            self.bins[place] = (self.bins[place] or 0) + by_then_hnj - done_hnj
            done_hnj = by_then_hnj
        self.energy_hnj += hnj
        self.until_us = max(self.until_us, to_us)

    def _double(self) -> None:
        bins = self.bins + [None] * (len(self.bins) % 2)
        pairs = zip(bins[::2], bins[1::2], strict=True)
        self.bins = [None if one is other is None else (one or 0) + (other or 0) for one, other in pairs]
        self.bin_us *= 2

    def due_us(self, now_us: int) -> int:
        """Return when the bin of this moment is over."""
        return self.start_us + ((now_us - self.start_us) // self.bin_us + 1) * self.bin_us

    def text(self) -> str:
        """Write it in a few hundred characters: each bin as a share of the largest, all of them exact as a sum."""
        scale = _FULL / max([1, *(hnj for hnj in self.bins if hnj is not None)])
        shares = [_UNKNOWN if hnj is None else int(max(hnj, 0) * scale + 0.5) for hnj in self.bins]
        packed = b64encode(struct.pack(f"<{len(shares)}H", *shares)).decode()
        return f"{self.start_us} {self.bin_us} {self.until_us} {self.energy_hnj} {packed}"

    @classmethod
    def of_text(cls, text: str) -> PowerProfile:
        """Read what `text` wrote; the bins are near what they were, and their sum is the same.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            *numbers, packed = text.split(" ")
            start_us, bin_us, until_us, energy_hnj = map(int, numbers)
            shares = [share for (share,) in struct.iter_unpack("<H", b64decode(packed, validate=True))]
        except (ValueError, struct.error):
            raise ValueError("is not a job's power over time") from None
        times = 0 <= start_us <= until_us < _LONGEST_US and 0 < bin_us < _LONGEST_US
        if not times or not 0 <= energy_hnj < _MOST_HNJ or len(shares) > MOST:
            raise ValueError("is not a job's power over time")
        found = cls(start_us, bin_us, until_us, energy_hnj)
        whole, so_far, done_hnj = sum(share for share in shares if share != _UNKNOWN), 0, 0
        for share in shares:
            if share == _UNKNOWN:
                found.bins.append(None)
                continue
            so_far += share
            by_then_hnj = energy_hnj * so_far // whole if whole else 0
            found.bins.append(by_then_hnj - done_hnj)
            done_hnj = by_then_hnj
        return found

    def stretches(self) -> Iterator[tuple[int, int, int | None]]:
        """Yield each bin's time, which the last may not have reached the end of, with its energy."""
        for place, hnj in enumerate(self.bins):
            from_us = self.start_us + place * self.bin_us
            yield from_us, max(min(from_us + self.bin_us, self.until_us), from_us), hnj

    @classmethod
    def together(cls, profiles: Sequence[PowerProfile]) -> PowerProfile:
        """Add up the profiles of a job's hosts; a time is known if it is of any of them."""
        whole = cls(min(one.start_us for one in profiles), max(one.bin_us for one in profiles))
        for one in profiles:
            for from_us, to_us, hnj in one.stretches():
                if hnj is not None:
                    whole._add(hnj, from_us, to_us)
        return whole

    def segments(self, end_us: int = -1) -> list[_Segment]:
        """Return its stretches of time with the mean power in each: from (s), to (s), W or None for what is not known.

        Parameters
        ----------
        end_us : int, us
            When the job ended: what is missing until then, beyond a bin, is not known.
        """
        found: list[_Segment] = []
        for from_us, to_us, hnj in self.stretches():
            if to_us > from_us:
                watts = None if hnj is None else hnj / HNJ_PER_JOULE / ((to_us - from_us) / 1e6)
                found.append((from_us / 1e6, to_us / 1e6, watts))
        if end_us > self.until_us + self.bin_us:
            found.append((self.until_us / 1e6, end_us / 1e6, None))
        return found


def power(texts: Sequence[str], end_us: int) -> list[list[float | None]]:
    """Lay out the power over time of a job, of whose hosts each wrote one text, for a document.

    Raises
    ------
    ValueError
        If a host wrote none, or something else.
    """
    if not texts:
        raise ValueError("nobody followed it")
    whole = PowerProfile.together([PowerProfile.of_text(text) for text in texts])
    return [[begin, end, None if watts is None else round(watts, 6)] for begin, end, watts in whole.segments(end_us)]


class PowerProfiles:
    """The profiles of all open jobs of a host; its GPUs are told as the two numbers of a `KnownEnergy`.

    Parameters
    ----------
    texts : dict of job key to str
        Kept up to date, for those who save it and those who show it: each is replaced, never changed.
    """

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts
        self._open: dict[str, PowerProfile] = {}
        self._due_us: dict[str, int] = {}
        self._before: Mapping[Any, tuple[int, int]] = {}  # the GPUs at the end of the last window

    def go_on(self, jobs: Iterable[FollowedJob], gpus: Mapping[Any, tuple[int, int]], saved_us: int) -> None:
        """Continue at what was saved; a job whose profile was not has one from then on."""
        for job in jobs:
            try:
                profile = PowerProfile.of_text(self._texts[job.key])
            except (KeyError, ValueError):
                profile = PowerProfile(max(saved_us, job.start_us), before_hnj=_account_hnj(job))
            self._open[job.key] = profile
            self._look(job, gpus, saved_us)  # until it was saved, all was measured
        self._before = gpus

    def follow(self, jobs: Iterable[FollowedJob], gpus: Mapping[Any, tuple[int, int]], now_us: int) -> None:
        """Take note of the open jobs at the end of a window: of those whose bin is over."""
        due_us = self._due_us
        for job in jobs:
            if now_us >= due_us.get(job.key, 0):
                self._look(job, gpus, now_us)
        self._before = gpus

    def close(self, jobs: Iterable[FollowedJob], gpus: Mapping[Any, tuple[int, int]]) -> None:
        """Take note of the last of jobs whose accounts are closed, and let go of them; their texts stay."""
        for job in jobs:
            self._look(job, gpus, job.end_us)
            del self._open[job.key], self._due_us[job.key]

    def _look(self, job: FollowedJob, gpus: Mapping[Any, tuple[int, int]], now_us: int) -> None:
        profile = self._open.get(job.key)
        if profile is None:
            booked_us = [self._before.get(gpu, _NEVER)[0] for gpu in job.lines]
            profile = self._open[job.key] = PowerProfile(max(job.start_us, 0), booked_us=booked_us)
        profile.look(
            _account_hnj(job), [KnownEnergy(*gpus.get(gpu, _NEVER)) for gpu in job.lines], min(now_us, job.end_us)
        )
        self._texts[job.key] = profile.text()
        self._due_us[job.key] = profile.due_us(now_us)


def _account_hnj(job: FollowedJob) -> int:
    return sum(line.static_hnj + line.dynamic_hnj for line in job.lines.values())
