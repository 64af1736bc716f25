"""What a replay's energy cost and emitted, by job, user or account: the report of the history that it would leave.

The replay writes its history (`replay.history`) into a folder that is removed afterwards, unless the user named one,
and `wattshed report` has the rest: values that change over time, doubt, and rows that add up.
"""

from __future__ import annotations

import math
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from wattshed.agent.errors import counted
from wattshed.agent.reports.tariff_flags import add_tariff_flags, tariffs_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from wattshed.agent.replay.power import PowerOverTime
    from wattshed.agent.reports.amounts import Tariffs
    from wattshed.agent.reports.power_plots import PowerPlot

BY = ("job", "user", "account", "partition", "namespace", "qos", "host", "model", "day", "month")
_NAME = "history.db"


def add_amount_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ask for a sheet of energy and what it cost."""
    money = add_tariff_flags(parser, columns="--tariff-columns")
    money.add_argument("--by", choices=BY, metavar="WHAT", help=f"also add up by {', '.join(BY[:-1])} or {BY[-1]}")
    money.add_argument("--html", metavar="FILE", help="also write that as a page to look at, with power over time")


def amounts_of(args: argparse.Namespace) -> Amounts:
    """Read the flags of `add_amount_flags`, and ``history``.

    Raises
    ------
    InputError
        A tariff cannot be used.
    """
    said = (args.by, args.html, args.price, args.carbon, args.pue, args.currency, args.tariff_columns)
    tariffs = tariffs_of(args) if any(one is not None for one in said) else None  # else nothing of it is loaded
    return Amounts(tariffs, by=args.by, html=args.html, history=args.history)


class Amounts:
    """Where the history of a replay lies until its report is made.

    Parameters
    ----------
    tariffs : Tariffs or None
        None: nothing is said about money and carbon.
    by : str, optional
        One of `BY`.
    html : str, optional
        The page is written there.
    history : str, optional
        Where the user wants the history.

    Attributes
    ----------
    draws : bool
        Its page shows power over time.
    """

    def __init__(
        self,
        tariffs: Tariffs | None = None,
        *,
        by: str | None = None,
        html: str | None = None,
        history: str | None = None,
    ) -> None:
        self._tariffs, self._html = tariffs, html
        self.draws = html is not None
        rated = () if tariffs is None else (tariffs.price, tariffs.carbon, tariffs.pue)
        self._wanted = any(one is not None for one in (by, html, *rated))
        self._by = by or "job"
        self._cleanup = ExitStack()
        self._page: tuple[dict[str, Any], dict[str, Any]] | None = None
        self.history = history
        if self._wanted and history is None:
            folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="wattshed-"))
            self.history = str(Path(folder) / _NAME)

    def __enter__(self) -> Self:
        """Keep the history until the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the history, unless the user named it."""
        self._cleanup.close()

    def report(self, answer: Mapping[str, Any], boundary: str) -> dict[str, Any] | None:
        """Make the report that is asked for; None if none is.

        Parameters
        ----------
        answer : mapping
            ``wattshed.replay/1``; its end is what the report calls now.
        boundary : str
            What the energies are of, in a sentence.

        Returns
        -------
        dict
            ``wattshed.report/1`` with its notes, see `agent.reports.amounts.priced`.
        """
        if not self._wanted or self.history is None or self._tariffs is None:
            return None
        from wattshed.agent.reports.amounts import priced  # noqa: PLC0415 - for those who ask for it
        from wattshed.agent.reports.notes import notes_of  # noqa: PLC0415
        from wattshed.agent.reports.questions import DAY_S, report_of  # noqa: PLC0415
        from wattshed.agent.reports.sources import StoreSource  # noqa: PLC0415

        end_s = float(answer["end_s"] or 0.0)
        source = StoreSource(self.history, clock=lambda: end_s)
        step_s = self._tariffs.step_s() or (DAY_S if self._html else None)
        found = doubted_as(answer["gpus"], report_of(source, {}, self._by, step_s, now_s=end_s))
        hosts = {gpu["host"] for gpu in answer["gpus"]}
        if len(hosts) > 1:
            found["host"] = counted(len(hosts), "host")
        document = {**priced(found, self._tariffs), "energy_is_of": boundary}
        self._page = (document, found)
        return {**document, "notes": notes_of(document)}

    def print(self, out: TextIO) -> None:
        """Print the report that was made, as a table."""
        if self._page is None:
            return
        from wattshed.agent.reports.sheet import print_sheet, sheet_of  # noqa: PLC0415 - for those who ask for it

        out.write(f"\nBy {self._by}\n")
        sheet = sheet_of(self._page[0])
        print_sheet(replace(sheet, notes=sheet.notes[1:]), out)  # the first says what the tables above said

    def write_page(self, answer: Mapping[str, Any], power: PowerOverTime | None) -> None:
        """Write the page that is asked for, of the report that was made.

        Parameters
        ----------
        answer : mapping
            ``wattshed.replay/1``.
        power : PowerOverTime or None
            Of what was replayed.

        Raises
        ------
        InputError
            It cannot be written.
        """
        if self._html is not None and self._page is not None:
            from wattshed.agent.reports.html import write_page  # noqa: PLC0415
            from wattshed.agent.reports.power_plots import rejected_lines  # noqa: PLC0415

            write_page(Path(self._html), *self._page, _plots(answer, power), rejected_lines(answer["sources"]))


def doubted_as(gpus: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> dict[str, Any]:
    """Give a report the sigma of the GPUs that are replayed.

    What a GPU's energy may be off by is in every row, in proportion: a row has no less of it, and more where it is not
    known whose the energy was. That moves joules from row to row only, so the total has what the GPUs have.

    Parameters
    ----------
    gpus : sequence of mapping
        Of ``wattshed.replay/1``.
    found : mapping
        ``wattshed.report/1``.
    """
    joules = float(found["total"]["energy_j"])
    sigma_j = math.fsum(gpu["sigma_j"] for gpu in gpus)
    if joules <= 0:
        return dict(found)
    rows = [{**row, "sigma_j": max(row["sigma_j"], sigma_j * float(row["energy_j"]) / joules)} for row in found["rows"]]
    return {**found, "rows": rows, "total": {**found["total"], "sigma_j": sigma_j}}


def _plots(answer: Mapping[str, Any], power: PowerOverTime | None) -> list[PowerPlot]:
    """Lay power over time out by job, and by GPU where there are several or no job is known."""
    from wattshed.agent.replay.power import gpu_key  # noqa: PLC0415
    from wattshed.agent.reports.power_plots import power_plot  # noqa: PLC0415

    if power is None:
        return []
    names = {
        gpu_key(gpu["host"], gpu["uuid"] or str(gpu["gpu"])): f"{gpu['host']} GPU {gpu['gpu']}".strip()
        for gpu in answer["gpus"]
    }
    step_s = power.step_us / 1e6
    by_job = power_plot("job", power.steps(), power.energies_j(), step_s)
    by_gpu = power_plot("GPU", power.gpu_steps(), power.gpu_energies_j(), step_s, names)
    wanted = [by_job if answer["jobs"] else None, by_gpu if len(names) > 1 or not answer["jobs"] else None]
    return [plot for plot in wanted if plot is not None]
