"""The jobs of a replay as runs of an ``emissions.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wattshed.agent.printing.emissions import MeasuredRun, append_emissions
from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wattshed.agent.replay.running import Replayed


def write_emissions(
    path: str, done: Replayed, answer: Mapping[str, Any], *, carbon: float | None = None, pue: float | None = None
) -> None:
    """Append a row for each job whose times are known; see `agent.printing.emissions.append_emissions`.

    Parameters
    ----------
    path : str
    done : Replayed
    answer : mapping
        Its document.
    carbon : float, optional, g/kWh
    pue : float, optional

    Raises
    ------
    InputError
        If the file has other columns, or cannot be written.
    """
    append_emissions(path, _runs(done, answer), carbon_g_per_kwh=carbon, pue=pue, zone=done.settings.options.local)


def _runs(done: Replayed, answer: Mapping[str, Any]) -> Iterator[MeasuredRun]:
    accounts = done.part.accounts
    jobs = {job.key: job for job in accounts.ledger.jobs.values()}
    for job in answer["jobs"]:
        account = jobs[job["job"]]
        if account.start_us <= MISSING or account.end_us <= MISSING:
            continue
        models = {accounts.gpus[key].device.model for key in account.lines}
        yield MeasuredRun(
            name=job.get("name", job["job"]),
            run_id=job["job"],
            end_s=account.end_us / 1e6,
            duration_s=(account.end_us - account.start_us) / 1e6,
            energy_j=job["energy_j"].uj / 1e6,
            gpus=len(account.lines),
            model=", ".join(sorted(filter(None, models))),
        )
