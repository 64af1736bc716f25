"""Energy of each job from a whole recording: overlapping jobs, idle power, shares and utilisation; exact integers.

The samples are read once, at the speed of memory: each GPU's time is cut at the starts and ends of its usage rows, and
static (up to idle power) and dynamic energy are summed per segment (:mod:`kernels.arrays.segments`), and split among
those present by the rules of :mod:`kernels.billing.shares`: the same functions that the live path uses. N samples and P
edges cost O(N + P log P + P times the owners present at once).
"""

# Kernels are typed by numba when they are first called; what Python calls is annotated.
# mypy: allow-untyped-defs, allow-untyped-calls
# ruff: noqa: ANN202

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wattshed.kernels.arrays.segments import HIGHEST_MW, LONGEST_US, cut, sum_chunks
from wattshed.kernels.billing.shares import here_in, split_dynamic, split_static
from wattshed.kernels.billing.usage import OwnerUse, SweepPlace, UsageRows, pass_edge, usage_rows
from wattshed.kernels.columns import CHUNK, CUDA_CHUNK, need_host
from wattshed.kernels.entry import i64, kernel, written
from wattshed.kernels.entry import rows as records
from wattshed.kernels.jit import jit
from wattshed.kernels.placing import least_and_greatest, place, raise_backwards, valid_rows
from wattshed.kernels.threads import each

if TYPE_CHECKING:
    from numpy.typing import NDArray

HNJ_PER_JOULE = 2_000_000_000
_FULL = 1 << 61


class JobEnergy(NamedTuple):
    """What each usage row and each GPU's ``_idle`` and ``_unattributed`` got.

    An energy is a row of two int64: whole joules, and the half-nanojoules (0 to 2e9 - 1) beyond them; a job that runs
    for months does not fit one int64 of half-nanojoules.

    Attributes
    ----------
    static, dynamic : int64[m, 2]
    method : int64[m]
        Bits, as in :class:`kernels.billing.split.Split`.
    idle, unattributed : int64[g, 2]
    """

    static: NDArray[np.int64]
    dynamic: NDArray[np.int64]
    method: NDArray[np.int64]
    idle: NDArray[np.int64]
    unattributed: NDArray[np.int64]


@jit
def _carry(energy):
    """Move whole joules out of the half-nanojoules."""
    energy[0] += energy[1] // HNJ_PER_JOULE
    energy[1] %= HNJ_PER_JOULE


class _Sums(NamedTuple):
    """Energy of chunks of samples, segment by segment; see `kernels.arrays.segments.sum_chunk`.

    Attributes
    ----------
    chunks : int64[g + 1]
        GPU ``i`` owns chunks ``chunks[i]:chunks[i + 1]``.
    out : int64[*, 2], hnj
        Static and dynamic energy of segment ``s`` in chunk ``k``, both numbered over all GPUs, in row ``s + k``.
    span : int64[k, 2]
        First and last segment of each chunk.
    """

    chunks: NDArray[np.int64]
    out: NDArray[np.int64]
    span: NDArray[np.int64]


@jit
def _energy_of(segment, sums, k, stop):
    """Sum a segment's energy from chunk ``k`` on: static, dynamic, the chunk it ends in, and whether there is more.

    So much that it might overflow is split before the next chunk.
    """
    static = 0
    dynamic = 0
    while k < stop and sums.span[k, 0] <= segment:
        static += sums.out[segment + k, 0]
        dynamic += sums.out[segment + k, 1]
        if sums.span[k, 1] > segment:
            break
        k += 1
        if static + dynamic > _FULL:
            return static, dynamic, k, True
    return static, dynamic, k, False


@jit
def _enter(here, present, still, moving, result):
    """Enter what those present got of a segment, and leave nothing behind."""
    for j in range(present):
        row = here.rows[j]
        result.static[row, 1] += still[row]
        result.dynamic[row, 1] += moving[row]
        still[row] = 0
        moving[row] = 0
        if result.static[row, 1] >= _FULL or result.dynamic[row, 1] >= _FULL:
            _carry(result.static[row])
            _carry(result.dynamic[row])


@jit
def _split_gpu(g, lo, hi, sums, edges, usage, here, still, moving, result):
    """Walk one GPU's segments and its usage rows ``lo:hi``: who is there, what it took, who gets it."""
    at = SweepPlace(lo, hi, 0, lo, lo)
    k = sums.chunks[g]
    for i in range(2 * (hi - lo) + 1):
        more = True
        while more:
            static, dynamic, k, more = _energy_of(2 * lo + g + i, sums, k, sums.chunks[g + 1])
            result.idle[g, 1] += split_static(static, usage, here, at.present, still)
            left, _ = split_dynamic(dynamic, usage, here, at.present, moving, result.method)
            result.unattributed[g, 1] += left
            _carry(result.idle[g])
            _carry(result.unattributed[g])
            _enter(here, at.present, still, moving, result)
        if i < 2 * (hi - lo):
            at = pass_edge(usage, at, edges[2 * lo + i], here.rows)
    for row in range(lo, hi):
        _carry(result.static[row])
        _carry(result.dynamic[row])


@kernel(
    i64[:], i64[:, :], i64[:, :], i64[:], i64[:], records(OwnerUse), i64[:], i64[:], written(i64[:, :]),
    written(i64[:, :]), written(i64[:, :]), written(i64[:, :]), written(i64[:]), written(i64[:, :]), written(i64[:, :]),
    i64, i64,
)  # fmt: skip
def _split_all(
    chunks, out, span, edges, rows, row, by_start, by_end, spare, got,
    static, dynamic, method, idle, unattributed, first, last,
):  # fmt: skip
    """Split the segments of GPUs ``first:last`` among their usage rows.

    ``spare`` (int64[3, m + g]) and ``got`` (int64[2, m], 0) are room to work in, in which each GPU has a part.
    """
    sums = _Sums(chunks, out, span)
    usage = UsageRows(row, by_start, by_end)
    result = JobEnergy(static, dynamic, method, idle, unattributed)
    for g in range(first, last):
        here = here_in(spare, g, rows[g], rows[g + 1])
        _split_gpu(g, rows[g], rows[g + 1], sums, edges, usage, here, got[0], got[1], result)


def _sum(time_us, power_mw, offsets, max_gap_us, idle_mw, edges, rows, on_cuda):
    """Sum all chunks; returns the sums, and the least and the highest reading of each chunk."""
    gpus = len(offsets) - 1
    if on_cuda:
        from wattshed.kernels import resident

        chunks, first = resident.cut(time_us, offsets, CUDA_CHUNK)
    else:
        chunks = np.zeros(gpus + 1, np.int64)
        cut(time_us, offsets, CHUNK, chunks, np.empty(0, np.int64))
        first = np.empty(chunks[-1], np.int64)
        cut(time_us, offsets, CHUNK, chunks, first)
    count = len(first)
    first = np.append(first, len(time_us))
    sums = _Sums(chunks, np.zeros((len(edges) + gpus + count, 2), np.int64), np.empty((count, 2), np.int64))
    bounds = np.zeros((count, 2), np.int64)
    gpu = np.repeat(np.arange(gpus), np.diff(chunks))
    given = (
        time_us, power_mw, offsets, gpu, first, edges, rows, idle_mw, np.int64(max_gap_us), sums.out, sums.span, bounds
    )  # fmt: skip
    with np.errstate(over="ignore"):  # checked by the range of the readings
        if on_cuda:
            from wattshed.kernels.cuda_segments import sum_segments

            sum_segments(*given)
        else:
            each(sum_chunks, count, *given, rows=len(time_us))
    return sums, bounds


def job_energy(
    time_us: NDArray[np.int64],
    power_mw: NDArray[np.int32],
    offsets: NDArray[np.int64],
    max_gap_us: int,
    idle_mw: NDArray[np.int64],
    rows: NDArray[np.int64],
    start_us: NDArray[np.int64],
    end_us: NDArray[np.int64],
    activity_ppm: NDArray[np.int64],
    busy_ppm: NDArray[np.int64],
    share_ppm: NDArray[np.int64],
    live: NDArray[np.int8],
    *,
    device: str = "cpu",
) -> JobEnergy:
    """Split each GPU's trapezoid energy among the usage rows that held it.

    Parameters
    ----------
    time_us, power_mw, offsets, max_gap_us
        As for :func:`kernels.energy.integrate`; readings up to 20 kW, gaps up to 12 hours.
    idle_mw, rows, start_us, end_us, activity_ppm, busy_ppm, share_ppm, live
        As for :func:`kernels.billing.split.split`: GPU i owns usage rows ``rows[i]:rows[i + 1]``.
    device : {"cpu", "cuda", "auto"}
        Where the samples are summed.

    Returns
    -------
    JobEnergy
        Its parts sum to the GPUs' energies exactly.

    Raises
    ------
    ValueError
        As for ``integrate``; for readings or gaps beyond those bounds; for usage columns that do not fit each other.
    """
    need_host(
        idle_mw=idle_mw, rows=rows, start_us=start_us, end_us=end_us, activity_ppm=activity_ppm, busy_ppm=busy_ppm,
        share_ppm=share_ppm, live=live,
    )  # fmt: skip
    time_us, power_mw, on_cuda = place(time_us, power_mw, offsets, device, whole=True)
    gpus, m = len(offsets) - 1, len(start_us)
    offsets = np.ascontiguousarray(offsets)
    idle_mw, rows = np.ascontiguousarray(idle_mw, np.int64), np.ascontiguousarray(rows, np.int64)
    if not 0 <= max_gap_us <= LONGEST_US:
        raise ValueError(f"max_gap_us must lie between 0 and 12 hours, got {max_gap_us}")
    if len(idle_mw) != gpus or len(rows) != gpus + 1 or rows[0] != 0 or rows[-1] != m or (np.diff(rows) < 0).any():
        raise ValueError(f"idle_mw must have {gpus} entries, and rows must rise from 0 to {m} in {gpus + 1}")
    if any(len(column) != m for column in (end_us, activity_ppm, busy_ppm, share_ppm, live)):
        raise ValueError(f"every usage column must have {m} rows, as start_us has")
    gpu_of = np.repeat(np.arange(gpus), np.diff(rows))
    moments, owner_of = np.concatenate([start_us, end_us]), np.concatenate([gpu_of, gpu_of])
    edges = moments[np.lexsort((moments, owner_of))]
    sums, bounds = _sum(time_us, power_mw, offsets, max_gap_us, idle_mw, edges, rows, on_cuda)
    if len(bounds) and bounds[:, 0].min() <= 0:
        if least_and_greatest(power_mw)[0] <= 0:
            return job_energy(
                *valid_rows(time_us, power_mw, offsets), max_gap_us,
                idle_mw, rows, start_us, end_us, activity_ppm, busy_ppm, share_ppm, live, device=device,
            )  # fmt: skip
        raise_backwards(time_us, offsets)
    if len(bounds) and bounds[:, 1].max() > HIGHEST_MW:
        raise ValueError(f"a reading of {bounds[:, 1].max()} mW: reject readings above 20 kW first")
    result = JobEnergy(
        np.zeros((m, 2), np.int64), np.zeros((m, 2), np.int64), np.zeros(m, np.int64),
        np.zeros((gpus, 2), np.int64), np.zeros((gpus, 2), np.int64),
    )  # fmt: skip
    usage = usage_rows(rows, start_us, end_us, activity_ppm, busy_ppm, share_ppm, live)
    each(
        _split_all, gpus, *sums, edges, rows, *usage,
        np.empty((3, m + gpus), np.int64), np.zeros((2, m), np.int64), *result, rows=len(time_us),
    )  # fmt: skip
    return result
