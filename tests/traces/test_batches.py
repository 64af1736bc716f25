"""Windows that come together as they lie in a file are the windows that come one by one; and rows of jobs united."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.depth import examples
from tests.traces import windows_made_up
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.jobs.by_host import JobsByHost
from wattshed.agent.traces.jobs.jobs_file import JobRow
from wattshed.agent.traces.jobs.wants import Edges, natural, wants_of
from wattshed.agent.traces.native.parquet import parquet_chunks, write_parquet
from wattshed.agent.traces.native.reader import segment_chunks
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.window import Device, Readings, Window, WindowBatch

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
NODES = (
    (Device("a", 0, "GPU-0"), Device("a", 1, "GPU-1")),
    (Device("a", 0, "GPU-0"),),
    (Device("b", 0, "GPU-7", limit_mw=700_000), Device("b", 1, "GPU-8")),
)


@st.composite
def power_only(draw):
    """A window of power readings and nothing else: its times in a word after its start, or far from it."""
    devices = draw(st.sampled_from(NODES))
    counts = [draw(st.integers(0, 4)) for _ in devices]
    n = sum(counts)
    start = START + draw(st.integers(0, 5)) * SECOND
    far = draw(st.sampled_from([0, 0, 0, -SECOND, 2**33]))
    times = np.array([start + far + draw(st.integers(0, SECOND)) for _ in range(n)], np.int64)
    power = np.array([draw(st.sampled_from([-1, 0, 70_000, 300_000])) for _ in range(n)], np.int32)
    instant = power + 1 if draw(st.booleans()) else power[:0]
    busy = np.full(len(devices), draw(st.sampled_from([-1, 500])), np.int64)
    gauges = {"t": np.zeros(len(devices))} if draw(st.booleans()) else {}
    readings = Readings(np.cumsum([0, *counts]), times, power, np.full(n, -1, np.int64), instant)
    return Window(devices[0].host, 0, start, start + SECOND, devices, readings, busy, gauges=gauges)


def numbered(windows, steps):
    """Count them, now and then passing over some."""
    from dataclasses import replace

    numbers = itertools.accumulate(steps)
    return [replace(window, seq=seq) for window, seq in zip(windows, numbers, strict=False)]


def facts(window):
    """What is booked of a window."""
    readings = window.readings
    columns = (readings.offsets, readings.time_us, readings.power_mw, readings.counter_mj)
    usage = [getattr(window.usage, name).tolist() for name in window.usage.__slots__]
    about = (window.host, window.seq, window.start_us, window.end_us, window.devices, window.owners, window.events)
    return (*about, usage, *(column.tolist() for column in columns))


def read(chunks, *, batched):
    """(facts of each window, how many windows came together, the report)."""
    report = SourceReport("x")
    items = [item for chunk in chunks(report) for item in chunk(batched=batched)]
    windows = [w for item in items for w in (item.windows() if isinstance(item, WindowBatch) else [item])]
    together = sum(len(item.seq) for item in items if isinstance(item, WindowBatch))
    return [facts(w) for w in windows], together, (report.rows, report.notes, dict(report.rejected))


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(st.one_of(power_only(), power_only(), power_only(), windows_made_up.windows()), min_size=1, max_size=8),
    st.lists(st.integers(1, 3), min_size=8, max_size=8),
)
def test_windows_that_come_together_are_those_that_come_one_by_one(tmp_path_factory, windows, steps):
    folder = tmp_path_factory.mktemp("recording")
    windows = numbered(windows, steps)
    recorder = Recorder(folder / "r", "node", segment_s=1e9, segment_bytes=1 << 30)
    for window in windows:
        assert recorder.append(window) is True
    recorder.close()
    assert write_parquet(windows, folder / "x.parquet") == len(windows)
    segments = sorted((folder / "r").rglob("*.arrows"))
    readers = [(lambda report, path=path: segment_chunks(path, report)) for path in segments]
    found = []
    for read_chunks in readers:
        alone, none, report = read(read_chunks, batched=False)
        together, _, report_too = read(read_chunks, batched=True)
        assert none == 0
        assert together == alone
        assert report == report_too
        assert report[0] == sum(len(fact[-1]) for fact in alone)
        numbers = [fact[1] for fact in alone]
        missing = [(a, b) for a, b in itertools.pairwise(numbers) if b > a + 1]
        assert [note.partition(": ")[2] for note in report[1]] == [
            f"{b - a - 1} windows missing before window {b}" for a, b in missing
        ]
        found += alone
    assert sorted(fact[1] for fact in found) == [window.seq for window in windows]
    by_number = {window.seq: facts(window) for window in windows}
    for fact in found:
        assert fact == by_number[fact[1]]
    together, _, report = read(lambda report: parquet_chunks(folder / "x.parquet", report), batched=True)
    assert together == [facts(window) for window in windows]
    assert report[0] == sum(window.readings.time_us.size for window in windows)


def test_an_ordinary_recording_comes_together(tmp_path):
    """So do the windows that define the GPUs: the first two of a segment, and in Parquet all."""
    windows = []
    for i in range(20):
        one = windows_made_up.plain_window(i)
        rest = np.full(one.readings.time_us.size, -1, np.int64)
        readings = Readings(one.readings.offsets, one.readings.time_us, one.readings.power_mw, rest)
        windows.append(Window(one.host, i, one.start_us, one.end_us, one.devices, readings, one.busy_us))
    recorder = Recorder(tmp_path / "r", "node")
    for window in windows:
        recorder.append(window)
    recorder.close()
    (path,) = (tmp_path / "r").rglob("*.arrows")
    assert read(lambda report: segment_chunks(path, report), batched=True)[1] == 20
    write_parquet(windows, tmp_path / "x.parquet")
    assert read(lambda report: parquet_chunks(tmp_path / "x.parquet", report), batched=True)[1] == 20


# What a table of jobs wants

NAME = st.sampled_from(["n1", "N1", "n1.site", "n1.other", "n2", ""])


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(NAME, max_size=5), NAME)
def test_a_host_is_found_by_its_short_name_and_never_by_anothers(hosts, asked):
    rows = [JobRow(str(i), host, ("*",), 0, 1) for i, host in enumerate(hosts)]
    named = {host for host in hosts if host}

    def same(one, other):
        one, other = one.lower(), other.lower()
        short = one.split(".")[0] == other.split(".")[0]
        return one == other or (short and ("." in one) != ("." in other))

    if asked:
        wanted = {row.job for row in rows if not row.host or same(row.host, asked)}
    else:  # a trace that names no host is of the only one that the table names
        wanted = {row.job for row in rows if not row.host or len(named) == 1}
    found = [row.job for row in JobsByHost(rows).of(asked)]
    assert sorted(found) == sorted(wanted)


TIME = st.integers(0, 12)
ROWS = st.lists(
    st.builds(
        lambda job, a, b, count, parts, shards, share: JobRow(
            f"slurm:{job}", "n1", ("*",), min(a, b), max(a, b), count=count, parts=parts, shards=shards, share_ppm=share
        ),
        st.sampled_from([9, 10]), TIME, TIME, st.integers(-1, 3), st.sampled_from([(), (250_000,), (250_000, 500_000)]),
        st.integers(0, 2), st.sampled_from([-1, -1, 500_000]),
    ),
    max_size=5,
)  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(ROWS)
def test_a_job_wants_at_each_moment_the_most_that_a_row_says(rows):
    """Whole GPUs, parts and shards apart; a share of counted GPUs is so many parts."""
    wants = wants_of(rows)
    for job, t in itertools.product(("slurm:9", "slurm:10"), range(12)):
        there = [r for r in rows if r.job == job and r.start_us <= t < r.end_us and r.counted]
        told = []
        for r in there:
            count = max(r.count, 0)
            if r.share_ppm >= 0:
                told.append((0, (*r.parts, *(r.share_ppm,) * count), 0))
            else:
                told.append((count, r.parts, r.shards))
        mine = [want for want in wants if want.job == job and want.start_us <= t < want.end_us]
        assert sum(want.count for want in mine) == max((count for count, _, _ in told), default=0)
        assert sum(want.shards for want in mine) == max((shards for _, _, shards in told), default=0)
        most = max((tuple(sorted(parts)) for _, parts, _ in told), key=lambda p: (sum(p), p), default=())
        assert tuple(part for want in mine for part in want.parts) == most
        assert len(mine) == sum(map(bool, (any(c for c, _, _ in told), most, any(s for _, _, s in told))))
    # Stretches that touch and say the same are one; jobs stand in their order, 9 before 10.
    for one, other in itertools.pairwise(wants):
        assert (one.start_us, natural(one.job)) <= (other.start_us, natural(other.job))
    said = [(w.job, w.end_us, w.count, w.parts, w.shards) for w in wants]
    assert not set(said) & {(w.job, w.start_us, w.count, w.parts, w.shards) for w in wants}
    edges = sorted({t for w in wants for t in (w.start_us, w.end_us)})
    assert Edges(rows)("n1").tolist() == edges
