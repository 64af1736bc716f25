"""Kinds of files that people bring, made up in any size: eight GPUs, a reading a second of each."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from wattshed.agent.bench.made_windows import HOST, S, devices, power_window
from wattshed.agent.traces.native.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

GPUS = 8
_BEGIN = np.datetime64("2026-03-01T00:00:00")
_BEGIN_US = int(_BEGIN.astype("datetime64[us]").astype(np.int64))
_BITE = 10_000  # seconds that are written at once
_WINDOW = 2_000  # seconds of a recorded window
_UUIDS = [f"GPU-{gpu:08x}-5f5c-4b1e-9d3a-0123456789ab" for gpu in range(GPUS)]


def power_of_steps(seconds: int, seed: int) -> NDArray[np.int64]:
    """Make powers of GPUs that train, and rest at times: int64[seconds, GPUS], mW."""
    rng = np.random.default_rng(seed)
    works = np.repeat(rng.random((seconds // 50 + 1, GPUS)) < 0.7, 50, axis=0)[:seconds]
    return np.where(works, 650_000, 120_000) + rng.integers(-40_000, 40_000, (seconds, GPUS))


def energy_uj(power_mw: NDArray[np.int64], step_mw: int) -> list[int]:
    """Integrate what a file says of powers that it rounds to ``step_mw``: microjoules of each GPU."""
    written = np.rint(power_mw / step_mw).astype(np.int64) * step_mw
    return [int(pairs) * S // 2_000 for pairs in (written[1:] + written[:-1]).sum(axis=0)]


@dataclass(frozen=True, slots=True)
class LogKind:
    """A kind of file.

    Attributes
    ----------
    name : str
    write : callable
        Writes powers (int64[seconds, GPUS], mW) to a path, which may become a folder.
    row_bytes : int
        About so many of a reading.
    step_mw : int, mW
        To what it rounds power.
    rivals : tuple of str
        What else reads it (`log_rivals`).
    demand : bool
        It is a load over time, for ``wattshed fleet demand``.
    has_power : bool
        Else its rows are counted, and no energy.
    """

    name: str
    write: Callable[[Path, NDArray[np.int64]], None]
    row_bytes: int
    step_mw: int = 1
    rivals: tuple[str, ...] = ()
    demand: bool = False
    has_power: bool = True

    @property
    def gives_energy(self) -> bool:
        """Whether its answer is joules; else it is a number of rows."""
        return self.has_power and not self.demand


def _lines(path: Path, head: str, power_mw: NDArray[np.int64], line: Callable[[str, int, int], str]) -> None:
    """Write a line of each GPU and second: of its stamp (ISO 8601), GPU and power (mW)."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(head)
        for stamps, powers in _bites(power_mw):
            for stamp, watts in zip(stamps, powers, strict=True):
                file.writelines(line(stamp, gpu, mw) for gpu, mw in enumerate(watts))


def _bites(power_mw: NDArray[np.int64]) -> Iterator[tuple[list[str], list[list[int]]]]:
    for first in range(0, len(power_mw), _BITE):
        powers = power_mw[first : first + _BITE]
        stamps = np.datetime_as_string(_BEGIN + np.arange(first, first + len(powers)), unit="s")
        yield stamps.tolist(), powers.tolist()


def _smi(path: Path, power_mw: NDArray[np.int64]) -> None:
    def line(stamp: str, gpu: int, mw: int) -> str:
        day, clock = stamp[:10].replace("-", "/"), stamp[11:]
        return f"{day} {clock}.000, {gpu}, {_UUIDS[gpu]}, {round(mw / 10) / 100:.2f} W, {97 if mw > 300_000 else 3} %\n"

    _lines(path, "timestamp, index, uuid, power.draw [W], utilization.gpu [%]\n", power_mw, line)


def _gzipped(path: Path, power_mw: NDArray[np.int64]) -> None:
    plain = path.with_suffix(".plain")
    _smi(plain, power_mw)
    with plain.open("rb") as source, gzip.open(path, "wb", compresslevel=6) as packed:
        shutil.copyfileobj(source, packed, 1 << 20)
    plain.unlink()


def _table(path: Path, power_mw: NDArray[np.int64]) -> None:
    head = "timestamp,host,gpu,power_w,temperature_c\n"
    _lines(path, head, power_mw, lambda stamp, gpu, mw: f"{stamp},{HOST},{gpu},{mw / 1000:.3f},{40 + gpu}\n")


def _load(path: Path, power_mw: NDArray[np.int64]) -> None:
    _lines(path, "time,host,gpu,power_w\n", power_mw, lambda at, gpu, mw: f"{at},{HOST},{gpu},{mw / 1000:.3f}\n")


def _dmon(path: Path, power_mw: NDArray[np.int64]) -> None:
    def line(stamp: str, gpu: int, mw: int) -> str:
        return (
            f" {stamp[:10].replace('-', '')}   {stamp[11:]}     {gpu:2}    {round(mw / 1000):3}     45     97     20\n"
        )

    head = "#Date       Time        gpu    pwr  gtemp     sm    mem\n"
    _lines(path, f"{head}#YYYYMMDD   HH:MM:SS    Idx      W      C      %      %\n", power_mw, line)


def _pmon(path: Path, power_mw: NDArray[np.int64]) -> None:
    def line(stamp: str, gpu: int, mw: int) -> str:
        who = f"{gpu:2}   {4000 + gpu:7}     C     {97 if mw > 300_000 else 3:2}     20   python3"
        return f" {stamp[:10].replace('-', '')}   {stamp[11:]}     {who}\n"

    head = "#Date       Time        gpu         pid  type     sm    mem   command\n"
    _lines(path, f"{head}#YYYYMMDD   HH:MM:SS    Idx           #   C/G      %      %   name\n", power_mw, line)


_REPORT_OF_GPU = """GPU 00000000:{bus:02X}:00.0
    GPU Power Readings
        Power Draw                        : {watts:.2f} W
        Current Power Limit               : 700.00 W
        Requested Power Limit             : 700.00 W
        Default Power Limit               : 700.00 W
        Min Power Limit                   : 200.00 W
        Max Power Limit                   : 700.00 W
    Module Power Readings
        Power Draw                        : N/A
        Current Power Limit               : N/A

"""


def _query(path: Path, power_mw: NDArray[np.int64]) -> None:
    """Write what ``nvidia-smi -q -d POWER -l 1`` would."""
    head = "==============NVSMI LOG==============\n\nTimestamp                                 : "
    driver = "Driver Version                            : 580.65.06\n\n"
    with path.open("w", encoding="ascii", newline="\n") as file:
        for second, powers in enumerate(power_mw.tolist()):
            stamp = datetime.fromtimestamp(_BEGIN_US // S + second, UTC).strftime("%a %b %e %H:%M:%S %Y")
            file.write(f"{head}{stamp}\n{driver}Attached GPUs                             : {GPUS}\n")
            file.writelines(
                _REPORT_OF_GPU.format(bus=gpu + 1, watts=round(mw / 10) / 100) for gpu, mw in enumerate(powers)
            )


def _parquet(path: Path, power_mw: NDArray[np.int64]) -> None:
    import pyarrow as pa  # noqa: PLC0415 - as pyarrow.parquet
    import pyarrow.parquet as pq  # noqa: PLC0415 - a tenth of a start that needs none

    stamps = np.repeat(_BEGIN.astype("datetime64[us]") + np.arange(len(power_mw)) * np.timedelta64(1, "s"), GPUS)
    gpus, watts = np.tile(np.arange(GPUS), len(power_mw)), power_mw.ravel() / 1000
    celsius = (40 + gpus).astype(np.float32)
    pq.write_table(pa.table({"timestamp": stamps, "gpu": gpus, "power_w": watts, "temperature_c": celsius}), path)


def _recording(path: Path, power_mw: NDArray[np.int64]) -> None:
    recorder, of, since_us = Recorder(path, HOST, segment_s=float("inf"), sync_s=float("inf")), devices(GPUS), _BEGIN_US
    for seq, first in enumerate(range(0, len(power_mw), _WINDOW)):
        powers = power_mw[first : first + _WINDOW]
        times = _BEGIN_US + (first + np.arange(len(powers))) * S
        until_us = int(times[-1]) + S
        columns = np.tile(times, GPUS), powers.T.ravel().astype(np.int32)
        offsets = np.arange(GPUS + 1, dtype=np.int64) * len(powers)
        recorder.append(power_window(seq, (since_us, until_us), of, offsets, columns))
        since_us = until_us
    recorder.close()


_BOTH = ("polars", "duckdb")
KINDS = (
    LogKind("nvidia-smi CSV", _smi, 86, 10, _BOTH),
    LogKind("nvidia-smi CSV, gzip", _gzipped, 86, 10, _BOTH),
    LogKind("CSV of any tool", _table, 39, rivals=_BOTH),
    LogKind("Parquet of any tool", _parquet, 10, rivals=("pyarrow decode", *_BOTH)),
    LogKind("dmon", _dmon, 54, 1000),
    LogKind("pmon", _pmon, 66, has_power=False),
    LogKind("nvidia-smi -q", _query, 460, 10),
    LogKind("recording", _recording, 8),
    LogKind("fleet demand CSV", _load, 36, rivals=_BOTH, demand=True),
)


def unpacked_bytes(path: Path) -> int:
    """Return how much is read of a file, or of those in a folder; gzip says at its end how much it is unpacked."""
    if path.suffix == ".gz":
        with path.open("rb") as file:
            file.seek(-4, 2)
            return int.from_bytes(file.read(), "little")
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def answer_of(kind: LogKind, output: str) -> list[int]:
    """Take the answer out of what ``replay`` or ``fleet demand`` printed as JSON: microjoules a GPU, or rows."""
    document = json.loads(output)
    if kind.demand:
        return [document["rows"]]
    if not kind.has_power:
        return [document["sources"][0]["rows"]]
    return [round(1e6 * gpu["energy_j"]) for gpu in sorted(document["gpus"], key=lambda gpu: int(gpu["gpu"]))]
