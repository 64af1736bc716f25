"""A table laid over windows, against the same moment by moment: who is told of a GPU, and for how much."""

import itertools
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from wattshed.agent.traces.jobs.assignment import Assignment
from wattshed.agent.traces.jobs.jobs_file import JobRow
from wattshed.agent.window import Device, JobKey, Owner, Readings, Usage, Window
from wattshed.kernels.billing.shares import AT_MOST, LIVE

LENGTH = 24
DEVICES = (Device("n1", 0, "GPU-aa"), Device("n1", 1, "GPU-bb", pci_bus_id="0000:07:00.0"), Device("n2", 0, ""))
NAMES = {0: {"*", "0", "GPU-aa", "gpu-AA"}, 1: {"*", "1", "GPU-bb", "0000:07:00.0"}, 2: {"*", "0"}}
KNOWN = ("slurm:9", "pid:5", "a", "pid:6")
TIME = st.integers(0, LENGTH)


@st.composite
def tables(draw):
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        start, end = sorted((draw(TIME), draw(TIME)))
        at_most = draw(st.booleans())
        rows.append(
            JobRow(
                draw(st.sampled_from(["a", "b", "c"])),
                draw(st.sampled_from(["", "n1", "n2", "n3"])),
                tuple(draw(st.sets(st.sampled_from(sorted(NAMES[0] | NAMES[1])), min_size=1, max_size=2))),
                start,
                end,
                share_ppm=draw(st.sampled_from([250_000, 500_000] if at_most else [-1, 500_000])),
                at_most=at_most,
                doubt_mw=draw(st.integers(0, 3)) if at_most else 0,
                labels={"user": draw(st.sampled_from("xy"))},
            )
        )
    # A row that names all GPUs among others is not what a table says.
    return [row for row in rows if "*" not in row.gpus or row.gpus == ("*",)]


USED = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), TIME, TIME, st.sampled_from([-1, 0, 7, 1000])), max_size=6
)


def runs_of(rows, gpu):
    """Of each job on a GPU: its rows, those that overlap made one, with the most that any of them says."""
    device, found = DEVICES[gpu], []
    for job in {row.job for row in rows}:
        mine = sorted(
            (row.start_us, row.end_us, row.share_ppm, AT_MOST if row.at_most else LIVE, row.doubt_mw)
            for row in rows
            if row.job == job and row.host in {"", device.host} and NAMES[gpu] & set(row.gpus)
            if row.start_us < row.end_us  # a row of no length holds nothing
        )
        runs = []
        for one in mine:
            if runs and one[0] < runs[-1][1]:
                last = runs[-1]
                runs[-1] = (
                    last[0],
                    max(last[1], one[1]),
                    max(last[2], one[2]),
                    min(last[3], one[3]),
                    max(last[4], one[4]),
                )
            else:
                runs.append(one)
        found += [(job, *run) for run in runs]
    return found


def moments(window):
    """Each row of a window's usage, moment by moment: (gpu, key, moment, share, live) and how many rows say so."""
    usage, found = window.usage, Counter()
    for gpu, owner, start, end, share, live in zip(
        *(getattr(usage, name).tolist() for name in ("gpu", "owner", "start_us", "end_us", "share_ppm", "live")),
        strict=True,
    ):
        found.update((gpu, window.owners[owner].key, t, share, live) for t in range(start, end))
    return found


@settings(max_examples=examples(300), deadline=None)
@given(tables(), USED, TIME)
def test_what_a_window_knows_stands_and_the_table_fills_the_rest(rows, used, cut):
    used = [(gpu, owner, min(a, b), max(a, b), activity) for gpu, owner, a, b, activity in used]
    assignment = Assignment(rows)
    runs = [runs_of(rows, gpu) for gpu in range(len(DEVICES))]
    less, doubt = Counter(), Counter()
    for begin, stop in itertools.pairwise((0, cut, LENGTH)):
        mine = [(g, o, max(a, begin), min(b, stop), x) for g, o, a, b, x in used if max(a, begin) < min(b, stop)]
        columns = np.array(mine, np.int64).reshape(-1, 5).T
        n = len(mine)
        usage = Usage(
            columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2], columns[3], columns[4],
            np.full(n, -1, np.int32), np.ones(n, np.int8),
        )  # fmt: skip
        owners = tuple(Owner(JobKey(key), {"seen": "1"}) for key in KNOWN)
        window = Window("n1", 0, begin, stop, DEVICES, Readings.empty(3), np.full(3, -1), owners, usage)
        found = assignment.apply(window)
        wanted = Counter()
        for gpu in range(len(DEVICES)):
            for t in range(begin, stop):
                here = [KNOWN[o] for g, o, a, b, _ in mine if g == gpu and a <= t < b]
                known = [key for key in here if not key.startswith("pid:")]
                told = [] if known else [run for run in runs[gpu] if run[1] <= t < run[2]]
                nameless = [] if told else [key for key in here if key.startswith("pid:")]
                wanted.update((gpu, key, t, -1, 1) for key in known + nameless)
                for job, _, _, share, live, doubt_mw in told:
                    wanted[gpu, job, t, share, live] += 1
                    if live == AT_MOST:
                        less[job] += 1_000_000 - share
                        doubt[job] += share * doubt_mw
        assert moments(found) == wanted
        # What a process did is parted by time, rounded down; what it did while a job had the GPU is the job's.
        for place, one in enumerate(found.owners):
            rows_of_it = np.flatnonzero(found.usage.owner == place)
            if one.key.startswith("pid:"):
                did = sum(x for _, o, _, _, x in mine if KNOWN[o] == one.key and x > 0)
                assert 0 <= found.usage.activity_us[rows_of_it].clip(0).sum() <= did
        assert (found.usage.activity_us[found.usage.owner >= len(KNOWN)] == -1).all()
        ordered = sorted(rows, key=lambda row: (row.start_us, row.end_us, sorted(row.labels.items())))
        said = {row.job: row.labels["user"] for row in ordered}  # of several rows the last one's labels
        for place, one in enumerate(found.owners):
            if place >= len(KNOWN):
                assert one.labels == {"user": said[one.key]}
            elif one.key in said and n:
                assert one.labels == {"seen": "1", "user": said[one.key]}
            else:
                assert one.labels == {"seen": "1"}
    assert {job: time for job, time in assignment.less_time.items() if time} == {j: x for j, x in less.items() if x}
    assert {job: sigma for job, sigma in assignment.doubt.items() if sigma} == {j: x for j, x in doubt.items() if x}


def test_what_a_process_did_is_parted_by_time():
    """A job that has the GPU for 6 of 24 moments leaves three quarters to the process that was seen all along."""
    usage = Usage(
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int64), np.array([LENGTH]), np.array([4_000]),
        np.full(1, -1, np.int32), np.ones(1, np.int8),
    )  # fmt: skip
    window = Window(
        "n1", 0, 0, LENGTH, DEVICES[:1], Readings.empty(1), np.full(1, -1), (Owner(JobKey("pid:5"), {}),), usage
    )
    found = Assignment([JobRow("a", "n1", ("0",), 10, 16)]).apply(window).usage
    rows = zip(
        found.owner.tolist(), found.start_us.tolist(), found.end_us.tolist(), found.activity_us.tolist(), strict=True
    )
    assert sorted(rows) == [(0, 0, 10, 1666), (0, 16, 24, 1333), (1, 10, 16, -1)]
