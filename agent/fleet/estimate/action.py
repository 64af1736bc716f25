"""What ``wattshed fleet estimate`` does with a sample in a file, and ``wattshed fleet plan``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError, counted
from wattshed.agent.fleet.boundary.units import shown
from wattshed.agent.fleet.estimate import change
from wattshed.agent.fleet.estimate.bootstrap import bootstrap_se, check_unit
from wattshed.agent.fleet.estimate.calibration import read_margins
from wattshed.agent.fleet.estimate.design import read_joint
from wattshed.agent.fleet.estimate.estimators import estimate
from wattshed.agent.fleet.estimate.jobs import JOB, JOB_HOSTS
from wattshed.agent.fleet.estimate.planner import SamplingPlan, draw_jobs, plan_from, planned_z, read_jobs, sample_size
from wattshed.agent.fleet.estimate.reading import read_header, read_population, read_sample
from wattshed.agent.fleet.estimate.told import estimate_json, estimate_parts
from wattshed.agent.fleet.flags import is_given
from wattshed.agent.fleet.printing import answer
from wattshed.agent.printing.paragraphs import TableRows, table

if TYPE_CHECKING:
    import argparse

    from wattshed.agent.fleet.estimate.calibration import Margins
    from wattshed.agent.fleet.estimate.estimators import Estimate
    from wattshed.agent.fleet.estimate.sample import Population, Sample

SIMPLE = ("stratified", "cluster")
"""Methods whose total is the expanded sample, which the bootstrap and the plan take for granted."""

BY_CHANCE = ("pps", "pi")
"""Methods of unequal chances."""

BY_ROW = ("cluster", "two-stage")
"""Methods for which each row is a unit; for the others the rows of a host are one."""


@dataclass(frozen=True, slots=True)
class SampleQuestion:
    """What is asked of the files of a sample; paths are as given, empty where there is none.

    Attributes
    ----------
    method, interval : str
    confidence, meter_sigma : float
    by : str
        Column by whose values totals are estimated too.
    calibrate, joint, against : str
        Files of known totals, of joint probabilities, and of an earlier sample.
    """

    method: str = "stratified"
    confidence: float = 0.95
    meter_sigma: float = 0.0
    interval: str = "auto"
    by: str = ""
    calibrate: str = ""
    joint: str = ""
    against: str = ""

    def answer(self, sample_path: str, population_path: str) -> tuple[Estimate, Sample]:
        """Read the files and estimate.

        Raises
        ------
        InputError
            If a file cannot be used, or one that the method does not use was given.
        """
        if self.joint and self.method not in BY_CHANCE:
            raise InputError(f"--joint needs --method {' or '.join(BY_CHANCE)}, not {self.method}")
        if self.against and (self.calibrate or self.method not in change.METHODS):
            raise InputError(f"--against needs --method {', '.join(change.METHODS)}, without --calibrate")
        if self.against and self.interval == "bounded":
            raise InputError(
                "--against has no bounded interval: a change has no limits; give --interval auto, t, johnson or hall"
            )
        margins = read_margins(self.calibrate) if self.calibrate else None
        population = read_population(population_path)
        sample = self._read(sample_path, population, margins)
        found = estimate(
            sample,
            self.method,
            confidence=self.confidence,
            meter_gain_sigma=self.meter_sigma,
            margins=margins,
            joint=read_joint(self.joint, sample, self.method) if self.joint else None,
            by=self.by.lower(),
            kind=self.interval,
        )
        if not self.against:
            return found, sample
        before = self._read(self.against, population, None)
        moved = change.change(
            sample,
            before,
            self.method,
            confidence=self.confidence,
            meter_gain_sigma=self.meter_sigma,
            kind=self.interval,
        )
        return replace(found, change=moved), sample

    def _read(self, path: str, population: Population, margins: Margins | None) -> Sample:
        """Read a sample with the columns that the question needs."""
        design = ""
        if self.method == "pi":
            design = next((name for name in ("pi", "weight") if name in read_header(path)), "pi")
        wanted = (*((self.by.lower(),) if self.by else ()), *(margins.columns if margins is not None else ()))
        return read_sample(
            path,
            population,
            cluster=self.method in (*BY_CHANCE, "cluster"),
            one_by_one=self.method in BY_ROW,
            design=design,
            wanted=wanted,
            also=(JOB, JOB_HOSTS),
            numbers=margins.numbers if margins is not None else (),
        )


def estimate_sample(args: argparse.Namespace) -> int:
    """``fleet estimate --sample``."""
    resample = _resampled(args)
    if args.plan and args.method not in SIMPLE:
        raise InputError(f"--plan takes a sample of --method {' or '.join(SIMPLE)} for its pilot, not {args.method}")
    asked = SampleQuestion(**{f.name: getattr(args, f.name) for f in fields(SampleQuestion)})
    found, sample = asked.answer(args.sample, args.population)
    if (args.bootstrap or args.plan) and found.sampling_unit != sample.primary:
        raise InputError(
            "--bootstrap and --plan need a sample of hosts, and here jobs were drawn; leave them out, or give "
            "--method cluster, with the number of jobs as hosts"
        )
    stated = {"boundary": args.boundary, "span": args.span}
    document = estimate_json(found, args.unit, **stated)
    parts = estimate_parts(found, args.unit, **stated)
    if args.bootstrap:
        document["bootstrap_se"] = bootstrap_se(sample, args.bootstrap, unit=resample)
        shown_se = "none" if document["bootstrap_se"] is None else shown(document["bootstrap_se"], args.unit)
        parts.append(f"bootstrap standard error {shown_se} ({args.bootstrap} replicates by {resample})")
    if args.plan:
        document["plan"], told = _planned(found, args.plan)
        parts.append(told)
    return answer(document, parts, as_json=args.json)


def _resampled(args: argparse.Namespace) -> str:
    """Say what the bootstrap draws; refuse what contradicts the method."""
    if not args.bootstrap:
        return ""
    own = "job" if args.method == "cluster" else "host"
    resample: str = args.resample or own
    check_unit(resample)
    if args.method not in SIMPLE or args.calibrate:
        raise InputError(f"--bootstrap checks --method {' and '.join(SIMPLE)} without --calibrate")
    if resample != own:
        needed = "cluster" if resample == "job" else "stratified"
        raise InputError(f"--resample {resample} needs --method {needed}")
    return resample


def _plan_of(found: Estimate, error: float) -> SamplingPlan | None:
    """Plan of the next sample from this one as a pilot; None where a stratum has no spread."""
    strata = [(s.stratum, s.hosts, 0.0 if s.take_all and s.hosts == 1 else s.sd) for s in found.strata if s.hosts]
    known = [(name, hosts, sd) for name, hosts, sd in strata if sd is not None]
    if found.total is None or len(known) < len(strata) or not known:
        return None
    return plan_from(known, (error * found.total / planned_z(found.confidence)) ** 2)


def _planned(found: Estimate, error: float) -> tuple[dict[str, Any] | None, str]:
    """Lay the plan out as JSON and as a line."""
    planned = _plan_of(found, error)
    if planned is None:
        return None, "no plan: the sample gives no variance"
    unit = found.sampling_unit
    return {**asdict(planned), "unit": unit}, _plan_text(planned, error, found.confidence, unit)


def _plan_text(plan: SamplingPlan, error: float, confidence: float, unit: str = "host") -> str:
    spread = ", ".join(f"{name} {hosts}" for name, hosts in plan.allocation)
    takes = (
        f"an interval of ±{error * 100:.3g}% at {confidence * 100:.4g}% confidence takes {counted(plan.hosts, unit)}"
    )
    return f"{takes}{': ' + spread if spread else ''}"


def plan(args: argparse.Namespace) -> int:
    """``fleet plan``."""
    if args.unit == "job":
        return _plan_jobs(args)
    for name in ("jobs", "draw"):
        if getattr(args, name):
            raise InputError(f"--{name} needs --unit job")
    if args.cv is None or args.error is None:
        raise InputError("give --cv and --error")
    found = sample_size(args.cv, args.error, args.hosts, deff=args.deff, confidence=args.confidence)
    document = {"schema": "wattshed.plan/1", "hosts": found.hosts, "hosts_of_an_infinite_fleet": found.infinite}
    return answer(document, [_plan_text(found, args.error, args.confidence)], as_json=args.json)


def _plan_jobs(args: argparse.Namespace) -> int:
    """Draw jobs with chances in proportion to their hosts."""
    if not args.jobs:
        raise InputError("--unit job needs --jobs, the list of jobs to draw from")
    if args.hosts:
        raise InputError("--hosts cannot be used with --unit job: the list of jobs says how many there are")
    jobs = read_jobs(args.jobs)
    number, infinite = args.draw, None
    if number is None:
        if args.cv is None or args.error is None:
            raise InputError("give --draw, the number of jobs, or --cv and --error")
        size = sample_size(args.cv, args.error, len(jobs), deff=args.deff, confidence=args.confidence)
        number, infinite = size.hosts, size.infinite
    elif given := [name for name in ("--cv", "--error", "--deff", "--confidence") if is_given(args, name)]:
        raise InputError(f"--draw says how many jobs; leave out {' and '.join(given)}")
    drawn = draw_jobs(jobs, number, seed=args.seed)
    hosts = sum(job.hosts for job in drawn)
    document = {
        "schema": "wattshed.plan/1",
        "unit": "job",
        "hosts": hosts,
        "jobs": len(drawn),
        "jobs_of_an_infinite_fleet": infinite,
        "seed": args.seed,
        "draw": [asdict(job) for job in drawn],
    }
    rows = [(job.stratum, job.job, f"{job.hosts:,}", f"{job.pi:.6g}") for job in drawn]
    parts: list[str | TableRows] = [
        f"measure all hosts of {counted(len(drawn), 'job')} of {len(jobs):,} ({counted(hosts, 'host')})",
        "",
        table(("stratum", "job", "hosts", "pi"), rows, left=(0, 1)),
        "",
        "then: wattshed fleet estimate --method pi, with the columns job and pi in the sample",
    ]
    return answer(document, parts, as_json=args.json)
