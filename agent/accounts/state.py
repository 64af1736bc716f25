"""The accounts on disk: what a restart continues from.

It is saved before its numbers are published, so that no published counter ever goes backwards, whenever the agent is
killed: written whole at times, and what changes between them is appended to a journal (`journal.py`, `changes.py`).
What cannot be trusted is set aside as ``*.corrupt``, and the agent starts from the one before, or from zero; it never
refuses to. What a newer agent wrote is kept whole for that one, in a folder that says so, and this one starts from
zero: counters that begin again are a small reset to whoever reads them, those of before the upgrade a large one.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from wattshed.agent.accounts.changes import Continued, LastSaved
from wattshed.agent.accounts.content import restore
from wattshed.agent.accounts.cuts import Cuts
from wattshed.agent.accounts.former_versions import upgraded
from wattshed.agent.accounts.journal import Journal, before, changes_after, sync_folder
from wattshed.agent.accounts.state_form import checked
from wattshed.agent.accounts.whole_state import UNTRUSTED, VERSION, NewerStateError, encoded, head_of, read_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wattshed.agent.accounts.attribution import Accounts
    from wattshed.agent.accounts.calibration import Calibrator

LONGEST_JOURNAL = 1 << 20
"""Bytes of changes, or twice those of the state if that is more, after which it is written whole again."""
SLOW_S = 1.0
"""A disk that takes longer to have the state for certain is waited for only every `SLOW_SYNC_US`."""
SLOW_SYNC_US = 30_000_000
LONGEST_OWNER = 300


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
    owner : str
        What another agent that wants the state is told of this one.
    """

    def __init__(self, folder: Path, host: str, boot_id: str, name: str = "state", owner: str = "") -> None:
        self._owner = owner
        self._path = folder / f"{name}.json"
        self._journal_path = folder / f"{name}.journal"
        self._journal = Journal(self._journal_path)
        self._lock: IO[bytes] | None = None
        self._host, self._boot_id = host, boot_id
        self._sync_again_us = 0
        self._seq = self._mark = self._size = 0  # of what is saved, and how many bytes it has written whole
        self._last: LastSaved | None = None  # None: the next state is written whole
        self._newer: int | None = None  # version of a newer agent's state that still lies where this one's would be

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
        with suppress(OSError):  # on a disk that is full nobody learns who it is
            lock.truncate(0)
            os.write(lock.fileno(), self._owner.encode())
        return True

    def owner(self) -> str:
        """Return what whoever claimed the state last says of itself; empty if that cannot be read."""
        with suppress(OSError):
            said = self._path.with_suffix(".lock").read_bytes()[:LONGEST_OWNER].decode(errors="replace")
            return "".join(c for c in said if c.isprintable())
        return ""

    def release(self) -> None:
        """Leave the state to the next agent."""
        self._journal.close()
        self._last = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save(
        self, accounts: Accounts, calibrator: Calibrator, now_us: int, *, cuts: Cuts | None = None, final: bool = False
    ) -> bool:
        """Write the state as of ``now_us``, so that it outlives a kill and a power cut.

        Parameters
        ----------
        accounts : Accounts
        calibrator : Calibrator
        now_us : int, us
        cuts : Cuts, optional
            What was cut for the history, and waits for it.
        final : bool
            Write it whole, and wait for the disk, however slow it was before.

        Returns
        -------
        bool
            Whether it is certain to outlive a power cut.

        Raises
        ------
        SlowDiskError
            The state is saved; the disk took so long that it will be spared for `SLOW_SYNC_US`.
        OSError
            The folder cannot be written to; what was saved there is untouched.
        """
        if self._newer is not None:
            self._keep_newer(self._newer)
        sync = final or now_us >= self._sync_again_us
        begun_s = time.monotonic()
        if self._last is None:
            self._write(accounts, calibrator, now_us, cuts, self._seq + 1, sync=sync)
        else:
            self._append(self._last, accounts, calibrator, now_us, cuts, sync=sync)
            if final or self._journal.bytes > max(LONGEST_JOURNAL, 2 * self._size):
                self._write(accounts, calibrator, now_us, cuts, self._seq, sync=sync)
        took_s = time.monotonic() - begun_s
        if sync and took_s > SLOW_S:
            self._sync_again_us = now_us + SLOW_SYNC_US
            message = f"the disk took {took_s:.1f} s to save the state; a power cut may now lose half a minute"
            raise SlowDiskError(message)
        return sync

    def _append(
        self,
        last: LastSaved,
        accounts: Accounts,
        calibrator: Calibrator,
        now_us: int,
        cuts: Cuts | None,
        *,
        sync: bool,
    ) -> None:
        """Append what changed to the journal; what fails half way is followed by a state that is written whole."""
        self._last = None
        change = {"saved_us": now_us, **last.changed(accounts, calibrator, cuts)}
        self._mark = self._journal.append(self._seq + 1, self._mark, encoded(change), sync=sync)
        self._seq += 1
        self._last = last

    def _write(
        self, accounts: Accounts, calibrator: Calibrator, now_us: int, cuts: Cuts | None, seq: int, *, sync: bool
    ) -> None:
        """Write the state whole, and begin a journal."""
        # One that continues the journal before has its mark, so that either leads to the next changes.
        mark = self._mark if seq == self._seq else zlib.crc32(f"{self._boot_id} {now_us}".encode())
        self._last = None
        last, content = LastSaved.whole(self._host, accounts, calibrator, cuts)
        about = {"host": self._host, "boot_id": self._boot_id, "saved_us": now_us, "seq": seq, "mark": mark}
        body = encoded({**about, **content})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".fresh")
        with fresh.open("wb") as file:
            file.write(head_of(body) + body)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        former = self._path.with_suffix(".before")
        if self._path.exists():
            # A link, then a rename over the name: at every moment there is a whole file under it.
            former.unlink(missing_ok=True)
            os.link(self._path, former)
        fresh.replace(self._path)
        if sync:
            sync_folder(self._path.parent)
        self._journal.begin()
        self._seq, self._mark, self._size, self._last = seq, mark, len(body), last

    def restore(self, accounts: Accounts, calibrator: Calibrator) -> Restored:
        """Read the newest trustworthy state into empty accounts; what cannot be trusted is set aside.

        All of a state is taken over, or nothing of it: only what no joule depends on begins anew where it is damaged.
        """
        problems: list[str] = []
        self._journal.close()
        self._last = None
        newest = self._journal_path
        for path, journals in (
            (self._path, (newest,)),
            (self._path.with_suffix(".before"), (before(newest), newest)),
        ):
            try:
                found = self._restored(path, journals, accounts, calibrator, problems)
            except FileNotFoundError:
                continue
            except NewerStateError as error:
                self._newer = error.version
                try:
                    kept = f"kept in {self._keep_newer(error.version)}, totals start from zero"
                except OSError as fault:
                    kept = (
                        f"it cannot be moved away ({fault.strerror}): totals start from zero, and are not saved over it"
                    )
                problems.append(f"{path}: {error}; {kept}")
                break
            except (*UNTRUSTED, OSError) as error:
                problems.append(f"{path}: cannot be trusted ({error}); set aside")
                _put_aside(path)
            else:
                if found is not None:
                    return found
        return Restored(found=False, same_boot=False, saved_us=0, problems=tuple(problems))

    def _restored(
        self, path: Path, journals: Sequence[Path], accounts: Accounts, calibrator: Calibrator, problems: list[str]
    ) -> Restored | None:
        """Take a state over with the changes that follow it, or without if they make none of it; None: not ours."""
        state, version = read_whole(path)
        if state["host"] != self._host:
            problems.append(f"{path}: belongs to host {state['host']!r}, not {self._host!r}; starting from zero")
            return None
        said = problems[:]
        try:
            if "seq" in state:
                state = self._continued(path, state, journals, said)
            state = self._sound(state, version)
        except UNTRUSTED as error:
            state, _ = read_whole(path)
            state = self._sound(state, version)
            said = [*problems, f"{journals[-1]}: makes no state of {path} ({error}); left out"]
        cuts = Cuts.of_plain(self._host, state["cuts"]) if state["cuts"] is not None else None
        anew = restore(accounts, calibrator, self._host, state)
        return Restored(
            found=True,
            same_boot=state["boot_id"] == self._boot_id,
            saved_us=state["saved_us"],
            problems=(*said, *(f"{path}: {one}" for one in anew)),
            cuts=cuts,
        )

    def _sound(self, state: dict[str, Any], version: int) -> dict[str, Any]:
        return checked(upgraded(state, version), self._host, adds_up=version == VERSION)

    def _keep_newer(self, version: int) -> Path:
        """Move all files of the state to a folder of their own, which nothing here reads; returns it.

        Raises
        ------
        OSError
            They cannot all be moved. The newest comes last: until then the state counts as a newer agent's.
        """
        stem = self._path.with_name(f"{self._path.stem}-version-{version}")
        folder = next(one for n in count(1) if not (one := stem if n == 1 else Path(f"{stem}-{n}")).exists())
        folder.mkdir()
        former = self._path.with_suffix(".before")
        for path in (before(self._journal_path), self._journal_path, former, self._path):
            if path.exists():
                path.replace(folder / path.name)
        self._newer = None
        return folder

    def _continued(
        self, path: Path, state: dict[str, Any], journals: Sequence[Path], problems: list[str]
    ) -> dict[str, Any]:
        """Return a state with the changes that continue it."""
        self._seq, mark = int(state["seq"]), int(state["mark"])
        whole, told = Continued(state), problems[:]
        for journal in journals:
            try:
                changes = changes_after(journal, self._seq, mark)
                for body in changes.bodies:
                    whole.apply(json.loads(body))
            except OSError as error:
                problems.append(f"{journal}: {error.strerror}; what changed since {path} was written is lost")
                break
            except UNTRUSTED as error:
                problems[:] = [*told, f"{journal}: holds no changes that this agent knows ({error!r}); left out"]
                return read_whole(path)[0]
            self._seq, mark = changes.seq, changes.mark
            if changes.problem:
                problems.append(f"{journal}: {changes.problem}; what was saved after that is lost")
                _keep_aside(journal)
                break
        return whole.state()


def _put_aside(path: Path) -> None:
    try:
        path.replace(path.with_name(path.name + ".corrupt"))
    except OSError:
        return  # a folder that cannot be written to: the next save will say so


def _keep_aside(path: Path) -> None:
    """Keep a damaged journal under another name too: what comes before the damage is still needed under its own."""
    aside = path.with_name(path.name + ".corrupt")
    with suppress(OSError):
        aside.unlink(missing_ok=True)
        os.link(path, aside)
