"""One replay, whoever asks for it: the command and the library book here, and have the same answer."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wattshed.agent.errors import InputError, counted
from wattshed.agent.printing.progress import in_sight
from wattshed.agent.replay.books import book, finish, look, merge, needs_survey, new_part, pieces_of, settled
from wattshed.agent.replay.nothing import gpus_of_nothing, refuse_nothing
from wattshed.agent.replay.placing import WhereSummed, place
from wattshed.agent.replay.progress import kernels_for, reading
from wattshed.agent.replay.report import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from wattshed.agent.inputs.report import SourceReport
    from wattshed.agent.replay.books import Part, Settings, Tell
    from wattshed.agent.replay.history import ReplayedHistory
    from wattshed.agent.replay.points import Points
    from wattshed.agent.replay.power import PowerOverTime
    from wattshed.agent.replay.work_feed import WorkFeed
    from wattshed.agent.traces.sources import Chain
    from wattshed.agent.window import Window

_OF_POWER = ("compare_watts", "jobs", "plot", "openmetrics", "remote_write", "history")
_OF_ONE_PROCESS = ("openmetrics", "remote_write", "history", "plot")
_OF_A_REPORT = ("by", "price", "carbon", "pue", "html")
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay.

    Attributes
    ----------
    part : Part
        The accounts of all chains, closed.
    settings : Settings
        What they were booked by, the GPUs of the jobs named.
    where : WhereSummed
    interrupted : bool
        Whether only a part was read.
    """

    part: Part
    settings: Settings
    where: WhereSummed
    interrupted: bool = False

    def notes(self) -> list[str]:
        """Say in one line each what the user should know about the traces and the jobs.

        Raises
        ------
        InputError
            If no energy at all is known, though all was read.
        """
        whole = self.part
        if not whole.windows and not self.interrupted:
            damaged = next((report for report in whole.reports if report.rejected), None)
            what = "nothing in it is intact" if damaged else "it contains no window"
            raise InputError(what, (damaged or whole.reports[0]).path)
        if not self.interrupted:
            refuse_nothing(whole)
        return [
            *self.settings.notes,
            *gpus_of_nothing(whole),
            *notes_of(whole.reports),
            *_jobs_without(whole, self.settings),
        ]

    def document(self) -> dict[str, Any]:
        """Make the document of schema ``wattshed.replay/1``, see `agent.replay.report.document`.

        Raises
        ------
        InputError
            If no energy at all is known, though all was read.
        """
        found = document(self.part, self.where.told(), partial=self.interrupted, notes=self.notes())
        if self.part.common is not None:
            from wattshed.agent.replay.compare_watts import comparison  # noqa: PLC0415 - for those who ask for it

            common = document(replace(self.part, accounts=self.part.common, common=None))
            found["compare_watts"] = comparison(common, found, self.part.accounts)
        return found


def notes_of(reports: Iterable[SourceReport]) -> Iterator[str]:
    """Say in one line each what was odd about files, and what of them was left out."""
    for report in reports:
        yield from (f"{report.path}: {note}" for note in report.notes)
        if report.rows_rejected:
            reasons = ", ".join(f"{reason} {count}" for reason, count in report.rejected.most_common())
            at = next((f", first at line {bad.line}" for bad in report.bad if bad.line), "")
            yield f"{report.path}: {report.rows_rejected} of {report.rows} rows rejected ({reasons}{at})"


def _jobs_without(whole: Part, settings: Settings) -> Iterator[str]:
    """Say which jobs of the jobs file are not in the traces."""
    if settings.jobs is None:
        return
    missing = sorted({row.host for row in settings.jobs if row.host} - whole.matched_hosts)
    if missing:
        nameless = any(not key.host for key in whole.accounts.gpus)
        hint = "; for a trace that names no host, write FILE@HOST" if nameless else ""
        yield f"the jobs file names hosts that are not in the traces: {_shown(missing)}{hint}"
    booked = {job.key for job in whole.accounts.ledger.jobs.values()}
    absent = list(dict.fromkeys(row.job for row in settings.jobs if row.job not in booked))
    if absent:
        who = counted(len(absent), "job")
        yield f"{who} of the jobs file held no GPU of the traces in their time: {_shown(absent)}"


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")


def refuse(asked: Mapping[str, object]) -> None:
    """Refuse what one process does, where several are asked for.

    Parameters
    ----------
    asked : mapping
        What is asked for, by the names of the command's flags; None stands for what is not.

    Raises
    ------
    InputError
        It names the flag.
    """
    if not (asked.get("workers") or asked.get("scheduler")):
        return
    if asked.get("device") == "cuda":
        raise InputError("--device cuda works in one process; leave --workers and --scheduler out")
    if asked.get("work") is not None:
        raise InputError("--work is read by one process; leave --workers and --scheduler out")
    given = [f"--{name.replace('_', '-')}" for name in _OF_ONE_PROCESS if asked.get(name) is not None]
    if any(asked.get(name) is not None for name in _OF_A_REPORT):
        given.append("--by, --price, --carbon, --pue and --html")
    if given:
        raise InputError(f"{given[0]} is written by one process; leave --workers and --scheduler out")


def refuse_for_runs(asked: Mapping[str, object], chains: list[Chain]) -> None:
    """Refuse what needs power over time where the traces are tables of runs, which have none; see `refuse`.

    Raises
    ------
    InputError
        It names the flag.
    """
    if any(chain.holds_runs for chain in chains):
        for name in _OF_POWER:
            if asked.get(name) not in (None, False):
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} needs power over time, and a table of runs has none; leave it out")


def replay_on_cluster(
    chains: list[Chain], settings: Settings, *, device: str, workers: int = 0, scheduler: str = ""
) -> Replayed:
    """Replay in processes of this machine, or on a running Dask cluster; see `agent.replay.cluster`.

    Raises
    ------
    InputError
        If there is no cluster, or a trace cannot be used.
    """
    from wattshed.agent.replay.cluster import book_on_cluster  # noqa: PLC0415 - an extra

    done, settings = book_on_cluster(chains, settings, workers=workers, address=scheduler)
    return Replayed(merge(done), settings, place(device, chains, in_windows=False, alone=False))


def replay(
    chains: list[Chain],
    settings: Settings,
    *,
    device: str = "auto",
    points: Points | None = None,
    history: Path | None = None,
    power: PowerOverTime | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Replayed:
    """Replay in this process.

    Parameters
    ----------
    chains : list of Chain
    settings : Settings
    device : {"auto", "cpu", "cuda"}
    points : Points, optional
        Gets the energies every 15 s.
    history : Path, optional
        A new history of ended jobs is written there.
    power : PowerOverTime, optional
        Gets the power of each job over time.
    stop : callable, optional
        Asked between blocks; when it says so, what was read is the answer.

    Raises
    ------
    InputError
        If a trace cannot be used.
    """
    feed = _feed(settings)
    where = place(device, chains, in_windows=any(one is not None for one in (points, history, power, feed)))
    with kernels_for(chains):
        if needs_survey(chains, settings):
            with in_sight("finding the GPUs of the jobs"):
                settings = settled(settings, (look(chain, settings, stop) for chain in chains))
        with reading(chains) as tell, _history(history, settings) as kept:
            sees = [partial(kept.see, native=chain.native) if kept else None for chain in chains]
            done = [
                _booked(chain, settings, points, tell, stop, where=where, see=see, power=power, feed=feed)
                for chain, see in zip(chains, sees, strict=True)
            ]
    whole = merge(done)
    if feed is not None:
        settings = replace(settings, notes=(*settings.notes, *feed.notes(whole.accounts.ledger)))
    return Replayed(whole, settings, where, stop())


def _feed(settings: Settings) -> WorkFeed | None:
    """Return what gives the work of a table to the windows; None if there is no table."""
    if not settings.work:
        return None
    from wattshed.agent.replay.work_feed import WorkFeed  # noqa: PLC0415 - for those who have such a table

    return WorkFeed(settings.work)


@contextmanager
def _history(path: Path | None, settings: Settings) -> Iterator[ReplayedHistory | None]:
    """Open the history that is asked for; what was read is in it, whatever ends the reading."""
    if path is None:
        yield None
        return
    from wattshed.agent.replay.history import ReplayedHistory  # noqa: PLC0415 - a database is opened only here

    with closing(ReplayedHistory(path, settings)) as history:
        yield history


def _booked(
    chain: Chain,
    settings: Settings,
    points: Points | None,
    tell: Tell,
    stop: Callable[[], bool],
    *,
    where: WhereSummed,
    see: Callable[[Window], None] | None = None,
    power: PowerOverTime | None = None,
    feed: WorkFeed | None = None,
) -> Part:
    """Attribute one chain, with points for the outlets, and power for the picture, if wanted."""
    if points is not None:
        from wattshed.agent.replay.points import book_with_points  # noqa: PLC0415

        return book_with_points(chain, settings, points, tell=tell, see=see, stop=stop, power=power, feed=feed)
    part = new_part(settings, where.book_powers)
    follower = None if power is None else power.follow(part.accounts)
    cut = None if follower is None else follower.cut
    # A chain is read ahead over its days, except where a history is told of each day by itself.
    for piece in [chain] if see is None else pieces_of(chain):
        book(piece, settings, part, tell=tell, cut=cut, see=see, stop=stop, gather=where.gather, feed=feed)
    finish(part)
    if follower is not None:
        follower.take()
    return part
