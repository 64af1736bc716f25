"""What a report of ``nvidia-smi -q`` says of one GPU, and the sample that is made of it.

A report shows the power of the board (``GPU Power Readings``), of its memory and, on Grace superchips, of the whole
module side by side. Only the board's is read; these are parts and wholes of each other and are never added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.inputs.quantities import scaled_text
from wattshed.agent.inputs.unit_tables import POWER_MW
from wattshed.agent.traces.foreign.samples import Samples
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.inputs.timestamps import TimestampParser
    from wattshed.agent.traces.foreign.gpus import Gpus

    Fact = tuple[str, str]
    """Section and key, in lower case."""

_SECTIONS = {"gpu power readings", "power readings", "gpu_power_readings", "power_readings"}
_AVERAGE = ("average power draw", "average_power_draw", "power draw", "power_draw")
_INSTANT = ("instantaneous power draw", "instant_power_draw", "instantaneous_power_draw", "instant power draw")
_LIMIT = tuple(
    f"{which}power{mark}limit"
    for mark in (" ", "_")
    for which in (f"max{mark}", f"current{mark}", f"enforced{mark}", "")
)
_UTIL = ("gpu", "gpu_util", "gpu util")
_UUID, _MODEL = ("gpu uuid", "uuid"), ("product name", "product_name")
_ARCHITECTURE = ("product architecture", "product_architecture")
_UTILIZATION = "utilization"
NAMES = {*_SECTIONS, *_AVERAGE, *_INSTANT, *_LIMIT, *_UTIL, *_UUID, *_MODEL, *_ARCHITECTURE, _UTILIZATION}
"""Sections and keys that are read."""
NONE = "", ""
"""No fact: the empty key is never told."""


class _Board(NamedTuple):
    """What a report says of a GPU beside its readings."""

    host: str
    pci: str
    uuid: str
    model: str
    architecture: str
    driver: str
    limit: str


class Told(NamedTuple):
    """Where a sample came from.

    Attributes
    ----------
    gpu : int
        Number in `Gpus`.
    power, instant, util : (str, str)
        The facts that were read; `NONE` where there is none.
    """

    gpu: int
    power: Fact
    instant: Fact
    util: Fact


class ReportedGpus:
    """Turns the facts of GPUs in reports into samples, each at the time of its report."""

    def __init__(self, clock: TimestampParser, gpus: Gpus, report: SourceReport) -> None:
        self.samples = Samples(report, clock)
        self._gpus, self._report = gpus, report
        self.stamp: tuple[int, bool] | None = None
        self.driver = ""
        self._numbers: dict[_Board, int] = {}

    def gpu(self, pci: str, facts: Mapping[Fact, str], line: int) -> Told | None:
        """Add a GPU's sample; None if there is no time to add it at."""
        if self.stamp is None:
            self._report.rows += 1
            self._report.reject("no_time", line=line)
            return None
        average, instant = _first(facts, _SECTIONS, _AVERAGE), _first(facts, _SECTIONS, _INSTANT)
        util, limit = _first(facts, (_UTILIZATION,), _UTIL), _first(facts, _SECTIONS, _LIMIT)
        uuid, model, architecture = (
            facts.get(_first(facts, ("",), keys), "") for keys in (_UUID, _MODEL, _ARCHITECTURE)
        )
        board = _Board(self._gpus.host, pci, uuid, model, architecture, self.driver, facts.get(limit, ""))
        number = self._number(board)
        power = average if _is_number(facts.get(average, "")) or instant == NONE else instant
        self.samples.add(
            number,
            self.stamp,
            line=line,
            power=facts.get(power, ""),
            instant=facts.get(instant),
            util=facts.get(util),
        )
        return Told(number, power, instant, util)

    def _number(self, board: _Board) -> int:
        """Return the number of a GPU in `Gpus`, which learns what is said of it when that is said first."""
        number = self._numbers.get(board)
        if number is None:
            # Masked captures show one UUID for all GPUs; the PCI address distinguishes them then.
            uuid = board.uuid if board.uuid.strip("GPU-0") else ""
            number = self._numbers[board] = self._gpus.number(uuid=uuid, pci=board.pci, model=board.model)
            self._gpus.describe(
                number,
                limit_mw=scaled_text(board.limit, POWER_MW["W"], POWER_MW)[0] if board.limit else MISSING,
                driver=board.driver,
                architecture=board.architecture.lower(),
            )
        return number


def _first(facts: Mapping[Fact, str], sections: Iterable[str], keys: Iterable[str]) -> Fact:
    """Return which of some facts is read: the first number, else the first that is told; `NONE` without any."""
    told = [(section, key) for key in keys for section in sections if (section, key) in facts]
    return next((fact for fact in told if _is_number(facts[fact])), told[0] if told else NONE)


def _is_number(cell: str) -> bool:
    return any(c.isdecimal() for c in cell)
