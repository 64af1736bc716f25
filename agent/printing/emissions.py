"""A log of runs with the columns of CodeCarbon's ``emissions.csv``: what reads that reads ours."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError
from wattshed.agent.printing.figures import JOULES_PER_KWH

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMNS = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude", "ram_total_size",
    "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent", "ram_utilization_percent", "ram_used_gb",
    "on_cloud", "pue", "wue",
)  # fmt: skip
"""As CodeCarbon 3.3 writes them, https://mlco2.github.io/codecarbon/output.html; what is not known is empty, not 0."""


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run: what it was, when it ended, and what it used.

    Attributes
    ----------
    name, run_id : str
    end_s, duration_s : float, s
        Unix time of its end.
    energy_j : float, J
        Of its GPUs.
    gpus : int
    model : str
        Of its GPUs; empty unknown.
    """

    name: str
    run_id: str
    end_s: float
    duration_s: float
    energy_j: float
    gpus: int
    model: str = ""


def append_emissions(
    path: str,
    runs: Iterable[MeasuredRun],
    *,
    carbon_g_per_kwh: float | None = None,
    pue: float | None = None,
    zone: tzinfo = UTC,
) -> None:
    """Write a row for each run behind those that are in the file already.

    Energy is of GPU boards; ``emissions`` (kg of CO2e) are of that times ``pue``, and empty without a carbon intensity.

    Parameters
    ----------
    path : str
    runs : iterable of MeasuredRun
    carbon_g_per_kwh : float, optional, g/kWh
    pue : float, optional
        Energy at the wall over that of the boards.
    zone : tzinfo
        Of the stamps, which have none.

    Raises
    ------
    InputError
        If the file has other columns, or cannot be written.
    """
    file = Path(path)
    try:
        with file.open("a+", encoding="utf-8", newline="") as out:
            out.seek(0)
            header = next(csv.reader(out), None)
            if header is not None and header != list(COLUMNS):
                raise InputError("its columns are not those of CodeCarbon 3.3; name another file", path, 1)
            writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
            if header is None:
                writer.writeheader()
            writer.writerows(_row(run, carbon_g_per_kwh, pue, zone) for run in runs)
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", path) from None


def _row(run: MeasuredRun, carbon_g_per_kwh: float | None, pue: float | None, zone: tzinfo) -> dict[str, object]:
    kwh = run.energy_j / JOULES_PER_KWH
    row = {
        "timestamp": datetime.fromtimestamp(run.end_s, zone).replace(tzinfo=None).isoformat(timespec="microseconds"),
        "project_name": run.name,
        "run_id": run.run_id,
        "duration": run.duration_s,
        "gpu_energy": kwh,
        "energy_consumed": kwh,
        "gpu_count": run.gpus,
        "gpu_model": run.model,
        "pue": "" if pue is None else pue,
    }
    if run.duration_s > 0:
        row["gpu_power"] = run.energy_j / run.duration_s
    if carbon_g_per_kwh is not None:
        row["emissions"] = kg = kwh * (1.0 if pue is None else pue) * carbon_g_per_kwh / 1e3
        row |= {"emissions_rate": kg / run.duration_s} if run.duration_s > 0 else {}
    return row
