"""What a simulated node is made of: the default one, and those that a TOML file describes (docs/metering.md)."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError
from wattshed.agent.simulation.faults import KINDS, ScriptedFault
from wattshed.agent.simulation.sensors import ARCHITECTURES
from wattshed.agent.simulation.workload import Job, Step

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

SECOND_US = 1_000_000
FOREVER_S = 1e9
ROWS = ("interval", "active", "latest")
LAST_CODE = 999  # of nvmlReturn_t
MOST_INSTANCES = 7  # of a GPU
MOMENTS = ("late_s", "mig_at_s", "mig_off_at_s", "accounting_at_s")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One simulated board.

    Attributes
    ----------
    architecture : str
        A key of ``ARCHITECTURES``.
    gain : float
        Relative error of its meter: 0.05 shows 5 % too much.
    counter, average, instant : bool
        Whether the board has the reading, where its architecture does.
    idle_w : float
        0: the architecture's.
    counter_period_s : float
    accounting, persistence : bool
        Whether these modes are on; persistence mode is only told.
    mig : tuple of (GPU instance, compute instance, SMs)
    rows : str
        What a row of process utilisation means: the mean of its ``interval``, the mean of the ``active`` part of it, or
        the ``latest`` sample.
    late_us, mig_at_us, mig_off_at_us, accounting_at_us : int, us
        When, since the simulation began, the GPU comes to the host, MIG is switched on and off, accounting on; 0: from
        the beginning, or never off.
    """

    architecture: str = "hopper"
    gain: float = 0.0
    counter: bool = True
    average: bool = True
    instant: bool = True
    idle_w: float = 0.0
    counter_period_s: float = 0.1
    accounting: bool = False
    persistence: bool = True
    mig: tuple[tuple[int, int, int], ...] = ()
    rows: str = "interval"
    late_us: int = 0
    mig_at_us: int = 0
    mig_off_at_us: int = 0
    accounting_at_us: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A node, what runs on it, and what goes wrong.

    Attributes
    ----------
    gpus : tuple of Gpu
    jobs : tuple of Job
    cycle_us : int, us
        The schedule repeats.
    begin_us : int, us
        Where in the cycle the simulation begins.
    faults : tuple of ScriptedFault
        Times from the beginning of the simulation.
    missing : tuple of str
        Symbols that the driver library does not export.
    """

    gpus: tuple[Gpu, ...]
    jobs: tuple[Job, ...]
    cycle_us: int = 600 * SECOND_US
    begin_us: int = 0
    faults: tuple[ScriptedFault, ...] = ()
    missing: tuple[str, ...] = ()


def _load(*steps: tuple[float, float, int]) -> tuple[Step, ...]:
    return tuple(Step(round(s * SECOND_US), round(w * 1000), sm) for s, w, sm in steps)


def _span(start_s: float, end_s: float) -> tuple[int, int]:
    return round(start_s * SECOND_US), round(end_s * SECOND_US)


def default_scenario() -> Scenario:
    """Eight H100-like GPUs: training on four, inference, two jobs that share one, one held but idle, one free."""
    iteration = [(1.6, 560.0, 98), (0.4, 330.0, 60)]
    training = _load((3.0, 120.0, 10), (1.5, 380.0, 55), *iteration * 40, (8.0, 85.0, 6))
    inference = _load(
        (7.0, 210.0, 45), (3.0, 40.0, 8), (11.0, 320.0, 70), (2.0, 430.0, 88), (6.0, 150.0, 30), (4.0, 0.0, 0)
    )
    # The two that share a GPU draw 5 W per percent of its multiprocessors: then activity tells the truth about power.
    left = _load((2.5, 250.0, 50), (1.0, 60.0, 12), (0.5, 0.0, 0))
    right = _load((1.5, 150.0, 30), (0.7, 20.0, 4))
    short = _load((2.0, 300.0, 65), (0.3, 40.0, 5))
    cycle = _span(0, 600)
    jobs = (
        Job("4001", "slurm", (0, 1, 2, 3), *_span(20, 470), training, memory_mib=71_000, uid=1001),
        Job("4002", "slurm", (5,), *_span(10, 330), left, memory_mib=24_000, uid=1002),
        Job("4003", "slurm", (5,), *_span(95, 540), right, memory_mib=18_000, uid=1003),
        Job("4004", "slurm", (6,), *_span(5, 560), uid=1004),
        Job("4005", "slurm", (0, 1), *_span(490, 575), short, memory_mib=9_000, uid=1005, command="python3"),
        Job(
            "8a6f1c52-53a1-4a0c-9d0e-5f3b7f4f2b10", "kubernetes", (4,), *cycle, inference,
            memory_mib=66_000, command="vllm", container="server", uid=0, forever=True,
        ),
    )  # fmt: skip
    return Scenario((Gpu(),) * 8, jobs, begin_us=75 * SECOND_US)


def read_scenario(path: Path) -> Scenario:
    """Read a scenario from TOML.

    Raises
    ------
    InputError
        The file cannot be read, is not TOML, or says something that no simulation can do; the message names the line
        where the reader knows it, and the table and key otherwise.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the scenario: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise InputError("the scenario is not UTF-8 text", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"line (\d+), column (\d+)", str(error))
        line, column = (int(place[1]), int(place[2])) if place else (0, 0)
        raise InputError(str(error).split(" (at ", maxsplit=1)[0], str(path), line, column) from None
    return _Reader(str(path)).scenario(tree)


class _Reader:
    """Checks a parsed scenario; every complaint names the file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _fail(self, message: str) -> InputError:
        return InputError(message, self._path)

    def _only(self, where: str, table: Mapping[str, Any], allowed: Collection[str]) -> None:
        for key in table:
            if key not in allowed:
                raise self._fail(f"{where} has no key {key!r}; it knows {', '.join(sorted(allowed))}")

    def _number(self, where: str, table: Mapping[str, Any], key: str, default: float) -> float:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._fail(f"{where}: {key} must be a number, not {value!r}")
        if not math.isfinite(value):
            raise self._fail(f"{where}: {key} must be a finite number, not {value!r}")
        return float(value)

    def _not_negative(self, where: str, table: Mapping[str, Any], key: str, default: float) -> float:
        value = self._number(where, table, key, default)
        if value < 0:
            raise self._fail(f"{where}: {key} must not be negative, it is {value:g}")
        return value

    def _tables(self, tree: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
        found = tree.get(key, [])
        if not isinstance(found, list) or not all(isinstance(t, dict) for t in found):
            raise self._fail(f"{key} must be an array of tables: [[{key}]]")
        return found

    def scenario(self, tree: Mapping[str, Any]) -> Scenario:
        """Return the scenario that the tree describes; without jobs, the default node's."""
        self._only("the file", tree, {"gpus", "cycle_s", "begin_s", "missing", "gpu", "job", "fault"})
        default = default_scenario()
        count = int(self._number("the file", tree, "gpus", 8 if "job" not in tree else 1))
        if not 1 <= count <= 64:
            raise self._fail(f"gpus must be 1 to 64, not {count}")
        gpus = [Gpu()] * count
        for table in self._tables(tree, "gpu"):
            for index, gpu in self._gpu(table, count):
                gpus[index] = gpu
        cycle_s = self._number("the file", tree, "cycle_s", default.cycle_us / SECOND_US)
        if not 1 <= cycle_s <= 86_400:
            raise self._fail(f"cycle_s must be 1 to 86400, not {cycle_s:g}")
        jobs = tuple(self._job(t, count, cycle_s) for t in self._tables(tree, "job"))
        if "job" not in tree:
            jobs = tuple(j for j in default.jobs if max(j.gpus) < count and j.end_us <= cycle_s * SECOND_US)
        begin_s = self._number("the file", tree, "begin_s", 0.0 if "job" in tree else default.begin_us / SECOND_US)
        missing = tree.get("missing", [])
        if not isinstance(missing, list) or not all(isinstance(name, str) for name in missing):
            raise self._fail("missing must be a list of symbol names")
        return Scenario(
            tuple(gpus),
            jobs,
            round(cycle_s * SECOND_US),
            round(begin_s % cycle_s * SECOND_US),
            tuple(self._fault(t, count) for t in self._tables(tree, "fault")),
            tuple(missing),
        )

    def _gpu(self, table: Mapping[str, Any], count: int) -> list[tuple[int, Gpu]]:
        names = {f.name for f in fields(Gpu) if not f.name.endswith("_us")}
        self._only("[[gpu]]", table, names | {"index", *MOMENTS})
        values = {k: v for k, v in table.items() if k in names}
        kind = values.get("architecture", "hopper")
        if not isinstance(kind, str) or kind not in ARCHITECTURES:
            raise self._fail(f"unknown architecture {kind!r}; there are {', '.join(ARCHITECTURES)}")
        if self._number("[[gpu]]", values, "gain", 0.0) <= -1:
            raise self._fail("[[gpu]]: gain must be above -1")
        self._not_negative("[[gpu]]", values, "idle_w", 0.0)
        if self._number("[[gpu]]", values, "counter_period_s", 0.1) < 0.001:
            raise self._fail("[[gpu]]: counter_period_s must be 0.001 or more")
        for key in ("counter", "average", "instant", "accounting", "persistence"):
            if not isinstance(values.get(key, True), bool):
                raise self._fail(f"[[gpu]]: {key} must be true or false")
        if values.get("rows", "interval") not in ROWS:
            raise self._fail(f"[[gpu]]: rows must be one of {', '.join(ROWS)}, not {values['rows']!r}")
        if "mig" in values:
            values["mig"] = self._instances(values["mig"], kind)
        for key in MOMENTS:
            values[f"{key.removesuffix('_s')}_us"] = round(self._not_negative("[[gpu]]", table, key, 0.0) * SECOND_US)
        for key in ("mig_at_s", "mig_off_at_s"):
            if key in table and not values.get("mig"):
                raise self._fail(f"[[gpu]]: {key} needs mig, the instances")
        if "mig_off_at_s" in table and values["mig_off_at_us"] <= values["mig_at_us"]:
            raise self._fail("[[gpu]]: mig_off_at_s must come after mig_at_s, and after the beginning")
        index = table.get("index", list(range(count)))
        chosen = index if isinstance(index, list) else [index]
        if not all(isinstance(i, int) and 0 <= i < count for i in chosen):
            raise self._fail(f"[[gpu]]: index {index!r} is not below gpus = {count}")
        return [(i, Gpu(**values)) for i in chosen]

    def _instances(self, told: object, kind: str) -> tuple[tuple[int, int, int], ...]:
        try:
            found = tuple((int(gi), int(ci), int(sms)) for gi, ci, sms in told)  # type: ignore[attr-defined]
        except (TypeError, ValueError, OverflowError):
            raise self._fail("[[gpu]]: mig must be a list of [GPU instance, compute instance, SMs]") from None
        if found and not ARCHITECTURES[kind].mig:
            raise self._fail(f"[[gpu]]: {kind} has no MIG")
        if len(found) > MOST_INSTANCES or any(min(gi, ci) < 0 or sms < 1 for gi, ci, sms in found):
            raise self._fail(f"[[gpu]]: mig is up to {MOST_INSTANCES} instances of one SM or more, ids from 0")
        return found

    def _job(self, table: Mapping[str, Any], count: int, cycle_s: float) -> Job:
        where = f"[[job]] {table.get('name', '')}".rstrip()
        texts = {"name", "manager", "instance", "command", "container"}
        self._only(where, table, texts | {"gpus", "start_s", "end_s", "load", "memory_mib", "uid"})
        given = {k: table[k] for k in texts if k in table}
        if not given.get("name") or not all(isinstance(v, str) for v in given.values()):
            raise self._fail(f"{where}: name, manager, instance, command and container are texts, and it needs a name")
        manager = given.setdefault("manager", "slurm")
        if manager not in {"slurm", "kubernetes", "docker", "systemd", "user"}:
            raise self._fail(f"{where}: unknown manager {manager!r}")
        if manager == "slurm" and not given["name"].isdecimal():
            raise self._fail(f"{where}: a Slurm job's name is its number")
        if given.get("instance") and not re.fullmatch(r"[0-9]+/[0-9]+", given["instance"]):
            raise self._fail(f"{where}: instance is 'GPU instance/compute instance', as '1/0'")
        gpus = table.get("gpus", [0])
        if not isinstance(gpus, list) or not gpus or not all(isinstance(g, int) and 0 <= g < count for g in gpus):
            raise self._fail(f"{where}: gpus must be a list of indices below {count}")
        start_s = self._number(where, table, "start_s", 0.0)
        end_s = self._number(where, table, "end_s", cycle_s)
        if not 0 <= start_s < end_s <= cycle_s:
            raise self._fail(f"{where}: it must be 0 <= start_s < end_s <= cycle_s = {cycle_s:g}")
        try:
            load = _load(*((float(s), float(w), int(sm)) for s, w, sm in table.get("load", [])))
        except (TypeError, ValueError, OverflowError):
            raise self._fail(f"{where}: load must be a list of [seconds, watts, SM percent]") from None
        if any(step.duration_us < 1000 or step.dynamic_mw < 0 or not 0 <= step.sm_percent <= 100 for step in load):
            raise self._fail(f"{where}: a step lasts at least 1 ms, draws no negative power, and keeps 0-100 % busy")
        return Job(
            gpus=tuple(gpus),
            start_us=round(start_s * SECOND_US),
            end_us=round(end_s * SECOND_US),
            load=load,
            memory_mib=int(self._not_negative(where, table, "memory_mib", 20_480)),
            uid=int(self._not_negative(where, table, "uid", 1000)),
            forever="start_s" not in table and "end_s" not in table,
            **given,
        )

    def _fault(self, table: Mapping[str, Any], count: int) -> ScriptedFault:
        kind = table.get("kind")
        self._only("[[fault]]", table, {"kind", "gpu", "at_s", "for_s", "value", "call", "code"})
        if not isinstance(kind, str) or kind not in KINDS:
            raise self._fail(f"[[fault]]: unknown kind {kind!r}; there are {', '.join(KINDS)}")
        where = f"[[fault]] {kind}"
        gpu = table.get("gpu", -1)
        if not isinstance(gpu, int) or not -1 <= gpu < count:
            raise self._fail(f"{where}: gpu {gpu!r} is not below {count}")
        start_s = self._not_negative(where, table, "at_s", 0.0)
        end_s = start_s + self._not_negative(where, table, "for_s", FOREVER_S)
        call = table.get("call", "")
        if not isinstance(call, str):
            raise self._fail(f"{where}: call is the name of a symbol")
        value = self._not_negative(where, table, "value", 0.0)
        code = table.get("code", 0)
        if not isinstance(code, int) or not 0 <= code <= LAST_CODE:
            raise self._fail(f"{where}: code must be 0 to {LAST_CODE}, not {code!r}")
        if code and kind != "slow-gpu":
            raise self._fail(f"{where}: code is of slow-gpu alone; an error's code is its value")
        return ScriptedFault(kind, round(start_s * SECOND_US), round(end_s * SECOND_US), gpu, value, call, code)
