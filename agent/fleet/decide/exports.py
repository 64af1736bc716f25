"""A load as programs for grids read it: PyPSA, GridLAB-D, PSS/E."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wattshed.agent.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Series = NDArray[np.float64]
    Write = Callable[[Path, Series, float, int], list[Path]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_exports(
    folder: Path,
    names: tuple[str, ...],
    load_w: Series,
    step_s: float,
    start_us: int,
) -> list[Path]:
    """Write a load for each program that is named; returns the files.

    Parameters
    ----------
    folder : Path
        It is made where it is not there.
    names : tuple of {"pypsa", "gridlabd", "psse"}
    load_w : float64[n], W
    step_s : float, s
    start_us : int, us
        Middle of the first step.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [path for name in names for path in PROGRAMS[name](folder, load_w, step_s, start_us)]
    except OSError as error:
        raise InputError(f"cannot be written ({error.strerror})", str(error.filename or folder)) from None


def _stamps(n: int, step_s: float, start_us: int) -> list[str]:
    """Name the steps; of whole seconds by whole seconds, for not every program reads parts of them."""
    whole = step_s % 1.0 == 0.0
    first = _EPOCH + timedelta(microseconds=round(start_us / 1e6) * 1_000_000 if whole else start_us)
    fine = "seconds" if whole else "microseconds"
    return [
        (first + timedelta(seconds=i * step_s)).replace(tzinfo=None).isoformat(" ", timespec=fine) for i in range(n)
    ]


def _pypsa(folder: Path, load_w: Series, step_s: float, start_us: int) -> list[Path]:
    """Write a folder for ``Network.import_from_csv_folder``: one bus, one load, MW at each snapshot."""
    inner = folder / "pypsa"
    inner.mkdir(exist_ok=True)
    stamps = _stamps(load_w.size, step_s, start_us)
    hours = step_s / 3600.0
    texts = {
        "buses.csv": "name,carrier\npoi,AC\n",
        "loads.csv": "name,bus\nsite,poi\n",
        "carriers.csv": "name\nAC\n",
        "snapshots.csv": "snapshot,objective,stores,generators\n"
        + "".join(f"{at},{hours:.12g},{hours:.12g},{hours:.12g}\n" for at in stamps),
        "loads-p_set.csv": "snapshot,site\n"
        + "".join(f"{at},{w / 1e6:.9g}\n" for at, w in zip(stamps, load_w.tolist(), strict=True)),
    }
    for name, text in texts.items():
        (inner / name).write_text(text, encoding="utf-8")
    return [inner / name for name in texts]


def _gridlabd(folder: Path, load_w: Series, step_s: float, start_us: int) -> list[Path]:
    """Write a player of real power in W: a time and a value a line.

    The zone is called GMT, which GridLAB-D knows in every model; UTC ends the simulation of one with a local zone.
    """
    path = folder / "load.player"
    rows = zip(_stamps(load_w.size, step_s, start_us), load_w.tolist(), strict=True)
    path.write_text("".join(f"{at} GMT,{w:.9g}\n" for at, w in rows), encoding="utf-8")
    return [path]


def _psse(folder: Path, load_w: Series, step_s: float, start_us: int) -> list[Path]:
    """Write a load record at bus 1 with the peak in MW (RAW 33: I, ID, STATUS, AREA, ZONE, PL, QL, ...), and a CSV."""
    record, series = folder / "load.raw", folder / "load.csv"
    peak_mw = float(load_w.max()) / 1e6
    record.write_text(f"1,'1 ',1,1,1,{peak_mw:.6f},0.0,0.0,0.0,0.0,0.0,1,1,0\n", encoding="utf-8")
    rows = zip(_stamps(load_w.size, step_s, start_us), load_w.tolist(), strict=True)
    series.write_text("time_utc,p_mw\n" + "".join(f"{at},{w / 1e6:.9g}\n" for at, w in rows), encoding="utf-8")
    return [record, series]


PROGRAMS: dict[str, Write] = {"pypsa": _pypsa, "gridlabd": _gridlabd, "psse": _psse}
