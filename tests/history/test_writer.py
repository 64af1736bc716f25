"""The history's thread: what is handed over is written once, whatever fails in between."""

import sqlite3
import time

import pytest

from tests.history.made_up import DAY_US, HOUR_US, JOBS, MARCH_US, MODELS, opened, part
from wattshed.agent.errors import Faults
from wattshed.agent.history import writer as module
from wattshed.agent.history.store import Retention, Store
from wattshed.agent.history.writer import Batch, HistoryWriter

PARTS = [part(seq, joules=seq) for seq in range(1, 8)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(module, "AGAIN_S", 0.02)


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def writer(tmp_path, faults):
    one = HistoryWriter(tmp_path / "folder" / "history.db", "n1", faults)
    yield one
    one.stop()


def batch(parts=PARTS, store_id="one"):
    return Batch(store_id, parts, JOBS, MODELS, 0)


def wait(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def written(tmp_path, store_id="one"):
    return opened(tmp_path / "folder" / "history.db", store_id).parts(0)


def test_what_is_handed_over_again_is_written_once(tmp_path, writer):
    writer.offer(batch(PARTS[:3]))
    wait(lambda: writer.done("one") == 3)
    writer.offer(batch(PARTS))
    wait(lambda: writer.done("one") == 7)
    assert [one.seq for one in written(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]
    assert writer.parts_total == 7
    assert writer.bytes_used > 0
    assert writer.done("another") == 0


def test_what_waits_is_written_at_the_end(tmp_path, faults):
    one = HistoryWriter(tmp_path / "folder" / "history.db", "n1", faults)
    one.offer(batch())
    one.stop()
    assert len(written(tmp_path)) == 7
    assert not faults.counts


def test_a_disk_that_refuses_is_tried_again_and_nothing_is_lost(tmp_path, writer, faults):
    (tmp_path / "folder").write_text("in the way")
    writer.offer(batch(PARTS[:2]))
    wait(lambda: faults.counts["history"] >= 1)
    assert writer.done("one") == 0
    assert writer.busy()
    (tmp_path / "folder").unlink()
    wait(lambda: writer.done("one") == 2)
    wait(lambda: not writer.busy())
    writer.offer(batch(PARTS))
    wait(lambda: writer.done("one") == 7)
    assert len(written(tmp_path)) == 7


@pytest.mark.parametrize("when", ["before it is opened", "while it is open"])
def test_a_damaged_file_is_put_aside_and_the_numbers_start_again(tmp_path, writer, faults, when):
    path = tmp_path / "folder" / "history.db"
    if when == "while it is open":
        writer.offer(batch(PARTS[:3]))
        wait(lambda: writer.done("one") == 3)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.parent.mkdir(exist_ok=True)
    size = path.stat().st_size if path.exists() else 5000
    path.write_bytes(b"this is no database " * (size // 20 + 1))
    writer.offer(batch())
    wait(lambda: writer.damaged("one"))
    assert faults.counts["history"] == 1
    assert path.with_name("history.db.corrupt").exists()
    writer.offer(batch())  # the daemon does not know it yet
    writer.offer(batch(PARTS[:2], store_id="two"))
    wait(lambda: writer.done("two") == 2)
    assert [one.seq for one in written(tmp_path, "two")] == [1, 2]
    assert writer.done("one") == 0 or when == "while it is open"


def test_until_it_is_written_it_is_busy(writer):
    assert not writer.busy()
    writer.offer(batch())
    wait(lambda: writer.done("one") == 7)
    wait(lambda: not writer.busy())


@pytest.mark.parametrize("every", [1, 3, 4])
def test_what_is_too_old_goes_each_time_that_so_many_parts_came(tmp_path, faults, monkeypatch, every):
    """Sixteen parts, one a batch and an hour: those that ended a day ago and before are dropped at every look."""
    looks, tidy = [], Store.tidy

    def looked(store, now_us, retention):
        gone = tidy(store, now_us, retention)
        looks.append((store.next_seq() - 1, gone))
        return gone

    monkeypatch.setattr(module, "TIDY_EVERY", every)
    monkeypatch.setattr(Store, "tidy", looked)
    one = HistoryWriter(tmp_path / "history.db", "n1", faults, Retention(max_age_us=DAY_US))
    for seq in range(1, 17):
        now_us = MARCH_US + DAY_US + seq * HOUR_US
        one.offer(Batch("one", [part(seq, begin_us=MARCH_US + (seq - 3) * HOUR_US)], JOBS, MODELS, now_us))
        wait(lambda seq=seq: one.done("one") == seq)
    one.stop()
    last = 16 - 16 % every
    assert sorted({seq for seq, _ in looks}) == list(range(every, 17, every))
    assert [kept.seq for kept in opened(tmp_path / "history.db").parts(0)] == list(range(last + 1, 17))
    assert one.dropped_total == sum(gone for _, gone in looks) == last
    assert not faults.counts
