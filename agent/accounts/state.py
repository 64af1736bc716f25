"""The accounts on disk: what a restart continues from.

The file is written before its numbers are published, so that no published counter ever goes backwards, whenever the
agent is killed. It is replaced by rename, carries its own checksum, and the one before is kept: a file that cannot be
trusted is set aside as ``*.corrupt``, and the agent starts from the one before, or from zero; it never refuses to.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from wattshed.agent.accounts.account import GpuAccount
from wattshed.agent.accounts.by_name import named, of_names
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.former_versions import upgraded
from wattshed.agent.accounts.hole import Hole
from wattshed.agent.accounts.host import GpuBooks
from wattshed.agent.accounts.late_holes import LateHole
from wattshed.agent.accounts.ledger import GpuKey, JobAccount, Line
from wattshed.agent.accounts.modules import Module
from wattshed.agent.accounts.pending_usage import PendingUsage
from wattshed.agent.window import Device, JobKey
from wattshed.kernels.billing.layout import Diagnostics, GpuState
from wattshed.kernels.records import objects, of_objects

if TYPE_CHECKING:
    from pathlib import Path

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator

VERSION = 5
"""Every number has its name; see `agent.accounts.former_versions` for those before."""
SLOW_S = 1.0
"""A disk that takes longer to have the state for certain is waited for only every `SLOW_SYNC_US`."""
SLOW_SYNC_US = 30_000_000


class StateError(Exception):
    """The file is not a state that can be trusted."""


class SlowDiskError(OSError):
    """The state was saved, but so slowly that for a while it is not certain to outlive a power cut."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was found on disk.

    Attributes
    ----------
    found : bool
        A trustworthy state was read into the accounts.
    same_boot : bool
        It was written since this machine booted, so the driver's counters may go on.
    saved_us : int, us
        When; 0 if nothing was found.
    problems : tuple of str
        One line per file that could not be trusted.
    cuts : Cuts or None
        What was cut for the history, and waited for it; None if there was no history then.
    """

    found: bool
    same_boot: bool
    saved_us: int
    problems: tuple[str, ...]
    cuts: Cuts | None = None


class StateFile:
    """Keeps one host's state in a folder.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    host, boot_id : str
        A state of another host is not taken over; one of another boot continues its totals but not its counters.
    name : str
        Of the file: made-up totals must never replace measured ones.
    """

    def __init__(self, folder: Path, host: str, boot_id: str, name: str = "state") -> None:
        self._path = folder / f"{name}.json"
        self._lock: IO[bytes] | None = None
        self._host, self._boot_id = host, boot_id
        self._sync_again_us = 0

    def claim(self) -> bool:
        """Lock this state for as long as this process lives; False if another agent has it.

        Raises
        ------
        OSError
            The folder cannot be written to.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._path.with_suffix(".lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def release(self) -> None:
        """Leave the state to the next agent."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save(
        self, accounts: Accounts, calibrator: Calibrator, now_us: int, *, cuts: Cuts | None = None, sync: bool = False
    ) -> bool:
        """Write the state as of ``now_us``, so that it outlives a kill and a power cut.

        Parameters
        ----------
        accounts : Accounts
        calibrator : Calibrator
        now_us : int, us
        cuts : Cuts, optional
            What was cut for the history, and waits for it.
        sync : bool
            Wait for the disk, however slow it was before.

        Returns
        -------
        bool
            Whether it is certain to outlive a power cut.

        Raises
        ------
        SlowDiskError
            The state is saved; the disk took so long that it will be spared for `SLOW_SYNC_US`.
        OSError
            The folder cannot be written to; the file that was there is untouched.
        """
        body = json.dumps(
            {
                "host": self._host,
                "boot_id": self._boot_id,
                "saved_us": now_us,
                "since_us": accounts.since_us,
                "idle_mw": calibrator.learned_mw,
                "cuts": cuts.plain() if cuts is not None else None,
                **_books(accounts, self._host),
            },
            separators=(",", ":"),
        ).encode()
        head = f"wattshed-state {VERSION} {zlib.crc32(body):08x} {len(body)}\n".encode()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sync = sync or now_us >= self._sync_again_us
        begun_s = time.monotonic()
        fresh = self._path.with_suffix(".fresh")
        with fresh.open("wb") as file:
            file.write(head + body)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        before = self._path.with_suffix(".before")
        if self._path.exists():
            # A link, then a rename over the name: at every moment there is a whole file under it.
            before.unlink(missing_ok=True)
            os.link(self._path, before)
        fresh.replace(self._path)
        if sync:
            _sync_folder(self._path.parent)
            took_s = time.monotonic() - begun_s
            if took_s > SLOW_S:
                self._sync_again_us = now_us + SLOW_SYNC_US
                message = f"the disk took {took_s:.1f} s to save the state; a power cut may now lose half a minute"
                raise SlowDiskError(message)
        return sync

    def restore(self, accounts: Accounts, calibrator: Calibrator) -> Restored:
        """Read the newest trustworthy state into empty accounts; what cannot be trusted is set aside."""
        problems = []
        for path in (self._path, self._path.with_suffix(".before")):
            try:
                state = _read(path)
                if state["host"] != self._host:
                    problems.append(
                        f"{path}: belongs to host {state['host']!r}, not {self._host!r}; starting from zero"
                    )
                    continue
                same_boot = state["boot_id"] == self._boot_id
                saved_us = int(state["saved_us"])
                cuts = Cuts.of_plain(self._host, state["cuts"]) if state["cuts"] is not None else None
                _restore_books(accounts, calibrator, self._host, state)
                return Restored(found=True, same_boot=same_boot, saved_us=saved_us, problems=tuple(problems), cuts=cuts)
            except FileNotFoundError:
                continue
            except (StateError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                problems.append(f"{path}: cannot be trusted ({error}); set aside")
                _put_aside(path)
        return Restored(found=False, same_boot=False, saved_us=0, problems=tuple(problems))


def _sync_folder(folder: Path) -> None:
    """Make sure that a rename in it is on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(path.name + ".corrupt"))
    except OSError:
        return  # a folder that cannot be written to: the next save will say so


def _read(path: Path) -> dict[str, Any]:
    head, _, body = path.read_bytes().partition(b"\n")
    words = head.split()
    if len(words) != 4 or words[0] != b"wattshed-state":
        raise StateError("not a state file")
    version = int(words[1])
    if not 1 <= version <= VERSION:
        raise StateError(f"version {version}, not {VERSION}")
    if len(body) != int(words[3]) or zlib.crc32(body) != int(words[2], 16):
        raise StateError("checksum does not match")
    state = json.loads(body)
    if not isinstance(state, dict):
        raise StateError("not an object")
    return state if version == VERSION else upgraded(state, version)


def _books(accounts: Accounts, host: str) -> dict[str, Any]:
    """Lay out one host's accounts as plain values; integers of any size survive JSON."""
    return {
        "gpus": [
            {
                "device": asdict(one.account.device) | {"capabilities": {}, "publication_us": {}},
                "energy_hnj": one.account.energy_hnj,
                "idle_hnj": one.account.idle_hnj,
                "unattributed_hnj": one.account.unattributed_hnj,
                "totals": named(one.account.totals),
                "booked_us": one.account.booked_us,
                "silent_us": one.account.silent_us,
                "missing_us": one.account.missing_us,
                "state": named(one.state),
                "hole": one.hole.plain(),
                "late_hole": named(one.late) if one.late is not None else None,
                "waiting": one.waiting.plain(),
                "module": _plain_module(one.account.module),
            }
            for one in accounts.books_of(host)
        ],
        "jobs": [
            {
                "key": job.key,
                "labels": job.labels,
                "start_us": job.start_us,
                "end_us": job.end_us,
                "method": job.method,
                "folded": job.folded,
                "shown_us": job.shown_us,
                "lines": [{"gpu": gpu.gpu, **named(line)} for gpu, line in job.lines.items()],
            }
            for job in accounts.ledger.jobs.values()
        ],
        "ended": [{"gpu": gpu.gpu, "energy_hnj": hnj} for gpu, hnj in accounts.ledger.ended_hnj.items()],
        "other": [{"gpu": gpu.gpu, **named(line)} for gpu, line in accounts.ledger.other.items()],
        "folded": accounts.ledger.folded,
    }


def _plain_module(module: Module | None) -> dict[str, Any] | None:
    if module is None:
        return None
    (state,) = objects(module.state, GpuState)
    return {"energy_hnj": module.energy_hnj, "state": named(state)}


def _module(values: dict[str, Any] | None) -> Module | None:
    if values is None:
        return None
    return Module(int(values["energy_hnj"]), of_objects([of_names(GpuState, values["state"])], GpuState))


def _lines(host: str, lines: list[dict[str, Any]]) -> dict[GpuKey, Line]:
    """Read lines, each with the name of its GPU."""
    return {GpuKey(host, str(line.pop("gpu"))): of_names(Line, line) for line in lines}


def _restore_books(accounts: Accounts, calibrator: Calibrator, host: str, state: dict[str, Any]) -> None:
    """Take over all of a state, or nothing."""
    found = []
    for place, gpu in enumerate(state["gpus"]):
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
        )
        late = gpu.get("late_hole")
        late_hole = of_names(LateHole, late) if late is not None else None
        waiting = PendingUsage.of_plain(place, gpu["waiting"])
        found.append(
            GpuBooks(account, of_names(GpuState, gpu["state"]), Hole.of_plain(gpu["hole"]), late_hole, waiting)
        )
    jobs = {}
    for entry in state["jobs"]:
        job = JobAccount(
            JobKey(entry["key"]), dict(entry["labels"]), int(entry["start_us"]), int(entry["end_us"]),
            int(entry["method"]), folded=bool(entry["folded"]), shown_us=int(entry["shown_us"]),
        )  # fmt: skip
        job.lines = _lines(host, entry["lines"])
        job.shown_hnj = job.energy_hnj
        jobs[job.key] = job
    ended = {GpuKey(host, str(one["gpu"])): int(one["energy_hnj"]) for one in state["ended"]}
    other = _lines(host, state["other"])
    folded, since_us = int(state["folded"]), state["since_us"]
    learned_mw = {uuid: float(mw) for uuid, mw in state["idle_mw"].items()}
    # All of it can be believed: from here on nothing fails.
    accounts.restore(host, found)
    accounts.since_us = since_us
    ledger = accounts.ledger
    ledger.jobs, ledger.ended_hnj, ledger.other, ledger.folded = jobs, ended, other, folded
    calibrator.learned_mw.update(learned_mw)
