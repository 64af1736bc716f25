"""A server's metrics page, read as work: the wanted names only, and nothing that is not a whole number."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.work_units.kinds import KINDS, RUNNING, completed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wattshed.agent.work_units.kinds import ServerKind, WorkMetric

LARGEST = 1 << 53
"""Servers count in doubles: above this they do not count one by one any more."""
MOST_SERIES = 4096
_LABELS = r'(?:\{((?:\s*[a-zA-Z_]\w*\s*=\s*"(?:[^"\\\n]|\\.)*"\s*,?)*)\s*\})?'
_LABEL = re.compile(r'([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\\n]|\\.)*)"')
_STARTED = "process_start_time_seconds"
_TOTAL = "_total"


class PageRefusedError(Exception):
    """A page that cannot be read as work.

    Parameters
    ----------
    reason : str
        One of few words, for the metric.
    message : str
        One line for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class WorkCounter(NamedTuple):
    """One counter of a page: what it counts, its value, and when it began (Unix seconds; None: it does not say).

    ``at_end``: it counts a request when that has ended, not at each step.
    """

    unit: str
    value: int
    created: float | None
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class ServerPage:
    """What a server says of its work since it began.

    Attributes
    ----------
    kind : str
    series : mapping of str to WorkCounter
        By the metric, its unit and its labels.
    running : int or None
        Requests that are being worked on; None: it does not say.
    started : float or None
        When its process began, Unix seconds.
    """

    kind: str
    series: Mapping[str, WorkCounter]
    running: int | None = None
    started: float | None = None

    def totals(self) -> dict[str, int]:
        """Return the sums by unit."""
        found: Counter[str] = Counter()
        for one in self.series.values():
            found[one.unit] += one.value
        return completed(found)


def read_page(content: bytes, *, kind: str = "", model: str = "") -> ServerPage:
    """Read a page.

    Parameters
    ----------
    content : bytes
    kind : str
        Of `KINDS`; empty: the names tell.
    model : str
        Only what was done with this model; empty: with any.

    Raises
    ------
    PageRefusedError
        It is none of a known kind, or a number on it is not one that counts work.
    """
    text = _text(content)
    for one in [KINDS[kind]] if kind else KINDS.values():
        for prefix in one.spelled():
            if prefix not in text:
                continue
            if (found := _Found.among(_lines(text, one, prefix), one, prefix, model)) is not None:
                if not text.endswith("\n"):
                    raise PageRefusedError("cut", "its last line has no end")
                return found.page()
    raise PageRefusedError("unknown", "no counter of a known server is on this page")


def is_of_a_server(name: str) -> bool:
    """Tell whether a page of a known server may have a series of this name that matters here."""
    return name == _STARTED or any(
        name.startswith(prefix) and name.removeprefix(prefix) in _names(kind.name)
        for kind in KINDS.values()
        for prefix in kind.spelled()
    )


def page_of_series(series: Iterable[tuple[str, str, str]], *, kind: str = "", model: str = "") -> ServerPage:
    """Read what `read_page` reads from series: of each its name, its labels as on a page, and its value.

    Raises
    ------
    PageRefusedError
        As `read_page` does.
    """
    rows = list(series)
    for one in [KINDS[kind]] if kind else KINDS.values():
        for prefix in one.spelled():
            mine = _of_kind(rows, one, prefix)
            if (found := _Found.among(mine, one, prefix, model)) is not None:
                return found.page()
    raise PageRefusedError("unknown", "no counter of a known server is among them")


def _of_kind(rows: Sequence[tuple[str, str, str]], kind: ServerKind, prefix: str) -> Iterator[tuple[str, str, str]]:
    names = _names(kind.name)
    for name, labels, written in rows:
        if name == _STARTED:
            yield name, labels, written
        elif name.startswith(prefix) and name.removeprefix(prefix) in names:
            yield name.removeprefix(prefix), labels, written


def _text(content: bytes) -> str:
    text = content.decode(errors="replace")
    if text.startswith('"#'):  # llama.cpp b7010 answers the page as one JSON string
        try:
            text = str(json.loads(text))
        except ValueError:
            raise PageRefusedError("cut", "it is a JSON string without an end") from None
    return text


@cache
def _names(kind: str) -> frozenset[str]:
    """Return the names behind the prefix: of what counts, and of when it began."""
    names = {source.name for either in KINDS[kind].sources.values() for source in either}
    return frozenset(names | {name.removesuffix(_TOTAL) + "_created" for name in names if name.endswith(_TOTAL)})


@cache
def _pattern(kind: str, prefix: str) -> re.Pattern[str]:
    either = "|".join(map(re.escape, sorted(_names(kind), key=len, reverse=True)))
    return re.compile(rf"^(?:{re.escape(prefix)}({either})|({_STARTED})){_LABELS}[ \t]+(\S+)", re.MULTILINE)


class _Row(NamedTuple):
    """A series that counts, as it is written."""

    source: WorkMetric
    labels: str
    told: dict[str, str]
    written: str


@dataclass(slots=True)
class _Found:
    """What is found on a page under one prefix."""

    kind: ServerKind
    model: str
    rows: dict[str, dict[str, list[_Row]]] = field(default_factory=dict)  # by unit and metric
    created: dict[tuple[str, str], float] = field(default_factory=dict)  # by metric and labels
    started: float | None = None
    models: set[str] = field(default_factory=set)

    @classmethod
    def among(cls, lines: Iterable[tuple[str, str, str]], kind: ServerKind, prefix: str, model: str) -> _Found | None:
        """Look for a kind's metrics among names without the prefix, labels and values; None if there is not one."""
        found, any_of_them = cls(kind, model), False
        counted: dict[str, list[tuple[str, WorkMetric]]] = {}
        for unit, either in kind.sources.items():
            for source in either:
                counted.setdefault(source.name, []).append((unit, source))
        seen: set[tuple[str, str]] = set()
        for name, labels, written in lines:
            if name == _STARTED:
                found.started = _seconds(written)
                continue
            told = dict(_LABEL.findall(labels))
            if prefix in kind.needs and kind.needs[prefix] not in told:
                continue
            any_of_them = True
            if (name, labels) in seen:
                raise PageRefusedError("duplicate", f"{prefix}{name} is on it twice with the same labels")
            seen.add((name, labels))
            if len(seen) > MOST_SERIES:
                raise PageRefusedError("too_many_series", f"it has more than {MOST_SERIES} series")
            if name not in counted:
                found.created[name.removesuffix("_created"), labels] = _seconds(written)
                continue
            for unit, source in counted[name]:
                if source.counts(told):
                    found.add(unit, _Row(source, labels, told, written))
        return found if any_of_them else None

    def add(self, unit: str, row: _Row) -> None:
        """Take a series that counts, unless it is another model's."""
        of = row.told.get(self.kind.model_label, "")
        if self.model and of != self.model and of not in {"", "undefined"}:
            return
        self.models.add(of)
        self.rows.setdefault(unit, {}).setdefault(row.source.name, []).append(row)

    def page(self) -> ServerPage:
        """Return it as numbers."""
        if self.kind.each_model and not self.model and len(self.models) > 1:
            raise PageRefusedError("no_model", f"it counts {len(self.models)} models; name the one that is meant")
        series, running = {}, None
        for unit, by_metric in self.rows.items():
            chosen = next(by_metric[one.name] for one in self.kind.sources[unit] if one.name in by_metric)
            if unit == RUNNING:
                running = sum(whole(row.written, unit) for row in chosen)
                continue
            for row in chosen:
                name = row.source.name
                key = f"{name} {unit} {','.join(f'{k}={v}' for k, v in sorted(row.told.items()))}"
                created = self.created.get((name.removesuffix(_TOTAL), row.labels))
                series[key] = WorkCounter(unit, whole(row.written, unit), created, row.source.at_end)
        return ServerPage(self.kind.name, series, running, self.started)


def _lines(text: str, kind: ServerKind, prefix: str) -> Iterator[tuple[str, str, str]]:
    for match in _pattern(kind.name, prefix).finditer(text):
        yield match[1] or match[2], match[3] or "", match[4]


def whole(written: str, what: str) -> int:
    """Read a number that counts something.

    Raises
    ------
    PageRefusedError
        It is not a number, negative, has a fraction, or is beyond `LARGEST`.
    """
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise PageRefusedError("not_a_number", f"{what} is {written[:40]!r}")
    if number < 0:
        raise PageRefusedError("negative", f"{what} is negative")
    if number > LARGEST:
        raise PageRefusedError("too_large", f"{what} is above 2^53")
    if number != int(number):
        raise PageRefusedError("fraction", f"{what} is no whole number")
    return int(number)


def _seconds(written: str) -> float:
    try:
        return float(written)
    except ValueError:
        return math.nan
