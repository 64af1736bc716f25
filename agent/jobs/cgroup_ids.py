"""From the number of a cgroup to the job that has it, among the jobs that are on GPUs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.jobs.cgroup import identify
from wattshed.agent.jobs.identity import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from wattshed.agent.jobs.identity import CgroupIdentity

MOST_FOLDERS = 4096
"""Cgroups of one job that are looked at."""
_UNIFIED = "0::"


class CgroupNumbers:
    """Knows cgroups by the inode numbers of their folders, which are what the kernel calls them.

    Parameters
    ----------
    proc_root : Path
    root : Path, optional
        Where the unified hierarchy is mounted.
    """

    def __init__(self, proc_root: Path, root: Path | None = None) -> None:
        self._proc_root = proc_root
        usual = Path("/sys/fs/cgroup")
        self._root = root or (usual if (usual / "cgroup.controllers").exists() else usual / "unified")

    def job_of(self, number: int, holders: Iterable[tuple[int, str]]) -> str | None:
        """Return the one job that has this cgroup; None if no job has it, or more than one.

        Parameters
        ----------
        number : int
        holders : iterable of (int, str)
            Processes on GPUs, and the jobs that they belong to.
        """
        found, looked = set(), set()
        for pid, job in holders:
            path = self._path_of(pid)
            if path and (job, path) not in looked:
                looked.add((job, path))
                if number in self._numbers(path):
                    found.add(job)
        return found.pop() if len(found) == 1 else None

    def _path_of(self, pid: int) -> str:
        """Return the path of a process below the root; empty where it has none of its own."""
        try:
            lines = (self._proc_root / str(pid) / "cgroup").read_text().splitlines()
        except OSError:
            return ""
        path = next((line.removeprefix(_UNIFIED) for line in lines if line.startswith(_UNIFIED)), "")
        return path.strip("/") if ".." not in path.split("/") else ""

    def _numbers(self, path: str) -> Iterator[int]:
        """Yield the number of a path, and of all that is the same job's: the job's folder and what is below it."""
        top, mine = path, _job(path)
        if mine == _job(""):
            yield from self._number(self._root / path)  # of a user's session: other programs have folders beside it
            return
        while "/" in top and _job(parent := top.rpartition("/")[0]) == mine:
            top = parent
        for count, (folder, _, _) in enumerate(os.walk(self._root / top)):
            if count >= MOST_FOLDERS:
                return
            yield from self._number(Path(folder))

    def _number(self, folder: Path) -> Iterator[int]:
        try:
            yield folder.stat().st_ino
        except OSError:
            return  # it is gone


def _job(path: str) -> tuple[str | None, ...]:
    """Return what tells jobs apart in a path; the same for all of a user's own."""
    identity: CgroupIdentity = identify(f"{_UNIFIED}/{path}")
    if identity.runtime == "systemd-user":
        identity = NOBODY
    return identity.runtime, identity.job_id, identity.sluid, identity.pod_uid, identity.container_id, identity.unit
