"""Windows of every shape, for round trips: bit for bit what goes in must come out."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wattshed.agent.window import (
    NO_CPU_TIMES,
    CpuTime,
    CpuTimes,
    Device,
    Event,
    Owner,
    Readings,
    Usage,
    Window,
    WorkRow,
)

TEXT = st.text(max_size=8)
INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)

DEVICES = st.builds(
    Device,
    host=TEXT,
    index=st.integers(0, 99),
    uuid=TEXT,
    model=TEXT,
    limit_mw=INT32,
    ceiling_mw=INT32,
    idle_mw=INT32,
    idle_sigma_mw=INT32,
    publication_us=st.dictionaries(TEXT, st.integers(0, 10**9), max_size=3),
    capabilities=st.dictionaries(TEXT, TEXT, max_size=3),
    simulated=st.booleans(),
)
OWNERS = st.builds(Owner, key=TEXT, labels=st.dictionaries(TEXT, TEXT, max_size=2))


def column(dtype, size, elements):
    return arrays.arrays(dtype, size, elements=elements)


@st.composite
def windows(draw):
    """One window with anything in it."""
    devices = tuple(draw(st.lists(DEVICES, max_size=3)))
    g = len(devices)
    counts = draw(st.lists(st.integers(0, 5), min_size=g, max_size=g))
    n = sum(counts)
    owners = tuple(draw(st.lists(OWNERS, max_size=3)))
    m = draw(st.integers(0, 4)) if g and owners else 0
    start = draw(st.integers(-(2**50), 2**50))
    times = draw(st.one_of(column(np.int64, n, INT64), column(np.int64, n, st.integers(start, start + 2**33))))
    missing_or_any = st.one_of(st.just(-1), INT32)
    readings = Readings(
        np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        times,
        draw(st.one_of(column(np.int32, n, st.just(-1)), column(np.int32, n, missing_or_any))),
        draw(st.one_of(column(np.int64, n, st.just(-1)), column(np.int64, n, INT64))),
        draw(st.one_of(column(np.int32, 0, INT32), column(np.int32, n, INT32))),
    )
    usage = Usage(
        draw(column(np.int32, m, st.integers(0, max(g - 1, 0)))),
        draw(column(np.int32, m, st.integers(0, max(len(owners) - 1, 0)))),
        draw(column(np.int64, m, INT64)),
        draw(column(np.int64, m, INT64)),
        draw(column(np.int64, m, INT64)),
        draw(column(np.int32, m, INT32)),
        draw(column(np.int8, m, st.integers(-128, 127))),
    )
    end = draw(st.integers(start, 2**51))
    return Window(
        draw(st.text(st.characters(codec="utf-8"), max_size=6)),
        draw(INT64),
        start,
        end,
        devices,
        readings,
        draw(column(np.int64, g, INT64)),
        owners,
        usage,
        tuple(draw(st.lists(st.builds(Event, INT64, TEXT, INT32, TEXT), max_size=2))),
        draw(
            st.dictionaries(
                st.text(st.characters(codec="utf-8"), max_size=5), column(np.float64, g, st.floats()), max_size=2
            )
        ),
        tuple(draw(st.lists(work_rows(owners, start, end), max_size=3))) if owners else (),
        cpu=draw(st.one_of(st.just(NO_CPU_TIMES), cpu_times(start))),
    )


def cpu_times(start):
    """Any CPU times about a time."""
    counts = st.integers(0, 2**61)
    counters = st.lists(st.builds(CpuTime, TEXT, counts, counts), max_size=3).map(tuple)
    return st.builds(CpuTimes, st.integers(1, 2**40), st.integers(start - 10**7, start + 10**7), counters)


@st.composite
def work_rows(draw, owners, start, end):
    """Any work of one of the owners that ends in this time."""
    ends = draw(st.integers(start, end))
    return WorkRow(
        draw(st.sampled_from(owners)).key,
        draw(st.text(st.characters(codec="utf-8"), max_size=5)),
        draw(st.integers(0, 2**53)),
        draw(st.sampled_from(["told", "scraped"])),
        draw(st.integers(-(2**51), ends)),
        ends,
        draw(st.integers(0, 2**53)),
        waiting=draw(st.booleans()),
    )


def same(a, b):
    """Compare two windows to the last bit and type."""
    plain = ("host", "seq", "start_us", "end_us", "devices", "owners", "events", "work", "cpu")
    assert {name: getattr(a, name) for name in plain} == {name: getattr(b, name) for name in plain}
    pairs = [(a.busy_us, b.busy_us)]
    pairs += [(getattr(a.readings, name), getattr(b.readings, name)) for name in Readings.__slots__]
    pairs += [(getattr(a.usage, name), getattr(b.usage, name)) for name in Usage.__slots__]
    assert list(a.gauges) == list(b.gauges)
    pairs += [(a.gauges[name], b.gauges[name]) for name in a.gauges]
    for x, y in pairs:
        assert x.dtype == y.dtype
        assert x.tobytes() == y.tobytes()


def plain_window(i, gpus=2, samples=4, step_us=100_000, host="node"):
    """An ordinary window: one second, steady power, a counter that agrees with it."""
    start = 1_700_000_000_000_000 + i * samples * step_us
    devices = tuple(Device(host, g, f"GPU-{g}", "Test", limit_mw=700_000) for g in range(gpus))
    times = np.tile(start + np.arange(samples) * step_us, gpus)
    power = np.full(gpus * samples, 300_000, np.int32)
    counter = 1_000_000 + (times - 1_700_000_000_000_000) * 300 // 1000
    return Window(
        host, i, start, start + samples * step_us, devices,
        Readings(np.arange(gpus + 1) * samples, times, power, counter), np.full(gpus, -1, np.int64),
    )  # fmt: skip
