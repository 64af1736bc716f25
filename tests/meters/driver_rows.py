"""Made-up drivers that answer rows of process utilisation, of whatever they are the mean of."""

from wattshed.agent.meters.process_rows import ProcessRow
from wattshed.agent.meters.shares import INTERVAL, LATEST, SAMPLE_US, SAMPLES

BASE_US = 1_623_157_629_331_552  # a driver's stamps have their own time base


class Driver:
    """Samples of each process, and the rows that a driver of one kind would make of them."""

    def __init__(self, reading, activities, period_us=SAMPLE_US):
        self.reading, self.activities, self.period_us = reading, activities, period_us

    def percent(self, pid, nth):
        pattern = self.activities[pid]
        return pattern[nth % len(pattern)]

    def rows(self, since_us, now_us):
        newest = (now_us - BASE_US) // self.period_us
        oldest = max((since_us - BASE_US) // self.period_us, newest - 60) + 1
        if self.reading == LATEST:
            oldest = max(oldest, newest)
        samples = range(max(1, oldest), newest + 1)
        rows = []
        for pid in self.activities:
            active = [(n, self.percent(pid, n)) for n in samples if self.percent(pid, n)]
            if not active:
                continue
            if self.reading == SAMPLES:
                rows += [ProcessRow(pid, BASE_US + n * self.period_us, value) for n, value in active]
                continue
            count = len(samples) if self.reading == INTERVAL else len(active)
            mean = round(sum(value for _, value in active) / count)
            rows.append(ProcessRow(pid, BASE_US + active[-1][0] * self.period_us, mean))
        return rows


class TickDriver:
    """A driver whose samples say what the whole GPU did and name one process, as driver 580 does on an H200.

    ``samples`` are (pid, percent), over and over; 0 names nobody. A stamp is late by up to a millisecond.
    """

    def __init__(self, samples, period_us=200_000, kept=71):
        self.samples, self.period_us, self.kept = samples, period_us, kept

    def stamp_us(self, nth):
        return BASE_US + nth * self.period_us + nth * 389 % 1_000

    def rows(self, since_us, now_us):
        newest = (now_us - BASE_US) // self.period_us
        new = [n for n in range(newest - self.kept, newest + 1) if since_us < self.stamp_us(n) <= now_us][-self.kept :]
        named = {}
        for n in new:
            pid, percent = self.samples[n % len(self.samples)]
            if pid:
                named.setdefault(pid, []).append((n, percent))
        return [
            ProcessRow(pid, self.stamp_us(mine[-1][0]), round(sum(value for _, value in mine) / len(new)))
            for pid, mine in named.items()
        ]
