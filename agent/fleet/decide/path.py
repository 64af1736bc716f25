"""``fleet path``: when a growing fleet meets the end of its power, and what must be ordered by when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from wattshed.agent.errors import counted
from wattshed.agent.fleet.boundary.units import between, shown
from wattshed.agent.fleet.decide.answer import Basis, Decision, give, ready
from wattshed.agent.fleet.decide.growth_plan import WEEKS_A_MONTH, read_plan
from wattshed.agent.fleet.estimate.student import quantile
from wattshed.agent.printing.paragraphs import table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wattshed.agent.fleet.boundary.ranges import Range
    from wattshed.agent.fleet.decide.growth_plan import GrowthPlan, Supply

DRAWS = 20_000
LATE = 0.05
"""Probability of being late that an order may leave."""
_MOST_ROWS = 36


@dataclass(frozen=True, slots=True)
class MonthAhead:
    """One month: GPUs, what they need, what is there, and how likely it is too little, now or before."""

    month: str
    gpus: float
    demand_w: tuple[float, float, float]
    supply_w: float
    binds: float
    binds_by: float


@dataclass(frozen=True, slots=True)
class Order:
    """One supply: when it is needed, and by when it must be ordered; months from the beginning, None for never.

    Attributes
    ----------
    name : str
    watts : float, W
    needed : int or None
        First month in which the supplies before it are too little with a probability above LATE.
    in_time : float or None
        Probability that it is there by then, where it is ordered.
    order_by, order_by_median : float or None
        Latest order for a probability of 1 - LATE, and of 1/2, to be there.
    """

    name: str
    watts: float
    needed: int | None
    in_time: float | None
    order_by: float | None
    order_by_median: float | None


def path(args: argparse.Namespace) -> int:
    """``fleet path``."""
    ready(args)
    plan = read_plan(args.plan)
    draws = Draws(plan, args.seed)
    return give(_decision(plan, draws, months_ahead(plan, draws), orders(plan, draws)), args)


class Draws:
    """Values of a plan's uncertain inputs, each spread evenly over its distribution, and their pairing at random.

    Attributes
    ----------
    gpu_w : float64[draws], W
        Of one GPU at the facility.
    lead_months : float64[supplies, draws]
    """

    def __init__(self, plan: GrowthPlan, seed: int = 1) -> None:
        random = np.random.default_rng(seed)
        even = (np.arange(DRAWS) + 0.5) / DRAWS
        places = [NormalDist().inv_cdf(p) / quantile(0.95, math.inf) for p in even]

        def drawn(of: Range) -> NDArray[np.float64]:
            return np.asarray(np.maximum(random.permutation([of.at(place) for place in places]), 0.0), np.float64)

        self.gpu_w = drawn(plan.watts) * np.maximum(drawn(plan.pue), 1.0)
        self.lead_months = np.array([drawn(s.lead_weeks) for s in plan.supplies]) / WEEKS_A_MONTH


def months_ahead(plan: GrowthPlan, draws: Draws) -> list[MonthAhead]:
    """Demand and supply at the end of each month."""
    arrival = np.array([_arrival(s, lead) for s, lead in zip(plan.supplies, draws.lead_months, strict=True)])
    watts = np.array([s.watts for s in plan.supplies])
    ever = np.zeros(DRAWS, bool)
    found = []
    for i, gpus in enumerate(plan.gpus):
        there = (watts[:, None] * (arrival <= i + 1)).sum(axis=0)
        need = gpus * draws.gpu_w
        short = need > there * (1.0 + 1e-12)
        ever |= short
        low, high = (float(q) for q in np.percentile(need, (2.5, 97.5)))
        central = gpus * plan.watts.value * plan.pue.value
        found.append(
            MonthAhead(
                month_name(plan, i), gpus, (central, low, high), float(there.mean()), float(short.mean()),
                float(ever.mean()),
            )
        )  # fmt: skip
    return found


def _arrival(supply: Supply, lead_months: NDArray[np.float64]) -> NDArray[np.float64]:
    """Months from the beginning until a supply is there; infinite where it is not ordered."""
    if supply.since is not None:
        return np.full(DRAWS, supply.since)
    return np.full(DRAWS, math.inf) if supply.ordered is None else supply.ordered + lead_months


def orders(plan: GrowthPlan, draws: Draws) -> list[Order]:
    """When each supply is needed, behind those before it, and by when it must be ordered."""
    before, found = 0.0, []
    for supply, lead in zip(plan.supplies, draws.lead_months, strict=True):
        needed = next(
            (i for i, gpus in enumerate(plan.gpus) if float(np.mean(gpus * draws.gpu_w > before)) > LATE), None
        )
        in_time = order_by = median = None
        if needed is not None and supply.since is None:
            if supply.ordered is None:
                # There at the end of the month in which GPUs need it, as for supplies that are ordered.
                order_by, median = (needed + 1.0 - float(np.quantile(lead, p)) for p in (1.0 - LATE, 0.5))
            else:
                in_time = float(np.mean(supply.ordered + lead <= needed + 1))
        found.append(Order(supply.name, supply.watts, needed, in_time, order_by, median))
        before += supply.watts
    return found


def month_name(plan: GrowthPlan, months: float) -> str:
    """Name the month that begins so many months after the plan's first, or holds that moment."""
    at = plan.begin[0] * 12 + plan.begin[1] - 1 + math.floor(months + 1e-9)
    return f"{at // 12}-{at % 12 + 1:02}"


def _decision(plan: GrowthPlan, draws: Draws, months: list[MonthAhead], needed: list[Order]) -> Decision:
    likely = next((m for m in months if m.binds_by >= 0.5), None)
    early = next((m for m in months if m.binds_by > LATE), None)
    ends = f"{months[-1].month} with {counted(round(months[-1].gpus), 'GPU')}"
    if likely is not None:
        sentence = (
            f"Power binds in {likely.month} (as likely as not; from {early.month if early else likely.month} on at 5 %)"
        )
    elif early is not None:
        sentence = (
            f"Power binds by {ends} with a probability of {months[-1].binds_by:.0%}, from {early.month} on at 5 %"
        )
    else:
        sentence = f"Power does not bind by {ends}: the probability is {months[-1].binds_by:.2g}"
    urgent = min((o for o in needed if o.order_by is not None), key=lambda o: o.order_by or 0.0, default=None)
    if urgent is not None and urgent.order_by is not None:
        sentence += f"; order {urgent.name} by {month_name(plan, urgent.order_by)}"
    gpu_w = plan.watts.value * plan.pue.value
    spread = np.percentile(draws.gpu_w, (2.5, 97.5))
    carried = [
        {
            "supply": s.name, "mw": total / 1e6, "gpus": total / gpu_w,
            "gpus_interval": [total / float(spread[1]), total / float(spread[0])],
        }
        for s, total in zip(plan.supplies, np.cumsum([s.watts for s in plan.supplies]).tolist(), strict=True)
    ]  # fmt: skip
    warnings = [
        f"{o.name}: needed in {month_name(plan, o.needed or 0)}, there by then with a probability of {o.in_time:.0%}"
        for o in needed
        if o.in_time is not None and o.in_time < 1.0 - LATE
    ]
    warnings += [
        f"{o.name}: it would have to be ordered by {month_name(plan, o.order_by)}, before the plan begins"
        for o in needed
        if o.order_by is not None and o.order_by < 0.0
    ]
    figures = {
        "name": plan.name, "gpu_w": gpu_w, "gpu_interval_w": [float(spread[0]), float(spread[1])],
        "months": [_month_json(m) for m in months], "carried": carried,
        "orders": [_order_json(plan, o) for o in needed],
    }  # fmt: skip
    assumed = [
        "what is uncertain is independent of one another: watts a GPU, PUE, and each lead time",
        "supplies are used in the order in which they are listed, each of them wholly once it is there",
        *(f"{s.name}: {s.lead_weeks.value:g} weeks ({s.source})" for s in plan.supplies if s.source),
    ]
    method = f"{DRAWS:,} draws of the inputs, each normal with a spread of its own to either side"
    return Decision(
        "path", sentence + ".", tuple(_tables(plan, months, needed, carried)), figures,
        Basis("facility", "none: a plan, not a sample", method), _drawing(plan, months),
        tuple(assumed), tuple(warnings),
    )  # fmt: skip


def _month_json(m: MonthAhead) -> dict[str, Any]:
    central, low, high = m.demand_w
    return {
        "month": m.month, "gpus": m.gpus, "demand_w": central, "demand_interval_w": [low, high],
        "supply_w": m.supply_w, "binds": m.binds, "binds_by": m.binds_by,
    }  # fmt: skip


def _order_json(plan: GrowthPlan, o: Order) -> dict[str, Any]:
    def named(months: float | None) -> str | None:
        return None if months is None else month_name(plan, months)

    return {
        "supply": o.name, "mw": o.watts / 1e6, "needed": named(o.needed), "in_time": o.in_time,
        "order_by": named(o.order_by), "order_by_median": named(o.order_by_median),
    }  # fmt: skip


def _tables(
    plan: GrowthPlan, months: list[MonthAhead], needed: list[Order], carried: list[dict[str, Any]]
) -> list[Any]:
    # Of a long plan the months around which something happens: at even distances, and always the last.
    step = max(1, math.ceil(len(months) / _MOST_ROWS))
    rows = [
        (
            m.month, f"{m.gpus:,.0f}", shown(m.demand_w[0], "W"), between(m.demand_w[1], m.demand_w[2], "W"),
            shown(m.supply_w, "W"), f"{m.binds:.3g}", f"{m.binds_by:.3g}",
        )
        for i, m in enumerate(months)
        if i % step == 0 or i == len(months) - 1
    ]  # fmt: skip
    head = ("month", "GPUs", "need", "95 % interval", "power there", "P(binds)", "P(binds by)")
    cells = []
    for order, sum_ in zip(needed, carried, strict=True):
        told = _order_json(plan, order)
        low, high = sum_["gpus_interval"]
        cells.append(
            (
                order.name, shown(order.watts, "W"), f"{sum_['gpus']:,.0f} ({low:,.0f} to {high:,.0f})",
                told["needed"] or "not in the plan", told["order_by"] or "-", told["order_by_median"] or "-",
                "-" if order.in_time is None else f"{order.in_time:.0%}",
            )
        )  # fmt: skip
    first = ("supply", "power", "GPUs up to it", "needed", "order by, 95 %", "by, 50 %", "in time")
    return [table(first, cells, left=(0,)), table(head, rows)]


def _drawing(plan: GrowthPlan, months: list[MonthAhead]) -> Callable[[Any, Any], None]:
    """Draw demand against supply, and the probability that power binds."""

    def draw(above: Any, below: Any) -> None:
        from wattshed.agent.printing.pictures import COLOURS, INK, scale_of  # noqa: PLC0415

        at = np.arange(len(months))
        scale, unit = scale_of(max(max(m.demand_w[2], m.supply_w) for m in months))
        low, high = (np.array([m.demand_w[i] for m in months]) / scale for i in (1, 2))
        above.fill_between(at, low, high, color=COLOURS[1], label="need, 95 %", linewidth=0)
        above.plot(at, [m.demand_w[0] / scale for m in months], color=COLOURS[0], label="need")
        above.step(at, [m.supply_w / scale for m in months], where="mid", color=COLOURS[4], label="power there, mean")
        above.set(ylabel=unit, title=f"{plan.name}: need and power at the end of each month", ylim=(0, None))
        above.legend()
        below.plot(at, [m.binds for m in months], color=COLOURS[0], label="in the month")
        below.plot(at, [m.binds_by for m in months], color=COLOURS[4], linestyle="--", label="in it or before")
        below.axhline(LATE, color=INK, linestyle=":", label="5 %")
        below.set(ylabel="probability", title="Power is too little", ylim=(-0.02, 1.02))
        below.legend()
        every = max(1, len(months) // 8)
        for axis in (above, below):
            axis.set_xticks(at[::every], [m.month for m in months[::every]])

    return draw
