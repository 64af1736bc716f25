"""Reads native traces: Arrow segments, mapped and checked message by message, as windows or batches of them."""

from __future__ import annotations

import itertools
import mmap
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import InputError
from wattshed.agent.traces.chunk import windows_of
from wattshed.agent.traces.native.batch import FAR_US, LISTS, TEXT_LISTS, TEXTS, Damaged, Decoder, rows_of_batch
from wattshed.agent.traces.native.definitions import identity, text_of_owners
from wattshed.agent.traces.native.segment import COLUMNS, SegmentLayout, layout_of, read_message, spans
from wattshed.agent.window import MISSING, WindowBatch
from wattshed.kernels.arrow_messages import LENGTH, PLACES, READABLE, SAME_HOST, START, look_through
from wattshed.kernels.checksums import agreeing
from wattshed.kernels.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.traces.chunk import Chunk
    from wattshed.agent.window import Window

STRETCH = 64 << 20
"""Bytes of a segment that are looked through, and processed, at once."""
_MESSAGES = 1 << 16  # and messages
_LOOK_AHEAD = 4  # messages searched for a definition whose first copy was damaged
_PLACE = {name: PLACES + 2 * i for i, name in enumerate(COLUMNS)}
_MUST_BE_EMPTY = ("counter_mj", *(name for name in COLUMNS if name.startswith("usage_")))
_MUST_BE_NULL = ("events", "work", "beside", "cpu")
_NOBODY = identity(text_of_owners(()))  # an owner without use may still have a label that came late


def segment_chunks(path: Path, report: SourceReport) -> Iterator[Chunk]:
    """Read one ``.arrows`` or ``.open`` segment in stretches; what is damaged is counted and skipped.

    Memory stays bounded: the file is mapped, and pages that were read are given back.

    Yields
    ------
    callable
        Called with ``batched=False``, it gives the windows of a chunk. With ``batched=True`` windows of power readings
        and nothing else come together, undecoded, without their gauges and busy times. Chunks are called in order.

    Raises
    ------
    InputError
        If the file is empty, or of a version that cannot be read.
    """
    segment = _Segment(path, report)
    for table, damage in segment.chunks():
        yield partial(segment.items, table, damage)


def segment_windows(path: Path, report: SourceReport) -> Iterator[Window]:
    """Read all windows of a segment; see `segment_chunks`."""
    return windows_of(segment_chunks(path, report))


class _Segment:
    """One segment that is being read: its stretches maybe on their own thread, their items where they are processed.

    So the report belongs to the items alone.
    """

    def __init__(self, path: Path, report: SourceReport) -> None:
        self._path, self._report = path, report
        self._decoder = Decoder()
        self._last_seq: int | None = None
        self._read = [0]  # where stretches ended
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise InputError("it is empty", str(path))
            # A segment that is being written may be cut back under us; touching a page beyond its end would be fatal.
            growing = path.suffix == ".open"
            file.seek(0)
            self._mapped = None if growing else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._view = memoryview(file.read() if self._mapped is None else self._mapped)
        self._bytes = np.frombuffer(self._view, np.uint8)
        try:
            self._layout = layout_of(self._view)
        except Damaged as error:
            raise InputError(str(error), str(path)) from error

    def chunks(self) -> Iterator[tuple[NDArray[np.int64], str]]:
        """Find intact messages, as many at once as are processed at once, and say what is damaged behind them."""
        places, at = self._layout.places(), self._layout.start
        if at > len(self._view):
            yield np.empty((0, PLACES + 2 * len(COLUMNS)), np.int64), f"{len(self._view)} bytes at 0"
        while at < len(self._view):
            table, following = look_through(self._bytes, at, at + STRETCH, places, _MESSAGES)
            intact = agreeing(self._bytes, table, self._layout.seed)
            if intact < len(table):
                following = int(table[intact, START])
            damage = ""
            if intact < len(table) or following == at:
                following, damage = self._over_damage(following)
            yield table[:intact], damage
            at = following
            self._give_back(at)

    def _over_damage(self, at: int) -> tuple[int, str]:
        """Find the next intact message, and say what lies before it."""
        damage = ""
        for span in spans(self._view, SegmentLayout(self._layout.schema, self._layout.seed, at)):
            if span.intact and span.start > at:  # whatever is at the beginning has been tried
                return span.start, damage
            damage = f"{span.end - span.start} bytes at {span.start}"
        return len(self._view), damage

    def _give_back(self, at: int) -> None:
        """Release the pages of chunks that nobody looks at any more: all but the last three that were read."""
        self._read.append(at // mmap.PAGESIZE * mmap.PAGESIZE)
        if self._mapped is not None and len(self._read) > 4:
            begin, end = self._read.pop(0), self._read[0]
            if end > begin:
                self._mapped.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def items(self, table: NDArray[np.int64], damage: str, *, batched: bool) -> Iterator[Window | WindowBatch]:
        """Hand out intact messages, and count what is damaged behind them."""
        power_only = self._power_only(table) if batched else np.zeros(len(table), bool)
        kind = np.zeros((len(table), 2), np.int64)  # what a batch has in common: the form of its times, and its devices
        kind[power_only, 0] = table[power_only, _PLACE["dt_us"] + 1] > 0
        kind[power_only, 1] = self._numbers(table[power_only], "devices_id", np.uint32)
        apart = ~power_only[1:] | ~power_only[:-1] | (table[1:, SAME_HOST] == 0) | (kind[1:] != kind[:-1]).any(axis=1)
        for begin, end in itertools.pairwise([0, *(np.flatnonzero(apart) + 1).tolist(), len(table)]):
            batch = self._batch(table[begin:end]) if begin < end and power_only[begin] else None
            if batch is not None:
                yield batch
                continue
            for row in table[begin:end]:
                yield from self._windows(row)
        if damage:
            self._report.reject("damaged", text=damage)

    def _power_only(self, table: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which messages hold power readings and nothing else that counts, of nobody."""
        count = {name: table[:, place + 1] for name, place in _PLACE.items()}
        rows = np.maximum(count["dt_us"], count["time_us"])
        power_only: NDArray[np.bool_] = (table[:, READABLE] > 0) & (count["power_mw"] == rows) & (rows > 0)
        for name in _MUST_BE_NULL:
            power_only &= table[:, _PLACE[name]] < 0
        power_only &= (count["instant_mw"] == rows) | (count["instant_mw"] == 0)
        power_only &= (count["dt_us"] == 0) | (count["time_us"] == 0)
        for name in _MUST_BE_EMPTY:
            power_only &= count[name] == 0
        power_only &= count["busy_us"] == count["offsets"] - 1
        power_only[power_only] = self._numbers(table[power_only], "owners_id", np.uint32) == _NOBODY
        return power_only

    def _numbers(self, table: NDArray[np.int64], name: str, dtype: type[np.generic]) -> NDArray[Any]:
        """Read a column of single numbers."""
        size = np.dtype(dtype).itemsize
        return self._words(dtype)[table[:, _PLACE[name]] // size]

    def _words(self, dtype: type[np.generic]) -> NDArray[Any]:
        size = np.dtype(dtype).itemsize
        return self._bytes[: len(self._bytes) // size * size].view(dtype)

    def _batch(self, table: NDArray[np.int64]) -> WindowBatch | None:
        """Put power-only windows together as far as they have the same devices; None if they do not fit them."""
        defines = (table[:, [_PLACE[name] for name in ("devices", "owners", "meters")]] >= 0).any(axis=1)
        try:
            for row in table[defines]:
                self._decoder.learn(self._cells(row))
        except Damaged:
            return None
        devices = self._decoder.devices(int(self._numbers(table[:1], "devices_id", np.uint32)[0]))
        in_words = bool(table[0, _PLACE["dt_us"] + 1])
        times, size = ("dt_us", 4) if in_words else ("time_us", 8)
        rows = table[:, _PLACE[times] + 1]
        if devices is None or (table[:, _PLACE["offsets"] + 1] != len(devices) + 1).any():
            return None
        at = table[:, _PLACE["offsets"]] // 8
        offsets = self._words(np.int64)[at[:, None] + np.arange(len(devices) + 1)]
        if (offsets[:, 0] != 0).any() or (offsets[:, -1] != rows).any() or (np.diff(offsets, axis=1) < 0).any():
            return None
        seq, start_us, end_us = (self._numbers(table, name, np.int64) for name in ("seq", "start_us", "end_us"))
        if (start_us > end_us).any() or int(start_us.min()) <= -FAR_US or int(end_us.max()) >= FAR_US:
            return None
        self._follow(self._last_seq, int(seq[0]))
        for k in np.flatnonzero(np.diff(seq) > 1).tolist():
            self._follow(int(seq[k]), int(seq[k + 1]))
        self._last_seq = int(seq[-1])
        self._report.rows += int(rows.sum())
        self._report.position = int(table[-1, START] + table[-1, LENGTH])
        host = bytes(self._list(table[0], "host", np.uint8)).decode(errors="replace")
        columns = Columns(
            offsets,
            self._words(np.uint32 if in_words else np.int64), table[:, _PLACE[times]] // size,
            start_us if in_words else np.zeros_like(start_us),
            self._words(np.int32), table[:, _PLACE["power_mw"]] // 4,
        )  # fmt: skip
        instants = table[:, _PLACE["instant_mw"]]
        at = np.where(table[:, _PLACE["instant_mw"] + 1] > 0, instants // 4, MISSING)
        return WindowBatch(host, devices, seq, start_us, end_us, columns, self._words(np.int32), at)

    def _follow(self, before: int | None, seq: int) -> None:
        if before is not None and seq > before + 1:
            self._report.note(f"{self._path.name}: {seq - before - 1} windows missing before window {seq}")

    def _list(self, row: NDArray[np.int64], name: str, dtype: Any) -> NDArray[Any]:
        place = _PLACE[name]
        if not row[place + 1] or row[place] < 0:
            return np.empty(0, dtype)
        return np.frombuffer(self._view, dtype, int(row[place + 1]), int(row[place]))

    def _windows(self, row: NDArray[np.int64]) -> Iterator[Window]:
        """Decode one message."""
        end = int(row[START] + row[LENGTH])
        try:
            for cells, lists, texts in self._rows(row):
                self._decoder.learn(cells)
                if not self._decoder.knows(cells):
                    self._look_ahead(end)
                window = self._decoder.window(cells, lists, texts)
                self._report.rows += window.readings.time_us.size
                self._follow(self._last_seq, window.seq)
                self._last_seq, self._report.position = window.seq, end
                yield window
        except Damaged as error:
            self._report.reject("damaged", text=f"message at {row[START]}: {error}")

    def _rows(
        self, row: NDArray[np.int64]
    ) -> Iterator[tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, list[str]]]]:
        """Split a message into scalars, lists and lists of texts; one of another form through Arrow."""
        if not row[READABLE]:
            batch = read_message(self._view[int(row[START]) : int(row[START] + row[LENGTH])], self._layout.schema)
            yield from rows_of_batch(batch)
            return
        lists = {name: self._list(row, name, dtype) for name, dtype in LISTS.items()}
        yield self._cells(row), lists, {name: self._texts(row, name) for name in TEXT_LISTS}

    def _texts(self, row: NDArray[np.int64], name: str) -> list[str]:
        """Read a list of texts."""
        count = int(row[_PLACE[name] + 1])
        if not count:
            return []
        spots = np.frombuffer(self._view, np.int32, count + 1, int(row[_PLACE[name]]))
        letters = bytes(self._list(row, f"{name} text", np.uint8))
        return [letters[a:b].decode(errors="replace") for a, b in itertools.pairwise(spots.tolist())]

    def _cells(self, row: NDArray[np.int64]) -> dict[str, Any]:
        """Read the scalars of a message."""

        def text(name: str) -> str | None:
            return bytes(self._list(row, name, np.uint8)).decode(errors="replace") if row[_PLACE[name]] >= 0 else None

        cells: dict[str, Any] = {name: text(name) for name in TEXTS}
        for name in ("seq", "start_us", "end_us"):
            cells[name] = int(self._list(row, name, np.int64)[0])
        for name in ("devices_id", "owners_id"):
            cells[name] = int(self._list(row, name, np.uint32)[0])
        return cells

    def _look_ahead(self, at: int) -> None:
        """Learn a definition from its next copy."""
        rest = spans(self._view, SegmentLayout(self._layout.schema, self._layout.seed, at))
        for _, span in zip(range(_LOOK_AHEAD), rest, strict=False):
            if span.intact:
                with suppress(Damaged):  # it is reported when its turn comes
                    for cells, _, _ in rows_of_batch(
                        read_message(self._view[span.start : span.end], self._layout.schema)
                    ):
                        self._decoder.learn(cells)
