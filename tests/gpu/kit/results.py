"""A step's surroundings and its result, which is written again after every fact."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from pathlib import Path

from .clock import now_ns
from .scrubbing import scrub

HERE = Path(__file__).resolve().parent  # tests/gpu/kit
TREE = HERE.parents[2]
VERDICTS = {True: "as predicted", False: "SURPRISE", None: "unknown"}


class Kit:
    """What a step is given: how long it may take, where its results go, and what the world around it is.

    Parameters
    ----------
    number, name : int, str
        The step.
    prediction : str
        What is expected of it, written before it ran.
    work : Path
        The folder of this run; the result goes to ``NN-name.json`` in it, series to ``raw/NN-name``.
    left_s : float, s
        After that the step is ended from outside.
    scale : float
        Length of the stretches: 1 on a card.
    simulated : bool

    Attributes
    ----------
    tree : Path
        The project's folder; it is only read.
    raw : Path
        What is kept beside the result.
    tmp : Path
        What is not kept.
    result : dict
    """

    def __init__(
        self, number: int, name: str, prediction: str, *, work: Path, left_s: float, scale: float, simulated: bool
    ) -> None:
        self.simulated, self.scale, self.tree = simulated, scale, TREE
        self.work = work.resolve()
        self.deadline_ns = now_ns() + int(left_s * 1e9)
        self.label = f"{number:02d}-{name}"
        self.raw = self.work / "raw" / self.label
        self.raw.mkdir(parents=True, exist_ok=True)
        self.tmp = Path(tempfile.mkdtemp(prefix=f"tmp-{self.label}-", dir=self.work))
        self.result = {
            "step": self.label,
            "simulated": simulated,
            "scale": scale,
            "state": "running",
            "prediction": prediction,
            "verdict": VERDICTS[None],
            "line": "",
            "seconds": 0.0,
            "errors": [],
        }
        self._begun_ns, self._writing = now_ns(), threading.RLock()
        self.save()

    def seconds(self, real: float, least: float = 0.0) -> float:
        """A duration in seconds: as given on a card, shorter in simulation."""
        return max(least, real * self.scale)

    @property
    def left(self) -> float:
        """Seconds until this step is ended."""
        return (self.deadline_ns - now_ns()) / 1e9

    def put(self, **facts) -> None:
        """Add facts and write the file."""
        with self._writing:
            self.result.update(facts)
            self.save()

    def error(self, where: str, error: object) -> None:
        """Note what failed; the step goes on."""
        with self._writing:
            self.result["errors"].append(f"{where}: {type(error).__name__}: {error}"[:600])
            self.save()

    def verdict(self, as_predicted: bool | None, line: str) -> None:
        """Say in one line how it came out against the prediction; without its load a step says nothing."""
        if self.result.get("load_failed"):
            as_predicted, line = None, "NO LOAD; " + line
        self.result["verdict"] = VERDICTS[as_predicted]
        self.put(line=line)

    def save(self) -> None:
        """Write the result by rename; threads of a step do so one at a time."""
        with self._writing:
            self.result["seconds"] = round((now_ns() - self._begun_ns) / 1e9, 2)
            file = self.work / f"{self.label}.json"
            fresh = file.with_suffix(".new")
            fresh.write_text(scrub(json.dumps(self.result, indent=1, default=str)))
            fresh.rename(file)

    def keep(self, name: str, text: str) -> Path:
        """Keep a text beside the result."""
        file = self.raw / name
        file.write_text(scrub(text))
        return file

    def keep_series(self, name: str, header: str, rows) -> Path:
        """Keep a series as CSV."""
        lines = [header, *(",".join("" if v is None else str(v) for v in row) for row in rows)]
        return self.keep(name, "\n".join(lines) + "\n")


def child_environment() -> dict[str, str]:
    """The environment of processes that we start: the same modules, whatever the name that they run under."""
    first = [str(HERE.parent), str(TREE / "deploy/python")]
    rest = [p for p in sys.path if p and p not in first]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*first, *rest]), "PYTHONUNBUFFERED": "1"}


def module(name: str, python: str = sys.executable) -> list[str]:
    """The command that runs one of the kit's modules; nothing of the folder that we are started in is imported."""
    return [python, "-P", "-m", f"kit.{name}"]
