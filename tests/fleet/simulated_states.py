"""A fleet whose hosts run jobs, rest, are down or off; some do not answer, and some states are wrong."""

from dataclasses import dataclass

import numpy as np

from wattshed.agent.fleet.boundary.pue import ConstantPue
from wattshed.agent.fleet.boundary.ranges import Range
from wattshed.agent.fleet.estimate.node_model import NodeModel
from wattshed.agent.fleet.live.inventory import Inventory, Site, Stratum
from wattshed.agent.fleet.live.rules import Measured
from wattshed.agent.fleet.live.site import extrapolate
from wattshed.agent.fleet.live.states import HostState

KINDS = ("busy", "idle", "down", "off")
NODE = NodeModel(Range.exact(1000.0), Range.exact(1.2), 0.0, fitted=True)


def one_stratum(hosts):
    """An inventory of H100 hosts, whose meters have no error."""
    site = Site("s", ConstantPue(Range.exact(1.2)), Range.exact(0.0), 0.0, Range.exact(0.0))
    return Inventory("f", (site,), (Stratum("a", "s", hosts, 8, "H100 SXM", NODE),), 0.0)


@dataclass(frozen=True)
class Case:
    """Shares of the kinds, of those that are on and answer, and of wrong states; who knows states; hosts."""

    name: str
    mix: tuple[float, float, float, float]
    answer: float
    wrong: float = 0.0
    source: str = "scheduler"
    hosts: int = 1000


CASES = (
    Case("one in 16 stopped, no states known", (0.6, 0.34, 0.03, 0.03), 0.9, source="none"),
    Case("the same, states known", (0.6, 0.34, 0.03, 0.03), 0.9),
    Case("the same, only that they do not answer", (0.6, 0.34, 0.03, 0.03), 0.9, source="scrapes"),
    Case("none stopped, states known", (0.6, 0.4, 0.0, 0.0), 0.9),
    Case("two in five stopped, states known", (0.4, 0.2, 0.3, 0.1), 0.9),
    Case("one in 16 stopped, a tenth answers", (0.6, 0.34, 0.03, 0.03), 0.1),
    Case("one in 16 stopped, 1 % of states wrong", (0.6, 0.34, 0.03, 0.03), 0.9, 0.01),
    Case("the same, half answer", (0.6, 0.34, 0.03, 0.03), 0.5, 0.01),
    Case("the same, a tenth answers", (0.6, 0.34, 0.03, 0.03), 0.1, 0.01),
    Case("one in 16 stopped, 3 % of states wrong", (0.6, 0.34, 0.03, 0.03), 0.9, 0.03),
)


def drawn(case, random):
    """The GPU power of all hosts, W, and what is known of them."""
    n = case.hosts
    kind = random.choice(4, n, p=case.mix)
    idle = random.normal(840.0, 60.0, n)
    half_of_them_on = idle * random.random(n) * (random.random(n) < 0.5)
    power = np.select([kind == 0, kind == 1, kind == 2], [random.normal(4800.0, 400.0, n), idle, half_of_them_on], 0.0)
    answers = (kind < 2) & (random.random(n) < case.answer)
    said = np.where(random.random(n) < case.wrong, (kind + random.integers(1, 4, n)) % 4, kind)
    names = [f"h{i}" for i in range(n)]
    states = {name: HostState(KINDS[k], "a") for name, k in zip(names, said.tolist(), strict=True)}
    if case.source == "none":
        states = {}
    elif case.source == "scrapes":
        states = {name: HostState("unknown", "a") for name, seen in zip(names, answers, strict=True) if not seen}
    powers = {names[i]: float(power[i]) for i in np.flatnonzero(answers).tolist()}
    return float(power.sum()), Measured({"a": powers}, (), states)


def coverage(case, times, seed=1):
    """Share of intervals that cover the truth, and their mean half-width over it."""
    random = np.random.default_rng(seed)
    inventory = one_stratum(case.hosts)
    hits, widths = 0, []
    for _ in range(times):
        truth, measured = drawn(case, random)
        found = extrapolate(inventory, measured).estimate
        hits += found.lower <= truth <= found.upper
        widths.append((found.upper - found.lower) / 2.0 / truth)
    return hits / times, float(np.mean(widths))
