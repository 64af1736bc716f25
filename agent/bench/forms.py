"""The forms that kernels run in, side by side: the same answers, and how long each takes for little work.

Plain Python takes a thousand times as long as compiled code, so the work is that of a moment: some windows of an agent,
and some thousand samples.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.accounts.attribution import Accounts
from wattshed.agent.bench.made_windows import live_windows
from wattshed.agent.bench.rivals import BenchSamples
from wattshed.agent.errors import InputError
from wattshed.kernels import load
from wattshed.kernels.energy import integrate
from wattshed.kernels.jobs import job_energy
from wattshed.kernels.quantiles import quantiles
from wattshed.kernels.windows import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SAMPLES = 4_000
_GAP_US = 5_000_000
_JOBS = 8


def names(text: str) -> tuple[str, ...]:
    """Read a list of forms, such as ``so,numba,off``.

    Raises
    ------
    InputError
        One of them is no form.
    """
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in found:
        if name not in load.FORMS:
            raise InputError(f"--forms: {name!r} is not one of {', '.join(load.FORMS)}")
    return found


def compare(wanted: Sequence[str], rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Ask each question in each form, in turn.

    Parameters
    ----------
    wanted : sequence of str
        Of `load.FORMS`.
    rounds : int
    say : callable
        Called with what is being done.

    Returns
    -------
    list of dict
        ``question``; ``seconds``, the shortest of all rounds by form; ``agree``; ``absent``: why a form is not here.
    """
    before, results = load.form().name, []
    absent = {}
    try:
        for question, ask in _questions().items():
            seconds: dict[str, float] = {}
            answers = {}
            for turn in range(rounds + 1):
                for name in wanted:
                    say(f"{question}: {name}, round {turn}/{rounds}")
                    form = load.use(name)
                    if form.name != name:
                        absent[name] = form.reason
                        continue
                    begun_s = time.perf_counter()
                    answers[name] = _plain(ask())
                    if turn:  # the first one compiles, or finds its way
                        taken_s = time.perf_counter() - begun_s
                        seconds[name] = min(taken_s, seconds.get(name, taken_s))
            agree = all(answer == next(iter(answers.values())) for answer in answers.values())
            results.append({"question": question, "seconds": seconds, "agree": agree, "absent": dict(absent)})
    finally:
        load.use(before)
    return results


def _questions() -> dict[str, Callable[[], Any]]:
    data = BenchSamples.make(_SAMPLES, 2, _JOBS)
    columns = (data.time_us, data.power_mw, data.offsets)
    unknown, live = np.full(_JOBS, -1, np.int64), np.ones(_JOBS, np.int8)
    idle = np.full(2, 70_000, np.int64)
    seconds = [live_windows(8, second) for second in range(3)]

    def booked() -> Any:
        accounts = Accounts(live=True)
        for of_hosts in seconds:
            for window in of_hosts:
                accounts.add(window)
        return [(gpu.energy_hnj, gpu.unattributed_hnj) for gpu in accounts.gpus.values()]

    return {
        "three windows of an agent with 8 GPUs": booked,
        "energy of 4,000 samples": lambda: integrate(*columns, _GAP_US),
        "energy per job of 4,000 samples": lambda: job_energy(
            *columns, _GAP_US, idle, data.rows, data.start_us, data.end_us, unknown, unknown, unknown, live
        ),
        "minutes of 4,000 samples": lambda: windows(*columns, 60_000_000, _GAP_US),
        "quantiles of 4,000 samples": lambda: quantiles(*columns, _GAP_US, (500_000, 990_000)),
    }


def _plain(answer: Any) -> Any:
    """Turn arrays within an answer into lists, to be compared."""
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    if isinstance(answer, list | tuple):
        return [_plain(one) for one in answer]
    return answer
