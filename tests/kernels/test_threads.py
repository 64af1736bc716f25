"""Many tasks go to all threads, in any pieces, from several threads at once and in forked children."""

import concurrent.futures
import os

import numpy as np
import pytest

from tests.kernels.recordings import node
from wattshed.kernels import energy, load, threads
from wattshed.kernels.entry import i64, kernel

GAP_US = 5_000_000


@pytest.fixture
def many(monkeypatch):
    """However little work there is, it goes to threads; so many, however few cores there are."""
    monkeypatch.setattr(threads, "FEW_ROWS", 0)
    monkeypatch.setattr(threads, "_cores", lambda: 4)
    monkeypatch.setattr(load, "_form", load.Form("so", "any", "as far as threads are concerned"))


@pytest.fixture
def marks(monkeypatch):
    monkeypatch.setattr(load, "KERNELS", dict(load.KERNELS))

    @kernel(i64[:], i64, i64)
    def mark(out, first, last):
        assert first < last
        for k in range(first, last):
            out[k] += k + 1

    mark.now = mark.plain
    return mark


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17, 1000])
def test_every_task_is_done_once(many, marks, count):
    out = np.zeros(count, np.int64)
    threads.each(marks, count, out, rows=10**9)
    assert out.tolist() == list(range(1, count + 1))


def test_what_a_piece_raises_is_raised(many, marks):
    with pytest.raises(IndexError):
        threads.each(marks, 100, np.zeros(50, np.int64), rows=10**9)


def test_callers_on_all_threads_never_wait_for_each_other(many, marks):
    def call(_):
        out = np.zeros(99, np.int64)
        threads.each(marks, 99, out, rows=10**9)
        return int(out.sum())

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(call, range(200))) == {99 * 100 // 2}
    # Nor where they are the pool's own.
    assert {one.result(60) for one in [threads._shared_pool().submit(call, k) for k in range(20)]} == {99 * 100 // 2}


def test_a_forked_child_has_threads_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "FEW_ROWS", 0)
    recording = node(2, 2_000)
    expected = energy.integrate(*recording, GAP_US)[0].tolist()  # the pool is awake now
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, repr(energy.integrate(*recording, GAP_US)[0].tolist()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        assert answer.read() == repr(expected)
    os.waitpid(pid, 0)


def test_so_many_threads_as_are_wanted_but_no_more_than_cores(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 4)
    for wanted, given in ((1, 1), (3, 3), (99, 4), (0, 1)):
        with threads.use_threads(wanted):
            assert threads.threads() == given
    assert threads.threads() == 4
