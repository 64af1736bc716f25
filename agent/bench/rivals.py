"""The same questions put to numpy, polars and duckdb, each in the fastest formulation found for it.

All get the very same sorted samples, loaded before the clock starts: numpy the arrays, polars a frame per GPU (so that
it neither groups nor sorts, and runs frames in parallel), duckdb a table in the order of the samples (so that
``lag() over ()`` streams). Answers are compared before anything is timed.
"""

# Imported where they are used: polars, duckdb and pyarrow are heavy, and two of them optional.
# ruff: noqa: PLC0415, S608 - the queries are put together from numbers and constants

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 32_768
"""numpy works through blocks that stay in the cache: three times as fast as whole columns."""


class BenchSamples(NamedTuple):
    """A made-up fleet's readings at about 1 Hz, and jobs on it.

    Attributes
    ----------
    time_us : int64[n], us
    power_mw : int32[n], mW
    offsets : int64[g + 1]
    rows : int64[g + 1]
        GPU i has jobs ``rows[i]:rows[i + 1]``.
    start_us, end_us : int64[m], us
    """

    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int32]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]

    @classmethod
    def make(cls, samples: int, gpus: int, jobs: int, seed: int = 1) -> BenchSamples:
        """Make ``samples`` readings (jittered times in milliseconds, training-like power) and ``jobs`` jobs."""
        rng = np.random.default_rng(seed)
        offsets = np.linspace(0, samples, gpus + 1).astype(np.int64)
        time_us = 1_700_000_000_000_000 + np.cumsum(rng.integers(950, 1_051, samples)) * 1_000
        power_mw = np.where(rng.random(samples) < 0.7, 650_000, 120_000) + rng.integers(-40_000, 40_000, samples)
        gpu = np.sort(rng.integers(0, gpus, jobs))
        first, last = time_us[offsets[gpu]], time_us[offsets[gpu + 1] - 1]
        start_us = first + (rng.random(jobs) * (last - first)).astype(np.int64)
        end_us = start_us + rng.integers(60_000_000, 3_600_000_000, jobs)
        rows = np.searchsorted(gpu, np.arange(gpus + 1)).astype(np.int64)
        return cls(time_us, power_mw.astype(np.int32), offsets, rows, start_us, end_us)

    def slices(self) -> list[slice]:
        """Rows of each GPU."""
        return [slice(int(a), int(b)) for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]

    def segments(self) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Prepare what joins need: each GPU's edges, and (segment, job, owners present) numbered over all GPUs."""
        edges, segment, job, owners, base = [], [], [], [], 0
        for a, b in zip(self.rows[:-1], self.rows[1:], strict=True):
            own = np.unique(np.concatenate([self.start_us[a:b], self.end_us[a:b]]))
            low, high = np.searchsorted(own, self.start_us[a:b]) + 1, np.searchsorted(own, self.end_us[a:b]) + 1
            present = np.zeros(len(own) + 2, np.int64)
            np.add.at(present, low, 1)
            np.add.at(present, high, -1)
            present = np.cumsum(present)
            length = high - low
            inside = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + np.repeat(low, length)
            segment.append(base + inside)
            job.append(np.repeat(np.arange(a, b), length))
            owners.append(present[inside])
            edges.append(own)
            base += len(own) + 1
        return edges, np.concatenate(segment), np.concatenate(job), np.concatenate(owners)


class Numpy:
    """Plain numpy, one thread."""

    def __init__(self, samples: BenchSamples, max_gap_us: int) -> None:
        self.samples, self.gap = samples, max_gap_us

    def energy(self) -> list[int]:
        """Half-nanojoules of each GPU."""
        return [self._energy(own) for own in self.samples.slices()]

    def _energy(self, own: slice) -> int:
        total = 0
        for a in range(own.start, own.stop, _BLOCK):
            b = min(a + _BLOCK + 1, own.stop)
            time, power = self.samples.time_us[a:b], self.samples.power_mw[a:b]
            dt = time[1:] - time[:-1]
            pair = power[1:] + power[:-1]  # int32 is enough up to a megawatt
            if dt.max(initial=0) > self.gap:
                dt[dt > self.gap] = 0
            total += int(np.dot(dt, pair))
        return total

    def windows(self, window_us: int) -> list[NDArray[np.int64]]:
        """Count, min, max and sum of each window."""
        out = []
        for own in self.samples.slices():
            time, power = self.samples.time_us[own], self.samples.power_mw[own]
            edges = np.arange(time[0] // window_us, time[-1] // window_us + 1) * window_us
            at = np.searchsorted(time, edges)
            rest = np.diff(np.append(at, len(time)))
            low, high = np.minimum.reduceat(power, at), np.maximum.reduceat(power, at)
            out.append(np.stack([rest, low, high, np.add.reduceat(power, at, dtype=np.int64)]))
        return out

    def quantiles(self, ppm: tuple[int, ...]) -> list[list[int]]:
        """Time-weighted quantiles, by counting: weights below 2**53 add exactly as floats."""
        out = []
        for own in self.samples.slices():
            time, power = self.samples.time_us[own], self.samples.power_mw[own]
            dt = time[1:] - time[:-1]
            dt[dt > self.gap] = 0
            weight = np.zeros(len(time))
            weight[1:] += dt
            weight[:-1] += dt
            below = np.cumsum(np.bincount(power, weights=weight)).astype(np.int64)
            out.append([int(np.searchsorted(below, -(-int(below[-1]) * q // 1_000_000))) for q in ppm])
        return out


class Polars:
    """Polars, all threads."""

    def __init__(self, samples: BenchSamples, max_gap_us: int) -> None:
        import polars as pl

        self.pl, self.gap, self.samples = pl, max_gap_us, samples
        self.frames = [
            pl.DataFrame({"t": samples.time_us[own], "p": samples.power_mw[own]}).lazy() for own in samples.slices()
        ]
        edges, segment, job, owners = samples.segments()
        base = np.cumsum([0, *(len(own) + 1 for own in edges)])
        self.edges = [
            pl.DataFrame({"t": own, "s": base[g] + 1 + np.arange(len(own))}).lazy() for g, own in enumerate(edges)
        ]
        self.members = pl.DataFrame({"s": segment, "job": job, "owners": owners}).lazy()

    def _energy(self) -> Any:
        pl = self.pl
        dt = pl.col("t").diff()
        # Null across holes, which sums pass over: half the time of a zero. An int32 pair is enough up to a megawatt.
        return pl.when(dt <= self.gap).then(dt) * (pl.col("p") + pl.col("p").shift(1))

    def energy(self) -> list[int]:
        """Half-nanojoules of each GPU."""
        return [
            frame.item() for frame in self.pl.collect_all([frame.select(self._energy().sum()) for frame in self.frames])
        ]

    def job_energy(self) -> Any:
        """Joules of each job: intervals joined as of their edges (not cut there), shared equally."""
        pl = self.pl
        sums = pl.concat(
            frame.select("t", e=self._energy()).join_asof(edges, on="t").group_by("s").agg(pl.col("e").sum())
            for frame, edges in zip(self.frames, self.edges, strict=True)
        )
        shared = self.members.join(sums, on="s").group_by("job").agg((pl.col("e") / pl.col("owners")).sum() / 2e9)
        return shared.sort("job").collect()

    def windows(self, window_us: int) -> list[Any]:
        """Count, min, max, sum and energy of each window."""
        pl = self.pl
        wanted = [pl.len(), pl.col("p").min().alias("low"), pl.col("p").max().alias("high")]
        wanted += [pl.col("p").cast(pl.Int64).sum().alias("sum"), pl.col("e").sum()]
        plans = [
            frame.select("p", w=pl.col("t") // window_us, e=self._energy())
            .set_sorted("w")
            .group_by("w", maintain_order=True)
            .agg(wanted)
            for frame in self.frames
        ]
        return list(pl.collect_all(plans))

    def quantiles(self, ppm: tuple[int, ...]) -> list[list[int]]:
        """Time-weighted quantiles: weights summed by reading, then in order."""
        pl = self.pl
        dt = pl.col("t").diff()
        held = pl.when(dt <= self.gap).then(dt).otherwise(0)
        plans = []
        for frame in self.frames:
            weighed = frame.select("p", w=held + held.shift(-1, fill_value=0))
            table = weighed.group_by("p").agg(pl.col("w").sum()).sort("p").with_columns(c=pl.col("w").cum_sum())
            need = [(pl.col("w").sum() * q + 999_999) // 1_000_000 for q in ppm]
            plans.append(
                table.select(pl.col("p").filter(pl.col("c") >= x).first().alias(str(i)) for i, x in enumerate(need))
            )
        return [list(frame.row(0)) for frame in pl.collect_all(plans)]


class Duckdb:
    """DuckDB, all threads, an in-memory table."""

    def __init__(self, samples: BenchSamples, max_gap_us: int) -> None:
        import duckdb
        import pyarrow as pa

        self.db, self.gap, self.samples = duckdb.connect(), max_gap_us, samples
        gpu = np.repeat(np.arange(len(samples.offsets) - 1, dtype=np.int16), np.diff(samples.offsets))
        columns = pa.table({"g": gpu, "t": samples.time_us, "p": samples.power_mw})
        edges, segment, job, owners = samples.segments()
        base = np.cumsum([0, *(len(own) + 1 for own in edges)])
        edge_rows = pa.table(
            {
                "g": np.repeat(np.arange(len(edges), dtype=np.int16), [len(own) for own in edges]),
                "t": np.concatenate(edges),
                "s": np.concatenate([base[g] + 1 + np.arange(len(own)) for g, own in enumerate(edges)]),
            }
        )
        members = pa.table({"s": segment, "job": job, "owners": owners})
        for name, table in (("samples", columns), ("edges", edge_rows), ("members", members)):
            self.db.register("incoming", table)
            self.db.execute(f"create table {name} as select * from incoming")
            self.db.unregister("incoming")
        self.pieces = f"""(select g, t, p, case when g = lag(g) over () and t - lag(t) over () <= {max_gap_us}
            then (t - lag(t) over ()) * (p::bigint + lag(p) over ()) else 0 end as e from samples)"""

    def energy(self) -> list[int]:
        """Half-nanojoules of each GPU."""
        return [
            int(row[0]) for row in self.db.execute(f"select sum(e) from {self.pieces} group by g order by g").fetchall()
        ]

    def job_energy(self) -> Any:
        """Joules of each job, as for polars, with duckdb's own asof join."""
        query = f"""with sums as (select s, sum(e) as e from {self.pieces} x asof join edges using (g, t) group by s)
            select job, sum(e / owners) / 2e9 from members join sums using (s) group by job order by job"""
        return self.db.execute(query).fetchnumpy()

    def windows(self, window_us: int) -> Any:
        """Count, min, max, sum and energy of each window."""
        query = f"""select g, t // {window_us} as w, count(*) as n, min(p) as low, max(p) as high,
            sum(p) as sum, sum(e) as e from {self.pieces} group by g, w order by g, w"""
        return self.db.execute(query).fetchnumpy()

    def quantiles(self, ppm: tuple[int, ...]) -> list[list[int]]:
        """Time-weighted quantiles: weights summed by reading, then in order."""
        ahead = f"""(select g, p,
            case when g = lag(g) over () and t - lag(t) over () <= {self.gap} then t - lag(t) over () else 0 end +
            case when g = lead(g) over () and lead(t) over () - t <= {self.gap} then lead(t) over () - t else 0 end as w
            from samples)"""
        wanted = ", ".join(f"min(p) filter (c * 1000000 >= total * {q})" for q in ppm)
        query = f"""with sums as (select g, p, sum(w) as w from {ahead} group by g, p),
            running as (select g, p, sum(w) over (partition by g order by p) as c, sum(w) over (partition by g) as total
            from sums) select {wanted} from running group by g order by g"""
        return [list(row) for row in self.db.execute(query).fetchall()]
