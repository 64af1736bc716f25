"""Joules of an nvidia-smi log by polars or duckdb alone: ``readers.py polars|duckdb FILE MAX_GAP_US``.

A process of its own, as a user's script would be: it imports nothing of wattshed, and prints what it finds as JSON, the
half-nanojoules of each GPU.
"""

# The one that is named is imported, and nothing else. The text of queries is of our own constants.
# ruff: noqa: PLC0415, S608

from __future__ import annotations

import json
import sys
from typing import Any

_STAMP = "%Y/%m/%d %H:%M:%S"
_TEXT = ".txt"
"""Ends the names of files of ``nvidia-smi dmon``."""
_ROW = r"^\s*(\d+)\s+(\S+)\s+(\d+)\s+(\d+)"


def by_polars(path: str, gap_us: int) -> list[int]:
    """Let polars read and integrate, lazily and on all threads."""
    import polars as pl

    if path.endswith(_TEXT):
        lines = pl.scan_csv(path, has_header=False, separator="\x01", quote_char=None, new_columns=["line"])
        words = pl.col("line").str.extract_groups(_ROW).struct
        rows = lines.filter(~pl.col("line").str.starts_with("#")).select(
            g=words.field("3").cast(pl.Int64),
            t=pl.concat_str(words.field("1"), words.field("2"))
            .str.to_datetime("%Y%m%d%H:%M:%S", time_unit="us")
            .dt.epoch(),
            p=words.field("4").cast(pl.Int64) * 1_000,
        )
    else:
        rows = pl.scan_csv(path).select(
            g=pl.col(" index").cast(pl.String).str.strip_chars().cast(pl.Int64),
            t=pl.col("timestamp").str.to_datetime(f"{_STAMP}%.3f", time_unit="us").dt.epoch("us"),
            p=(pl.col(" power.draw [W]").str.strip_chars(" W").cast(pl.Float64) * 1_000).round().cast(pl.Int64),
        )
    dt = pl.col("t").diff()
    energy = pl.when(dt <= gap_us).then(dt) * (pl.col("p") + pl.col("p").shift(1))
    table = rows.group_by("g").agg(energy.sum().alias("e")).sort("g").collect()
    return [int(value) for value in table["e"].to_list()]


def by_duckdb(path: str, gap_us: int) -> list[int]:
    """Let duckdb read and integrate, on all threads."""
    import duckdb

    if path.endswith(_TEXT):
        samples = f"""select w.g::bigint as g, epoch_us(strptime(w.d || w.t, '%Y%m%d%H:%M:%S')) as t,
            w.p::bigint * 1000 as p from (select regexp_extract(line, '{_ROW}', ['d', 't', 'g', 'p']) as w
            from read_csv(?, header = false, delim = '\x01', quote = '', columns = {{'line': 'varchar'}})
            where line not like '#%')"""
    else:
        samples = f"""select trim("index")::bigint as g, epoch_us(strptime("timestamp", '{_STAMP}.%g')) as t,
            round(replace(trim("power.draw [W]"), ' W', '')::double * 1000)::bigint as p
            from read_csv(?, delim = ',', header = true, all_varchar = true)"""
    query = f"""with samples as ({samples}),
        pieces as (
            select g, case when t - lag(t) over mine <= {gap_us} then (t - lag(t) over mine) * (p + lag(p) over mine)
            else 0 end as e from samples window mine as (partition by g order by t))
        select g, sum(e) from pieces group by g order by g"""
    return [int(energy) for _, energy in duckdb.connect().execute(query, [path]).fetchall()]


def main() -> None:
    """Print the energies that one of them finds."""
    name, path, gap_us = sys.argv[1:]
    ways: dict[str, Any] = {"polars": by_polars, "duckdb": by_duckdb}
    sys.stdout.write(json.dumps(ways[name](path, int(gap_us))))


if __name__ == "__main__":
    main()
