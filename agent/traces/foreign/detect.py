"""Recognises by its content what a file is; names and endings do not count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import columns as column_names
from wattshed.agent.inputs.delimited import sniff, split
from wattshed.agent.traces.foreign import smi_csv

if TYPE_CHECKING:
    from pathlib import Path

NATIVE, NATIVE_PARQUET, PARQUET, TABLE = "native", "native-parquet", "parquet", "csv"
SMI_CSV, DMON, PMON, SMI_Q, SMI_XML = (
    "nvidia-smi-csv",
    "nvidia-smi-dmon",
    "nvidia-smi-pmon",
    "nvidia-smi-q",
    "nvidia-smi-xml",
)
SESSION, DCGMI, EXPOSITION, PROMETHEUS = "nvidia-smi-session", "dcgmi-dmon", "openmetrics", "prometheus-json"
DCGM_TEXT = "dcgm-exporter"

_SAMPLE = re.compile(r"[a-zA-Z_:][\w:]*(\{.*\})?\s+[-+]?(\d|NaN|Inf)\S*(\s+[-+]?\d\S*)?\s*$")
_COMMAND = re.compile(r"^(# )?\$ nvidia-smi\b", re.MULTILINE)
_HEAD = 8192  # bytes
_MESSAGE = b"\xff\xff\xff\xff"  # begins every message of an Arrow stream


def format_of_bytes(path: Path) -> str:
    """Recognise the binary formats; empty for anything else.

    Raises
    ------
    InputError
        If it is an Arrow file, or is named like a segment and is not one.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    if head[:4] == b"PAR1":
        return PARQUET
    if head[:6] == b"ARROW1":
        raise InputError("it is an Arrow file (Feather); write it as Parquet, and name its columns", str(path))
    named = path.suffix in {".arrows", ".open"}
    ours = b"wattshed.format" in head or named
    if named and not head:
        raise InputError("it is empty", str(path))
    if named and len(head) < _HEAD and _MESSAGE not in head:
        raise InputError("it is named like a segment of a recording, but contains no message of one", str(path))
    return NATIVE if ours and not head.startswith(b"\x1f\x8b") else ""


def format_of_text(head: str, *, told: bool, path: str) -> str:
    """Recognise the text formats by the first part of the file.

    Parameters
    ----------
    head : str
    told : bool
        The user named columns, so a table is taken as such.
    path : str
        For the message.

    Raises
    ------
    InputError
        If it is nothing of this kind.
    """
    text = head.lstrip("\ufeff \t\r\n")
    if re.match(r"<\?xml|<!DOCTYPE nvidia_smi_log|<nvidia_smi_log", text):
        if "<nvidia_smi_log" in head:
            return SMI_XML
        raise InputError("it is XML, but not of nvidia-smi -q -x", path)
    if text.startswith("{"):
        if '"result' in head or '"status"' in head:
            return PROMETHEUS
        raise InputError("it is JSON, but not a query_range answer of Prometheus", path, 1)
    if _COMMAND.search(head) and "nvidia_gpu_exporter GPU capture" in head:
        return SESSION
    lines = [line for line in text.splitlines() if line.strip()]
    monitor = _monitor(lines)
    if monitor and not told:
        return monitor
    if "NVSMI LOG" in head[:20000] and not told:
        return SMI_Q
    samples = [line for line in lines[:400] if not line.startswith("#")]
    if samples and sum(bool(_SAMPLE.match(line)) for line in samples) * 2 > len(samples) and not told:
        return DCGM_TEXT if "DCGM_FI_" in head and "# EOF" not in head and not _stamped(samples) else EXPOSITION
    if not samples and any(line.startswith(("# TYPE", "# HELP")) for line in lines):
        return EXPOSITION
    dialect = sniff(head)
    if told:
        return TABLE
    if lines and (smi_csv.is_header(dialect.names) or smi_csv.is_headless(lines[0])):
        return SMI_CSV
    guessed = column_names.guess(dialect.names)
    if "time" in guessed and ("power" in guessed or "energy" in guessed):
        return TABLE
    alike = [len(split(line, dialect.delimiter)) == len(dialect.names) for line in lines[1:50]]
    if len(dialect.names) > 1 and sum(alike) * 2 > len(alike):
        shown = ", ".join(dialect.names[:8])
        raise InputError(
            f"it is a table whose columns are not clear; say --columns time=...,power=... (it has: {shown})", path, 1
        )
    raise InputError("unrecognised trace format (docs/replay.md lists the formats)", path)


def _stamped(samples: list[str]) -> bool:
    return bool(re.search(r"\}\s+\S+\s+\d{9,}", samples[0]))


def _monitor(lines: list[str]) -> str:
    """Recognise the column monitors by their ``# gpu`` header."""
    for line in lines[:40]:
        if line.startswith("#"):
            words = line.lstrip("#").lower().split() if "," not in line else split(line.lstrip("# ").lower(), ",")
            if "gpu" in words and "pid" in words:
                return PMON
            if "gpu" in words and ({"pwr", "sm"} & set(words)):
                return DMON
            if words[:1] == ["entity"]:
                return DCGMI
    return ""
