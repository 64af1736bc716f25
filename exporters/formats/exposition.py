"""The two text formats of the Prometheus world, written fast.

A family is a table row: name, kind, help and the function that reads its samples from a snapshot. What is constant
about a series (name and escaped labels) is built once and kept, and a line is written anew only if its number changed
since the last page, so that a page of 10,000 series is mostly joining strings. Sources: the text format 0.0.4
(prometheus.io/docs/instrumenting/exposition_formats) and OpenMetrics 1.0 (github.com/prometheus/OpenMetrics).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

from wattshed.exporters.units import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.exporters.snapshot import Histogram, Snapshot

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Kind: TypeAlias = Literal["counter", "gauge", "info", "histogram", "unknown"]
Labels: TypeAlias = tuple[str, ...]
Rows: TypeAlias = Sequence[tuple[Labels, float]]
Pairs: TypeAlias = Sequence[tuple[Labels, int, int]]

SIMULATED: Mapping[str, str] = MappingProxyType({"simulated": "1"})
"""What distinguishes invented joules and watts from real ones, which have no such label (docs/decisions/0921)."""

_UNSAFE = re.compile('[\\\\"\n\x00\ud800-\udfff]')
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def job_since(snapshot: Snapshot) -> Mapping[str, float]:
    """Return when the counters of each job began, if not with the snapshot's: a job may be older than the agent."""
    first = snapshot.counters_since_us or snapshot.started_us
    return {job.job: job.started_us / MICRO for job in snapshot.jobs if job.started_us > first}


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Attributes
    ----------
    name : str
        As it stands in the text format; counters end in ``_total``.
    kind : str
    text : str
        HELP: says the unit and the boundary.
    labels : tuple of str
    rows : callable
        Snapshot -> [(label values, value)].
    per : int
        Values are whole numbers of 1/``per`` base units and are written as exact decimals. 1: written as they are.
    since : callable, optional
        Snapshot -> {first label: Unix seconds}: when a counter began, where it differs from the snapshot's own.
    quiet : bool
        ``promtool check metrics`` dislikes the name whatever its type: the text format leaves out series that are 0
        and states no type; OpenMetrics, which Prometheus prefers, has them all.
    pair, pairs : tuple of two str, callable, optional
        The two values that the last label takes, and the rows with a number for each: quicker to write than ``rows``,
        which says the same line by line.
    histograms : callable, optional
        Instead of rows: Snapshot -> {label value: Histogram}.
    marked : bool
        Carries :data:`SIMULATED` on a simulated node although no unit in its name shows that it is energy or power.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
    rows: Callable[[Snapshot], Rows] = lambda _: ()
    per: int = 1
    since: Callable[[Snapshot], Mapping[str, float]] | None = None
    quiet: bool = False
    pair: tuple[str, str] | None = None
    pairs: Callable[[Snapshot], Pairs] | None = None
    histograms: Callable[[Snapshot], Mapping[str, Histogram]] | None = None
    marked: bool = False

    def mark(self, snapshot: Snapshot) -> Mapping[str, str]:
        """Return the label that each series has beside its own: energy and power that are invented say so."""
        invented = snapshot.simulated and (self.marked or "_joules" in self.name or "_watts" in self.name)
        return SIMULATED if invented else {}

    def samples(self, snapshot: Snapshot) -> Rows:
        """Read every series as one row, pairs taken apart."""
        if self.pair is None or self.pairs is None:
            return self.rows(snapshot)
        return [
            ((*labels, name), value)
            for labels, *values in self.pairs(snapshot)
            for name, value in zip(self.pair, values, strict=True)
        ]


def legible(value: str) -> str:
    r"""Write what no UTF-8 page can hold (NUL, lone surrogates) as the text ``\xNN``."""
    return _UNWRITABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", value)


def escape(value: str) -> str:
    """Escape a label value; what cannot be written is made `legible`."""
    return _UNSAFE.sub(_replacement, value) if _UNSAFE.search(value) else value


def _replacement(match: re.Match[str]) -> str:
    char = match[0]
    if char == "\n":
        return "\\n"
    return f"\\{char}" if char in '\\"' else f"\\{legible(char)}"


def label_name(name: str) -> str:
    """Make ``name`` a legal label name that is not reserved (``__``)."""
    legal = _NOT_A_NAME.sub("_", name).lstrip("_")
    return f"label_{legal}" if not legal or legal[0].isdigit() else legal


def braces(names: Sequence[str], values: Sequence[str]) -> str:
    """Write a label set, ``{a="b"}``, or nothing if there are no labels."""
    if not names:
        return ""
    return "{" + ",".join(f'{n}="{escape(str(v))}"' for n, v in zip(names, values, strict=True)) + "}"


def openmetrics_head(family: Family) -> tuple[str, str, str]:
    """Name, type and unit (or nothing) of a family in OpenMetrics, which names it without its samples' suffix."""
    suffix = {"counter": "_total", "info": "_info"}.get(family.kind, "")
    name = family.name.removesuffix(suffix)
    # OpenMetrics knows no counter without _total.
    kind = "unknown" if family.kind == "counter" and name == family.name else family.kind
    return name, kind, next((unit for unit in _UNITS if name.endswith(f"_{unit}")), "")


def buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """Upper bounds as text, the last is +Inf, and how many observations are not above each."""
    bounds = _bounds(histogram.bounds)
    counts = histogram.counts or (0,)
    return list(zip(bounds, (*counts[: len(bounds) - 1], counts[-1]), strict=True))


@lru_cache(maxsize=16)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(f"{float(bound)}" for bound in bounds if isfinite(bound)), "+Inf")


class _Series(dict[Labels, tuple[str, ...]]):
    """Label values -> the constant text around the one or two numbers of a row; and the lines of the last page."""

    __slots__ = ("created", "default", "family", "last", "mark")

    def __init__(self, family: Family, mark: Mapping[str, str]) -> None:
        self.family, self.mark = family, mark
        self.created: Mapping[str, float] | None = None
        self.default = 0.0
        self.last: tuple[Rows | Pairs, list[str]] = (), []

    def lines(self, rows: Rows | Pairs, write: Callable[..., str], *, exact: bool) -> list[str]:
        """Write rows, but for those that stand at their place as on the last page.

        Equal numbers that are not ``exact`` whole ones may be written otherwise: 1 and 1.0, 0.0 and -0.0.
        """
        before, lines = self.last
        if len(before) != len(rows):
            made = [write(row) for row in rows]
        elif exact:
            made = [line if row == old else write(row) for row, old, line in zip(rows, before, lines, strict=True)]
        else:
            made = [
                line if row == old and row[1] and row[1].__class__ is old[1].__class__ else write(row)
                for row, old, line in zip(rows, before, lines, strict=True)
            ]
        self.last = rows, made
        return made

    def __missing__(self, labels: Labels) -> tuple[str, ...]:
        if self.family.pair is None:
            made: tuple[str, ...] = self._around(labels)
        else:
            first, second = (self._around((*labels, value)) for value in self.family.pair)
            made = (first[0], first[1] + second[0], second[1])
        self[labels] = made
        return made

    def begin(self, created: Mapping[str, float], default: float) -> None:
        """Take note of when the counters began; the text of one that restarted since the last page is dropped."""
        before = self.created or {}
        if created != before:  # rarely
            anew = {label for label, since in created.items() if since > before.get(label, self.default)}
            for labels in [labels for labels in self if labels and labels[0] in anew]:
                del self[labels]
        if default != self.default:
            self.clear()
        if (created, default) != (self.created, self.default):
            self.last = (), []
        self.created, self.default = created, default

    def forget_ended(self, rows: Rows | Pairs) -> None:
        """Drop the text of series that were not on this page: should they come back, they restart."""
        if len(self) > len(rows):
            alive = {row[0] for row in rows}
            for labels in [labels for labels in self if labels not in alive]:
                del self[labels]

    def _around(self, labels: Labels) -> tuple[str, str]:
        text = braces((*self.family.labels, *self.mark), (*labels, *self.mark.values()))
        name, after = self.family.name, "\n"
        if self.created is not None:
            created = self.created.get(labels[0], self.default) if labels else self.default
            after = f"\n{name.removesuffix('_total')}_created{text} {created:.3f}\n"
        return f"{name}{text} ", after


class Writer:
    """Writes pages of one format; keeps the constant parts of its series between pages.

    Parameters
    ----------
    openmetrics : bool
        OpenMetrics 1.0 instead of the text format 0.0.4.
    on_fault : callable
        Called with the family's name and the exception when a family cannot be read; the rest of the page goes on.
    """

    def __init__(self, *, openmetrics: bool, on_fault: Callable[[str, Exception], None]) -> None:
        self.openmetrics = openmetrics
        self.content_type = OPENMETRICS_TYPE if openmetrics else TEXT_TYPE
        self._on_fault = on_fault
        self._series: dict[str, _Series] = {}
        self._heads: dict[str, str] = {}
        self._ladders: dict[tuple[str, str], tuple[Histogram, int, str]] = {}

    def write(self, snapshot: Snapshot, families: Iterable[Family]) -> bytes:
        """Write one page of ``families`` as of ``snapshot``, as UTF-8."""
        parts: list[str] = []
        for family in families:
            try:
                lines = self._histogram(snapshot, family) if family.histograms else self._plain(snapshot, family)
            except Exception as error:  # noqa: BLE001 - a failing family is a fault metric, never a dead page
                self._on_fault(family.name, error)
                continue
            if any(lines):  # what is not finite has none
                parts.append(self._head(family))
                parts += lines
        if self.openmetrics:
            parts.append("# EOF\n")
        return "".join(parts).encode()

    def _head(self, family: Family) -> str:
        head = self._heads.get(family.name)
        if head is None:
            head = self._heads[family.name] = self._made_head(family)
        return head

    def _made_head(self, family: Family) -> str:
        name, kind, unit = openmetrics_head(family)
        if self.openmetrics:
            unit = f"# UNIT {name} {unit}\n" if unit else ""
        else:
            name, unit = family.name, ""
            kind = "untyped" if family.quiet else _KINDS_OF_TEXT.get(family.kind, family.kind)
        text = family.text.replace("\\", "\\\\").replace("\n", "\\n")
        if self.openmetrics:
            text = text.replace('"', '\\"')
        return f"# HELP {name} {text}\n# TYPE {name} {kind}\n{unit}"

    def _plain(self, snapshot: Snapshot, family: Family) -> list[str]:
        series, mark = self._series.get(family.name), family.mark(snapshot)
        # A manager may bring new labels to job_info, and a node that starts shows what it is with its first GPU.
        if series is None or (series.family.labels, series.mark) != (family.labels, mark):
            series = self._series[family.name] = _Series(family, mark)
        if self.openmetrics and family.kind == "counter" and family.name.endswith("_total"):
            default = (snapshot.counters_since_us or snapshot.started_us) / 1e6
            series.begin(family.since(snapshot) if family.since else {}, default)
        rows: Rows | Pairs = family.pairs(snapshot) if family.pairs else family.rows(snapshot)
        if family.quiet and not self.openmetrics:
            rows = [row for row in family.rows(snapshot) if row[1]]
        if family.pairs:
            lines = series.lines(rows, _decimal_pairs(series, family.per), exact=True)
        elif family.per > 1:
            lines = series.lines(rows, _decimals(series, family.per), exact=True)
        else:
            lines = series.lines(rows, _numbers(series), exact=False)
        series.forget_ended(rows)
        return lines

    def _histogram(self, snapshot: Snapshot, family: Family) -> list[str]:
        lines = []
        for value, histogram in family.histograms(snapshot).items() if family.histograms else ():
            kept = self._ladders.get((family.name, value))
            if kept is None or kept[:2] != (histogram, snapshot.started_us):
                kept = histogram, snapshot.started_us, self._ladder(snapshot, family, value, histogram)
                self._ladders[family.name, value] = kept
            lines.append(kept[2])
        return lines

    def _ladder(self, snapshot: Snapshot, family: Family, value: str, histogram: Histogram) -> str:
        text = braces(family.labels, (value,))
        steps = buckets(histogram)
        before = f"{family.name}_bucket{text[:-1]},le="
        lines = [f'{before}"{bound}"}} {number}\n' for bound, number in steps]
        count = steps[-1][1]
        lines.append(f"{family.name}_sum{text} {histogram.total}\n{family.name}_count{text} {count}\n")
        if self.openmetrics:
            lines.append(f"{family.name}_created{text} {snapshot.started_us / 1e6:.3f}\n")
        return "".join(lines)


def _numbers(series: _Series) -> Callable[[tuple[Labels, float]], str]:
    def write(row: tuple[Labels, float]) -> str:
        labels, value = row
        if not isfinite(value):
            return ""
        before, after = series[labels]
        return f"{before}{value}{after}"

    return write


def _decimals(series: _Series, per: int) -> Callable[[tuple[Labels, float]], str]:
    """Write whole numbers of 1/``per`` as exact decimals; slicing digits is twice as fast as dividing."""
    n, factor = _digits(per)

    def write(row: tuple[Labels, float]) -> str:
        labels, value = row
        before, after = series[labels]
        number = str(int(value) * factor).zfill(n + 1)
        return f"{before}{number[:-n]}.{number[-n:]}{after}"

    return write


def _decimal_pairs(series: _Series, per: int) -> Callable[[tuple[Labels, int, int]], str]:
    n, factor = _digits(per)

    def write(row: tuple[Labels, int, int]) -> str:
        labels, first, second = row
        before, between, after = series[labels]
        one, two = str(int(first) * factor).zfill(n + 1), str(int(second) * factor).zfill(n + 1)
        return f"{before}{one[:-n]}.{one[-n:]}{between}{two[:-n]}.{two[-n:]}{after}"

    return write


@cache
def _digits(per: int) -> tuple[int, int]:
    """Return how many decimals 1/``per`` has, and how many of the last one it is."""
    digits = next(n for n in range(1, 19) if 10**n % per == 0)
    return digits, 10**digits // per


_KINDS_OF_TEXT = {"info": "gauge", "unknown": "untyped"}
_UNITS = ("watts_per_second", "joules", "watts", "seconds", "ratio", "bytes", "celsius", "hertz")
