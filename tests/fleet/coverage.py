"""How often nominal 95 % intervals cover: ``python -m tests.fleet.coverage`` simulates anew what docs/fleet.md shows.

It takes some minutes; the numbers are kept in coverage.csv, and a test repeats a few of them.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wattshed.agent.fleet.estimate.change import change
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.planner import JobDrawn, draw_jobs
from wattshed.agent.fleet.estimate.sample import Population, Sample

STORED = Path(__file__).with_name("coverage.csv")
FLEETS, SAMPLES = 40, 100
"""New fleets that are drawn for each row, and samples of each fleet."""

MOST_W = 10_200.0


@dataclass
class Coverage:
    """Of the samples of one kind: how often truth lies inside, outside on either side, and what was said."""

    name: str
    samples: int
    given: float
    covered: float
    below: float
    above: float
    half_width: float
    warned: float
    unwarned_samples: int
    unwarned_covered: float


def simulate(name, fleets=FLEETS, samples=SAMPLES, seed=1):
    """Coverage of a kind of fleet and sample, by the estimators as they are."""
    make, draw, words = KINDS[name]
    random = np.random.default_rng([seed, *name.encode()])
    rows = []
    for _ in range(fleets):
        fleet = make(random)
        for _ in range(samples):
            truth, found = draw(random, fleet, words)
            warned = bool(getattr(found, "warnings", ()))
            if found.lower is None:
                rows.append((0, 0, 0, 0, np.nan, warned))
                continue
            inside = found.lower <= truth <= found.upper
            # Below: the whole interval lies under the truth.
            half = (found.upper - found.lower) / 2 / abs(getattr(found, "before", truth))
            rows.append((1, inside, found.upper < truth, found.lower > truth, half, warned))
    given, inside, below, above, half, warned = np.array(rows, float).T
    had, quiet = given > 0, (given > 0) & (warned == 0)
    return Coverage(
        name,
        len(rows),
        given.mean(),
        inside[had].mean() if had.any() else np.nan,
        below[had].mean() if had.any() else np.nan,
        above[had].mean() if had.any() else np.nan,
        np.nanmean(half) if had.any() else np.nan,
        warned.mean(),
        int(quiet.sum()),
        inside[quiet].mean() if quiet.any() else np.nan,
    )


def lognormal(random, mean, cv, n):
    """Hosts whose power varies by ``cv``."""
    s = np.log(1 + cv * cv)
    return random.lognormal(np.log(mean) - s / 2, np.sqrt(s), n)


def idle(random, n, share):
    """Hosts of which a share is idle."""
    quiet = random.random(n) < share
    return np.where(quiet, random.normal(700, 50, n), random.normal(6500, 300, n))


def of(population, groups, sizes=None, **more):
    """A sample of hosts from the drawn values of each stratum."""
    stratum = np.repeat(np.arange(len(groups)), [len(g) for g in groups])
    n = stratum.size
    return Sample(
        population,
        tuple(map(str, range(n))),
        stratum,
        np.full(n, -1),
        np.arange(n),
        np.concatenate(groups).astype(float),
        np.full(n, np.nan) if sizes is None else np.concatenate(sizes).astype(float),
        **more,
    )


def population(fleet, sizes=None, limits=None):
    """The strata of a fleet."""
    known = [np.nan] * len(fleet) if sizes is None else [s.sum() for s in sizes]
    limits = None if limits is None else np.full(len(fleet), limits)
    return Population(
        tuple(f"s{i}" for i in range(len(fleet))), np.array([len(f) for f in fleet]), np.array(known), limits
    )


def by_strata(random, fleet, words):
    """Hosts at random within strata."""
    draws, *flags = words
    flags = dict(flags)
    limits = MOST_W if flags.get("kind") == "bounded" else None
    groups = [random.choice(f, n, replace=False) for f, n in zip(fleet, draws, strict=True)]
    truth = sum(f.sum() for f in fleet)
    return truth, estimate(of(population(fleet, limits=limits), groups), "stratified", **flags)


def by_size(random, fleet, words):
    """Hosts at random, their nameplates known."""
    (y, x), (n, method) = fleet, words
    chosen = random.choice(y.size, n, replace=False)
    return y.sum(), estimate(of(population([y], [x]), [y[chosen]], [x[chosen]]), method)


def domain(random, fleet, words):
    """A tenth of the hosts, by a column."""
    y, n = fleet, words
    chosen = random.choice(y.size, n, replace=False)
    inside = chosen % 10 == 0
    text = tuple("yes" if i else "no" for i in inside)
    found = estimate(of(population([y]), [y[chosen]], columns={"c": text}), "stratified", by="c")
    part = next((d for d in found.domains if d.domain == "yes"), found)
    return y[::10].sum(), part


def twice(random, fleet, words):
    """Hosts before and after, some of them the same."""
    (before, now), (n, common) = fleet, words
    drawn = random.choice(now.size, 2 * n - common, replace=False)
    one, two = (
        Sample(
            population([now]),
            tuple(map(str, i)),
            np.zeros(n, int),
            np.full(n, -1),
            np.arange(n),
            y[i],
            np.full(n, np.nan),
        )
        for i, y in ((drawn[:n], before), (drawn[n - common :], now))
    )
    return now.sum() - before.sum(), change(two, one, "stratified")


def jobs_of(random, hosts=4000, largest=512):
    """Hosts in jobs of 1 to ``largest``, and what each draws: jobs differ, hosts of a job hardly."""
    sizes = []
    while sum(sizes) < hosts:
        sizes.append(int(min(2 ** random.integers(0, np.log2(largest) + 1), hosts - sum(sizes))))
    job = np.repeat(np.arange(len(sizes)), sizes)
    level = np.where(random.random(len(sizes)) < 0.25, 900, random.normal(6000, 900, len(sizes)))
    return job, level[job] * random.normal(1, 0.05, job.size)


def with_jobs(population_, job, y, chosen, sizes):
    """A sample of hosts that says which job each had."""
    columns = {"job": tuple(map(str, job[chosen])), "job_hosts": tuple(str(sizes[j]) for j in job[chosen])}
    return of(population_, [y[chosen]], columns=columns)


def whole_jobs(random, fleet, words):
    """Whole jobs at random, given as if their hosts were."""
    job, y = fleet
    sizes = np.bincount(job)
    chosen = np.flatnonzero(np.isin(job, random.choice(sizes.size, words, replace=False)))
    return y.sum(), estimate(with_jobs(population([y]), job, y, chosen, sizes), "stratified")


def hosts_of_jobs(random, fleet, words):
    """Hosts at random; their jobs are told."""
    job, y = fleet
    chosen = random.choice(y.size, words, replace=False)
    return y.sum(), estimate(with_jobs(population([y]), job, y, chosen, np.bincount(job)), "stratified")


def jobs_in_proportion(random, fleet, words):
    """Jobs with chances in proportion to their hosts, as ``fleet plan --unit job`` draws them."""
    job, y = fleet
    sizes, totals = np.bincount(job), np.bincount(job, y)
    frame = [JobDrawn("all", str(j), int(m)) for j, m in enumerate(sizes)]
    drawn = draw_jobs(frame, words, seed=int(random.integers(2**31)))
    chosen = np.array([int(d.job) for d in drawn])
    sample = of(population([sizes]), [totals[chosen]], columns={"pi": tuple(repr(d.pi) for d in drawn)})
    return y.sum(), estimate(sample, "pi")


def clusters(random, fleet, words):
    """Whole racks of sixteen hosts."""
    rack, y = fleet
    totals = np.bincount(rack, y)
    chosen = random.choice(totals.size, words, replace=False)
    return y.sum(), estimate(of(population([totals]), [totals[chosen]]), "cluster")


def dominant(random):
    """A stratum that is most of the fleet beside ten small ones."""
    return [lognormal(random, 5000, 0.35, 2000)] + [lognormal(random, 1000, 0.2, 100) for _ in range(10)]


def nameplates(random):
    """Power that follows a nameplate."""
    x = random.choice([1500.0, 5600.0, 10_200.0], 1000)
    return x * random.normal(0.6, 0.12, 1000), x


def fallen(random):
    """Power before and after a change of 3 %."""
    y = lognormal(random, 5000, 0.35, 1000)
    return y, y * random.normal(0.97, 0.03, 1000)


def moved(random):
    """Power before and after jobs have come and gone on 30 % of the hosts."""
    y, other = idle(random, 1000, 0.5), idle(random, 1000, 0.5)
    return y, np.where(random.random(1000) < 0.3, other, y * random.normal(1, 0.02, 1000))


def racks(random):
    """Jobs in racks of sixteen hosts."""
    job, y = jobs_of(random)
    return np.arange(job.size) // 16, y


def with_an_end(random, n):
    """A heavy tail that ends at ten times the mean."""
    return np.minimum(300 * (1 + random.pareto(1.5, n)), 7000)


def one(make, *words):
    """A fleet of one stratum."""
    return lambda random: [make(random, *words)]


def _l(cv, n):
    return one(lambda random: lognormal(random, 5000, cv, n))


def _i(n, share):
    return one(lambda random: idle(random, n, share))


KINDS = {
    "cv 35 %, 10 of 1,000": (_l(0.35, 1000), by_strata, ([10],)),
    "cv 35 %, 30 of 1,000": (_l(0.35, 1000), by_strata, ([30],)),
    "cv 70 %, 20 of 1,000": (_l(0.7, 1000), by_strata, ([20],)),
    "cv 100 %, 10 of 1,000": (_l(1.0, 1000), by_strata, ([10],)),
    "cv 100 %, 30 of 1,000": (_l(1.0, 1000), by_strata, ([30],)),
    "cv 100 %, 100 of 1,000": (_l(1.0, 1000), by_strata, ([100],)),
    "10 % idle, 30 of 1,000": (_i(1000, 0.1), by_strata, ([30],)),
    "half idle, 10 of 1,000": (_i(1000, 0.5), by_strata, ([10],)),
    "half idle, 30 of 1,000": (_i(1000, 0.5), by_strata, ([30],)),
    "90 % idle, 10 of 1,000": (_i(1000, 0.9), by_strata, ([10],)),
    "90 % idle, 30 of 1,000": (_i(1000, 0.9), by_strata, ([30],)),
    "90 % idle, 100 of 1,000": (_i(1000, 0.9), by_strata, ([100],)),
    "97 % idle, 30 of 2,000": (_i(2000, 0.97), by_strata, ([30],)),
    "97 % idle, 100 of 2,000": (_i(2000, 0.97), by_strata, ([100],)),
    "97 % idle, 300 of 2,000": (_i(2000, 0.97), by_strata, ([300],)),
    "90 % idle, 10 of 1,000, bounded": (_i(1000, 0.9), by_strata, ([10], ("kind", "bounded"))),
    "90 % idle, 30 of 1,000, bounded": (_i(1000, 0.9), by_strata, ([30], ("kind", "bounded"))),
    "97 % idle, 30 of 2,000, bounded": (_i(2000, 0.97), by_strata, ([30], ("kind", "bounded"))),
    "97 % idle, 100 of 2,000, bounded": (_i(2000, 0.97), by_strata, ([100], ("kind", "bounded"))),
    "a fifth off (0 W), 20 of 1,000": (
        one(lambda r: np.where(r.random(1000) < 0.2, 0, lognormal(r, 5000, 0.2, 1000))),
        by_strata,
        ([20],),
    ),
    "Pareto 1.5 up to ten times the mean, 50 of 5,000": (one(with_an_end, 5000), by_strata, ([50],)),
    "Pareto 1.5, 50 of 5,000": (one(lambda r: 300 * (1 + r.pareto(1.5, 5000))), by_strata, ([50],)),
    "10 strata, 3 of 200 each, cv 100 %": (
        lambda r: [lognormal(r, 5000, 1.0, 200) for _ in range(10)],
        by_strata,
        ([3] * 10,),
    ),
    "20 strata, 2 of 200 each, cv 35 %": (
        lambda r: [lognormal(r, 5000, 0.35, 200) for _ in range(20)],
        by_strata,
        ([2] * 20,),
    ),
    "20 strata, 2 of 200 each, half idle": (lambda r: [idle(r, 200, 0.5) for _ in range(20)], by_strata, ([2] * 20,)),
    "4 strata, 20 of 500 each, cv 35 %": (
        lambda r: [lognormal(r, 5000, 0.35, 500) for _ in range(4)],
        by_strata,
        ([20] * 4,),
    ),
    "3 strata, 3, 5 and 8 hosts": (
        lambda r: [lognormal(r, 5000, 0.35, 300) for _ in range(3)],
        by_strata,
        ([3, 5, 8],),
    ),
    "2 of 2,000 beside ten times 20 of 100": (dominant, by_strata, ([2] + [20] * 10,)),
    "2 of 2,000 beside ten times 30 of 100": (dominant, by_strata, ([2] + [30] * 10,)),
    "3 of 2,000 beside ten times 20 of 100": (dominant, by_strata, ([3] + [20] * 10,)),
    "5 of 2,000 beside ten times 20 of 100": (dominant, by_strata, ([5] + [20] * 10,)),
    "ratio to nameplates, 20 of 1,000": (nameplates, by_size, (20, "ratio")),
    "ratio to nameplates, 60 of 1,000": (nameplates, by_size, (60, "ratio")),
    "regression on nameplates, 20 of 1,000": (nameplates, by_size, (20, "regression")),
    "regression on nameplates, 60 of 1,000": (nameplates, by_size, (60, "regression")),
    "a tenth of the hosts by a column, 200 of 1,000": (lambda r: lognormal(r, 5000, 0.35, 1000), domain, 200),
    "a tenth of the hosts by a column, 60 of 1,000, 70 % idle": (lambda r: idle(r, 1000, 0.7), domain, 60),
    "change of 3 %, 20 of 40 hosts measured twice": (fallen, twice, (40, 20)),
    "jobs come and go on 30 % of 1,000, 30 measured twice": (moved, twice, (30, 30)),
    "20 whole jobs of 1 to 512 hosts, given as hosts": (lambda r: jobs_of(r, 8000), whole_jobs, 20),
    "40 whole jobs of 1 to 64 hosts, given as hosts": (lambda r: jobs_of(r, largest=64), whole_jobs, 40),
    "one whole job, given as hosts": (jobs_of, whole_jobs, 1),
    "30 hosts at random, of jobs of 1 to 64": (lambda r: jobs_of(r, largest=64), hosts_of_jobs, 30),
    "100 hosts at random, of jobs of 1 to 512": (jobs_of, hosts_of_jobs, 100),
    "40 jobs of 1 to 512 hosts, drawn in proportion": (lambda r: jobs_of(r, 20_000), jobs_in_proportion, 40),
    "20 racks of 16 hosts": (racks, clusters, 20),
}
"""What is simulated: how a fleet is made, how a sample is drawn, and its size."""


def stored():
    """The numbers that are kept."""
    with STORED.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def markdown(rows):
    """The table of docs/fleet.md."""
    lines = [
        "| fleet and sample | covers | too low | too high | half-width | warned | covers where not warned |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        quiet = int(row["unwarned_samples"])
        few = quiet < 0.02 * int(row["samples"])
        cells = [_percent(row[name]) for name in ("covered", "below", "above", "half_width", "warned")]
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {'' if few else _percent(row['unwarned_covered'])} |")
    return "\n".join(lines) + "\n"


def _percent(text):
    return "-" if text == "nan" else f"{float(text):.1%}"


def main(names):
    """Simulate what is named, or all, and keep it."""
    known = {row["name"]: row for row in stored()} if STORED.exists() else {}
    for name in names or KINDS:
        found = simulate(name)
        known[name] = {key: f"{v:.4f}" if isinstance(v, float) else str(v) for key, v in vars(found).items()}
        print(" ".join(known[name].values()), flush=True)
        with STORED.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(known[name]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(known[name] for name in KINDS if name in known)


if __name__ == "__main__":
    main(sys.argv[1:])
