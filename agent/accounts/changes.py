"""What changed in the accounts since they were saved last, and the state that changes make.

Nothing tells of its changes, since what forgot to would be lost: what is cheap to compare (a job's numbers, a cut that
is replaced and never changed) is compared, and only what differs is laid out and encoded.
"""

from __future__ import annotations

from dataclasses import fields
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

from wattshed.agent.accounts.content import plain_device, plain_gpu, plain_job, plain_node, plain_rest
from wattshed.agent.accounts.ledger import Line
from wattshed.agent.wire import parts_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator
    from wattshed.agent.accounts.cuts import Cuts
    from wattshed.agent.accounts.ledger import JobAccount
    from wattshed.agent.window import Device, JobKey

_LINE = attrgetter(*(column.name for column in fields(Line)))
_MERGED = ("state", "totals")
"""Records of a GPU, of which only the fields that changed are told."""
_ROWS: dict[str, Callable[[Any], Any]] = {
    "gpus": itemgetter("gpu"),
    "jobs": itemgetter("key"),
    "beside": itemgetter("name"),
}
_NAMED_IN_CUTS = ("runs", "power", "known_watts")
_ROWS_OF_CUTS: dict[str, Callable[[Any], Any]] = {
    "cuts": itemgetter(0, 1),
    "outbox": itemgetter("seq"),
    "records": itemgetter("key", "run_us"),
}
"""What tells rows of a list apart. A change holds those that are new or differ, and names in ``gone`` the others."""


class LastSaved:
    """The accounts of one host as they were saved last, as far as telling what changed since takes."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._rest: dict[str, Any] = {}
        self._devices: dict[str, Device] = {}
        self._gpus: dict[str, dict[str, Any]] = {}
        self._jobs: dict[JobKey, tuple[tuple[Any, ...], dict[str, str]]] = {}
        self._beside: dict[str, dict[str, Any]] = {}
        self._cuts = _SavedCuts()

    @classmethod
    def whole(
        cls, host: str, accounts: Accounts, calibrator: Calibrator, cuts: Cuts | None
    ) -> tuple[LastSaved, dict[str, Any]]:
        """Return all of the accounts, and what takes note of what changes from there."""
        saved = cls(host)
        found = saved.changed(accounts, calibrator, None)
        del found["gone"]
        found.pop("order", None)
        if cuts is not None:
            saved._cuts.changed(cuts)
        return saved, found | {"cuts": cuts.plain() if cuts is not None else None}

    def changed(self, accounts: Accounts, calibrator: Calibrator, cuts: Cuts | None) -> dict[str, Any]:
        """Return what changed, and take note of it."""
        rest = plain_rest(accounts, calibrator) | plain_node(accounts, self._host)
        found = {name: value for name, value in rest.items() if name not in self._rest or self._rest[name] != value}
        self._rest = rest
        books = dict(zip(accounts.keys_of(self._host), accounts.books_of(self._host), strict=True))
        order = [key.gpu for key in books]
        if order != list(self._gpus):
            found["order"] = order
            self._gpus = {gpu: self._gpus[gpu] for gpu in order if gpu in self._gpus}
        found["gpus"] = []
        for key, one in books.items():
            entry, before = plain_gpu(one), self._gpus.get(key.gpu)
            patch = _differing(before, entry)
            device, known = one.account.device, self._devices.get(key.gpu)
            if known is not device and known != device:
                self._devices[key.gpu] = device
                patch = patch | {"device": plain_device(device)}
            if patch:
                found["gpus"].append({"gpu": key.gpu, **patch})
            self._gpus[key.gpu] = entry
        found["jobs"], found["gone"] = self._changed_jobs(accounts.ledger.jobs)
        if (beside := accounts.beside.get(self._host)) is not None:
            meters = beside.plain()
            patches = [(name, _differing(self._beside.get(name), book)) for name, book in meters.items()]
            found["beside"] = [{"name": name, **patch} for name, patch in patches if patch]
            self._beside = meters
        if cuts is not None:
            found["cuts"] = self._cuts.changed(cuts)
        return found

    def _changed_jobs(self, jobs: Mapping[JobKey, JobAccount]) -> tuple[list[dict[str, Any]], list[JobKey]]:
        """Return the jobs that differ, and the names of those that are no more."""
        found, known = [], self._jobs
        for key, job in jobs.items():
            before, numbers = known.get(key), _numbers(job)
            if before is None or before[0] != numbers or before[1] != job.labels:
                known[key] = numbers, dict(job.labels)
                found.append(plain_job(job))
        gone = [key for key in known if key not in jobs] if len(known) > len(jobs) else []
        for key in gone:
            del known[key]
        return found, gone


class _SavedCuts:
    """The cuts as they were saved last: what is in them is replaced when it changes, so that it is told by identity."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[Any, Any]] = {}
        self._rest: dict[str, Any] = {}

    def changed(self, cuts: Cuts) -> dict[str, Any]:
        """Return what changed, and take note of it."""
        rest = cuts.plain_rest()
        found = {name: value for name, value in rest.items() if name not in self._rest or self._rest[name] != value}
        self._rest = rest
        gone: dict[str, list[Any]] = {}
        new: dict[str, dict[Any, Any]] = {}
        tables: dict[str, dict[Any, Any]] = {
            "cuts": cuts.cuts, "runs": cuts.runs, "power": cuts.power,
            "known_watts": cuts.watts.kept,
            "outbox": {part.seq: part for part in cuts.outbox}, "records": cuts.records,
        }  # fmt: skip
        for name, table in tables.items():
            before = self._tables.get(name, {})
            new[name] = {key: row for key, row in table.items() if before.get(key) is not row}
            if left := [key for key in before if key not in table]:
                gone[name] = left
            if left or new[name]:
                self._tables[name] = dict(table)
        if "cuts" in gone:
            gone["cuts"] = [[owner, gpu.gpu] for owner, gpu in gone["cuts"]]
        found |= {
            "gone": gone,
            "cuts": [[owner, gpu.gpu, *cut.plain()] for (owner, gpu), cut in new["cuts"].items()],
            "runs": new["runs"],
            "power": new["power"],
            "known_watts": new["known_watts"],
            "outbox": [parts_json.plain(part) for part in new["outbox"].values()],
            "records": [parts_json.plain_record(record) for record in new["records"].values()],
        }
        return {name: value for name, value in found.items() if value or name in rest}


def _numbers(job: JobAccount) -> tuple[Any, ...]:
    lines = [(gpu, _LINE(line)) for gpu, line in job.lines.items()]
    work = job.work.numbers() if job.work is not None else None
    return job.start_us, job.end_us, job.method, job.folded, job.shown_from_us, lines, work, dict(job.node_hnj)


def _differing(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that differ; all, if there was nothing before."""
    if before is None:
        return now
    found = {name: value for name, value in now.items() if value != before[name]}
    for name in _MERGED:
        if name in found:
            was = before[name]
            found[name] = {field: value for field, value in found[name].items() if value != was[field]}
    return found


class Continued:
    """A state that changes are applied to.

    Parameters
    ----------
    state : dict
        As it was written whole; it is changed in place.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        state.setdefault("beside", [])  # where there are no other meters
        if others := [name for name in _ROWS if not isinstance(state[name], list)]:
            raise TypeError(f"no list of {' and of '.join(others)}")
        self._rows = {name: {key(row): row for row in state[name]} for name, key in _ROWS.items()}
        cuts = state["cuts"]
        self._cuts = {} if cuts is None else {n: {key(row): row for row in cuts[n]} for n, key in _ROWS_OF_CUTS.items()}

    def apply(self, change: dict[str, Any]) -> None:
        """Apply one change.

        Raises
        ------
        ValueError, KeyError, TypeError, AttributeError
            It is none of this version; the state may be half changed.
        """
        apart = {*_ROWS, "gone", "order", "cuts"}
        self._state.update({name: value for name, value in change.items() if name not in apart})
        gpus, jobs = self._rows["gpus"], self._rows["jobs"]
        for patch in change["gpus"]:
            gpu = gpus.setdefault(patch["gpu"], {})
            merged = {name: {**gpu[name], **patch[name]} for name in _MERGED if name in gpu and name in patch}
            gpu.update({**patch, **merged})
        if "order" in change:
            self._rows["gpus"] = {gpu: gpus[gpu] for gpu in change["order"]}
        for key in change["gone"]:
            del jobs[key]
        jobs.update((row["key"], row) for row in change["jobs"])
        for patch in change.get("beside", ()):
            self._rows["beside"].setdefault(patch["name"], {}).update(patch)
        if "cuts" in change:
            self._apply_cuts(self._state["cuts"], change["cuts"])

    def _apply_cuts(self, cuts: dict[str, Any], change: dict[str, Any]) -> None:
        gone = change.get("gone", {})
        for name in _NAMED_IN_CUTS:
            named = cuts.setdefault(name, {})  # files of older agents have no watts
            for key in gone.get(name, ()):
                del named[key]
            named.update(change.get(name, {}))
        for name, key_of in _ROWS_OF_CUTS.items():
            rows = self._cuts[name]
            for key in gone.get(name, ()):
                del rows[tuple(key) if isinstance(key, list) else key]
            rows.update((key_of(row), row) for row in change.get(name, ()))
        apart = {"gone", *_NAMED_IN_CUTS, *_ROWS_OF_CUTS}
        cuts.update({name: value for name, value in change.items() if name not in apart})

    def state(self) -> dict[str, Any]:
        """Return the state with all changes applied."""
        for name, rows in self._rows.items():
            self._state[name] = list(rows.values())
        for name, rows in self._cuts.items():
            self._state["cuts"][name] = list(rows.values())
        if self._cuts:  # where numbers started again, rows that have an old one's number lie in its place
            self._state["cuts"]["outbox"].sort(key=_ROWS_OF_CUTS["outbox"])
        return self._state
