"""What a state file holds: one host's accounts as plain values, and the accounts made of them again."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.beside import BesideBooks
from wattshed.agent.accounts.by_name import named, of_names
from wattshed.agent.accounts.hole import Hole
from wattshed.agent.accounts.host import GpuBooks
from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.ledger import GpuKey, JobAccount, Line
from wattshed.agent.accounts.modules import Module
from wattshed.agent.accounts.node_shares import parts_of_plain
from wattshed.agent.accounts.pending_usage import PendingUsage
from wattshed.agent.accounts.work import JobWork, PendingWork
from wattshed.agent.window import Device, JobKey
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.records import objects, of_objects

if TYPE_CHECKING:
    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator
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


def restore(accounts: Accounts, calibrator: Calibrator, host: str, state: dict[str, Any]) -> None:
    """Take over all of a state, or nothing.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        It is no state of this version.
    """
    found = [_gpu(place, gpu) for place, gpu in enumerate(state["gpus"])]
    jobs = {}
    for entry in state["jobs"]:
        job = JobAccount(
            JobKey(entry["key"]), dict(entry["labels"]), int(entry["start_us"]), int(entry["end_us"]),
            int(entry["method"]), folded=bool(entry["folded"]),
            shown_from_us=None if entry["shown_from_us"] is None else int(entry["shown_from_us"]),
        )  # fmt: skip
        job.lines = _lines(host, entry["lines"])
        job.shown_hnj = job.energy_hnj
        job.work = JobWork.of_plain(entry["work"]) if entry.get("work") is not None else None
        job.node_hnj = parts_of_plain(entry.get("node_hnj", {}))
        jobs[job.key] = job
    ended = {GpuKey(host, str(one["gpu"])): int(one["energy_hnj"]) for one in state["ended"]}
    other = _lines(host, state["other"])
    folded, since_us, shown_us = int(state["folded"]), state["since_us"], int(state["shown_us"])
    learned_mw = {uuid: float(mw) for uuid, mw in state["idle_mw"].items()}
    work = PendingWork()
    if "work" in state:
        work.restore(state["work"])
    beside = BesideBooks.of_plain(state.get("beside", ()), state.get("node"), state.get("shares"))
    ended_node, other_node = (parts_of_plain(state.get(f"{name}_node", {})) for name in ("ended", "other"))
    # All of it can be believed: from here on nothing fails.
    accounts.restore(host, found)
    accounts.since_us = since_us
    ledger: Ledger = accounts.ledger
    ledger.jobs, ledger.ended_hnj, ledger.other, ledger.folded, ledger.shown_us = jobs, ended, other, folded, shown_us
    ledger.work, ledger.ended_node_hnj, ledger.other_node_hnj = work, ended_node, other_node
    if beside.meters:
        accounts.beside[host] = beside
    calibrator.learned_mw.update(learned_mw)


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
    watts = (gpu["watts"], gpu["open_slots"]) if gpu.get("watts") is not None else None
    hole = Hole.of_plain(gpu["hole"])
    return GpuBooks(account, of_names(GpuState, gpu["state"]), hole, late_hole, waiting, watts)


def _module(values: dict[str, Any] | None) -> Module | None:
    if values is None:
        return None
    return Module(int(values["energy_hnj"]), of_objects([of_names(GpuState, values["state"])], GpuState))


def _lines(host: str, lines: list[dict[str, Any]]) -> dict[GpuKey, Line]:
    """Read lines, each with the name of its GPU."""
    return {GpuKey(host, str(line.pop("gpu"))): of_names(Line, line) for line in lines}
