"""What is saved by difference: the same accounts come back, wherever the journal ends and whatever is damaged in it."""

import json
import os
import shutil
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings

from tests.accounts.made import S
from tests.accounts.old_state import as_version_6
from tests.accounts.test_cuts import lives, seconds
from wattshed.agent.accounts import state
from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.accounts.calibration import Calibrator
from wattshed.agent.accounts.changes import LastSaved
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.journal import Journal, changes_after
from wattshed.agent.accounts.state import StateFile
from wattshed.agent.window import JobKey

JOBS = [("a", 0, 1, 4), ("b", 1, 2, 12)]


class Saver:
    """Accounts with cuts, saved after each window."""

    def __init__(self, folder):
        self.file = StateFile(folder, "h", "boot")
        self.accounts, self.calibrator, self.cuts = Accounts(live=True), Calibrator(), Cuts(5 * S, "store")
        self.waiting = 4

    def take(self, window, *, final=False):
        self.accounts.add(window)
        self.calibrator.learned_mw["GPU-0"] = 70_000 + window.seq // 3
        retired = self.accounts.retire(window.end_us, 2 * S)
        self.cuts.close(retired, self.accounts.gpus)
        self.cuts.follow(self.accounts.ledger.jobs, self.accounts.gpus, self.accounts.since_us, window.end_us)
        for key, job in self.accounts.ledger.jobs.items():
            if job.end_us == window.end_us:
                self.cuts.power[key] = f"{key} {window.end_us // 3_000_000}"
        self.cuts.acknowledge(self.cuts.next_seq - 1 - self.waiting)
        self.file.save(self.accounts, self.calibrator, window.end_us, cuts=self.cuts, final=final)


def content(accounts, calibrator, cuts):
    """All that there is to save, where the order of jobs and cuts says nothing."""
    _, whole = LastSaved.whole("h", accounts, calibrator, cuts)
    whole["jobs"].sort(key=lambda job: job["key"])
    for name in ("cuts", "records"):
        whole["cuts"][name].sort(key=str)
    return json.loads(json.dumps(whole))


def restored(folder):
    """What a new life begins with, and what it is told."""
    accounts, calibrator = Accounts(live=True), Calibrator()
    found = StateFile(folder, "h", "boot").restore(accounts, calibrator)
    return (content(accounts, calibrator, found.cuts) if found.found else None), found


@pytest.fixture
def saved(tmp_path):
    """A folder with a state and a short journal, and what is saved at the end of each window."""
    saver, contents = Saver(tmp_path), {}
    for window in list(seconds(JOBS))[:7]:
        saver.take(window)
        contents[window.end_us] = content(saver.accounts, saver.calibrator, saver.cuts)
    return tmp_path, contents


@settings(max_examples=6, deadline=None)
@given(lives())
def test_after_each_window_what_comes_back_is_what_there_is(tmp_path_factory, schedule):
    folder = tmp_path_factory.mktemp("state")
    saver = Saver(folder)
    for n, window in enumerate(seconds(schedule)):
        saver.take(window, final=n % 17 == 16)
        there, found = restored(folder)
        assert there == content(saver.accounts, saver.calibrator, saver.cuts)
        assert (found.saved_us, found.problems) == (window.end_us, ())


def test_parts_whose_numbers_start_again_come_back_in_their_order(tmp_path):
    saver = Saver(tmp_path)
    saver.cuts.slot_us, saver.waiting = S, 7
    for n, window in enumerate(list(seconds(JOBS))[:10]):
        if n >= 6:
            taken = {part.seq for part in saver.cuts.outbox}
            saver.cuts.begin_store(f"store {n}")
            assert n == 6 or {part.seq for part in saver.cuts.outbox} & taken
        saver.take(window)
        assert restored(tmp_path)[0] == content(saver.accounts, saver.calibrator, saver.cuts)


def test_a_journal_that_grew_long_is_left_for_a_state_written_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "LONGEST_JOURNAL", 0)
    saver, sizes = Saver(tmp_path), []
    for window in seconds(JOBS):
        saver.take(window)
        assert restored(tmp_path)[0] == content(saver.accounts, saver.calibrator, saver.cuts)
        path = tmp_path / "state.journal"
        sizes.append(path.stat().st_size if path.exists() else 0)
    assert 2 <= sizes.count(0) < len(sizes) / 2
    assert max(sizes) < 4 * (tmp_path / "state.json").stat().st_size


def test_a_journal_may_end_at_any_byte(saved):
    """The change that was not written to its end was not shown to anybody: it is not there, and nothing is said."""
    folder, contents = saved
    raw, moments = (folder / "state.journal").read_bytes(), list(contents)
    ends, at = [], 0
    while at < len(raw):
        body = raw.index(b"\n", at) + 1
        at = raw.index(b"\n", body) + 1
        ends.append(at)
    assert len(ends) == len(moments) - 1
    for length in (*range(0, len(raw) + 1, 211), *ends, *(end - 1 for end in ends)):
        (folder / "state.journal").write_bytes(raw[:length])
        there, found = restored(folder)
        expected = moments[sum(end <= length for end in ends)]
        assert (found.saved_us, found.problems) == (expected, ()), length
        assert there == contents[expected]


def test_no_damaged_byte_of_a_journal_goes_unnoticed(saved):
    folder, contents = saved
    path = folder / "state.journal"
    raw, moments = path.read_bytes(), list(contents)
    for place in range(0, len(raw), 211):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 5
        path.write_bytes(damaged)
        there, found = restored(folder)
        assert there == contents[found.saved_us], place
        assert found.saved_us < moments[-1], place
        (problem,) = found.problems
        assert str(path) in problem
        assert (folder / "state.journal.corrupt").read_bytes() == damaged


@pytest.fixture
def short(tmp_path):
    """A journal of three short changes."""
    path, bodies, mark = tmp_path / "short.journal", [b"{}", b'{"of":"two"}', b"[1,2,3]"], 77
    journal = Journal(path)
    for seq, body in enumerate(bodies, 5):
        mark = journal.append(seq, mark, body, sync=False)
    journal.close()
    return path, bodies


def test_each_byte_of_a_journal_counts(short):
    """Wherever it ends there are the whole changes before; any flipped bit is told, and nothing after it believed."""
    path, bodies = short
    raw = path.read_bytes()
    assert changes_after(path, 4, 77).bodies == bodies
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        found = changes_after(path, 4, 77)
        assert (found.bodies, found.problem) == (bodies[: len(found.bodies)], "")
        assert len(found.bodies) == raw[:length].count(b"\n") // 2
    for place in range(len(raw)):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 5  # not the case of a hexadecimal digit
        path.write_bytes(damaged)
        found = changes_after(path, 4, 77)
        assert found.problem, place
        assert found.bodies == bodies[: raw[:place].count(b"\n") // 2]


def test_changes_that_a_state_has_are_left_out_and_others_are_not_its(short):
    path, bodies = short
    marks = [77]
    for body in bodies:
        marks.append(zlib.crc32(body, marks[-1]))
    for count, mark in enumerate(marks):
        found = changes_after(path, 4 + count, mark)
        assert (found.bodies, found.seq, found.mark, found.problem) == (bodies[count:], 7, marks[-1], "")
    assert "continues another state" in changes_after(path, 4, 78).problem
    assert "continues another state" in changes_after(path, 3, 77).problem
    assert changes_after(path.with_name("none"), 3, 77).bodies == []


def test_a_damaged_state_loses_nothing_that_the_journals_hold(saved):
    folder, _ = saved
    saver = Saver(folder)
    saver.file.restore(saver.accounts, saver.calibrator)
    windows = list(seconds(JOBS))
    for n, window in enumerate(windows[7:14]):
        saver.take(window, final=n == 3)
    (folder / "state.json").write_bytes(b"torn")
    there, found = restored(folder)
    assert there == content(saver.accounts, saver.calibrator, saver.cuts)
    assert found.saved_us == windows[13].end_us
    assert len(found.problems) == 1


def test_changes_are_taken_over_only_onto_the_state_that_they_continue(saved, tmp_path_factory):
    """A backup that is put back, a state of another life: neither is continued by a journal that lies beside it."""
    folder, _ = saved
    backup = tmp_path_factory.mktemp("backup")
    other = Saver(backup)
    for window in list(seconds([("c", 0, 2, 6)]))[2:4]:
        other.take(window)
    before = content(other.accounts, other.calibrator, other.cuts)
    (backup / "state.journal").write_bytes((folder / "state.journal").read_bytes())
    there, found = restored(backup)
    assert there != before
    (problem,) = found.problems
    assert problem.startswith(f"{backup / 'state.journal'}: continues another state at byte 0; ")


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(9))
@pytest.mark.parametrize("final", [False, True])
def test_killed_at_any_step_of_saving_what_was_saved_is_there(saved, monkeypatch, step, final):
    folder, _ = saved
    saver = Saver(folder)
    saver.cuts = saver.file.restore(saver.accounts, saver.calibrator).cuts
    windows = list(seconds(JOBS))
    saver.take(windows[7])
    acknowledged = content(saver.accounts, saver.calibrator, saver.cuts)
    left = [step]

    def dying(call):
        def instead(*args, **rest):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return call(*args, **rest)

        return instead

    for place, name in ((os, "write"), (os, "fsync"), (os, "fdatasync"), (os, "link"), (Path, "replace")):
        monkeypatch.setattr(place, name, dying(getattr(place, name)))
    try:
        saver.take(windows[8], final=final)
        completed = True
    except Killed:
        completed = False
    monkeypatch.undo()
    newer = content(saver.accounts, saver.calibrator, saver.cuts)
    there, found = restored(folder)
    assert there == newer if completed else there in (acknowledged, newer)
    assert found.problems == ()
    assert completed == (step >= (8 if final else 3))


def test_a_disk_that_was_full_is_written_whole_again(saved, monkeypatch):
    folder, _ = saved
    saver = Saver(folder)
    saver.cuts = saver.file.restore(saver.accounts, saver.calibrator).cuts
    windows = list(seconds(JOBS))
    saver.take(windows[7])
    write = os.write

    def full(descriptor, data):
        write(descriptor, bytes(data)[:40])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        saver.take(windows[8])
    monkeypatch.undo()
    assert restored(folder)[1].saved_us == windows[7].end_us
    for window in windows[9:12]:
        saver.take(window)
        there, found = restored(folder)
        assert there == content(saver.accounts, saver.calibrator, saver.cuts)
        assert (found.saved_us, found.problems) == (window.end_us, ())


def test_what_did_not_change_is_not_written_again(tmp_path):
    """A window's change is as long beside two thousand jobs that ended as beside none."""
    sizes = {}
    for count in (0, 2_000):
        folder = tmp_path / str(count)
        saver = Saver(folder)
        saver.cuts.slot_us = 3_600 * S
        windows = list(seconds(JOBS))
        saver.take(windows[0])
        for number in range(count):
            job = saver.accounts.ledger.job(JobKey(f"slurm:{number}"), {"user": "u"})
            job.start_us = job.end_us = windows[0].start_us
            job.line(next(iter(saver.accounts.gpus))).held_us = number
        saver.accounts.retire = lambda now_us, keep_us, retire=saver.accounts.retire: retire(now_us, 10**12)
        for window in windows[1:4]:
            saver.take(window)
        before = (folder / "state.journal").stat().st_size
        for window in windows[4:8]:
            saver.take(window)
        sizes[count] = (folder / "state.journal").stat().st_size - before
        assert restored(folder)[0] == content(saver.accounts, saver.calibrator, saver.cuts)
    assert 0 < sizes[2_000] <= sizes[0] + 100


def test_a_state_of_before_is_not_continued_by_a_journal_from_after_it(saved):
    """What a kill left between writing a state whole and beginning its journal: each change is taken over once."""
    folder, contents = saved
    journal = (folder / "state.journal").read_bytes()
    saver = Saver(folder)
    saver.cuts = saver.file.restore(saver.accounts, saver.calibrator).cuts
    last = list(contents)[-1]
    saver.file.save(saver.accounts, saver.calibrator, last, cuts=saver.cuts)
    shutil.move(folder / "state.journal.before", folder / "state.journal")
    assert (folder / "state.journal").read_bytes() == journal
    there, found = restored(folder)
    assert (there, found.problems) == (contents[last], ())


def test_a_state_and_the_changes_after_it_of_version_6_are_taken_over_together(tmp_path):
    """What has no covered time yet counts none of it twice: the next part of who is there is of unknown coverage."""
    saver = Saver(tmp_path)
    for one in list(seconds(JOBS))[:9]:
        saver.take(one)
    saver.file.release()
    assert (tmp_path / "state.journal").stat().st_size > 0
    as_version_6(tmp_path / "state.json")
    accounts = Accounts(live=True)
    found = StateFile(tmp_path, "h", "boot").restore(accounts, Calibrator())
    assert (found.found, found.problems) == (True, ())
    assert accounts.gpus.keys() == saver.accounts.gpus.keys()
    for key, job in saver.accounts.ledger.jobs.items():
        for gpu, line in job.lines.items():
            mine = accounts.ledger.jobs[key].lines[gpu]
            assert mine.static_hnj + mine.dynamic_hnj == line.static_hnj + line.dynamic_hnj
            assert mine.covered_us == line.covered_us
    first = found.cuts.next_seq
    found.cuts.cut_everybody(accounts.ledger.jobs, accounts.gpus, 20 * S)
    new = [part for part in found.cuts.outbox if part.seq >= first]
    assert {part.job for part in new} >= {"b"}
    assert all(part.covered_us is None for part in new)
    assert all(cut.used.covered_us is not None for (owner, _), cut in found.cuts.cuts.items() if owner == "b")
