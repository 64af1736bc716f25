"""Jetson modules: ``tegrastats``, and tables that jetson-stats (``jtop``) fills.

A Jetson has no board of a GPU. What its rail at the input tells is the whole module, processors included; modules
without such a rail (AGX) are the sum of the others.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.inputs import delimited
from wattshed.agent.inputs.arrow import pa
from wattshed.agent.inputs.dialect import sniff
from wattshed.agent.inputs.line_stamps import prefix_of_file, stamped_lines
from wattshed.agent.inputs.text import head_of
from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.traces.foreign.format import Format
from wattshed.agent.traces.foreign.round_times import NOTE
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.traces.foreign.table import TableReader
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.inputs.delimited import Block
    from wattshed.agent.traces.foreign.format import Head, LogFile
    from wattshed.agent.traces.foreign.rows import Rows

_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]+) (?:(\d+)mW(?:/\d+mW)?|(\d+)/\d+)(?=\s|$)")
_LINE = re.compile(r"\bRAM \d+/\d+ ?MB\b")
_UTIL = re.compile(r"\bGR3D_FREQ (\d+)%")
_INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")
_PARTS = {"NC", "VDDQ_VDD2_1V8AO"}
"""Not connected, and fed by VIN_SYS_5V0, which is counted."""
_MODULE = "Jetson module"
_ONE = "\0module"  # stands for the column that tables of one module lack
_JTOP = {"power tot", "power cur"}
_JTOPS_OWN = {"uptime", "nvp model", "jetson_clocks"}


def _module(rails: Mapping[str, int]) -> tuple[str, int] | None:
    """Return what the module draws in mW, and from which rails; None if no rail is there."""
    for name in _INPUTS:
        if name in rails:
            return name, rails[name]
    counted = {name: value for name, value in rails.items() if name not in _PARTS}
    return (" + ".join(counted), sum(counted.values())) if counted else None


def _say(log: LogFile, rails: str) -> None:
    log.report.boundary = f"{_MODULE} ({rails})"
    log.report.note(f"its power is that of the whole module ({rails}), processors and memory included, not of the GPU")


def _read(log: LogFile) -> Iterator[Rows]:
    prefix, period_us, lines = prefix_of_file(log.source.path), log.options.period_us, 0
    if prefix is None and not period_us:
        raise InputError(
            "its lines have no times: say how far they are apart (--period; tegrastats' --interval, 1 s unless it was "
            "set); newer tegrastats writes times, and `ts '%Y-%m-%d %H:%M:%.S'` before its lines does",
            log.report.path,
        )
    if prefix is None:
        log.report.note(NOTE.format(period_us / 1e6))
    elif prefix.note:
        log.report.note(prefix.note)
    samples, told = Samples(log.report, log.clock()), ""
    for line in stamped_lines(log.source.path):
        if not _LINE.search(line.text):
            continue
        stamp = line.stamp if prefix is not None else (lines * period_us, False)
        lines += 1
        found = _module({name: int(mw or bare) for name, mw, bare in _RAIL.findall(line.text)})
        if found is None or stamp is None:
            log.report.rows += 1
            reason = "not_available" if stamp else "no_time"
            log.report.reject(reason, line=line.number, text=line.text.strip())
            continue
        if not told:
            told = found[0]
            _say(log, told)
        elif told != found[0]:
            log.report.rows += 1
            log.report.reject("other_rails", line=line.number, text=found[0])
            continue
        util = _UTIL.search(line.text)
        module = log.gpus.number(host=line.host, index=0, model=_MODULE)
        samples.add(
            module,
            stamp,
            line=line.number,
            power=str(found[1]),
            power_unit=POWER_MW["mW"],
            util=util[1] if util else None,
        )
        yield from samples.full()
    yield from samples.rest()
    if not told:
        raise InputError("it contains no rail of power (VDD_IN, POM_5V_IN, VDD_GPU_SOC, ...)", log.report.path)


def _read_jtop(log: LogFile) -> Iterator[Rows]:
    dialect = sniff(head_of(log.source.path))
    place = {name.lower(): name for name in dialect.names}
    power = next((place[name] for name in sorted(_JTOP, reverse=True) if name in place), None)
    if power is None or "time" not in place:
        raise InputError("it has no column of time, or none of `Power TOT`", log.report.path, 1)
    _say(log, f"jtop's {power}")
    layout = TableLayout(
        time=place["time"],
        gpu=(_ONE,),
        power=(Quantity(power, "mW"),),
        util=Quantity(place["gpu"], "%") if "gpu" in place else None,
    )
    log.gpus.number(index=0, model=_MODULE)
    reader = TableReader(layout, dialect.names, log.clock(), log.gpus, log.report)
    names = [name for name in layout.names() if name != _ONE]
    yield from reader.rows(map(_of_one_module, delimited.read_csv(log.source.path, dialect, names, log.report)))


def _of_one_module(block: Block) -> Block:
    """Add what the table does not say: all rows are of module 0."""
    rows = len(next(iter(block.columns.values())))
    return replace(block, columns={**block.columns, _ONE: pa.array(["0"] * rows)})


def _tells(head: Head) -> bool:
    return not head.told and head.mostly(_LINE.search) and ("CPU [" in head.text or "GR3D_FREQ" in head.text)


def _tells_jtop(head: Head) -> bool:
    if head.told:
        return False
    names = {name.lower() for name in head.dialect.names}
    return bool(names & _JTOP) and bool(names & _JTOPS_OWN)


TEGRASTATS = Format(
    name="tegrastats",
    title="`tegrastats` of a Jetson",
    told_by="`RAM` and `CPU [` or `GR3D_FREQ` in each line",
    reads="`VDD_IN`, `POM_5V_IN` or `VIN`, else the sum of the rails; utilisation of the GPU",
    traps="of `now/average` the first; its stamps have the month first; older ones have none (`ts` writes them, or "
    "`--period` says how far lines are apart)",
    tells=_tells,
    rows=_read,
    boundary=_MODULE,
)
JTOP = Format(
    name="jtop",
    title="CSV of jetson-stats (`jtop`)",
    told_by="`Power TOT` beside `uptime`, `nvp model` or `jetson_clocks` in the header",
    reads="`Power TOT` (mW); the column `GPU` is utilisation",
    traps="of an AGX it is the sum of all rails",
    tells=_tells_jtop,
    rows=_read_jtop,
    boundary=_MODULE,
)
