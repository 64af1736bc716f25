"""Joules of an nvidia-smi log by polars or duckdb alone: ``readers.py polars|duckdb FILE MAX_GAP_US``.

A process of its own, as a user's script would be: it imports nothing of wattshed, and prints what it finds as JSON, the
half-nanojoules of each GPU.
"""

# The one that is named is imported, and nothing else.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from typing import Any

_STAMP = "%Y/%m/%d %H:%M:%S"


def by_polars(path: str, gap_us: int) -> list[int]:
    """Let polars read and integrate, lazily and on all threads."""
    import polars as pl

    dt = pl.col("t").diff()
    energy = pl.when(dt <= gap_us).then(dt) * (pl.col("p") + pl.col("p").shift(1))
    table = (
        pl.scan_csv(path)
        .select(
            g=pl.col(" index").cast(pl.String).str.strip_chars().cast(pl.Int64),
            t=pl.col("timestamp").str.to_datetime(f"{_STAMP}%.3f", time_unit="us").dt.epoch("us"),
            p=(pl.col(" power.draw [W]").str.strip_chars(" W").cast(pl.Float64) * 1_000).round().cast(pl.Int64),
        )
        .group_by("g")
        .agg(energy.sum().alias("e"))
        .sort("g")
        .collect()
    )
    return [int(value) for value in table["e"].to_list()]


def by_duckdb(path: str, gap_us: int) -> list[int]:
    """Let duckdb read and integrate, on all threads."""
    import duckdb

    query = f"""with samples as (
            select trim("index")::bigint as g, epoch_us(strptime("timestamp", '{_STAMP}.%g')) as t,
            round(replace(trim("power.draw [W]"), ' W', '')::double * 1000)::bigint as p
            from read_csv(?, delim = ',', header = true, all_varchar = true)),
        pieces as (
            select g, case when t - lag(t) over mine <= {gap_us} then (t - lag(t) over mine) * (p + lag(p) over mine)
            else 0 end as e from samples window mine as (partition by g order by t))
        select g, sum(e) from pieces group by g order by g"""  # noqa: S608 - of our own constants
    return [int(energy) for _, energy in duckdb.connect().execute(query, [path]).fetchall()]


def main() -> None:
    """Print the energies that one of them finds."""
    name, path, gap_us = sys.argv[1:]
    ways: dict[str, Any] = {"polars": by_polars, "duckdb": by_duckdb}
    sys.stdout.write(json.dumps(ways[name](path, int(gap_us))))


if __name__ == "__main__":
    main()
