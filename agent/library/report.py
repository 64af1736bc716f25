"""The answer of a replay, for programs and notebooks."""

from __future__ import annotations

import io
import os
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from wattshed.agent.errors import InputError, counted
from wattshed.agent.library.tables import amounts_table, gpus_table, jobs_table, power_table, work_table
from wattshed.agent.printing.figures import energy
from wattshed.agent.replay.boundaries import boundary_of
from wattshed.agent.replay.emissions import write_emissions
from wattshed.agent.replay.report import as_json, label_names
from wattshed.agent.replay.tables import print_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from wattshed.agent.library.amounts import Amounts
    from wattshed.agent.library.paths import Path
    from wattshed.agent.library.picture import Picture
    from wattshed.agent.replay.power import PowerOverTime
    from wattshed.agent.replay.running import Replayed

    Name = Literal["gpus", "jobs", "work", "amounts", "power"]


class Report:
    """Energy of GPUs and of jobs; made by `wattshed.replay`.

    Energies are exact: columns ``*_hnj`` are whole half-nanojoules, and those of GPUs sum to those of jobs and what no
    job used. Columns ``*_j`` and the totals are the same in joules, to the microjoule, as ``wattshed replay`` prints
    them. ``sigma_j`` is one standard deviation.

    Attributes
    ----------
    total_j, idle_j, unattributed_j : float, J
        Of all GPUs; what GPUs that no job held drew; what was used and nobody can be named for.
    total_hnj, idle_hnj, unattributed_hnj : int, hnj
        The same.
    notes : list of str
        What should be known about the files and the jobs.
    """

    def __init__(
        self,
        done: Replayed,
        power_over_time: Callable[[], PowerOverTime],
        title: str,
        amounts: Amounts | None = None,
        of_page: PowerOverTime | None = None,
    ) -> None:
        self._done, self._title = done, title
        self._read_power = power_over_time
        self._answer, self._amounts = done.document(), amounts
        if amounts is not None:
            report = amounts.report(self._answer, boundary_of(self._answer["sources"]))
            self._answer |= {} if report is None else {"report": report}
            amounts.write_page(self._answer, of_page)
        self.notes: list[str] = list(self._answer.get("notes", ()))
        accounts = done.part.accounts.gpus.values()
        self.total_hnj = sum(account.energy_hnj for account in accounts)
        self.idle_hnj = sum(account.idle_hnj for account in accounts)
        self.unattributed_hnj = sum(account.unattributed_hnj for account in accounts)
        self.total_j: float = self._answer["total_j"].uj / 1e6
        self.idle_j: float = self._answer["idle_j"].uj / 1e6
        self.unattributed_j: float = self._answer["unattributed_j"].uj / 1e6

    @cached_property
    def gpus(self) -> pa.Table:
        """A row for each GPU: energy, uncertainty, power and coverage.

        Returns
        -------
        pyarrow.Table
            ``host, uuid, model, method`` string; ``gpu`` int32; ``energy_j, sigma_j, counter_j, power_j`` float64, J;
            ``energy_hnj`` decimal128(38, 0); ``disagreement`` float64, of power against the counter; ``mean_w, min_w,
            max_w, p50_w, p95_w, p99_w`` float64, W; ``samples, gaps, counter_resets`` int64; ``span_s, covered_s,
            gap_s`` float64, s; ``coverage`` float64, covered over span; ``flags`` list of string. Unknown is null.
        """
        return gpus_table(self._done.part, self._answer)

    @cached_property
    def jobs(self) -> pa.Table:
        """A row for each job: its energy, static and dynamic, and what is said about it.

        Returns
        -------
        pyarrow.Table
            ``job, method`` string; ``hosts, gpus`` list of string; ``start, end`` timestamp[us, UTC]; ``energy_j,
            static_j, dynamic_j, sigma_j`` float64, J; ``energy_hnj, static_hnj, dynamic_hnj`` decimal128(38, 0);
            ``coverage`` float64, the share of its GPU time that was measured; ``gpu_s`` float64, s; ``mean_w, peak_w``
            float64, W; then a string column for each label: user, account and other columns of the jobs file.
        """
        return jobs_table(self._done.part, self._answer)

    @cached_property
    def work(self) -> pa.Table:
        """A row for each unit of work of each job, where the recording or a table of work tells of any.

        Returns
        -------
        pyarrow.Table
            ``job, unit, source`` string; ``count`` int64; ``joules_per_unit, sigma_j`` float64, J, of one unit.
        """
        return work_table(self._answer)

    @cached_property
    def amounts(self) -> pa.Table:
        """Energy, cost and emissions by what `replay` was asked for with ``by``, ``price``, ``carbon`` or ``pue``.

        Returns
        -------
        pyarrow.Table
            ``name`` string, also ``_idle`` and ``_unattributed``; ``jobs`` int64; ``energy_j, sigma_j`` float64, J; and
            where they were asked for, float64, each with one sigma: ``wall_kwh``, ``cost`` in the currency of the
            prices, ``co2e_g`` or ``marginal_co2_g``. What has no price or intensity is null.

        Raises
        ------
        InputError
            If none of them was asked for.
        """
        return amounts_table(self._answer)

    @cached_property
    def power(self) -> pa.Table:
        """Power over time by job, in at most 1500 steps; the files are read once more for it.

        Returns
        -------
        pyarrow.Table
            ``start`` timestamp[us, UTC]; ``job`` string, also ``_idle`` and ``_unattributed``; ``power_w`` float64, W,
            the mean from ``start`` to the next step.

        Raises
        ------
        InputError
            If a file is gone, or is a table of runs, which has no power over time.
        """
        return power_table(self._power.steps(), self._power.step_us)

    @cached_property
    def _power(self) -> PowerOverTime:
        return self._read_power()

    def json(self) -> str:
        """Return what ``wattshed replay --format json`` prints: schema ``wattshed.replay/1``, see docs/replay.md."""
        return as_json(self._answer)

    def pandas(self, table: Name = "jobs") -> pd.DataFrame:
        """Return a table as a pandas DataFrame whose columns stay in Arrow's memory: nothing is copied.

        Raises
        ------
        InputError
            If there is no such table, or pandas is not installed.
        """
        found = self._named(table)
        try:
            import pandas as pd  # noqa: PLC0415 - the user's own
        except ImportError as error:
            raise InputError("pandas is not installed: pip install pandas") from error
        frame: pd.DataFrame = found.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def polars(self, table: Name = "jobs") -> pl.DataFrame:
        """Return a table as a polars DataFrame; numbers and times are not copied.

        Raises
        ------
        InputError
            If there is no such table, or polars is not installed.
        """
        found = self._named(table)
        try:
            import polars as pl  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise InputError("polars is not installed: pip install polars") from error
        frame = pl.from_arrow(found, rechunk=False)
        if not isinstance(frame, pl.DataFrame):
            raise TypeError(type(frame))
        return frame

    def _named(self, table: str) -> pa.Table:
        if table not in {"gpus", "jobs", "work", "amounts", "power"}:
            raise InputError(f"there is no table {table!r}, only gpus, jobs, work, amounts and power")
        return getattr(self, table)

    def emissions(self, path: Path, *, carbon: float | None = None, pue: float | None = None) -> None:
        """Append a row for each job to a file with the columns of CodeCarbon's ``emissions.csv``.

        Parameters
        ----------
        path : path
        carbon : float, optional, g/kWh
            Carbon intensity of the electricity; without it, emissions are empty.
        pue : float, optional
            Energy at the wall over that of the boards, for emissions; energies stay those of GPU boards.

        Raises
        ------
        InputError
            If the file has other columns, or cannot be written.
        """
        write_emissions(os.fspath(path), self._done, self._answer, carbon=carbon, pue=pue)

    def plot(self) -> Picture:
        """Draw power over time by job; the files are read once more for it (extra ``plot``).

        Raises
        ------
        InputError
            If matplotlib is not installed, or as `power` does.
        """
        from wattshed.agent.library.picture import Picture  # noqa: PLC0415 - an extra

        return Picture.of_power(self._power, self._title, self._done.settings.options.local)

    def __repr__(self) -> str:
        what = f"{counted(len(self._answer['jobs']), 'job')} on {counted(len(self._answer['gpus']), 'GPU')}"
        return f"<wattshed.Report: {what}, {self._energy()}>"

    def __str__(self) -> str:
        """Return the tables that ``wattshed replay`` prints."""
        out = io.StringIO()
        print_tables(self._answer, label_names(self._answer), out)
        if self._amounts is not None:
            self._amounts.print(out)
        return out.getvalue()

    def _energy(self) -> str:
        """Return the energy of all GPUs, ± two sigma; meters of one model err alike, so that sigmas add up."""
        return energy(str(self._answer["total_j"]), sum(gpu["sigma_j"] for gpu in self._answer["gpus"]))

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from wattshed.agent.library.notebook import html_of  # noqa: PLC0415 - in notebooks only

        return html_of(self._answer, self._energy())
