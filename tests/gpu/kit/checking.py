"""A step's verdict from the parts of its prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .results import Kit


def decide(kit: Kit, checks: dict[str, bool | None], line: str) -> None:
    """Say which parts of the prediction did not come true, and which could not be judged.

    Parameters
    ----------
    kit : Kit
    checks : dict of str to bool or None
        None where the data does not tell.
    line : str
        The few numbers that a reader wants first.
    """
    broken = [name for name, holds in checks.items() if holds is False]
    unknown = [name for name, holds in checks.items() if holds is None]
    as_predicted = False if broken else None if unknown else True
    said = f"not so: {', '.join(broken)}; " if broken else ""
    said += f"cannot be told: {', '.join(unknown)}; " if unknown else ""
    kit.verdict(None if kit.simulated else as_predicted, said + line)  # nothing is predicted of the simulated card
