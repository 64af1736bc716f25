"""A history that cannot be written: metering goes on, one line says why, and what waited is written in the end."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing

import pytest

from tests.accounts.test_cuts import not_cut, seconds
from tests.daemon.test_history_feed import Life, in_history
from wattshed.agent.accounts import cuts as cuts_module
from wattshed.agent.history import database, writer

S = 1_000_000
ROOT = os.geteuid() == 0
JOBS = [(f"j{n}", n % 2, 2 * n, 2 * n + 3) for n in range(30)]


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(writer, "AGAIN_S", 0.02)
    monkeypatch.setattr(database, "BUSY_S", 0.05)


def until(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.002)


def some_written(folder):
    """A life of fifteen seconds, all of it written."""
    life = Life(folder)
    for window in list(seconds(JOBS))[:15]:
        life.take(window)
        life.written()
    return life


def locked(path):
    """Another process holds the file, as a careless backup does."""
    code = (
        f"import sqlite3, sys; other = sqlite3.connect({str(path)!r}); other.execute('BEGIN EXCLUSIVE'); "
        "print(1, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"1\n"

    def end():
        other.communicate()

    return end


def directory(path):
    path.mkdir()
    return path.rmdir


def foreign(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes(id)")
    before = path.read_bytes()

    def end():
        assert path.read_bytes() == before, "another program's file was changed"
        path.unlink()

    return end


def newer(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")

    def end():
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (99,)
        path.unlink()

    return end


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (locked, "locked"),
        (directory, "cannot be opened"),
        (foreign, "another program's database; move it away"),
        (newer, "run the newer one, or move the file away"),
    ],
)
def test_what_waited_is_written_when_the_trouble_ends(tmp_path, trouble, says, caplog):
    if trouble is locked:
        some_written(tmp_path).die()
    end = trouble(tmp_path / "history.db")
    life, windows = Life(tmp_path), list(seconds(JOBS))
    first = 15 if trouble is locked else 0
    for window in windows[first:40]:
        life.take(window)
    until(lambda: life.faults.counts["history"] > 2)
    assert life.feed.cuts.outbox
    assert len(caplog.records) == 1
    assert says in caplog.text
    assert "\n" not in caplog.records[0].getMessage()
    end()
    until(lambda: not life.writer.busy())
    for window in windows[40:]:
        life.take(window)
    life.end(windows[-1].end_us)
    sums_are_right(life, tmp_path)


def sums_are_right(life, folder):
    left, kept = not_cut(life.accounts, life.feed.cuts), in_history(folder)
    for key, account in life.accounts.gpus.items():
        assert kept[key.gpu] + left[key.gpu] == account.energy_hnj
    with closing(sqlite3.connect(folder / "history.db")) as connection:
        runs = Counter(key for (key,) in connection.execute("SELECT key FROM job WHERE key LIKE 'j%'"))
    assert set(runs.values()) == {1}


def test_a_damaged_history_is_put_aside_and_what_waits_goes_into_a_new_one(tmp_path, caplog):
    life, windows = some_written(tmp_path), list(seconds(JOBS))
    path = tmp_path / "history.db"
    before = in_history(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(b"no database" * 2000)
    for window in windows[15:]:
        life.take(window)
        life.written()
    life.end(windows[-1].end_us)
    assert sum("moved aside" in record.getMessage() for record in caplog.records) == 1
    assert (tmp_path / "history.db.corrupt").read_bytes().startswith(b"no database")
    left, kept = not_cut(life.accounts, life.feed.cuts), in_history(tmp_path)
    for key, account in life.accounts.gpus.items():
        assert before[key.gpu] + kept[key.gpu] + left[key.gpu] == account.energy_hnj


@pytest.mark.skipif(not ROOT or not shutil.which("mount"), reason="needs a small disk of its own")
@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_a_disk_that_is_full_or_read_only(tmp_path, trouble):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        if trouble == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        life, windows = Life(tmp_path, path=disk / "history.db"), list(seconds(JOBS))
        for n, window in enumerate(windows):
            if n == 10 and trouble == "full":
                life.written()
                with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb") as file:
                    file.write(b"x" * (16 << 20))
            if n == 50:
                until(lambda: life.faults.counts["history"] > 2)
                assert life.feed.cuts.outbox
                if trouble == "full":
                    (disk / "filler").unlink()
                else:
                    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
                life.written()
            life.take(window)
        life.end(windows[-1].end_us)
        for name in disk.glob("history.db*"):
            shutil.copy(name, tmp_path)
        sums_are_right(life, tmp_path)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_jobs_that_nothing_can_be_written_of_are_joined_and_at_last_lose_their_names(tmp_path, monkeypatch, caplog):
    """A state must not grow without bound; no joule is lost over it, and what was handed over stays as it was."""
    monkeypatch.setattr("wattshed.agent.daemon.history_feed.MOST_WAITING", 12)
    monkeypatch.setattr(cuts_module, "MOST_KEPT", 20)
    life, windows = Life(tmp_path), list(seconds(JOBS))
    for window in windows[:10]:
        life.take(window)
    life.written()
    end, most = locked(tmp_path / "history.db"), 0
    for window in windows[10:55]:
        life.take(window)
        most = max(most, len(life.feed.cuts.outbox))
    assert most < 50
    assert "lost their names" in caplog.text
    life.die()
    life = Life(tmp_path)  # what waits may have been handed over before it was killed
    for window in windows[55:58]:
        life.take(window)
    end()
    for window in windows[58:]:
        life.take(window)
    life.end(windows[-1].end_us)
    assert in_history(tmp_path)
    sums_are_right(life, tmp_path)
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        assert connection.execute("SELECT count(*) FROM job WHERE key = '_other'").fetchone() == (1,)


def test_what_nobody_thought_of_ends_neither_the_thread_nor_the_metering(tmp_path, monkeypatch):
    add, failures = writer.Store.add, [OverflowError("too large"), UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no")]

    def failing(self, *args):
        if failures:
            raise failures.pop()
        return add(self, *args)

    monkeypatch.setattr(writer.Store, "add", failing)
    life, windows = Life(tmp_path), list(seconds(JOBS))
    for window in windows:
        life.take(window)
    life.end(windows[-1].end_us)
    assert life.faults.counts["history"] == 2
    sums_are_right(life, tmp_path)
