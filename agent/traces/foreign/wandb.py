"""What Weights & Biases exports of a run's GPUs: the columns of its system metrics, in JSON or CSV.

``system.gpu.0.powerWatts`` is the mean of some samples since the row before, every 15 s by default
(https://docs.wandb.ai/ref/python/experiments/system-metrics). In a table that is saved from a chart, the name of the
run comes first, and columns of the lowest and highest value beside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.traces.foreign.table_layout import Quantity, TableLayout

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wattshed.agent.inputs.report import SourceReport

_WATTS = re.compile(r"(?:(?P<run>.+) - )?system[./]gpu\.(?:process\.)?(?P<gpu>\d+)\.powerWatts")
_SHARE = re.compile(r"(?:.+ - )?system[./]gpu\.(?:process\.)?\d+\.\w+")
_TIMES = ("_timestamp", "timestamp", "Wall Time", "_runtime", "Relative Time (Process)", "Relative Time (Wall)")


def is_table(names: Iterable[str]) -> bool:
    """Return whether the columns are system metrics of W&B."""
    return any(_SHARE.fullmatch(name) for name in names)


def layout_of(names: Sequence[str], report: SourceReport) -> TableLayout:
    """Find the columns.

    Raises
    ------
    InputError
        If there is no time, or no power in watts.
    """
    found = {name: match for name in names if (match := _WATTS.fullmatch(name))}
    own = {name: match for name, match in found.items() if ".process." not in name}
    if not found:
        raise InputError("it has metrics of W&B, but not gpu.N.powerWatts; export that one", report.path, 1)
    time = next((name for name in _TIMES if name in names), "")
    if not time:
        wanted = "export it over `Relative Time (Process)` or `Wall Time`"
        raise InputError(f"it has metrics of W&B by step, without times; {wanted}", report.path, 1)
    report.note("power of W&B is the mean of some samples between two rows, as its SDK logged it")
    wide = {(match["run"] or "", match["gpu"]): (Quantity(name, "W"), None) for name, match in (own or found).items()}
    return TableLayout(time=time, wide=wide)
