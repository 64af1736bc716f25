"""An agent as a process of its own, as fast as it can: thousands of short jobs, from windows that are made here.

Run as a program: ``short_jobs.py FOLDER WINDOWS JOBS_A_MINUTE KEEP_S``. It goes on where the state in the folder ends,
so that a window whose state was not saved comes again, and ends after the last one.
"""

import sys
import time
from pathlib import Path

from tests.accounts.made import S, device, window
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.publishing import Publisher
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.daemon.board import Board
from wattshed.agent.daemon.history_feed import HistoryFeed
from wattshed.agent.daemon.loop import Daemon
from wattshed.agent.daemon.loop_parts import LoopLimits
from wattshed.agent.daemon.systemd import Notifier
from wattshed.agent.errors import Faults
from wattshed.agent.history import writer
from wattshed.agent.history.writer import HistoryWriter

T0 = 1_772_323_200 * S - 100 * S  # 100 s before an hour ends
GPUS = 8
MW = 300_000
SLOT_S = 900


def times_of(number, a_minute):
    """When a job begins and ends, us since the beginning; and its GPU."""
    start = number * 60 * S // a_minute
    return start, start + 200_000 + number % 37 * 100_000, number % GPUS


def windows(first, count, a_minute):
    """A window a second; a job may begin and end within it."""
    devices = tuple(device(gpu, model="H100") for gpu in range(GPUS))
    last = count - 20  # then nobody comes any more
    for n in range(first, count):
        begin, end = n * S, (n + 1) * S
        usage = []
        for number in range(
            max(0, (begin - 5 * S) * a_minute // (60 * S)), min(end, last * S) * a_minute // (60 * S) + 1
        ):
            start, stop, gpu = times_of(number, a_minute)
            if start < min(end, last * S) and stop > begin:
                usage.append((gpu, f"slurm:{number}", T0 + max(start, begin), T0 + min(stop, end), -1, -1, 1))
        counted = [[(T0 + begin + 500_000, MW, 1_000 + (begin + 500_000) * MW // S)]] * GPUS
        yield window(T0 + begin, T0 + end, counted, usage, devices, seq=n)


class Stream:
    """The windows, as the sampler hands them over."""

    late_s = duty = 0.0

    def __init__(self, made):
        self._made = made

    def next(self):
        return next(self._made), []

    def calls(self):
        return {}


def restored(folder):
    """The accounts that a folder's state holds, and what was cut of them."""
    accounts = Accounts(live=True)
    return accounts, StateFile(folder, "h", "boot").restore(accounts, Calibrator())


def main(folder, count, a_minute, keep_s):
    faults, accounts = Faults(), Accounts(live=True)
    writer.AGAIN_S = 0.2
    history = HistoryWriter(folder / "history.db", "h", faults)
    feed = HistoryFeed(history, SLOT_S * S)
    publisher = Publisher("h", "test", "nvml", "nvml", T0)
    _, found = restored(folder)
    first = (found.saved_us - T0) // S if found.found else 0
    daemon = Daemon(
        windows=Stream(windows(first, count, a_minute)),
        resolver=None,
        accounts=accounts,
        calibrator=Calibrator(),
        publisher=publisher,
        board=Board(publisher.empty(T0)),
        recorder=None,
        state=StateFile(folder, "h", "boot"),
        notifier=Notifier({}),
        faults=faults,
        limits=LoopLimits(keep_s * S),
        history=feed,
    )
    daemon.restore()
    for _ in range(first, count):
        daemon.step()
    while feed.cuts.outbox:  # what is there at the end is written
        time.sleep(0.01)
        feed.cuts.acknowledge(history.done(feed.cuts.store_id))
        feed.saved(accounts, T0 + count * S)
    daemon.close()
    history.stop()
    print("faults", dict(faults.counts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
