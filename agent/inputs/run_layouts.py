"""Tables with a row for each run, window or job and its energy: which column is what, by their names or as told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.errors import InputError
from wattshed.agent.inputs.columns import find, split_unit, unit_of_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOLD = frozenset({"start", "end", "duration"})
"""Keys of ``--columns`` that only a table of runs has."""

_CODECARBON = {"timestamp", "duration", "emissions"}
_ZEUS = ["start_time", "window_name", "elapsed_time"]
_ZEUS_GPU = re.compile(r"gpu(\d+)_energy")
_STAMP = "([_ ]?(time|timestamp|ts|at|date|epoch|unix|utc))*"
_NAMES: Mapping[str, str] = {
    "start": rf"((job|run|task)[_ ]?)?(start|begin|started){_STAMP}",
    "end": rf"((job|run|task)[_ ]?)?(end|stop|finish|ended|stopped|finished){_STAMP}",
    "duration": r"(duration|elapsed|run_?time|wall_?(time|clock)|elapsed_?time|(job|run)_?duration)([_ ]?(time|in))?",
    "energy": r"((gpu|total|job|run|task)[_ ]?)*energy([_ ](consumed|consumption|used|usage|total))?",
    "job": r"(job|run|task|window|experiment)([_ ]?(id|name|uuid))?|name|id",
    "gpu": r"gpu([_ ]?(id|idx|index|uuid))?|uuid",
    "host": r"host|host_?name|node|node_?name|node_?list",
    "model": r"gpu_?(model|type|name)",
    "user": r"user(_?(id|name))?",
    "account": r"account",
}
_UNIT_OF_TIME = re.compile(r"[\s_\[(]+(seconds|secs?|s|ms|us|ns|minutes|mins?|hours|h|hrs?)[\])]?$", re.IGNORECASE)
_TIME_WORDS = {"seconds": "s", "sec": "s", "secs": "s", "minutes": "min", "mins": "min", "hours": "h", "hr": "h"}
_TIME_WORDS |= {"hrs": "h"}


class RunEnergy(NamedTuple):
    """A column of energies, its unit, and the GPU that it is of (empty: another column or nothing says so)."""

    name: str
    unit: str
    gpu: str = ""


@dataclass(frozen=True, slots=True)
class RunLayout:
    """Which column of a table of runs holds what; empty where there is none.

    Attributes
    ----------
    kind : str
        ``codecarbon``, ``zeus``, or ``runs`` of any tool.
    start, end, duration : str
        Two of them at least.
    start_unit, end_unit, duration_unit : str
        Keys of `agent.inputs.timestamps.UNITS`; empty: told by the size of stamps, seconds of durations.
    energies : tuple of RunEnergy
    job : tuple of str
        Columns that name the run together.
    run : str
        Column of the run that a row is a part of (a task of it, or its state at a time).
    gpu, host, model, power : str
        ``power``: mean watts of the run, to check the energy by.
    labels : mapping of label -> column
        What else is known of the run.
    """

    kind: str
    start: str = ""
    end: str = ""
    duration: str = ""
    start_unit: str = ""
    end_unit: str = ""
    duration_unit: str = "s"
    energies: tuple[RunEnergy, ...] = ()
    job: tuple[str, ...] = ()
    run: str = ""
    gpu: str = ""
    host: str = ""
    model: str = ""
    power: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All columns that are needed."""
        names = [self.start, self.end, self.duration, *self.job, self.run, self.gpu, self.host, self.model, self.power]
        names += [energy.name for energy in self.energies]
        return list(dict.fromkeys(name for name in (*names, *self.labels.values()) if name))


def layout_of_runs(names: Sequence[str], spec: Mapping[str, tuple[str, str]] | None, path: str) -> RunLayout | None:
    """Find the columns of a table of runs; None if it is not one.

    Parameters
    ----------
    names : sequence of str
    spec : mapping or None
        From `agent.inputs.columns.parse_spec`.
    path : str
        For messages.

    Raises
    ------
    InputError
        If it is one, and lacks what it takes: the message says what to add.
    """
    if spec:
        return _told(names, spec, path) if TOLD & spec.keys() else None
    if set(names) >= _CODECARBON and {"run_id", "project_name", "experiment_id"} & set(names):
        return _codecarbon(names, path)
    if list(names[:3]) == _ZEUS and any(map(_ZEUS_GPU.fullmatch, names)):
        return _zeus(names)
    return _of_any_tool(names, path)


def _codecarbon(names: Sequence[str], path: str) -> RunLayout:
    """Lay out CodeCarbon's ``emissions.csv``, or its file of tasks: stamps are local, and of the end."""
    if "gpu_energy" not in names:
        raise InputError(
            "it is a table of CodeCarbon without gpu_energy: energy_consumed includes processors and memory; for that "
            "sum say --columns job=run_id,end=timestamp,duration=duration,energy=energy_consumed:kWh",
            path,
            1,
        )

    def named(name: str) -> str:
        return name if name in names else ""

    return RunLayout(
        "codecarbon",
        end="timestamp",
        duration="duration",
        energies=(RunEnergy("gpu_energy", "kWh"),),
        job=tuple(name for name in ("run_id", "task_name") if name in names) or ("project_name",),
        run=named("run_id") if "task_name" in names else "",
        model=named("gpu_model"),
        power=named("gpu_power"),
        labels={
            label: name
            for label, name in (("name", "project_name"), ("experiment", "experiment_id"), ("task", "task_name"))
            if name in names
        },
    )


def _zeus(names: Sequence[str]) -> RunLayout:
    """Lay out the ``log_file`` of a ZeusMonitor: joules of each GPU in each window."""
    gpus = [(match[1], name) for name in names if (match := _ZEUS_GPU.fullmatch(name))]
    return RunLayout(
        "zeus",
        start="start_time",
        duration="elapsed_time",
        energies=tuple(RunEnergy(name, "J", gpu) for gpu, name in gpus),
        job=("window_name",),
    )


def _of_any_tool(names: Sequence[str], path: str) -> RunLayout | None:
    """Recognise a row for each job by its start and end, or one of them and its duration, beside an energy."""
    bare = {name: _without_unit(name) for name in names}
    found: dict[str, str] = {}
    for key, pattern in _NAMES.items():
        known = {name: split_unit("energy", name)[0] if key == "energy" else bare[name] for name in names}
        fits = [name for name in names if re.fullmatch(pattern, known[name], re.IGNORECASE)]
        if fits:
            found[key] = fits[0]
    if "energy" not in found or len({"start", "end", "duration"} & found.keys()) < 2:
        return None
    if not {"start", "end"} & found.keys():
        return None
    unit = split_unit("energy", found["energy"])[1]
    if not unit:
        stamps = ",".join(f"{key}={found[key]}" for key in ("start", "end", "duration") if key in found)
        raise InputError(
            f"it has a row for each run, and the unit of {found['energy']} is not known; say "
            f"--columns {stamps},energy={found['energy']}:J (or Wh, kWh, ...)",
            path,
            1,
        )
    return _laid_out(found, RunEnergy(found["energy"], unit))


def _told(names: Sequence[str], spec: Mapping[str, tuple[str, str]], path: str) -> RunLayout:
    found = {key: find(key, column, names, path) for key, (column, _) in spec.items() if key != "power"}
    found["end"] = found.get("end", "") or found.get("time", "")
    if sum(bool(found.get(key)) for key in TOLD) < 2 or not (found.get("start") or found["end"]):
        raise InputError("--columns: a table of runs needs two of start=, end= and duration=", path)
    if "energy" not in found:
        raise InputError("--columns: a table of runs needs energy=COLUMN:UNIT", path)
    unit = spec["energy"][1].partition("/")[0] or split_unit("energy", found["energy"])[1]
    if not unit:
        raise InputError(f"--columns: say the unit, as in energy={found['energy']}:kWh", path)
    return _laid_out(found, RunEnergy(found["energy"], unit), {key: unit for key, (_, unit) in spec.items() if unit})


def _laid_out(found: Mapping[str, str], energy: RunEnergy, units: Mapping[str, str] | None = None) -> RunLayout:
    units = units or {}
    start, end, duration = (found.get(key, "") for key in ("start", "end", "duration"))
    return RunLayout(
        "runs",
        start=start,
        end=end,
        duration="" if start and end else duration,
        start_unit=units.get("start", "") or unit_of_time(start),
        end_unit=units.get("end", "") or unit_of_time(end),
        duration_unit=units.get("duration", "") or _unit_of_length(duration),
        energies=(energy,),
        job=(found["job"],) if "job" in found else (),
        gpu=found.get("gpu", ""),
        host=found.get("host", ""),
        model=found.get("model", ""),
        labels={key: found[key] for key in ("user", "account") if key in found},
    )


def _without_unit(name: str) -> str:
    return _UNIT_OF_TIME.sub("", name.strip())


def _unit_of_length(name: str) -> str:
    match = _UNIT_OF_TIME.search(name)
    if match is None:
        return "s"
    word = match[1].lower()
    return _TIME_WORDS.get(word, word)
