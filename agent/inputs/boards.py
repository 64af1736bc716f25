"""What data sheets say of boards: the most that one of a model is built to draw, where its limit is not reported."""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wattshed.agent.window import Device


def called(pattern: str, name: str) -> bool:
    """Return whether a model's name, as NVML or a data sheet has it, is one of a row's ``pattern``."""
    return re.search(rf"\b{pattern}", name, re.IGNORECASE) is not None


@cache
def _designs() -> tuple[tuple[str, int], ...]:
    """Read pattern and design power (mW) of the fleet's table of models."""
    lines = Path(__file__).with_name("gpus.csv").read_text(encoding="utf-8").splitlines()
    return tuple((row["pattern"], round(float(row["tdp_w"]) * 1e3)) for row in csv.DictReader(lines))


@cache
def _design_mw(model: str) -> int:
    """Return what the data sheet of a model says (mW), 0 if it is in no row; the first row that fits counts."""
    return next((mw for pattern, mw in _designs() if called(pattern, model)), 0)


def likely_limit_mw(device: Device, beside: Iterable[Device]) -> int:
    """Return what a board is unlikely to exceed, where its own limit is not known (mW).

    That is the limit of the same model on its host, else its data sheet's, else the largest limit on its host; of a
    board of which nothing is known, the most that any model in the table is built for.

    Parameters
    ----------
    device : Device
    beside : iterable of Device
        Of the same host.
    """
    if device.limit_mw > 0:
        return device.limit_mw
    others = [one for one in beside if one.limit_mw > 0]
    alike = [one.limit_mw for one in others if device.model and one.model == device.model]
    host = max((one.limit_mw for one in others), default=0)
    return max(alike, default=0) or _design_mw(device.model) or host or max(mw for _, mw in _designs())
