"""What a recording goes through: SIGKILL, torn tails, flipped bits, full and read-only disks, limits."""

import errno
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.depth import examples
from tests.traces.windows_made_up import plain_window, same
from wattshed.agent.errors import InputError
from wattshed.agent.inputs.report import SourceReport
from wattshed.agent.traces.native import recorder as native
from wattshed.agent.traces.native.reader import segment_windows
from wattshed.agent.traces.native.recorder import Recorder
from wattshed.agent.traces.native.segment import END_OF_STREAM, layout_of, spans
from wattshed.agent.traces.options import Options
from wattshed.agent.traces.sources import find

KILLS = int(os.environ.get("WATTSHED_TEST_KILLS", examples(200)))
FLIPS = int(os.environ.get("WATTSHED_TEST_FLIPS", examples(2000)))


def read_all(folder):
    windows, reports = [], []
    for chain in find([str(folder)], Options()):
        windows += chain.windows(Options())
        reports += chain.reports
    return windows, reports


def record(folder, numbers, **options):
    recorder = Recorder(folder, "node", **options)
    for number in numbers:
        assert recorder.append(plain_window(number))
    recorder.close()
    return recorder


def segments(folder, suffix):
    return sorted(folder.rglob(f"*{suffix}"))


def test_every_acknowledged_window_outlives_sigkill(tmp_path):
    script = Path(__file__).with_name("recording_child.py")
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "rec"), str(KILLS), "5"],
        env={**os.environ, "PYTHONPATH": f"{root}:{root}/deploy/python"},
        capture_output=True, check=True, timeout=250,
    )  # fmt: skip
    acknowledged = [int(number) for number in done.stdout.split()]
    assert len(acknowledged) >= KILLS // 2, "those that were killed while they recorded"
    Recorder(tmp_path / "rec", "node").close()  # what the next start does: recover what the last one left
    assert not segments(tmp_path, ".open")
    assert not segments(tmp_path, ".corrupt")
    windows, reports = read_all(tmp_path / "rec")
    assert not any(report.rejected for report in reports)
    found = {window.seq: window for window in windows}
    assert set(acknowledged) <= set(found)
    for number in random.Random(1).sample(acknowledged, 20):
        same(found[number], plain_window(number))


def test_a_cut_at_every_byte_of_the_last_batch(tmp_path):
    record(tmp_path / "whole", range(4))
    (path,) = segments(tmp_path / "whole", ".arrows")
    data = path.read_bytes()[: -len(END_OF_STREAM)]
    last = list(spans(memoryview(data), layout_of(memoryview(data))))[-1]
    for cut in range(last.start, last.end):
        view = memoryview(data[:cut])
        assert [span.intact for span in spans(view, layout_of(view))] == [True] * 3 + [False] * (cut > last.start)
    for cut in range(last.start, last.end, 37):  # and as the next start deals with it
        folder = tmp_path / f"cut{cut}"
        torn = folder / "host=node/date=2023-11-14" / path.with_suffix(".open").name
        torn.parent.mkdir(parents=True)
        torn.write_bytes(data[:cut])
        recorder = Recorder(folder, "node")
        assert (recorder.state.recovered, recorder.state.corrupt) == (1, 0)
        recorder.close()
        windows, _ = read_all(folder)
        assert [window.seq for window in windows] == [0, 1, 2]


def test_no_flipped_bit_goes_unnoticed_and_all_else_is_read(tmp_path):
    record(tmp_path, range(6))
    (path,) = segments(tmp_path, ".arrows")
    data = bytearray(path.read_bytes())
    truth = [plain_window(i) for i in range(6)]
    rng = random.Random(2)
    for _ in range(FLIPS):
        bit = rng.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        report = SourceReport(str(path))
        windows = list(segment_windows(path, report))
        for window in windows:
            same(window, truth[window.seq])
        lost = 6 - len(windows)
        assert lost <= 1
        assert bool(report.rejected) or not lost
        data[bit // 8] ^= 1 << bit % 8


def test_a_segment_without_a_good_window_is_set_aside(tmp_path):
    folder = tmp_path / "host=node/date=2023-11-14"
    folder.mkdir(parents=True)
    (folder / "1.open").write_bytes(os.urandom(20_000))
    (folder / "2.open").write_bytes(b"")
    recorder = record(tmp_path, range(2))
    assert recorder.state.corrupt == 1
    assert [path.name for path in segments(tmp_path, ".corrupt")] == ["1.corrupt"]
    assert len(read_all(tmp_path)[0]) == 2


def test_one_writer_at_a_time(tmp_path):
    first = Recorder(tmp_path, "node")
    second = Recorder(tmp_path, "node", retry_s=0)
    assert "another wattshed" in second.state.fault
    assert not second.append(plain_window(0))
    assert second.state.lost_windows == 1
    first.close()
    assert second.append(plain_window(1))
    assert not second.state.fault
    second.close()


def test_segments_end_by_size_by_age_and_at_midnight(tmp_path):
    now = [0.0]
    recorder = Recorder(tmp_path, "node", segment_bytes=20_000, segment_s=100, clock=lambda: now[0])
    for i in range(10):
        recorder.append(plain_window(i))
    by_size = len(segments(tmp_path, ".arrows"))
    assert by_size >= 1
    now[0] = 200
    recorder.append(plain_window(10))
    assert len(segments(tmp_path, ".arrows")) == by_size + 1
    recorder.append(plain_window(10 + 86_400 * 10 // 4))
    assert len(segments(tmp_path, ".arrows")) == by_size + 2
    recorder.close()
    assert len({path.parent.name for path in segments(tmp_path, ".arrows")}) == 2
    assert len(read_all(tmp_path)[0]) == 12


def windows_in(folder):
    """How many windows each segment holds, the oldest first."""
    return [len(list(segment_windows(path, SourceReport("x")))) for path in segments(folder, ".arrows")]


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_segment_ends_with_the_window_that_makes_it_as_large_as_it_may_be(tmp_path, beyond):
    probe = Recorder(tmp_path / "probe", "node")
    for i in range(4):
        probe.append(plain_window(i))
    size = next((tmp_path / "probe").rglob("*.open")).stat().st_size
    probe.close()
    record(tmp_path / "r", range(9), segment_bytes=size + beyond)
    assert windows_in(tmp_path / "r")[0] == (4 if beyond <= 0 else 5)
    assert sum(windows_in(tmp_path / "r")) == 9


@pytest.mark.parametrize(("segment_s", "held"), [(10, [10, 10, 5]), (11, [11, 11, 3])])
def test_a_segment_ends_with_its_time(tmp_path, segment_s, held):
    now = [0.0]
    recorder = Recorder(tmp_path, "node", segment_s=segment_s, clock=lambda: now[0])
    for i in range(25):
        recorder.append(plain_window(i))
        now[0] += 1
    recorder.close()
    assert windows_in(tmp_path) == held


@pytest.mark.parametrize("sync_s", [3, 5])
def test_what_is_written_is_asked_onto_the_disk_as_often_as_was_said(tmp_path, monkeypatch, sync_s):
    now, synced = [100.0], []
    real = os.fdatasync
    monkeypatch.setattr(native.os, "fdatasync", lambda fd: synced.append(now[0]) or real(fd))
    recorder = Recorder(tmp_path, "node", sync_s=sync_s, clock=lambda: now[0])
    for i in range(20):
        recorder.append(plain_window(i))
        now[0] += 1
    recorder.close()
    assert synced == [100.0 + t for t in range(sync_s, 20, sync_s)]


def test_a_fault_is_said_once_until_it_is_another_or_is_over(tmp_path, monkeypatch, caplog):
    why = [errno.EIO]

    def refuse(*_):
        raise OSError(why[0], os.strerror(why[0]))

    recorder = Recorder(tmp_path, "node", retry_s=0)
    real = os.write
    turns = [errno.EIO, errno.EIO, errno.EROFS, errno.EROFS, 0, errno.EROFS]
    for i, turn in enumerate(turns):
        why[0] = turn
        monkeypatch.setattr(native.os, "write", refuse if turn else real)
        assert recorder.append(plain_window(i)) == (not turn)
    monkeypatch.setattr(native.os, "write", real)
    recorder.close()
    said = [record.getMessage() for record in caplog.records if "recording paused" in record.getMessage()]
    assert [text.partition(": ")[2].partition(" (")[0] for text in said] == [
        os.strerror(code) for code in (errno.EIO, errno.EROFS, errno.EROFS)
    ]
    assert all(str(tmp_path) in text for text in said)


def test_a_fault_is_tried_again_when_its_time_has_come(tmp_path, monkeypatch):
    now, tries = [0.0], []

    def refuse(*_):
        tries.append(now[0])
        raise OSError(errno.EIO, "Input/output error")

    recorder = Recorder(tmp_path, "node", retry_s=4.0, clock=lambda: now[0])
    real = os.write
    monkeypatch.setattr(native.os, "write", refuse)
    taken = []
    for i in range(12):
        if i == 9:
            monkeypatch.setattr(native.os, "write", real)
        taken.append(recorder.append(plain_window(i)))
        now[0] += 1
    assert tries == [0, 4, 8]
    assert taken == [False] * 12
    assert "Input/output error" in recorder.state.fault
    assert recorder.append(plain_window(12))
    assert (recorder.state.fault, recorder.state.windows, recorder.state.lost_windows) == ("", 1, 12)
    recorder.close()


def test_size_limit_drops_the_oldest(tmp_path):
    recorder = record(tmp_path, range(200), max_bytes=200_000)
    assert recorder.state.dropped > 0
    assert sum(path.stat().st_size for path in segments(tmp_path, ".arrows")) <= 200_000
    windows, _ = read_all(tmp_path)
    assert windows[-1].seq == 199
    assert windows[0].seq > 0


def test_age_limit_drops_the_old(tmp_path):
    record(tmp_path, range(3))
    for path in segments(tmp_path, ".arrows"):
        os.utime(path, (1, 1))
    record(tmp_path, range(10_000, 10_002), max_age_s=3600)
    assert [window.seq for window in read_all(tmp_path)[0]] == [10_000, 10_001]


class FullDisk:
    """os.write on a disk that takes so many bytes and no more, tearing the write that meets the end."""

    def __init__(self, room):
        self.room = room
        self.real = os.write

    def __call__(self, fd, data):
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = self.real(fd, data[: self.room])
        self.room -= taken
        return taken


def test_full_disk_is_counted_and_recording_goes_on_when_there_is_room(tmp_path, monkeypatch):
    disk = FullDisk(20_000)
    monkeypatch.setattr(native.os, "write", disk)
    now = [0.0]
    recorder = Recorder(tmp_path, "node", clock=lambda: now[0], retry_s=5)
    written = []
    for i in range(30):
        now[0] += 1
        if i == 20:
            disk.room = 1_000_000
        if recorder.append(plain_window(i)):
            written.append(i)
        elif i < 20:
            assert "No space left" in recorder.state.fault
    recorder.close()
    assert recorder.state.lost_windows == 30 - len(written) > 0
    assert written[-1] == 29
    assert not recorder.state.fault
    windows, reports = read_all(tmp_path)
    assert [window.seq for window in windows] == written
    assert not any(report.rejected for report in reports)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_small_tmpfs_with_a_limit_keeps_the_newest(tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)]
    mount = subprocess.run(command, capture_output=True, check=False)
    if mount.returncode:
        pytest.skip(f"this machine lets nobody mount: {mount.stderr.decode().strip()}")
    try:
        recorder = Recorder(tmp_path, "node", max_bytes=10_000_000, segment_bytes=50_000, retry_s=0)
        for i in range(400):
            recorder.append(plain_window(i))
        recorder.close()
        windows, reports = read_all(tmp_path)
        assert recorder.state.dropped > 0
        assert windows[-1].seq == 399
        assert not any(report.rejected for report in reports)
        assert recorder.state.windows + recorder.state.lost_windows == 400
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_folder_that_cannot_be_written_is_a_fault_not_a_crash(tmp_path):
    place = tmp_path / "file"
    place.write_text("not a folder")
    recorder = Recorder(place, "node", retry_s=0)
    assert recorder.state.fault
    assert not recorder.append(plain_window(0))
    assert recorder.state.lost_windows == 1
    recorder.close()


def test_read_only_folder(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(native.os, "open", refuse)
    recorder = Recorder(tmp_path, "node", retry_s=0)
    assert "Read-only file system" in recorder.state.fault
    assert not recorder.append(plain_window(0))
    monkeypatch.setattr(native.os, "open", real)
    assert recorder.append(plain_window(1))
    recorder.close()


def test_clock_set_back_over_a_restart_overwrites_nothing(tmp_path):
    record(tmp_path, [5, 6])
    record(tmp_path, [5, 7])
    assert sorted(window.seq for window in read_all(tmp_path)[0]) == [5, 5, 6, 7]


def test_empty_segment_is_one_clear_line(tmp_path):
    path = tmp_path / "x.arrows"
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        list(segment_windows(path, SourceReport("x")))


def test_a_segment_whose_beginning_is_damaged_is_read_from_where_it_is_whole(tmp_path):
    recorder = Recorder(tmp_path, "node")
    for i in range(20):  # the GPUs are named when they change
        recorder.append(plain_window(i, gpus=2 if i < 10 else 3))
    recorder.close()
    (path,) = segments(tmp_path, ".arrows")
    data = path.read_bytes()
    begin = list(spans(memoryview(data), layout_of(memoryview(data))))[10].start
    assert begin > 10_000
    path.write_bytes(b"\0" * begin + data[begin:])
    windows, (report,) = read_all(tmp_path)
    assert [window.seq for window in windows] == list(range(10, 20))
    assert dict(report.rejected) == {"damaged": 1}


def test_a_live_segment_is_read_as_far_as_it_goes(tmp_path):
    recorder = Recorder(tmp_path, "node")
    for i in range(3):
        recorder.append(plain_window(i))
    assert [window.seq for window in read_all(tmp_path)[0]] == [0, 1, 2]
    recorder.close()


def test_missing_windows_are_noticed(tmp_path):
    record(tmp_path, [0, 1, 5, 6])
    _, (report,) = read_all(tmp_path)
    assert any("3 windows missing before window 5" in note for note in report.notes)
