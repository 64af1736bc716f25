"""The same files read by other tools: ``log_rivals.py TOOL KIND FILE MAX_GAP_US``.

A process of its own, as a user's script would be: it imports nothing of wattshed, and prints what it finds as JSON, the
half-nanojoules of each GPU; of a load the number of its rows. What only decodes prints nothing.
"""

# The one that is named is imported, and nothing else.
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
from typing import Any

_STAMP = "%Y/%m/%d %H:%M:%S"


def by_polars(kind: str, path: str, gap_us: int) -> list[int]:
    """Let polars read and integrate, lazily and on all threads."""
    import polars as pl

    if kind == "fleet demand CSV":
        table = pl.scan_csv(path, try_parse_dates=True).group_by("time").agg(pl.len(), pl.col("power_w").sum())
        return [int(table.select(pl.col("len").sum(), pl.col("power_w").max()).collect()["len"][0])]
    if kind.startswith("nvidia-smi CSV"):
        rows = (pl.read_csv(path).lazy() if path.endswith(".gz") else pl.scan_csv(path)).select(
            g=pl.col(" index").cast(pl.String).str.strip_chars().cast(pl.Int64),
            t=pl.col("timestamp").str.to_datetime(f"{_STAMP}%.3f", time_unit="us").dt.epoch("us"),
            p=(pl.col(" power.draw [W]").str.strip_chars(" W").cast(pl.Float64) * 1_000).round().cast(pl.Int64),
        )
    else:
        scanned = pl.scan_parquet(path) if kind.startswith("Parquet") else pl.scan_csv(path, try_parse_dates=True)
        milliwatts = (pl.col("power_w") * 1_000).round().cast(pl.Int64)
        rows = scanned.select(g=pl.col("gpu"), t=pl.col("timestamp").dt.epoch("us"), p=milliwatts)
    dt = pl.col("t").diff()
    energy = pl.when(dt <= gap_us).then(dt) * (pl.col("p") + pl.col("p").shift(1))
    found = rows.group_by("g").agg(energy.sum().alias("e")).sort("g").collect()
    return [int(value) for value in found["e"].to_list()]


def by_duckdb(kind: str, path: str, gap_us: int) -> list[int]:
    """Let duckdb read and integrate, on all threads."""
    import duckdb

    ask = duckdb.connect().execute
    if kind == "fleet demand CSV":
        loads = "select time, count(*) as n, sum(power_w) as w from read_csv(?) group by time"
        return [int(n) for n, _ in ask(f"select sum(n), max(w) from ({loads})", [path]).fetchall()]  # noqa: S608
    if kind.startswith("nvidia-smi CSV"):
        samples = f"""select trim("index")::bigint as g, epoch_us(strptime("timestamp", '{_STAMP}.%g')) as t,
            round(replace(trim("power.draw [W]"), ' W', '')::double * 1000)::bigint as p
            from read_csv(?, delim = ',', header = true, all_varchar = true)"""  # noqa: S608 - of our own constants
    else:
        read = "read_parquet" if kind.startswith("Parquet") else "read_csv"
        samples = f"""select gpu as g, epoch_us("timestamp") as t, round(power_w * 1000)::bigint as p
            from {read}(?)"""  # noqa: S608 - of our own constants
    query = f"""with samples as ({samples}),
        pieces as (
            select g, case when t - lag(t) over mine <= {gap_us} then (t - lag(t) over mine) * (p + lag(p) over mine)
            else 0 end as e from samples window mine as (partition by g order by t))
        select g, sum(e) from pieces group by g order by g"""  # noqa: S608 - of our own constants
    return [int(energy) for _, energy in ask(query, [path]).fetchall()]


def decoded(_kind: str, path: str, _gap_us: int) -> None:
    """Decode the columns that are needed, and do nothing with them."""
    import pyarrow.parquet as pq

    pq.read_table(path, columns=["timestamp", "gpu", "power_w"])


def main() -> None:
    """Print what one of them finds."""
    tool, kind, path, gap_us = sys.argv[1:]
    ways: dict[str, Any] = {"polars": by_polars, "duckdb": by_duckdb, "pyarrow decode": decoded}
    sys.stdout.write(json.dumps(ways[tool](kind, path, int(gap_us))))


if __name__ == "__main__":
    main()
