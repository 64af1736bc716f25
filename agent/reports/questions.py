"""How a report is asked for: at once, or, where that would be too much for one answer, bit by bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.history.steps import MOST_STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.reports.sources import JobSource

DAY_S = 86_400
_FEW = 2000  # steps of time for which nobody has so many rows that it would be too much


def report_of(
    source: JobSource,
    params: Mapping[str, str],
    by: str,
    step_s: int | None,
    *,
    now_s: float,
    most: int = MOST_STEPS,
) -> dict[str, Any]:
    """Ask for a report; its steps in several answers if one cannot hold them and it is said from when on.

    Parameters
    ----------
    source : JobSource
    params : mapping of str to str
        Which jobs, and the time, in Unix seconds.
    by : str
    step_s : int or None, s
        None: without steps.
    now_s : float, s
        The end of the time, where it is not said.
    most : int
        Rows times steps of one answer.

    Raises
    ------
    InputError
        If a parameter cannot be.
    UnansweredError
        If there is no answer.
    """
    begin_s, end_s = float(params.get("since", "0")), float(params.get("until", now_s))
    if step_s is None or "since" not in params or (end_s - begin_s) / step_s <= min(_FEW, most):
        return _ask(source, params, by, step_s)
    params = {**params, "until": repr(end_s)}
    whole = _ask(source, params, by, None)
    length_s = max(most // max(len(whole["rows"]), 1), 1) * step_s
    if end_s - begin_s <= length_s:
        return _ask(source, params, by, step_s)
    places = {row["name"]: place for place, row in enumerate(whole["rows"])}
    steps: list[list[Any]] = []
    for since, until in _cut(begin_s, end_s, length_s):
        found = _ask(source, {**params, "since": repr(since), "until": repr(until)}, by, step_s)
        names = [row["name"] for row in found["rows"]]
        # A name that is in a bit alone came while this was asked: it is in the next report.
        steps += [[places[names[row]], *more] for row, *more in found["steps"] if names[row] in places]
    return {**whole, "step_s": step_s, "steps": sorted(steps, key=lambda step: step[:2])}


def day_by_day(source: JobSource, params: Mapping[str, str], step_s: int, now_s: float) -> Iterator[dict[str, Any]]:
    """Ask for reports by job: one for each day of UTC, or one for all if it is not said from when on.

    Raises
    ------
    InputError
        If a parameter cannot be.
    UnansweredError
        If there is no answer.
    """
    if "since" not in params:
        yield _ask(source, params, "job", step_s)
        return
    for since, until in _cut(float(params["since"]), float(params.get("until", now_s)), DAY_S):
        yield _ask(source, {**params, "since": repr(since), "until": repr(until)}, "job", step_s)


def _cut(begin_s: float, end_s: float, length_s: int) -> Iterator[tuple[float, float]]:
    """Cut a time at whole multiples of a length, so that no step and no day is in two bits."""
    while begin_s < end_s:
        until = min(float((begin_s // length_s + 1) * length_s), end_s)
        yield begin_s, until
        begin_s = until


def _ask(source: JobSource, params: Mapping[str, str], by: str, step_s: int | None) -> dict[str, Any]:
    return source.ask("report", {**params, "by": by, **({"step_s": str(step_s)} if step_s else {})})
