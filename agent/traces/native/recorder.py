"""The recorder: every window on disk before the next one comes, and a folder that is never damaged by a crash.

A segment is written as ``NAME.open``, one `write` a window, fdatasync every few seconds, and becomes ``NAME.arrows`` at
rotation (fsync, rename, fsync of the folder). SIGKILL therefore loses at most the window that was not yet written, a
power cut at most one sync interval. Nothing that happens to the disk stops the metering: what could not be written is
counted in `RecorderState`, and the recorder tries again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.traces.native.batch import Damaged, batch_of_window
from wattshed.agent.traces.native.definitions import identity, text_of_devices, text_of_owners
from wattshed.agent.traces.native.host_rows import text_of_meters
from wattshed.agent.traces.native.segment import END_OF_STREAM, SCHEMA_MESSAGE, layout_of, message_of_batch, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wattshed.agent.window import Window

log = logging.getLogger("wattshed.recorder")

_DEFINITIONS = ("devices", "owners", "meters")
_DAY_US = 86_400_000_000
_WRITTEN_TWICE = (
    2  # a definition stands in two batches in a row, so that no single damaged batch makes others unreadable
)


@dataclass(slots=True)
class RecorderState:
    """What the recorder did and what went wrong; read by the agent's own metrics.

    Attributes
    ----------
    windows, lost_windows : int
        Windows on disk, and windows that could not be written.
    recovered, corrupt, dropped : int
        Segments that were cut at their last good batch on start; segments set aside as ``.corrupt``; finished segments
        removed for the size or age limit.
    fault : str
        Why windows are being lost now; empty when all is well.
    """

    windows: int = 0
    lost_windows: int = 0
    recovered: int = 0
    corrupt: int = 0
    dropped: int = 0
    fault: str = ""


class Recorder:
    """Writes windows of one host below ``folder/host=HOST/date=YYYY-MM-DD/``.

    Parameters
    ----------
    folder : Path
    host : str
    max_bytes : int, bytes
        Upper bound of the host's recording; the oldest finished segments go first. 0: no bound.
    max_age_s : float, s
        Finished segments whose last change is older go. 0: no bound.
    segment_bytes, segment_s : int, float
        A segment is finished when it is this large or old, and at midnight UTC.
    sync_s : float, s
        Interval of fdatasync.
    retry_s : float, s
        How long the recorder waits after a fault before it tries the disk again.
    clock : callable
        Monotonic seconds.

    Notes
    -----
    The constructor never raises for the state of the disk: ``state.fault`` has it. One writer only.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        *,
        max_bytes: int = 0,
        max_age_s: float = 0.0,
        segment_bytes: int = 64 << 20,
        segment_s: float = 3600.0,
        sync_s: float = 5.0,
        retry_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.host, self.state = Path(folder), host, RecorderState()
        self._home = self.folder / f"host={host.replace('/', '_') or 'unknown'}"
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        if max_bytes:  # whole segments are dropped, so a bound needs several of them
            segment_bytes = min(segment_bytes, max(max_bytes // 8, 1))
        self._segment_bytes, self._segment_s, self._sync_s, self._retry_s = segment_bytes, segment_s, sync_s, retry_s
        self._clock = clock
        self._fd = self._lock = -1
        self._path = self._home
        self._good = 0  # bytes of the open segment that hold whole messages
        self._day = self._kept = 0
        self._opened = self._synced = 0.0
        self._retry_at = float("-inf")
        self._said = ""  # why windows are being lost, as it was logged
        self._texts = dict.fromkeys(_DEFINITIONS, "")
        self._repeat = dict.fromkeys(_DEFINITIONS, 0)
        self._try(self._start)

    def append(self, window: Window) -> bool:
        """Write a window; True when it lies in the file (the kernel has it, a SIGKILL cannot lose it)."""
        if self._clock() < self._retry_at or not (self._lock >= 0 or self._try(self._start)):
            self.state.lost_windows += 1
            return False
        if self._try(lambda: self._write(window)):
            self.state.windows += 1
            if self._said:
                log.info("recording resumed; windows lost so far: %d", self.state.lost_windows)
            self._said = self.state.fault = ""
            if self._clock() - self._synced >= self._sync_s:
                self._synced = self._clock()
                self._try(lambda: os.fdatasync(self._fd))
            return True
        self.state.lost_windows += 1
        return False

    def close(self) -> None:
        """Finish the open segment and let go of the folder."""
        self._try(self._finish)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _try(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError as error:
            why = error.strerror or str(error)
            fault = f"{why} ({error.filename or self._path})"
            if why != self._said:  # the file may be another at each try
                log.warning("recording paused, metering continues: %s", fault)
            self._said, self.state.fault = why, fault
            self._retry_at = self._clock() + self._retry_s
            return False
        self._retry_at = float("-inf")
        return True

    def _start(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._home / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise OSError(errno.EBUSY, "another wattshed is recording there", str(self._home)) from error
        self._lock = lock
        for path in sorted(self._home.glob("date=*/*.open")):
            self._recover(path)
        self._keep_limits()

    def _recover(self, path: Path) -> None:
        """Cut a left-over segment at its last good batch and finish it; set aside what cannot be read."""
        data = path.read_bytes()
        try:
            view = memoryview(data)
            found = list(spans(view, layout_of(view)))
        except Damaged:
            found = []
        intact = [span for span in found if span.intact]
        if not intact:
            if SCHEMA_MESSAGE.startswith(data[: len(SCHEMA_MESSAGE)]) and len(data) < len(SCHEMA_MESSAGE) + 4096:
                path.unlink()  # killed before its first window was whole: nothing was acknowledged
                return
            self.state.corrupt += 1
            path.rename(path.with_suffix(".corrupt"))
            log.warning("%s has no readable window; kept as %s", path, path.with_suffix(".corrupt").name)
            return
        with path.open("r+b") as file:
            file.truncate(intact[-1].end)
            file.seek(0, os.SEEK_END)
            file.write(END_OF_STREAM)
            file.flush()
            os.fsync(file.fileno())
        path.rename(path.with_suffix(".arrows"))
        _sync_folder(path.parent)
        self.state.recovered += 1
        log.info("recovered %s: %d windows, %d bytes dropped", path, len(intact), len(data) - intact[-1].end)

    def _open(self, window: Window) -> None:
        self._day = window.start_us // _DAY_US
        date = time.strftime("%Y-%m-%d", time.gmtime(self._day * 86_400))
        folder = self._home / f"date={date}"
        folder.mkdir(exist_ok=True)
        name = f"{window.start_us:017d}"
        taken = [folder / f"{name}.{end}" for end in ("open", "arrows", "parquet", "corrupt")]
        if any(path.exists() for path in taken):  # the clock was set back over a restart
            name = f"{name}-{os.getpid()}-{time.monotonic_ns()}"
        self._path = folder / f"{name}.open"
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._good = 0
        self._opened = self._synced = self._clock()
        self._texts = dict.fromkeys(_DEFINITIONS, "")
        self._write_all(SCHEMA_MESSAGE)
        _sync_folder(folder)

    def _write(self, window: Window) -> None:
        age = self._clock() - self._opened
        full = self._good >= self._segment_bytes or age >= self._segment_s or window.start_us // _DAY_US != self._day
        if self._fd >= 0 and full:
            self._finish()
        if self._fd < 0:
            self._open(window)
        devices, owners = text_of_devices(window.devices), text_of_owners(window.owners)
        meters = text_of_meters(window.beside.meters)
        ids = (identity(devices), identity(owners), identity(meters))
        batch = batch_of_window(
            window,
            self._define("devices", devices),
            self._define("owners", owners),
            ids,
            meters=self._define("meters", meters) if window.beside.meters else None,
        )
        self._write_all(message_of_batch(batch, window.seq))
        for name in self._repeat:
            self._repeat[name] = max(0, self._repeat[name] - 1)

    def _define(self, name: str, text: str) -> str | None:
        if text != self._texts[name]:
            self._texts[name], self._repeat[name] = text, _WRITTEN_TWICE
        return text if self._repeat[name] else None

    def _write_all(self, data: bytes) -> None:
        """Append ``data`` whole or leave the file as it was; the oldest segments make room on a full disk."""
        while True:
            try:
                done = 0
                while done < len(data):
                    done += os.write(self._fd, data[done:])
            except OSError as error:
                self._cut_back()
                if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not (self._max_bytes and self._drop_oldest()):
                    raise
            else:
                self._good += done
                return

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._fd, self._good)
        except OSError:  # the next start cuts it; until then a new segment is safer than a torn one
            self._abandon()
        else:
            if not self._good:
                self._path.unlink(missing_ok=True)
                self._abandon()

    def _abandon(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1

    def _finish(self) -> None:
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # the end mark is a courtesy to other readers, and a full disk may refuse it
            if os.write(self._fd, END_OF_STREAM) < len(END_OF_STREAM):
                os.ftruncate(self._fd, self._good)
        os.fsync(self._fd)
        self._abandon()
        self._path.rename(self._path.with_suffix(".arrows"))
        _sync_folder(self._path.parent)
        self._keep_limits()

    def _finished(self) -> Iterator[Path]:
        yield from sorted(
            path for path in self._home.glob("date=*/*") if path.suffix in {".arrows", ".parquet", ".corrupt"}
        )

    def _drop_oldest(self) -> bool:
        for path in self._finished():
            path.unlink()
            self.state.dropped += 1
            log.warning("dropped the oldest segment to keep recording: %s", path)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
            return True
        return False

    def _keep_limits(self) -> None:
        """Remove finished segments that are too old, then the oldest while the recording is too large."""
        sizes = {path: path.stat() for path in self._finished()}
        oldest = time.time() - self._max_age_s if self._max_age_s else 0.0
        total = sum(stat.st_size for stat in sizes.values()) + (self._segment_bytes if self._max_bytes else 0)
        for path, stat in sizes.items():
            if stat.st_mtime >= oldest and not (self._max_bytes and total > self._max_bytes):
                continue
            total -= stat.st_size
            path.unlink(missing_ok=True)
            self.state.dropped += 1
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
