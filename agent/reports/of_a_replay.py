"""What a replay's energy cost and emitted, by job, user or account: the report of the history that it would leave.

The replay writes its history (`replay.history`) into a folder that is removed afterwards, unless the user named one,
and `wattshed report` has the rest: values that change over time, doubt, and rows that add up.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

from wattshed.agent.reports.tariff_flags import add_tariff_flags, tariffs_of

if TYPE_CHECKING:
    import argparse
    from types import TracebackType

    from wattshed.agent.reports.amounts import Tariffs

BY = ("job", "user", "account", "partition", "namespace", "qos", "host", "model", "day", "month")
_NAME = "history.db"


def add_amount_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that ask for a sheet of energy and what it cost."""
    money = add_tariff_flags(parser, columns="--tariff-columns")
    money.add_argument("--by", choices=BY, metavar="WHAT", help=f"also add up by {', '.join(BY[:-1])} or {BY[-1]}")
    money.add_argument("--html", metavar="FILE", help="also write that as a page to look at")


def amounts_of(args: argparse.Namespace) -> Amounts:
    """Read the flags of `add_amount_flags`, and ``history``.

    Raises
    ------
    InputError
        A tariff cannot be used.
    """
    return Amounts(tariffs_of(args), by=args.by, html=args.html, history=args.history)


class Amounts:
    """Where the history of a replay lies until its report is made.

    Parameters
    ----------
    tariffs : Tariffs
    by : str, optional
        One of `BY`.
    html : str, optional
        The page is written there.
    history : str, optional
        Where the user wants the history.
    """

    def __init__(
        self, tariffs: Tariffs, *, by: str | None = None, html: str | None = None, history: str | None = None
    ) -> None:
        self._tariffs = tariffs
        self._html = html
        rated = (tariffs.price, tariffs.carbon, tariffs.pue)
        self._wanted = by is not None or html is not None or any(one is not None for one in rated)
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

    def report(self, end_s: float, boundary: str) -> dict[str, Any] | None:
        """Make the report that is asked for; None if none is.

        Parameters
        ----------
        end_s : float, s
            End of the trace, Unix time: what the report calls now.
        boundary : str
            What the energies are of, in a sentence.

        Returns
        -------
        dict
            ``wattshed.report/1`` with its notes, see `agent.reports.amounts.priced`.
        """
        if not self._wanted or self.history is None:
            return None
        from wattshed.agent.reports.amounts import priced  # noqa: PLC0415 - for those who ask for it
        from wattshed.agent.reports.notes import notes_of  # noqa: PLC0415
        from wattshed.agent.reports.questions import DAY_S, report_of  # noqa: PLC0415
        from wattshed.agent.reports.sources import StoreSource  # noqa: PLC0415

        source = StoreSource(self.history, clock=lambda: end_s)
        step_s = self._tariffs.step_s() or (DAY_S if self._html else None)
        found = report_of(source, {}, self._by, step_s, now_s=end_s)
        document = {**priced(found, self._tariffs), "energy_is_of": boundary}
        self._page = (document, found)
        return {**document, "notes": notes_of(document)}

    def print(self, out: TextIO) -> None:
        """Print the report that was made, as a table."""
        from wattshed.agent.reports.sheet import print_sheet, sheet_of  # noqa: PLC0415

        if self._page is not None:
            out.write(f"\nBy {self._by}\n")
            sheet = sheet_of(self._page[0])
            print_sheet(replace(sheet, notes=sheet.notes[1:]), out)  # the first says what the tables above said

    def write_page(self) -> None:
        """Write the page that is asked for, of the report that was made.

        Raises
        ------
        InputError
            It cannot be written.
        """
        if self._html is not None and self._page is not None:
            from wattshed.agent.reports.html import write_page  # noqa: PLC0415

            write_page(Path(self._html), *self._page)
