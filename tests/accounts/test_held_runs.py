"""Windows in which jobs hold GPUs give, booked in runs, the very books that they give one by one."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.replay.gathering import gathered
from wattshed.agent.traces.jobs.assignment import Assignment
from wattshed.agent.traces.jobs.jobs_file import JobRow
from wattshed.agent.window import Device, Readings, Window, WindowBatch
from wattshed.kernels.billing import power_runs

S = 1_000_000
BEGIN = 1_700_000_000 * S
GPUS = 2
SHARES = (0, 100_000, 500_000, 1_000_000)


@st.composite
def recordings(draw):
    """Windows of one host, nearly all of them plain: clocks that go back, gaps, bad readings, rows beyond the end."""
    devices = tuple(
        Device("n", gpu, f"GPU-{gpu}", idle_mw=draw(st.sampled_from([-1, 70_000, 200_000]))) for gpu in range(GPUS)
    )
    faulty = draw(st.sampled_from([0, 0, 1, 3]))  # of ten rows
    powers = draw(st.sampled_from([[300_000, 301_000, 69_000], [70_000, 70_001, 650_000, 40_000], [300_000]]))
    length, at, found = draw(st.sampled_from([S, 3 * S, 70 * S])), BEGIN, []
    for seq in range(draw(st.integers(2, 14))):
        times, power = [], []
        for _ in range(GPUS):
            count = draw(st.integers(1, 6)) if draw(st.integers(0, 19)) else 0
            step = length // (count + 1)
            mine = at + step * np.arange(1, count + 1) + draw(st.sampled_from([0, 0, step // 2]))
            values = [draw(st.sampled_from(powers)) for _ in range(count)]
            for row in range(count):
                if faulty > draw(st.integers(0, 29)):
                    values[row] = draw(st.sampled_from([0, -1, -5, 30_000_000]))
                    mine[row] += draw(st.sampled_from([0, -2 * step, 5 * length]))
            times.append(mine)
            power += values
        offsets = np.cumsum([0, *map(len, times)])
        flat = np.concatenate(times).astype(np.int64)
        readings = Readings(offsets, flat, np.array(power, np.int32), np.full(len(flat), -1))
        found.append(Window("n", seq, at, at + length, devices, readings, np.full(GPUS, -1)))
        at += length + (draw(st.sampled_from([S, 20 * S])) if draw(st.integers(0, 14)) == 0 else 0)
    return found


@st.composite
def tables(draw, stream):
    """Jobs that begin and end anywhere, share GPUs by any of their names, come again, or have at most a share."""
    begin, end = stream[0].start_us, stream[-1].end_us
    edges = st.one_of(
        st.integers(begin - S, end + S), st.sampled_from([edge for w in stream for edge in (w.start_us, w.end_us)]),
        st.sampled_from([int(t) for w in stream for t in w.readings.time_us] or [begin]),
    )  # fmt: skip
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        since, until = sorted([draw(edges), draw(edges)])
        host = draw(st.sampled_from(["n", "n", "N.cluster", "", "other"]))
        gpus = draw(st.sampled_from([("0",), ("1",), ("*",), ("gpu-1",), ("0", "GPU-0"), ("GPU-0", "1"), ("7",)]))
        share = draw(st.sampled_from([-1, -1, 400_000, 10**6]))
        at_most = share > 0 and draw(st.integers(0, 4)) == 0
        job = f"j{draw(st.integers(0, 3))}"
        until += draw(st.integers(0, 1))  # of no length, too
        rows.append(JobRow(job, host, gpus, since, until, share_ppm=share, at_most=at_most, doubt_mw=5))
    return rows


class Told:
    """A table, with what it said counted."""

    def __init__(self, rows):
        self.table = Assignment(rows)
        self.owners, self.edges, self.told = self.table.owners, self.table.edges, self.table.apply


def said(accounts):
    """All that accounts are made of, before they are closed and after."""

    def everything():
        books = {
            key: (
                asdict(one.account.totals),
                *(getattr(one.account, n) for n in ("energy_hnj", "idle_hnj", "unattributed_hnj", "booked_us")),
                *(getattr(one.account, n) for n in ("silent_us", "missing_us", "up", "here_since_us")),
                asdict(one.state), one.late, one.waiting.plain(), vars_of(one.hole),
            )
            for key, one in zip(accounts.keys_of("n"), accounts.books_of("n"), strict=True)
        }  # fmt: skip
        jobs = {key: asdict(job) for key, job in accounts.ledger.jobs.items()}
        return books, list(jobs), jobs, accounts.known_us(0), accounts.measured()

    before = everything()
    accounts.finish()
    powers = {key: (one.power.quantiles(SHARES), one.power.total_us()) for key, one in accounts.gpus.items()}
    return before, everything(), powers


def vars_of(hole):
    return {name: getattr(hole, name) for name in ("since_us", "before", "gone", "came")}


@settings(max_examples=examples(400), deadline=None)
@given(st.data(), st.sampled_from([1, 6, 40, 10**6]))
def test_runs_are_the_sum_of_their_windows(data, rows):
    stream = data.draw(recordings())
    table = data.draw(tables(stream))
    one_by_one, in_runs, tables_told = Accounts(), Accounts(), [Told(table), Told(table)]
    for window in stream:
        one_by_one.add(tables_told[0].told(window))
    for item in gathered(stream, rows):
        in_runs.add_run(item, tables_told[1])
    assert said(in_runs) == said(one_by_one)
    assert tables_told[0].table.less_time == tables_told[1].table.less_time
    assert tables_told[0].table.doubt == tables_told[1].table.doubt


def test_most_windows_of_a_clean_recording_are_booked_in_runs():
    """Else the law above would say nothing."""
    booked = []

    def spy(runs, *rest):
        booked.append(sum(len(run.base_us) for run in runs))
        return power_runs.book_runs(runs, *rest)

    stream = list(clean(50))
    accounts = Accounts(book_powers=spy)
    for item in gathered(stream, 10**6):
        assert all(isinstance(batch, WindowBatch) for batch in item)
        accounts.add_run(item, Told([JobRow("a", "n", ("0",), BEGIN + 5 * S // 2, BEGIN + 25 * S)]))
    assert booked == [1, 49]  # the first window has none before it
    line = accounts.ledger.jobs["a"].lines["n", "GPU-0"]
    assert line.active_us == 22_500_000
    # From 2.5 s to 25 s at 300 W, and idle power of it is static.
    assert line.static_hnj == 2 * 70_000 * 22_500_000
    assert line.dynamic_hnj == pytest.approx(2 * 230_000 * 22_500_000, rel=1e-5)


def clean(count):
    devices = tuple(Device("n", gpu, f"GPU-{gpu}", idle_mw=70_000) for gpu in range(GPUS))
    for seq in range(count):
        at = BEGIN + seq * S
        times = np.tile(np.arange(at, at + S, S // 4), GPUS)
        readings = Readings(np.array([0, 4, 8]), times, np.full(8, 300_000, np.int32) + (seq % 2), np.full(8, -1))
        yield Window("n", seq, at, at + S, devices, readings, np.full(GPUS, -1))


@pytest.mark.parametrize("edge", [0, 1, 250_000, 500_000])
def test_a_run_ends_and_begins_with_the_table(edge):
    """Whoever begins and ends on an edge of a window, of a reading or within."""
    since, until = BEGIN + 7 * S + edge, BEGIN + 9 * S + edge
    books = []
    for runs in (False, True):
        accounts, told = Accounts(), Told([JobRow("a", "n", ("*",), since, until), JobRow("b", "n", ("1",), until, 0)])
        for item in gathered(clean(20), 64):
            if runs:
                accounts.add_run(item, told)
            else:
                for batch in item:
                    for window in batch.windows():
                        accounts.add(told.told(window))
        books.append(said(accounts))
    assert books[0] == books[1]
