"""Formats that are known and not read, each with what the user can do instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.inputs.columns import guess
from wattshed.agent.traces.foreign.format import Head, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

_NVIDIA_ONLY = "NVIDIA's GPUs alone are read; name columns of time and power of a table with `--columns`"
_NO_GPU = "name columns of time and power of a table with `--columns`, or log the GPUs with `nvidia-smi dmon -o DT`"
_LOOKED_AT = 1 << 14
_SCREENS = 20
_LOG = "log with `nvidia-smi --query-gpu=timestamp,index,power.draw --format=csv -l 1`"


def _has(*patterns: str) -> Callable[[Head], bool]:
    """Make a test for texts in which all patterns occur, at the beginning of a line where they say so."""
    found = [re.compile(pattern, re.MULTILINE | re.IGNORECASE) for pattern in patterns]
    return lambda head: not head.told and all(one.search(head.text[:_LOOKED_AT]) for one in found)


FIRST: tuple[Refusal, ...] = (
    Refusal(
        "a report of `nvidia-bug-report.sh`",
        _has(r"NVIDIA bug report log file"),
        f"it is of one moment, and no trace; {_LOG}",
    ),
    Refusal(
        "a table of `rocm-smi` or `amd-smi`",
        _has(
            r"ROCm System Management Interface|^device,.*(?:Package Power|Temperature \(Sensor|GPU use \(%\))"
            r"|\"card\d+\": *\{\s*\"(?:GPU|Average|Current|Temperature|Device|Unique)|AMD-SMI|^GPU: \d+\s+POWER:"
            r"|^(?:timestamp,)?gpu,.*(?:socket_power|hotspot_temp)|\"socket_power\":"
        ),
        _NVIDIA_ONLY,
    ),
    Refusal(
        "output of `intel_gpu_top` or `xpu-smi`",
        _has(r"intel-gpu-top:|^\s*Freq MHz\b.*\bRC6\b|\"rc6\":|XPUM_STATS_|^Timestamp, *DeviceId,|\"device_level\":"),
        _NVIDIA_ONLY,
    ),
    Refusal(
        "output of macOS `powermetrics`",
        _has(r"\*\*\* (?:Sampled system activity|Machine info|Running tasks)|<key>elapsed_ns</key>"),
        _NVIDIA_ONLY,
    ),
    Refusal(
        "output of `ipmitool` (the power of a whole server)",
        _has(r"Instantaneous power reading|^Sensor ID\s+:|^[^|\n]+\|[^|\n]*\| (?:Watts|degrees C|RPM)\s*\|"),
        _NO_GPU,
    ),
    Refusal(
        "output of `turbostat` (the power of processors)",
        _has(r"^(?:\S+\t)*(?:Package|Core|CPU|usec)\t(?:.*\t)?(?:Busy%|Avg_MHz)\t|^turbostat version"),
        _NO_GPU,
    ),
    Refusal(
        "output of `perf stat` (the energy of processors)",
        _has(r"Joules(?:;|,|\s)+power/energy-|Performance counter stats for"),
        _NO_GPU,
    ),
    Refusal(
        "output of Intel PCM (the energy of processors)",
        _has(r"Consumed energy units:|Proc Energy \(Joules\)|Intel\(R\) P(?:erformance|rocessor) Counter Monitor"),
        _NO_GPU,
    ),
    Refusal(
        "output of LIKWID (the energy of processors)",
        _has(r"\bPWR_(?:PKG|DRAM|CORE)_|\b(?:RAPL|PWR)_(?:PKG|DRAM|PP0)\b|likwid-(?:powermeter|perfctr)"),
        _NO_GPU,
    ),
    Refusal(
        "a report of Scaphandre (the power of processors and hosts)",
        _has(r"\"consumption\"\s*:", r"\"(?:sockets|consumers)\"\s*:|\"host\"\s*:"),
        _NO_GPU,
    ),
    Refusal(
        "a report of PowerAPI (the power of processors, by process)",
        _has(r"^\"?timestamp\"?,\"?sensor\"?,\"?target\"?,|\"sensor\"\s*:.*\"target\"\s*:"),
        _NO_GPU,
    ),
    Refusal(
        "a report of Nsight (`nsys`, `ncu`)",
        _has(r"==PROF==|^\s*\*\* .*\((?:cuda|nvtx|osrt)_\w+\)|^Time \(%\),\s*Total Time|^Generating '.*nsys-rep'"),
        f"it has no power over time; {_LOG}",
    ),
    Refusal(
        "a dashboard of Grafana",
        _has(r"\"schemaVersion\"\s*:", r"\"panels\"\s*:"),
        "it has no data; open a panel, Inspect, Data, and download that as CSV",
    ),
    Refusal(
        "the `meta.json` of a block of Prometheus",
        _has(r"\"minTime\"\s*:", r"\"compaction\"\s*:"),
        "write its series with `promtool tsdb dump DIR > dump.txt` and read that",
    ),
    Refusal(
        "a screen of `nvtop` or of another program that draws",
        lambda head: not head.told and len(re.findall(r"\x1b\[\d+;\d+H", head.text[:_LOOKED_AT])) > _SCREENS,
        f"{_LOG}, or with `nvtop -s`",
    ),
)
"""Asked before the formats: some would be taken for one of them."""

_LABELLED = re.compile(r"[A-Za-z]{2}.*\b(?:power|pwr|watts?|draw|usage)\b[^\w\n]{0,4}\d+(?:\.\d+)? ?m?w", re.IGNORECASE)
_BARS = re.compile(r"\s*\|(?:\s*:?-+:?\s*\|)+\s*")


def _in_blanks(head: Head) -> bool:
    """Return whether all lines have as many words, the first of them names with one of power."""
    rows = [line.split() for line in head.data]
    alike = len(rows) > 1 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1
    return (
        alike and not any(mark in head.data[0] for mark in ",;|\t=") and bool({"power", "energy"} & {*guess(rows[0])})
    )


LAST: tuple[Refusal, ...] = (
    Refusal(
        "a table in Markdown",
        lambda head: not head.told and any(_BARS.fullmatch(line) for line in head.lines[1:3]),
        "take its bars away: `sed -E '/^[-|: ]+$/d; s/^\\| *| *\\|$//g; s/ *\\| */,/g' FILE > FILE.csv`",
    ),
    Refusal(
        "a table whose columns are separated by blanks",
        lambda head: not head.told and _in_blanks(head),
        "separate them by commas: `sed -E 's/^ +//; s/ +/,/g' FILE > FILE.csv`",
    ),
    Refusal(
        "a log in words",
        lambda head: not head.told and head.mostly(_LABELLED.search),
        "have it written as `gpu=0 power_w=100.2` behind a stamp, as JSON or as CSV, or turn it into that with `sed`",
    ),
    Refusal("XML", lambda head: head.text.startswith("<"), "only that of `nvidia-smi -q -x` is read"),
    Refusal(
        "JSON",
        lambda head: head.text.startswith(("{", "[")),
        "no key is clearly power or energy; name them with `--columns time=...,power=...`",
    ),
)
"""Asked once no format fits."""
