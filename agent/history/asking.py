"""What may be asked of a history, read from the parameters of a request or of a command."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from wattshed.agent.history.query import FOREVER_US, MOST, Filter
from wattshed.agent.history.schema import GROUPS
from wattshed.agent.spans import SPANS_S

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

STEPS_S = (900, 1800, 3600, 86_400)
"""Steps of time that energies can be asked for by: each divides the next, and the day."""
_AGE = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(SPANS_S)})", re.ASCII)
_YES, _NO = {"", "1", "true", "yes"}, {"0", "false", "no"}
FILTERS = (*GROUPS, "host", "model", "job", "since", "until")


def filter_of(
    params: Mapping[str, str],
    uid: int | None,
    now_s: float,
    zone: tzinfo | None = UTC,
    further: Collection[str] = ("running", "limit", "cursor", "by", "step_s"),
) -> Filter:
    """Read which jobs are asked for, and of which time.

    Parameters
    ----------
    params : mapping of str to str
        By name; what is empty is not asked for.
    uid : int or None
        Whose jobs may be seen; None: everybody's.
    now_s : float, s
        Ages count back from it.
    zone : tzinfo or None
        Of dates and times that name none; None: the system's own.
    further : collection of str
        Parameters that may stand beside those of `FILTERS`.

    Raises
    ------
    ValueError
        ``NAME: why``.
    """
    for name in params:
        if name not in FILTERS and name not in further:
            raise ValueError(f"{name}: is not a parameter; known are {', '.join((*FILTERS, *further))}")
    since_us = _time(params, "since", 0, now_s, zone)
    until_us = _time(params, "until", FOREVER_US, now_s, zone)
    if until_us < since_us:
        raise ValueError("until: is before since")
    return Filter(
        uid=uid,
        groups={name: params[name] for name in GROUPS if params.get(name)},
        job=params.get("job", ""),
        host=params.get("host", ""),
        model=params.get("model", ""),
        since_us=since_us,
        until_us=until_us,
        running=_yes_or_no(params, "running"),
    )


def limit_of(params: Mapping[str, str], most: int = MOST) -> int:
    """Read how many are asked for: as many as there may be, unless told otherwise.

    Raises
    ------
    ValueError
        ``limit: why``.
    """
    return _number(params, "limit", most, 1, most)


def after_of(params: Mapping[str, str]) -> int:
    """Read after which number parts are asked for.

    Raises
    ------
    ValueError
        ``after: why``.
    """
    return _number(params, "after", 0, 0, 2**62)


def step_of(params: Mapping[str, str]) -> int | None:
    """Read the length of steps, s; None if none are asked for.

    Raises
    ------
    ValueError
        ``step_s: why``.
    """
    text = params.get("step_s", "")
    if not text:
        return None
    if text not in map(str, STEPS_S):
        raise ValueError(f"step_s: {text!r} is not one of {', '.join(map(str, STEPS_S))}")
    return int(text)


def time_us(text: str, now_s: float, zone: tzinfo | None = UTC) -> int:
    """Read a moment: Unix seconds, an ISO date or date and time, or an age such as ``7d`` or ``12h``.

    Returns
    -------
    int, us

    Raises
    ------
    ValueError
        Saying what would do.
    """
    text = text.strip()
    try:
        if age := _AGE.fullmatch(text):
            return max(0, round(now_s * 1e6) - int(Decimal(age[1]) * SPANS_S[age[2]] * 1_000_000))
        found = _unix_us(text)
        if found is None:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.astimezone() if zone is None else moment.replace(tzinfo=zone)
            found = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
    except (ValueError, OverflowError, OSError):
        found = -1
    if not 0 <= found <= FOREVER_US:
        raise ValueError(
            f"{text!r} is not a time; write Unix seconds, 2026-03-31, 2026-03-31T14:00, or an age: 7d, 12h"
        )
    return found


_MICROSECOND = datetime.resolution


def _unix_us(text: str) -> int | None:
    """Read a number of seconds; None if it is none. ``20260331`` is a date: as seconds it would be in the year 1970."""
    if re.fullmatch(r"\d{8}", text, re.ASCII):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return int(value * 1_000_000) if value.is_finite() and value.adjusted() < 15 else -1


def _time(params: Mapping[str, str], name: str, otherwise: int, now_s: float, zone: tzinfo | None) -> int:
    if not params.get(name):
        return otherwise
    try:
        return time_us(params[name], now_s, zone)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _yes_or_no(params: Mapping[str, str], name: str) -> bool | None:
    if name not in params:
        return None
    text = params[name].lower()
    if text not in _YES | _NO:
        raise ValueError(f"{name}: {params[name]!r} is neither true nor false")
    return text in _YES


def _number(params: Mapping[str, str], name: str, otherwise: int, low: int, high: int) -> int:
    text = params.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and low <= int(text) <= high):
        raise ValueError(f"{name}: {text!r} is not a whole number from {low} to {high}")
    return int(text)
