"""What a driver said lately of the processes of one GPU, where it is too slow to be asked for each of its samples.

Asked once a second, say, it reports now this and now that of a load in bursts. The energy of a second must not be split
by what one sample in it says: whoever was not active in that would have none of it, and sigma would say that this is
certain. So the last answers count together. How far they move also shows whether it matters what rows are the mean of:
where all are active in every sample, and alike, every reading is the same.
"""

from __future__ import annotations

from collections import deque

ANSWERS = 32  # that count together
RATE = 0.05  # by which means of answers follow: some twenty
CALMS = 1 / 3  # so much slower they are taken to be steady again
MOVES = 0.05  # by so much, of the whole GPU, an activity may change from answer to answer and be steady
MATTERS, CALM = 0.1, 0.05  # part of the activity that has to move for the reading to matter, and to go on to do so
OLDER = 3  # answers with a row of another sample than the newest show that rows are not the newest sample alone
LONG = 0.01  # the same of what is compared with what the GPU did, which lasts
TOO_MUCH, AT_FIRST = 1.1, 4  # times what the GPU did: so much rows cannot add up to, were they means of the whole time


class Lately:
    """The last answers of the driver, and what follows from how they differ.

    Attributes
    ----------
    matters : bool
        Whether what rows are the mean of could move more than a twentieth of the activity, as far as is seen.
    too_much : bool
        Rows added up to more than the GPU did: they are not means of the time that they were asked for, or kernels ran
        side by side.
    """

    def __init__(self) -> None:
        self.matters, self.too_much = True, False
        self._older = 0
        self._answers: deque[dict[int, float]] = deque(maxlen=ANSWERS)
        self._moved, self._used = 1.0, 0.0
        self._compared, self._told, self._did = 0, 0.0, 0.0
        self._since_us, self._since = 0, 0.0  # what was reported since the last comparison: time, ratio x time

    @property
    def spotty(self) -> bool:
        """Whether an answer may be of one sample only, so that it says little of the time that it was asked for."""
        return self.too_much or self._older < OLDER

    def rest(self) -> None:
        """Forget the answers: nobody asks for a while."""
        self._answers.clear()

    def add(self, said: dict[int, float], span_us: int, *, whole: bool, past: set[int], older: bool) -> None:
        """Take note of an answer.

        Parameters
        ----------
        said : dict of pid -> ratio
        span_us : int, us
            Of what time.
        whole : bool
            Each sample since the last answer was asked for by itself, so that no reading differs from another.
        past : set of pid
            Who was not active in the newest sample.
        older : bool
            There are rows of different samples in it.
        """
        self._older += older
        before = self._answers[-1] if self._answers else {}
        moved = 0.0
        for pid in said.keys() | before.keys():
            step = abs(said.get(pid, 0.0) - before.get(pid, 0.0))
            moved += max(step if step > MOVES else 0.0, said[pid] if pid in past else 0.0)
        step = (0.0 if whole else moved) - self._moved
        self._moved += step * RATE * (1.0 if step > 0 else CALMS)
        self._used += RATE * (sum(said.values()) - self._used)
        self.matters = self._moved > (CALM if self.matters else MATTERS) * self._used
        self._answers.append(said)
        self._since_us += span_us
        self._since += sum(said.values()) * span_us

    def newest(self) -> dict[int, float] | None:
        """Return the newest answer; None if there is none."""
        return self._answers[-1] if self._answers else None

    def mean(self) -> dict[int, float]:
        """Return the mean of the last answers by pid, each from the first that names it on."""
        total: dict[int, float] = {}
        count: dict[int, int] = {}
        for said in self._answers:
            for pid in said.keys() | total.keys():
                total[pid] = total.get(pid, 0.0) + said.get(pid, 0.0)
                count[pid] = count.get(pid, 0) + 1
        return {pid: ratio / count[pid] for pid, ratio in total.items()}

    def compare(self, did: float) -> None:
        """Compare what rows add up to with what the GPU did in all (0-1)."""
        if not self._since_us:
            return
        self._compared += 1
        self._told += LONG * (self._since / self._since_us - self._told)
        self._since_us, self._since = 0, 0.0
        self._did += LONG * (did - self._did)
        bound = (TOO_MUCH + AT_FIRST / self._compared) * self._did
        self.too_much = self.too_much or (self._compared >= ANSWERS and self._told > bound)
