"""What a state file holds: one host's accounts as plain values, and the accounts made of them again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.beside import BesideBooks
from wattshed.agent.accounts.by_name import named, of_names
from wattshed.agent.accounts.forms import rows
from wattshed.agent.accounts.hole import Hole
from wattshed.agent.accounts.host import GpuBooks
from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.ledger import GpuKey, JobAccount, Line
from wattshed.agent.accounts.modules import Module
from wattshed.agent.accounts.pending_usage import PendingUsage
from wattshed.agent.accounts.state_form import IDLE_MW, WAITING_WORK, WORK_OF_JOB
from wattshed.agent.accounts.work import JobWork, PendingWork
from wattshed.agent.window import Device, JobKey
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.records import objects, of_objects

if TYPE_CHECKING:
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator
    from wattshed.agent.accounts.forms import Form
    from wattshed.agent.accounts.ledger import Ledger


def plain_device(device: Device) -> dict[str, Any]:
    """Lay out what is known of a GPU, without what its driver is asked for again at every start."""
    return asdict(device) | {"capabilities": {}, "publication_us": {}}


def plain_gpu(books: GpuBooks) -> dict[str, Any]:
    """Lay out one GPU's accounts, but for its device; integers of any size survive JSON."""
    account = books.account
    return {
        "energy_hnj": account.energy_hnj,
        "idle_hnj": account.idle_hnj,
        "unattributed_hnj": account.unattributed_hnj,
        "totals": named(account.totals),
        "booked_us": account.booked_us,
        "silent_us": account.silent_us,
        "missing_us": account.missing_us,
        "state": named(books.state),
        "hole": books.hole.plain(),
        "late_hole": named(books.late) if books.late is not None else None,
        "waiting": books.waiting.plain(),
        "module": _plain_module(account.module),
        "xids": {str(number): count for number, count in account.xids.items()},
        "last_xid": account.last_xid,
        "watts": None if books.watts is None else books.watts[0],
        "open_slots": None if books.watts is None else books.watts[1],
    }


def plain_job(job: JobAccount) -> dict[str, Any]:
    """Lay out one job's account."""
    return {
        "key": job.key,
        "labels": dict(job.labels),
        "start_us": job.start_us,
        "end_us": job.end_us,
        "method": job.method,
        "folded": job.folded,
        "shown_from_us": job.shown_from_us,
        "lines": [{"gpu": gpu.gpu, **named(line)} for gpu, line in job.lines.items()],
        "work": job.work.plain() if job.work is not None else None,
        "node_hnj": dict(job.node_hnj),
    }


def plain_rest(accounts: Accounts, calibrator: Calibrator) -> dict[str, Any]:
    """Lay out what is neither one GPU's nor one job's."""
    ledger = accounts.ledger
    return {
        "since_us": accounts.since_us,
        "idle_mw": dict(calibrator.learned_mw),
        "ended": [{"gpu": gpu.gpu, "energy_hnj": hnj} for gpu, hnj in ledger.ended_hnj.items()],
        "other": [{"gpu": gpu.gpu, **named(line)} for gpu, line in ledger.other.items()],
        "folded": ledger.folded,
        "shown_us": ledger.shown_us,
        "work": ledger.work.plain(),
        "ended_node": dict(ledger.ended_node_hnj),
        "other_node": dict(ledger.other_node_hnj),
    }


def plain_node(accounts: Accounts, host: str) -> dict[str, Any]:
    """Lay out the book of one host's node, if it has any meter beside its GPUs'."""
    if host not in accounts.beside:
        return {}
    books = accounts.beside[host]
    return {"node": books.node.plain(), "shares": books.shares.plain()}


def _plain_module(module: Module | None) -> dict[str, Any] | None:
    if module is None:
        return None
    (state,) = objects(module.state, GpuState)
    return {"energy_hnj": module.energy_hnj, "state": named(state)}


def restore(accounts: Accounts, calibrator: Calibrator, host: str, state: dict[str, Any]) -> list[str]:
    """Take over a state that was checked (`state_form.checked`); what no joule depends on begins anew where damaged.

    Returns
    -------
    list of str
        What begins anew, and why.
    """
    anew: list[str] = []

    def is_sound(form: Form, value: object, what: str) -> bool:
        try:
            form(value, "it")
        except ValueError as error:
            anew.append(f"{what} begins anew ({error})")
            return False
        return True

    work = [entry.get("work") for entry in state["jobs"]]
    if not is_sound(rows(WORK_OF_JOB), work, "work of jobs"):
        work = [None] * len(work)
    jobs = [_job(host, entry, done) for entry, done in zip(state["jobs"], work, strict=True)]
    waiting = PendingWork()
    if is_sound(WAITING_WORK, state.get("work"), "work that waits for its energy"):
        waiting.restore(state["work"])
    idle_mw = state["idle_mw"] if is_sound(IDLE_MW, state.get("idle_mw"), "learned idle power") else {}
    other, ended = _lines(host, state["other"]), {GpuKey(host, one["gpu"]): one["energy_hnj"] for one in state["ended"]}
    beside = BesideBooks.of_plain(state["beside"], state["node"], state["shares"]) if state["beside"] else None
    # Until here nothing was taken over; from here on nothing fails.
    unlearned = accounts.restore(host, [_gpu(place, gpu) for place, gpu in enumerate(state["gpus"])])
    if unlearned:
        why = next(iter(unlearned.values()))
        anew.append(f"learned watts of {', '.join(key.gpu for key in unlearned)} begin anew ({why})")
    accounts.since_us = state["since_us"]
    ledger: Ledger = accounts.ledger
    ledger.jobs, ledger.work = {job.key: job for job in jobs}, waiting
    ledger.ended_hnj, ledger.other, ledger.folded, ledger.shown_us = ended, other, state["folded"], state["shown_us"]
    ledger.ended_node_hnj, ledger.other_node_hnj = state["ended_node"], state["other_node"]
    if beside is not None:
        accounts.beside[host] = beside
    calibrator.learned_mw.update(idle_mw)
    return anew


def _job(host: str, entry: dict[str, Any], work: dict[str, Any] | None) -> JobAccount:
    job = JobAccount(
        JobKey(entry["key"]), entry["labels"], entry["start_us"], entry["end_us"], entry["method"],
        _lines(host, entry["lines"]), folded=entry["folded"], shown_from_us=entry["shown_from_us"],
        work=None if work is None else JobWork.of_plain(work), node_hnj=entry["node_hnj"],
    )  # fmt: skip
    job.shown_hnj = job.energy_hnj
    return job


def _gpu(place: int, gpu: dict[str, Any]) -> GpuBooks:
    account = GpuAccount(
        Device(**gpu["device"]),
        int(gpu["energy_hnj"]),
        int(gpu["idle_hnj"]),
        int(gpu["unattributed_hnj"]),
        of_names(Diagnostics, gpu["totals"]),
        booked_us=int(gpu["booked_us"]),
        silent_us=int(gpu.get("silent_us", 0)),
        missing_us=int(gpu.get("missing_us", 0)),
        module=_module(gpu.get("module")),
        xids={int(number): int(count) for number, count in gpu.get("xids", {}).items()},
        last_xid=None if gpu.get("last_xid") is None else int(gpu["last_xid"]),
    )
    late = gpu.get("late_hole")
    late_hole = of_names(LateHole, late) if late is not None else None
    waiting = PendingUsage.of_plain(place, gpu["waiting"])
    watts = (gpu["watts"], gpu.get("open_slots")) if gpu.get("watts") is not None else None
    hole = Hole.of_plain(gpu["hole"])
    return GpuBooks(account, of_names(GpuState, gpu["state"]), hole, late_hole, waiting, watts)


def _module(values: dict[str, Any] | None) -> Module | None:
    if values is None:
        return None
    return Module(int(values["energy_hnj"]), of_objects([of_names(GpuState, values["state"])], GpuState))


def _lines(host: str, lines: list[dict[str, Any]]) -> dict[GpuKey, Line]:
    """Read lines, each with the name of its GPU."""
    return {GpuKey(host, str(line.pop("gpu"))): of_names(Line, line) for line in lines}
