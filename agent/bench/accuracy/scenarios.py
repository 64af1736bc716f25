"""Known loads with known truth: what a simulated node does. It knows each job's joules; nothing here says them.

One scenario more is one :class:`KnownLoad` here, or any file of ``--meter simulated:FILE`` given by ``--scenario``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.simulation.scenario import read_scenario

if TYPE_CHECKING:
    from pathlib import Path

BEFORE_S = 5
"""Seconds before its job at which a tool is made ready."""
AFTER_S = 20


@dataclass(frozen=True, slots=True)
class KnownLoad:
    """One row: what the node does, for how long it is watched, and what the row is called.

    Attributes
    ----------
    name : str
        A word.
    title : str
        As in the table.
    text : str
        TOML of a simulated node (docs/metering.md), on which no job begins before 5 s.
    seconds : int, s
    bound : float
        How far wattshed's bill of any job may be off, relatively.
    told : bool
        What the bill needs was not measured: then the error may be larger, and two sigma must hold it.
    killed : bool
        The jobs are killed: a tool inside the job is killed too, before it is told of the end.
    """

    name: str
    title: str
    text: str
    seconds: int
    bound: float = 0.02
    told: bool = False
    killed: bool = False


def of_file(path: Path) -> KnownLoad:
    """Make a scenario of a simulated node's file: it is watched until 20 s after the last job's end.

    Raises
    ------
    InputError
        It is no such file, or has no job whose edges lie where tools can be told of them.
    """
    about = read_scenario(path)
    early = next((job for job in about.jobs if job.start_us < BEFORE_S * 1_000_000), None)
    if early is not None:
        raise InputError(f"job {early.name} begins before {BEFORE_S} s, when no tool is ready", str(path))
    if about.begin_us:
        raise InputError("begin_s must be 0 here", str(path))
    last_us = max(job.end_us for job in about.jobs)
    if last_us + AFTER_S * 1_000_000 > about.cycle_us:
        raise InputError(f"cycle_s must end {AFTER_S} s or more after the last job", str(path))
    return KnownLoad(path.stem, path.stem, path.read_text(encoding="utf-8"), last_us // 1_000_000 + AFTER_S)


def _job(number: str | int, start_s: float, end_s: float, load: str, **keys: str) -> str:
    more = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    head = f'\n[[job]]\nname = "{number}"\ngpus = [0]\n'
    return f"{head}start_s = {start_s}\nend_s = {end_s}\nload = {load}\n{more}"


def _node(cycle_s: int, *parts: str, architecture: str = "hopper", more: str = "") -> str:
    gpu = f'[[gpu]]\nindex = 0\narchitecture = "{architecture}"\nrows = "interval"\n{more}'
    return f"gpus = 1\ncycle_s = {cycle_s}\n\n{gpu}{''.join(parts)}"


def _fault(kind: str, **keys: float) -> str:
    return f'\n[[fault]]\nkind = "{kind}"\ngpu = 0\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())


def _series(length_s: float, load: str, *, every_s: float = 30, name: str = "{}", **keys: str) -> str:
    """Ten jobs, whose edges lie differently between the publications of counter and sensor."""
    starts = [round(20 + every_s * i + 0.0137 * i * i, 4) for i in range(10)]
    ends = [round(start + length_s, 4) for start in starts]
    return "".join(
        _job(name.format(i), a, b, load, **keys) for i, (a, b) in enumerate(zip(starts, ends, strict=True), 1)
    )


# No period is a whole number of the seconds at which tools look, unless a row is about that.
STEPS = "[[1.61, 560.0, 98], [0.43, 330.0, 60]]"  # an iteration of training, and the wait for its data
TWO = "[[1.07, 400.0, 80], [0.56, 100.0, 20]]"
HARDER = f"[{', '.join([TWO[1:-1]] * 22)}, [30.0, 500.0, 95]]"

SCENARIOS = (
    KnownLoad("steady", "steady, 5 minutes", _node(400, _job(1, 20.33, 320.33, "[[10.0, 500.0, 90]]")), 340),
    KnownLoad("eight-seconds", "ten jobs of 8 s", _node(400, _series(8, STEPS)), 320, 0.05),
    KnownLoad("six-tenths", "ten jobs of 0.6 s", _node(400, _series(0.6, "[[1.0, 500.0, 90]]")), 320, 0.05, told=True),
    KnownLoad(
        "square-second",
        "1 s on, 1 s off",
        _node(400, _job(1, 20.33, 320.33, "[[1.0, 600.0, 95], [1.0, 0.0, 0]]")),
        340,
    ),
    KnownLoad(
        "square-sensor",
        "50 ms on, 50 ms off (A100, whose sensor sees 25 ms of every 100 ms)",
        _node(400, _job(1, 20.33, 140.33, "[[0.05, 300.0, 95], [0.05, 0.0, 0]]"), architecture="ga100"),
        160,
    ),
    KnownLoad(
        "no-counter",
        "no energy counter (P100)",
        # Each call takes a millisecond: who polls without a pause would stop virtual time otherwise.
        _node(
            400,
            _job(1, 20.33, 80.33, "[[1.61, 170.0, 98], [0.43, 60.0, 60]]"),
            _fault("latency", value=1000),
            architecture="pascal",
        ),
        100,
    ),
    KnownLoad(
        "counter-reset",
        "counter starts again at zero",
        _node(400, _job(1, 20.33, 320.33, TWO), _fault("counter-reset", at_s=170.4)),
        340,
    ),
    KnownLoad(
        "not-ready",
        "counter says NotReady for 60 s",
        _node(400, _job(1, 20.33, 320.33, TWO), _fault("not-ready", at_s=150.4, for_s=60)),
        340,
    ),
    KnownLoad(
        "driver-reload",
        "driver away for 4 s, then new",
        # The job works harder afterwards: who never reads again cannot be right by chance.
        _node(400, _job(1, 20.33, 80.33, HARDER), _fault("driver-reload", at_s=50.4, for_s=4)),
        100,
        told=True,
    ),
    KnownLoad(
        "outage",
        "every call times out for 200 s",
        _node(700, _job(1, 20.33, 620.33, TWO), _fault("error", value=10, at_s=100.4, for_s=200)),
        640,
    ),
    KnownLoad(
        "shared",
        "two jobs share the GPU, 20 : 80",
        _node(400, _job(1, 20.33, 320.33, "[[1.0, 100.0, 20]]"), _job(2, 20.33, 320.33, "[[1.0, 400.0, 80]]")),
        340,
    ),
    KnownLoad(
        "bursty",
        "bursty beside steady",
        _node(
            400,
            _job(1, 20.33, 320.33, "[[0.15, 400.0, 80], [0.85, 0.0, 0]]"),
            _job(2, 20.33, 320.33, "[[1.0, 75.0, 15]]"),
        ),
        340,
        told=True,
    ),
    KnownLoad(
        "gh200",
        "GH200, whose counter is the module's",
        _node(400, _job(1, 20.33, 320.33, TWO), architecture="gh200"),
        340,
    ),
    KnownLoad(
        "thirty-seconds",
        "ten jobs of 25 s",
        _node(400, _series(25, STEPS)),
        320,
    ),
    KnownLoad(
        "containers",
        "ten containers of 8 s, which nobody announces",
        _node(200, _series(8, STEPS, every_s=12, name="c0ffee{:06d}", manager="docker")),
        150,
        0.1,
        told=True,
    ),
    KnownLoad(
        "idle-first",
        "a minute's job after five minutes idle",
        _node(500, _job(1, 320.33, 380.33, STEPS)),
        400,
    ),
    KnownLoad(
        "capped",
        "load above the power limit",
        _node(400, _job(1, 20.33, 80.33, "[[1.61, 900.0, 98], [0.43, 330.0, 60]]")),
        100,
    ),
    KnownLoad(
        "mig",
        "two jobs on two MIG instances",
        _node(
            400,
            _job(1, 20.33, 140.33, "[[1.0, 100.0, 30]]", instance="1/0"),
            _job(2, 20.33, 140.33, "[[1.0, 200.0, 60]]", instance="2/0"),
            more="mig = [[1, 0, 60], [2, 0, 60]]\n",
        ),
        160,
        told=True,
    ),
    KnownLoad(
        "unlike",
        "two jobs share, and draw unlike what they keep busy",
        _node(
            400,
            _job(1, 20.33, 140.33, "[[1.0, 250.0, 30]]"),
            _job(2, 20.33, 140.33, "[[1.0, 150.0, 70]]"),
        ),
        160,
        told=True,
    ),
    KnownLoad(
        "killed",
        "killed for want of memory",
        _node(400, _job(1, 20.33, 80.33, STEPS)),
        100,
        killed=True,
    ),
    KnownLoad(
        "gain",
        "a meter that shows 3 % too much",
        _node(400, _job(1, 20.33, 80.33, STEPS), more="gain = 0.03\n"),
        100,
        told=True,
    ),
)
