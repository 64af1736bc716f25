"""The thirteen scenarios of the peers' table. The simulator knows each job's true joules; nothing here says them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One row: what the node does, for how long it is watched, and what the row is called.

    Attributes
    ----------
    bound : float
        How far wattshed's bill of any job may be off, relatively.
    told : bool
        What the bill needs was not measured: then the error may be larger, and two sigma must hold it.
    """

    name: str
    title: str
    text: str
    seconds: int
    bound: float = 0.02
    told: bool = False


def _job(number, start_s, end_s, load):
    return f'\n[[job]]\nname = "{number}"\ngpus = [0]\nstart_s = {start_s}\nend_s = {end_s}\nload = {load}\n'


def _node(cycle_s, *parts, architecture="hopper"):
    head = f'gpus = 1\ncycle_s = {cycle_s}\n\n[[gpu]]\nindex = 0\narchitecture = "{architecture}"\nrows = "interval"\n'
    return head + "".join(parts)


def _fault(kind, **keys):
    return f'\n[[fault]]\nkind = "{kind}"\ngpu = 0\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())


def _series(length_s, load):
    """Ten jobs, whose edges lie differently between the publications of counter and sensor."""
    starts = [round(20 + 30 * i + 0.0137 * i * i, 4) for i in range(10)]
    return [_job(i + 1, start, round(start + length_s, 4), load) for i, start in enumerate(starts)]


# No period is a whole number of the seconds at which tools look, unless a row is about that.
STEPS = "[[1.61, 560.0, 98], [0.43, 330.0, 60]]"  # an iteration of training, and the wait for its data
TWO = "[[1.07, 400.0, 80], [0.56, 100.0, 20]]"
HARDER = f"[{', '.join([TWO[1:-1]] * 22)}, [30.0, 500.0, 95]]"

CASES = (
    Case("steady", "steady, 5 minutes", _node(400, _job(1, 20.33, 320.33, "[[10.0, 500.0, 90]]")), 340),
    Case("eight-seconds", "ten jobs of 8 s", _node(400, *_series(8, STEPS)), 320, 0.05),
    Case("six-tenths", "ten jobs of 0.6 s", _node(400, *_series(0.6, "[[1.0, 500.0, 90]]")), 320, 0.05, told=True),
    Case(
        "square-second",
        "1 s on, 1 s off",
        _node(400, _job(1, 20.33, 320.33, "[[1.0, 600.0, 95], [1.0, 0.0, 0]]")),
        340,
    ),
    Case(
        "square-sensor",
        "50 ms on, 50 ms off (A100, whose sensor sees 25 ms of every 100 ms)",
        _node(400, _job(1, 20.33, 140.33, "[[0.05, 300.0, 95], [0.05, 0.0, 0]]"), architecture="ga100"),
        160,
    ),
    Case(
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
    Case(
        "counter-reset",
        "counter starts again at zero",
        _node(400, _job(1, 20.33, 320.33, TWO), _fault("counter-reset", at_s=170.4)),
        340,
    ),
    Case(
        "not-ready",
        "counter says NotReady for 60 s",
        _node(400, _job(1, 20.33, 320.33, TWO), _fault("not-ready", at_s=150.4, for_s=60)),
        340,
    ),
    Case(
        "driver-reload",
        "driver away for 4 s, then new",
        # The job works harder afterwards: who never reads again cannot be right by chance.
        _node(400, _job(1, 20.33, 80.33, HARDER), _fault("driver-reload", at_s=50.4, for_s=4)),
        100,
        told=True,
    ),
    Case(
        "outage",
        "every call times out for 200 s",
        _node(700, _job(1, 20.33, 620.33, TWO), _fault("error", value=10, at_s=100.4, for_s=200)),
        640,
    ),
    Case(
        "shared",
        "two jobs share the GPU, 20 : 80",
        _node(400, _job(1, 20.33, 320.33, "[[1.0, 100.0, 20]]"), _job(2, 20.33, 320.33, "[[1.0, 400.0, 80]]")),
        340,
    ),
    Case(
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
    Case(
        "gh200",
        "GH200, whose counter is the module's",
        _node(400, _job(1, 20.33, 320.33, TWO), architecture="gh200"),
        340,
    ),
)
