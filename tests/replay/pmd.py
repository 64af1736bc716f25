"""Reads the external power meter (PMD) that lay beside nvidia-smi in the recordings of GPU_Power_Benchmark.

Records of nine little-endian uint16: a tick (2933.5 to the millisecond, wraps at 65536), then four pairs (voltage,
current) whose upper twelve bits are a two's-complement reading of the converter; a negative one reads as 0.
"""

import gzip

import numpy as np

TICKS_PER_MS = 2933.5
VOLT, AMPERE = 0.007568, 0.0488


def _adc(raw):
    value = raw.astype(np.int32) >> 4
    return np.maximum(np.where(value >= 2048, value - 4096, value), 0)


def read(folder):
    """Return (time in Unix seconds, power in W) of one recording's meter."""
    path = folder / "PMD_data.bin"
    data = path.read_bytes() if path.exists() else gzip.decompress((folder / "PMD_data.bin.gz").read_bytes())
    words = np.frombuffer(data[: len(data) // 18 * 18], "<u2").reshape(-1, 9)
    ticks = np.cumsum(np.concatenate(([0], np.diff(words[:, 0].astype(np.int64)) % 65536)))
    start_s = int((folder / "PMD_start_ts.txt").read_text().strip()) / 1e6 - 0.05
    pairs = _adc(words[:, 1:])
    power = VOLT * AMPERE * (pairs[:, 0::2] * pairs[:, 1::2]).sum(axis=1)
    return start_s + ticks / TICKS_PER_MS / 1e3, power


def load_window(folder):
    """Return the compared window: first load stamp to half a second after the last, Unix seconds."""
    stamps = [int(word) / 1e6 for word in (folder / "timestamps.csv").read_text().split() if word.isdigit()]
    return min(stamps), max(stamps) + 0.5


def energy(time_s, power_w, window):
    """Trapezoid over a window whose ends are interpolated, J."""
    inside = (time_s > window[0]) & (time_s < window[1])
    times = np.concatenate(([window[0]], time_s[inside], [window[1]]))
    watts = np.interp(times, time_s, power_w)
    return float(np.trapezoid(watts, times))
