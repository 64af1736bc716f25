"""CPU time of jobs as a text of a native trace: windows hold none unless a share of the node is estimated."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from wattshed.agent.window import NO_CPU_TIMES, CpuTime, CpuTimes, JobKey
from wattshed.agent.window.host_meters import MOST

if TYPE_CHECKING:
    from wattshed.agent.window import Window


def text_of_cpu(window: Window) -> str | None:
    """JSON of a window's CPU times: ``[cpus, us, [[owner, counter, used], ...]]``, or None.

    The moment is in microseconds from the window's start; owners are keys: they need not be among the window's.
    """
    cpu = window.cpu
    if not cpu.cpus:
        return None
    return json.dumps([cpu.cpus, cpu.time_us - window.start_us, cpu.counters], separators=(",", ":"))


def cpu_from_text(text: str | None, start_us: int) -> CpuTimes:
    """Inverse of `text_of_cpu`; numbers of a later version behind these are left out.

    Raises
    ------
    ValueError, TypeError
        It is another thing.
    """
    if text is None:
        return NO_CPU_TIMES
    cpus, at_us, rows, *_ = json.loads(text)
    if any(type(number) is not int or not -MOST < number < MOST for number in (cpus, at_us)) or cpus < 1:
        raise ValueError("CPU times are malformed")
    found = []
    for owner, counter, used_us, *_ in rows:
        if type(owner) is not str or any(type(n) is not int or not 0 <= n < MOST for n in (counter, used_us)):
            raise ValueError("a counter of CPU time is malformed")
        found.append(CpuTime(JobKey(owner), counter, used_us))
    return CpuTimes(cpus, start_us + at_us, tuple(found))
