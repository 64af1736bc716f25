"""Which columns name the GPU: decided by what stands in them, where the header has several, or weak ones.

A column that is the same for rows of one round which another column tells apart does not name the GPU: ``index`` is 0
throughout where each process sees one device. A name that is another in every row numbers rows.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import UnclearGpusError
from wattshed.agent.inputs.arrow import pa, pc
from wattshed.agent.inputs.quantities import reason_of, scaled_column
from wattshed.agent.inputs.ticks import tick_us
from wattshed.agent.inputs.timestamps import NO_TIME
from wattshed.agent.inputs.typed_cells import Names
from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.traces.foreign.gpus import gpu_name
from wattshed.agent.traces.foreign.rounds import judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.table_layout import TableLayout

_KINDS = (  # the strongest first
    ("uuid", r"(gpu_|device_)?uuid"),
    ("pci", r"(gpu_)?(pci_?)?bus_?id|(gpu_)?pci(_?(bus|id|addr|address|bus_?addr))?"),
    ("index", r"(gpu|device|cuda|nvidia|card)_?(index|idx|id|num|number|no|nr|ordinal|minor)|index|idx"),
    ("index", r"minor_?number|module_?id"),
    ("gpu", r"gpu|device|card|cuda|id"),
    ("serial", r"(gpu_|board_|device_)?serial(_?(number|no))?"),
)
_MODEL = r"(gpu_|device_|product_)?name|(gpu_|device_)?(model|type)(_name)?"
_HOST = r"host(_?name)?|node(_?name)?|machine|server"
_UNIT = re.compile(r"\s*\[[^\]]*\]\s*$")
_ROUND_US = 1_000_000  # a round takes less
_EXCEPT = 0.02  # of the rows may contradict
_APART = 0.4  # of the rows in a row of time, so many at least differ where a column tells GPUs apart


@dataclass(frozen=True, slots=True)
class HeadRows:
    """The first rows of a table, as far as they are understood.

    Attributes
    ----------
    cells : mapping of name -> list of str
        Those that may name the GPU, its model or its host.
    time_us : int64[n], us
    power_mw : int64[n], mW
        -1: no reading.
    tick_us : int, us
        See `agent.inputs.ticks`.
    """

    cells: Mapping[str, Sequence[str]]
    time_us: NDArray[np.int64]
    power_mw: NDArray[np.int64]
    tick_us: int


def head_rows(columns: Mapping[str, Any], layout: TableLayout, clock: TimestampParser) -> HeadRows:
    """Understand the first rows of a table.

    Parameters
    ----------
    columns : mapping of name -> pyarrow.Array
        All that ``layout`` needs.
    layout : TableLayout
    clock : TimestampParser
        One of its own: it learns from what it reads.
    """
    time_us = clock.read(columns[layout.time], columns.get(layout.date), dated="date" in layout.time.lower())
    timed = time_us != NO_TIME
    power = np.full(time_us.size, -1, np.int64)
    for quantity in layout.power[:1]:
        power = scaled_column(columns[quantity.name], POWER_MW[quantity.unit], POWER_MW).value
    cells = {
        name: list(itertools.compress(_texts(columns[name]), timed.tolist()))
        for name in (*layout.gpu, layout.host, layout.model)
        if name
    }
    return HeadRows(cells, time_us[timed], power[timed], tick_us(columns[layout.time], clock))


def _texts(column: Any) -> list[str]:
    """Return cells as text; empty where there is none."""
    if isinstance(column, Names):
        return column.to_pylist()
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    cells = column if pa.types.is_string(kind) else pc.cast(column, pa.string())
    return [text or "" for text in cells.to_pylist()]


def candidates(names: Sequence[str]) -> list[str]:
    """Columns that may name the GPU by their header, the strongest first."""
    plain = {name: re.sub(r"[ .\-/]+", "_", _UNIT.sub("", name).strip().lower()) for name in names}
    found = [name for _, kind in _KINDS for name in names if re.fullmatch(kind, plain[name])]
    return list(dict.fromkeys(found))


def model_of(names: Sequence[str]) -> str:
    """Return the column of the GPU's model; empty if there is none."""
    return _first(_MODEL, names)


def host_of(names: Sequence[str]) -> str:
    """Return the column of the host; empty if there is none."""
    return _first(_HOST, names)


def _first(pattern: str, names: Sequence[str]) -> str:
    plain = (re.sub(r"[ .\-/]+", "_", _UNIT.sub("", name).strip().lower()) for name in names)
    return next((name for name, text in zip(names, plain, strict=True) if re.fullmatch(pattern, text)), "")


def decided(layout: TableLayout, head: HeadRows, report: SourceReport, *, told: bool) -> TableLayout:
    """Choose the columns that name the GPU by the first rows.

    Parameters
    ----------
    layout : TableLayout
        ``gpu`` holds the candidates; or what the user told.
    head : HeadRows
    report : SourceReport
        Gets a note where the rows contradict what the user told.
    told : bool
        The user named the column, so it stays.

    Raises
    ------
    UnclearGpusError
        If the rows of what would be one GPU come in rounds.
    """
    if layout.wide or layout.alone or not head.time_us.size:
        return layout
    order = np.argsort(head.time_us, kind="stable")
    codes = _Codes(head, order, layout.host)
    chosen = layout.gpu
    if not told:
        chosen = codes.choose([name for name in layout.gpu if codes.usable(name)], layout.model)
        layout = replace(layout, gpu=chosen)
    if chosen and not layout.pid and _in_rounds(layout, head, codes, report, told=told):
        return replace(layout, gpu=())
    return layout


class _Codes:
    """Columns as numbers of their different cells, in the order of time: int64[n]."""

    def __init__(self, head: HeadRows, order: NDArray[np.intp], host: str) -> None:
        self._head, self.order = head, order
        self.host = self._code(host) if host else np.zeros(order.size, np.int64)

    def _code(self, name: str) -> NDArray[np.int64]:
        texts = np.array([text.strip() for text in self._head.cells[name]])
        return np.unique(texts, return_inverse=True)[1][self.order].astype(np.int64)

    def of(self, *names: str) -> NDArray[np.int64]:
        """Return the number of each row's combination of host and columns."""
        code = self.host
        for name in names:
            mine = self._code(name)
            code = np.unique(code * (int(mine.max()) + 1) + mine, return_inverse=True)[1].astype(np.int64)
        return code

    def usable(self, name: str) -> bool:
        """Return whether nearly all cells hold a name."""
        cells = self._head.cells[name]
        return sum(bool(reason_of(text.strip())) for text in cells) <= _EXCEPT * len(cells)

    def recurs(self, name: str) -> bool:
        """Return whether cells come again; else they number rows, unless all of them are of one round."""
        code = self.of(name)
        if code.size < 4 or 3 * (int(code.max()) + 1) <= 2 * code.size:
            return True
        return int(np.ptp(self._head.time_us)) < _ROUND_US

    def names(self, name: str) -> bool:
        """Return whether a column can name GPUs: it differs, or holds what GPUs are called by."""
        cells = self._head.cells[name]
        words = "uuid" in gpu_name(cells[0]) and not cells[0].strip().startswith(("GPU-", "MIG-"))
        return len(set(cells)) > 1 or not words or _kind(name) in {"uuid", "pci", "serial"}

    def choose(self, names: Sequence[str], model: str) -> tuple[str, ...]:
        """Choose among candidates; the model last, where each is there once a round."""
        names = [name for name in names if self.names(name) and self.recurs(name)]
        chosen = next(iter(names), "")
        for name in names:
            if name != chosen and self._tells_apart(chosen, name):
                chosen = name
        if model and (not chosen or self._tells_apart(chosen, model)) and self._rotates(self.of(model)):
            return (model,)
        if not chosen:
            return ()
        main = self.of(chosen)
        strong = _kind(chosen) in {"uuid", "pci", "serial"}
        beside = [name for name in names if _kind(name) != "serial"]  # no name by which anybody else calls a GPU
        return tuple(n for n in names if n == chosen or (n in beside and self._goes_with(main, n, strong=strong)))

    def _tells_apart(self, one: str, other: str) -> bool:
        """Return whether the other column is finer, and differs again and again within what the one calls a GPU."""
        coarse, fine = self.of(one), self.of(other)
        if not _determines(fine, coarse):
            return False
        by_gpu = np.argsort(coarse, kind="stable")
        pairs = coarse[by_gpu][1:] == coarse[by_gpu][:-1]
        differ = fine[by_gpu][1:] != fine[by_gpu][:-1]
        return bool(pairs.any() and differ[pairs].mean() >= _APART)

    def _goes_with(self, main: NDArray[np.int64], name: str, *, strong: bool) -> bool:
        """Return whether a column says more of the chosen GPUs: it is another for each, or an index on each host."""
        code = self.of(name)
        if not _determines(main, code):
            return False
        return _determines(code, main) or (strong and int(code.max()) > 0)

    @staticmethod
    def _rotates(code: NDArray[np.int64]) -> bool:
        """Return whether every so many rows have each name once."""
        n = int(code.max()) + 1
        if n < 2 or code.size < 2 * n:
            return False
        windows = np.sort(np.lib.stride_tricks.sliding_window_view(code, n), axis=1)
        return bool((windows == np.arange(n)).all(axis=1).mean() >= 0.9)


def _kind(name: str) -> str:
    plain = re.sub(r"[ .\-/]+", "_", _UNIT.sub("", name).strip().lower())
    return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, plain)), "")


def _determines(fine: NDArray[np.int64], coarse: NDArray[np.int64]) -> bool:
    """Return whether each number of the one goes with one of the other, but for a few rows."""
    both, counts = np.unique(fine * (int(coarse.max()) + 1) + coarse, return_counts=True)
    most = np.zeros(int(fine.max()) + 1, np.int64)
    np.maximum.at(most, both // (int(coarse.max()) + 1), counts)
    return bool(most.sum() >= (1 - _EXCEPT) * fine.size)


def _once(head: HeadRows, mine: NDArray[np.intp]) -> NDArray[np.intp]:
    """Leave out rows with the time and power of another one: of a log that was appended to itself."""
    pairs = np.stack([head.time_us[mine], head.power_mw[mine]])
    again = np.ones(mine.size, bool)
    again[np.unique(pairs, axis=1, return_index=True)[1]] = False
    # Some GPUs that draw the same are GPUs all the same: only what is there twice throughout is one log.
    return mine[~again] if 2 * int(again.sum()) >= mine.size - 1 else mine


def _in_rounds(layout: TableLayout, head: HeadRows, codes: _Codes, report: SourceReport, *, told: bool) -> bool:
    """Look whether the rows of what would be one GPU come in rounds: then the columns do not name it.

    Raises
    ------
    UnclearGpusError
        If they do not, and nothing else does.
    """
    code = codes.of(*layout.gpu)
    mine = _once(head, codes.order[code == np.bincount(code).argmax()])
    found = judge(head.time_us[mine], head.power_mw[mine], head.tick_us)
    if not (found.by_time and found.gpus > 1):
        return False
    name = layout.gpu[0]
    what = f"rows with {name} {head.cells[name][mine[0]].strip()} come in rounds of {found.gpus}"
    if told or _kind(name) in {"uuid", "serial"} or head.cells[name][mine[0]].strip().startswith(("GPU-", "MIG-")):
        report.note(f"{what}, and are counted as one GPU")
        return False
    if found.by_power and mine.size == code.size:  # it is the same throughout: of its process's only GPU
        report.note(f"{name} is {head.cells[name][mine[0]].strip()} throughout and does not say which GPU a row is of")
        return True
    raise UnclearGpusError(
        f"{what}: of {found.gpus} GPUs? say which column names the GPU (--columns gpu=COLUMN; gpu={name} if it is one "
        "GPU), or log with `uuid`",
        report.path,
        1,
    )
