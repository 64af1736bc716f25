"""What OpenCost allocated: the answer of its ``/allocation``, saved or asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.tables import name_of, read_bytes
from wattshed.agent.inputs.text import decoded
from wattshed.agent.inputs.timestamps import parse_text

if TYPE_CHECKING:
    from pathlib import Path

IDLE = "__idle__"
"""What OpenCost calls the cost of what nobody asked for."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What GPUs cost one pod, or whatever OpenCost added up.

    Attributes
    ----------
    namespace : str
        Empty if it is in none; `IDLE` for what nobody asked for.
    from_us, to_us : int, us
        Since 1970, UTC.
    gpu_cost : Decimal
        In OpenCost's currency, which its answer does not name.
    """

    namespace: str
    from_us: int
    to_us: int
    gpu_cost: Decimal


def read_allocations(path: str | Path) -> list[Allocation]:
    """Read an answer of ``/allocation?aggregate=pod`` or ``namespace``, from a file or an http(s) URL.

    Raises
    ------
    InputError
        If it is not one.
    """
    where = name_of(path)
    try:
        answer = json.loads(decoded(read_bytes(path), where), parse_float=Decimal, parse_int=Decimal)
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON ({error.msg})", where, error.lineno, error.colno) from None
    windows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(windows, list) or not all(window is None or isinstance(window, dict) for window in windows):
        raise InputError("is not an answer of OpenCost's /allocation (data with a window's allocations)", where, 1)
    return [_allocation(name, one, where) for window in windows for name, one in (window or {}).items()]


def _allocation(name: str, one: Any, where: str) -> Allocation:
    properties = one.get("properties") if isinstance(one, dict) else None
    times = [parse_text(str(one.get(key))) for key in ("start", "end")] if isinstance(one, dict) else [None, None]
    cost = one.get("gpuCost") if isinstance(one, dict) else None
    begin, end = times
    if begin is None or end is None or begin[1] or end[1] or end[0] < begin[0] or not isinstance(cost, Decimal):
        raise InputError(f"allocation {name!r} has no start and end (with a zone) and gpuCost", where)
    namespace = properties.get("namespace") if isinstance(properties, dict) else None
    return Allocation(IDLE if name == IDLE else str(namespace or ""), begin[0], end[0], cost)
