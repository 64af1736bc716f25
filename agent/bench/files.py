"""Energy straight from a file: memory-mapped Arrow, and Parquet, where decoding is the limit."""

# Imported where they are used: polars, duckdb and pyarrow are heavy, and two of them optional.
# ruff: noqa: PLC0415

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.kernels.energy import extend, new_state, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wattshed.agent.bench.rivals import BenchSamples

_BATCH = 1 << 22
_ROW_GROUP = 1 << 20
_WINDOW_ROWS = 2_000
"""Rows of a GPU in a recorded window: at a reading a second their times still fit 32 bits."""


def file_contests(data: BenchSamples, folder: Path, max_gap_us: int, *, with_polars: bool) -> Iterator[tuple[Any, ...]]:
    """Write the samples to files in ``folder``, and give each contest's fields.

    Parameters
    ----------
    data : BenchSamples
    folder : Path
        About 12 bytes a sample are written, twice.
    max_gap_us : int
    with_polars : bool
    """
    size = len(data.time_us) * 12
    files = _Files(data, folder / "samples.arrow", folder / "samples.parquet", max_gap_us)
    files.write()
    yield "f energy from mapped Arrow", files.from_mapped(), {}, _agrees, size
    yield "f energy, mapping anew", files.mapped_anew, {}, _agrees, size
    rivals: dict[str, Any] = {"decode": files.decode_only}
    if with_polars:
        rivals["polars"] = files.polars_parquet
    yield "f energy from Parquet", files.from_parquet, rivals, _agrees, size
    recording, read_bytes, replay = _recorded(data, folder, max_gap_us)
    yield "g replay of a recording", replay, {"reading": read_bytes}, _agrees, recording


def _agrees(ours: Any, theirs: Any) -> bool:
    return isinstance(theirs, str) or ours[0].tolist() == theirs


@dataclass(frozen=True, slots=True)
class _Files:
    """The samples in two files, and the ways of reading their energy."""

    data: BenchSamples
    arrow: Path
    parquet: Path
    max_gap_us: int

    def write(self) -> None:
        """Write both files: GPU, time and power of each sample."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = self.data
        gpu = np.repeat(np.arange(len(data.offsets) - 1, dtype=np.int16), np.diff(data.offsets))
        schema = pa.schema({"g": pa.int16(), "t": pa.int64(), "p": pa.int32()})
        options = {"compression": "zstd", "column_encoding": {"t": "DELTA_BINARY_PACKED"}, "use_dictionary": ["g"]}
        with pa.ipc.new_file(self.arrow, schema) as stream, pq.ParquetWriter(self.parquet, schema, **options) as writer:
            for a in range(0, len(data.time_us), _BATCH):
                own = slice(a, a + _BATCH)
                batch = pa.record_batch([gpu[own], data.time_us[own], data.power_mw[own]], schema=schema)
                stream.write(batch)
                writer.write_batch(batch, row_group_size=_ROW_GROUP)

    def from_mapped(self) -> Callable[[], Any]:
        """Map the Arrow file once; every call reads the same pages."""
        import pyarrow as pa

        mapped = pa.memory_map(str(self.arrow))
        return lambda: self._energy(self._batches(mapped))

    def mapped_anew(self) -> Any:
        """Every page of the file is mapped, by a page fault per few pages."""
        import pyarrow as pa

        with pa.memory_map(str(self.arrow)) as source:
            return self._energy(self._batches(source))

    def from_parquet(self) -> Any:
        """Row groups are decoded on a thread of their own, one ahead of the kernel."""
        return self._energy(self._row_groups())

    def decode_only(self) -> str:
        """Decode the same columns, and do nothing with them."""
        import pyarrow.parquet as pq

        pq.read_table(self.parquet, columns=["t", "p"], use_threads=True)
        return "from_parquet"

    def polars_parquet(self) -> list[int]:
        """Let polars read the file and integrate."""
        import polars as pl

        dt = pl.col("t").diff()
        same = pl.col("g") == pl.col("g").shift(1)
        e = pl.when(same & (dt <= self.max_gap_us)).then(dt) * (pl.col("p") + pl.col("p").shift(1))
        read = pl.scan_parquet(self.parquet).select("g", e=e)
        table = read.group_by("g").agg(pl.col("e").sum()).sort("g").collect()
        return [round(value / 2_000) for value in table["e"].to_list()]

    def _batches(self, source: Any) -> Iterator[tuple[Any, Any]]:
        import pyarrow as pa

        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield batch.column(1).to_numpy(), batch.column(2).to_numpy()

    def _row_groups(self) -> Iterator[tuple[Any, Any]]:
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.parquet)

        def decode(group: int) -> Any:
            return file.read_row_group(group, ["t", "p"], use_threads=True) if group < file.num_row_groups else None

        with ThreadPoolExecutor(1) as ahead:
            coming = ahead.submit(decode, 0)
            for group in range(file.num_row_groups):
                table, coming = coming.result(), ahead.submit(decode, group + 1)
                yield table.column(0).to_numpy(), table.column(1).to_numpy()

    def _energy(self, parts: Iterator[tuple[Any, Any]]) -> Any:
        """Integrate the times and powers of one part of the samples after the other."""
        state, first = new_state(len(self.data.offsets) - 1), 0
        for times, powers in parts:
            offsets = np.clip(self.data.offsets - first, 0, len(times))  # of the GPUs within this part
            extend(state, times, powers, offsets, self.max_gap_us)
            first += len(times)
        return read(state)


def _recorded(data: BenchSamples, folder: Path, max_gap_us: int) -> tuple[int, Callable[[], Any], Callable[[], Any]]:
    """Record the samples in the native format; returns its bytes, and what reads and what replays them.

    The replay is all that `wattshed replay` does but for starting and printing: checksums, energies, gaps, quantiles.
    """
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.bench.made_windows import HOST, devices, power_window
    from wattshed.agent.traces.native.recorder import Recorder
    from wattshed.agent.traces.options import Options
    from wattshed.agent.traces.sources import find
    from wattshed.agent.window import WindowBatch

    gpus, options = len(data.offsets) - 1, Options()
    recorder, of = Recorder(folder, HOST, segment_s=float("inf"), sync_s=float("inf")), devices(gpus, max_gap_us)
    since_us = int(data.time_us.min())
    for seq, first in enumerate(range(0, int(np.diff(data.offsets).max()), _WINDOW_ROWS)):
        lo = np.minimum(data.offsets[:-1] + first, data.offsets[1:])
        hi = np.minimum(lo + _WINDOW_ROWS, data.offsets[1:])
        rows = np.concatenate([np.arange(a, b) for a, b in zip(lo, hi, strict=True)])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(hi - lo)])
        times = data.time_us[rows]
        until_us = int(times.max()) + 1
        recorder.append(power_window(seq, (since_us, until_us), of, offsets, (times, data.power_mw[rows])))
        since_us = until_us
    recorder.close()
    segments = sorted(folder.rglob("*.arrows"))

    def read_bytes() -> str:
        buffer = bytearray(_BATCH)
        for segment in segments:
            with segment.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
        return read_bytes.__name__

    def replay() -> Any:
        accounts = Accounts()
        for chain in find([str(folder / f"host={HOST}")], options):
            for item in chain.batches(options):
                accounts.add_batch(item) if isinstance(item, WindowBatch) else accounts.add(item)
        accounts.finish()
        for account in accounts.gpus.values():
            account.power.quantiles()
        return (np.array([account.energy_hnj // 2_000 for account in accounts.gpus.values()]),)

    return sum(segment.stat().st_size for segment in segments), read_bytes, replay
