"""Who held which GPU when, from a file: a table of jobs, an accounting dump of Slurm, or any table."""

from __future__ import annotations

import csv
import difflib
import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.frames import FrameRows
from wattshed.agent.inputs.quantities import decimal_of
from wattshed.agent.inputs.text import head_of, open_lines
from wattshed.agent.inputs.timestamps import NO_TIME, TimestampParser, parse_number, parse_text
from wattshed.agent.inputs.unit_tables import SHARE_PPM
from wattshed.agent.traces.jobs.sacct import is_sacct, read_sacct
from wattshed.agent.window import IDLE, MISSING, OTHER, UNATTRIBUTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import tzinfo

    from wattshed.agent.inputs.frames import Frame
    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.tables import RowsOfCells

ALWAYS = -(1 << 62)
FOREVER = 1 << 62
_LABELS = ("user", "account", "name", "partition")
_COLUMNS = ("job", "host", "gpu", "start", "end", "share", "gpus", *_LABELS)
_LIST = re.compile(r"\d+(-\d+)?([,; ]+\d+(-\d+)?)*")
_PPM = 1_000_000
_NAME = "jobs"
"""What a table in memory is called in messages."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job on one host for one stretch of time.

    Attributes
    ----------
    job : str
    host : str
        Empty: any.
    gpus : tuple of str
        Indices or UUIDs; ``("*",)`` for all of the host, or for ``count`` of them that nobody names.
    count : int
        How many GPUs that nobody names; -1 where ``gpus`` says it, or where it is all of the host's.
    parts : tuple of int, millionths of a GPU
        Beside these: parts of GPUs that nobody names (instances of MIG, shares of MPS).
    shards : int
        And shards of one GPU, of a size that nobody names.
    dealt : int
        GPUs on all hosts of the job, of which ``count`` and ``parts`` are taken as an even part; 0: they are
        told.
    start_us, end_us : int, us
        `ALWAYS` and `FOREVER` where open.
    share_ppm : int
        Share of each GPU, millionths; -1 unknown.
    at_most : bool
        The share is the most of each of ``gpus`` that can be the job's: which of them it had is not known.
    doubt_mw : int, mW
        By how much the powers of those that it may have had differ, one sigma.
    labels : mapping
    line : int
    """

    job: str
    host: str
    gpus: tuple[str, ...]
    start_us: int
    end_us: int
    count: int = MISSING
    share_ppm: int = MISSING
    labels: Mapping[str, str] = field(default_factory=dict)
    line: int = 0
    parts: tuple[int, ...] = ()
    shards: int = 0
    dealt: int = 0
    at_most: bool = False
    doubt_mw: int = 0

    @property
    def counted(self) -> bool:
        """Return whether it says how many GPUs the job had, and not which."""
        return self.gpus == ("*",) and (self.count >= 0 or bool(self.parts) or self.shards > 0)


def gpu_share_seconds(rows: Sequence[JobRow]) -> float:
    """Sum GPUs x share x time over rows whose number of GPUs and times are known, s."""
    total = 0
    for row in rows:
        gpus = row.count if row.count >= 0 else len(row.gpus) if row.gpus != ("*",) else 0
        whole_ppm = gpus * _PPM + sum(row.parts)
        if row.start_us > ALWAYS and row.end_us < FOREVER:
            total += whole_ppm * (row.share_ppm if row.share_ppm >= 0 else _PPM) * (row.end_us - row.start_us) // _PPM
    return total / 1e12


def parse_job_columns(text: str | Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Parse ``job=name,gpus=num_gpu,share=gpu_milli:milli``, or a mapping: key -> (column, unit of the share or "").

    Raises
    ------
    InputError
        On an unknown key or unit.
    """
    spec = {}
    for part in text.split(",") if isinstance(text, str) else [f"{key}={value}" for key, value in text.items()]:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise InputError(f"--job-columns: {part!r} is not key=column (for example job=name,start=begin)")
        if key not in _COLUMNS:
            raise InputError(f"--job-columns: there is no key {key!r}, only {', '.join(_COLUMNS)}")
        name, colon, unit = value.rpartition(":")
        spec[key] = (name, unit) if colon and key == "share" and unit in SHARE_PPM else (value, "")
    return spec


def read_jobs(
    source: Path | Frame,
    local: tzinfo,
    spec: Mapping[str, tuple[str, str]] | None = None,
    report: SourceReport | None = None,
) -> list[JobRow]:
    """Read a jobs file.

    Parameters
    ----------
    source : Path or Frame
        A file, or a table that is in memory.
    local : tzinfo
        Zone of naive times.
    spec : mapping, optional
        Names of the columns in the file, from `parse_job_columns`. In such a table a row without a start never ran,
        and is left out; in one of our own an empty start or end means the whole trace.
    report : SourceReport, optional
        Gets the rows of a dump of sacct that cannot be used: it is Slurm's, not the user's to mend.

    Raises
    ------
    InputError
        With line and column, at the first cell of a table that cannot be understood, or if no row of sacct's can.
    """
    clock = TimestampParser(local)
    if not isinstance(source, Path):
        return list(_Table(_NAME, clock, spec).rows(FrameRows(source, _NAME)))
    path, head = source, head_of(source)
    if spec is None and is_sacct(head):
        return [
            JobRow(
                job.job, host, ("*",), job.start_us, job.end_us,
                count=had.count, parts=had.parts, shards=had.shards, dealt=had.dealt, labels=job.labels, line=job.line,
            )
            for job in read_sacct(path, lambda text: _utc(clock, text), report)
            for host, had in job.hosts
        ]  # fmt: skip
    with open_lines(path) as file:
        sample = head.splitlines()[0] if head.strip() else ""
        delimiter = max(",;\t|", key=sample.count)
        lines = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        return list(_Table(str(path), clock, spec).rows(lines))


def _utc(clock: TimestampParser, text: str) -> int | None:
    """Read one time: Unix seconds, or written; None if it is neither."""
    import numpy as np  # noqa: PLC0415 - one value through the array interface of the clock

    number = parse_number(text, "s")
    if number is not None:
        return number
    found = parse_text(text)
    if found is None:
        return None
    stamp, naive = found
    return int(clock.utc(np.array([stamp], np.int64))[0]) if naive else stamp


class _Table:
    """Reads the rows of a table with a header."""

    def __init__(self, path: str, clock: TimestampParser, spec: Mapping[str, tuple[str, str]] | None) -> None:
        self._path, self._clock, self._spec = path, clock, spec
        self._place: dict[str, int] = {}
        self._others: dict[str, int] = {}  # columns that only say something about the job
        self._line = 1

    def rows(self, lines: RowsOfCells) -> Iterator[JobRow]:
        """Yield the rows, checked; one that spans lines is told by its first."""
        ended = 0
        try:
            rows = iter(lines)
            header = [cell.strip().lstrip("\ufeff") for cell in next(rows, [])]
            self._header(header)
            ended = lines.line_num
            for cells in rows:
                self._line, ended = ended + 1, lines.line_num
                if any(cell.strip() for cell in cells):
                    row = self._row([cell.strip() for cell in cells], len(header))
                    if row is not None:
                        yield row
        except csv.Error as error:
            raise InputError(f"it cannot be read as CSV ({error})", self._path, ended + 1) from error

    def _header(self, header: list[str]) -> None:
        lowered = [name.lower() for name in header]
        wanted = self._spec if self._spec is not None else {key: (key, "") for key in _COLUMNS if key in lowered}
        if "job" not in wanted:
            if lowered and lowered[0].startswith("jobid"):
                raise InputError(
                    "this looks like sacct's human-readable table: write it with sacct -P", self._path, 1, 1
                )
            near = difflib.get_close_matches("job", lowered, 1)
            hint = f" (near: {near[0]})" if near else ""
            raise InputError(f"the header needs a column job{hint}: job,host,gpu,start,end", self._path, 1, 1)
        for key, (name, _) in wanted.items():
            if name in header:
                self._place[key] = header.index(name)
            elif name.lower() in lowered:
                self._place[key] = lowered.index(name.lower())
            else:
                near = difflib.get_close_matches(name, header, 3, 0.4) or header[:12]
                raise InputError(f"there is no column {name!r} for {key}; near: {', '.join(near)}", self._path, 1)
        taken = set(self._place.values())
        for place, name in enumerate(header):
            if name and place not in taken:
                self._others.setdefault(name, place)

    def _row(self, cells: list[str], width: int) -> JobRow | None:
        if len(cells) < width - 4 or len(cells) > width:
            text = f"{len(cells)} columns instead of {width}"
            raise InputError(text, self._path, self._line, min(len(cells), width) + 1)

        def cell(key: str) -> str:
            place = self._place.get(key, -1)
            return cells[place] if 0 <= place < len(cells) else ""

        if not cell("job"):
            raise self._bad("job", "the job has no name")
        if cell("job") in {IDLE, UNATTRIBUTED, OTHER}:
            raise self._bad("job", f"{cell('job')} is the name of energy that belongs to no job, not a job")
        start, end = self._time("start", cell("start"), ALWAYS), self._time("end", cell("end"), FOREVER)
        count = self._count(cell("gpus"))
        if self._spec is not None and (count == 0 or ("start" in self._place and start == ALWAYS)):
            return None
        if start > end:
            raise self._bad("end", f"the job {cell('job')!r} ends ({cell('end')}) before it starts ({cell('start')})")
        return JobRow(
            cell("job"),
            cell("host"),
            self._gpus(cell("gpu")),
            start,
            end,
            count,
            self._share(cell("share")),
            {key: cell(key) for key in _LABELS if cell(key)}
            | {name: cells[at] for name, at in self._others.items() if at < len(cells) and cells[at]},
            self._line,
        )

    def _bad(self, key: str, message: str) -> InputError:
        return InputError(message, self._path, self._line, self._place.get(key, -1) + 1)

    def _time(self, key: str, text: str, default: int) -> int:
        if not text or text.lower() in {"unknown", "none", "n/a"}:
            return default
        stamp = _utc(self._clock, text)
        if stamp is None or stamp == NO_TIME:
            raise self._bad(key, f"{key} is not a valid time: {text!r} (Unix seconds or ISO 8601)")
        return stamp

    def _count(self, text: str) -> int:
        if not text:
            return MISSING
        if not text.isdecimal():
            raise self._bad("gpus", f"the number of GPUs is not a whole number: {text!r}")
        return int(text)

    def _share(self, text: str) -> int:
        if not text:
            return MISSING
        found = decimal_of(text)
        unit = (self._spec or {}).get("share", ("", ""))[1] or "ratio"
        if found is None or found[1] not in {"", "%"}:
            raise self._bad("share", f"the share is not a number: {text!r}")
        factor = SHARE_PPM["%"] if found[1] == "%" else SHARE_PPM[unit]
        share = round(Fraction(found[0]) * factor)
        if not 0 <= share <= _PPM:
            raise self._bad("share", f"the share is not between 0 and 1: {text!r}")
        return share

    def _gpus(self, text: str) -> tuple[str, ...]:
        if text in {"", "*"}:
            return ("*",)
        if not _LIST.fullmatch(text):
            return tuple(part for part in re.split(r"[,; ]+", text) if part)
        found: list[str] = []
        for part in re.split(r"[,; ]+", text):
            first, _, last = part.partition("-")
            if int(last or first) < int(first) or int(last or first) > 1023:
                raise self._bad("gpu", f"not a valid range of GPUs: {text!r}")
            found += [str(i) for i in range(int(first), int(last or first) + 1)]
        return tuple(dict.fromkeys(found))
