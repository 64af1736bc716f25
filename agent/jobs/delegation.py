"""How far a cgroup path may be trusted: down to the first folder that users other than root may write.

Whoever may write a cgroup's folder names what is below it, and moves processes within it (cgroups(7), "cgroup
delegation"). HTCondor hands a job's cgroup to the job's user, systemd does so for units with ``User=`` and
``Delegate=yes``, runc for containers in a user namespace, an administrator by ``chown``. The name of that folder itself
was given by whoever may write the one above, so it counts; what lies below does not.

Nothing is remembered: a folder may be handed over a moment after it was made, and what is read here decides a bill for
as long as the process lives. Five ``stat`` of a cgroup file system take 20 us.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from stat import S_IWGRP, S_IWOTH
from typing import TYPE_CHECKING

from wattshed.agent.jobs.cgroup import lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence

LOG = logging.getLogger(__name__)

_OCTAL = re.compile(r"\\([0-7]{3})")
_MOST_FOLDERS = 4096
_WHOLE_RANGE = "4294967295"
_UNKNOWN, _CUT, _TRUE = range(3)


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted hierarchy.

    Attributes
    ----------
    controllers : str
        As in ``/proc/PID/cgroup``, sorted: ``cpu,cpuacct``, ``name=systemd``; empty for cgroup v2.
    root : tuple of str
        Parts of the path that the mount shows, seen from our cgroup namespace (``..`` where it lies above).
    point : str
    """

    controllers: str
    root: tuple[str, ...]
    point: str


def mounts_of(mountinfo: str) -> list[Mount]:
    """Read the mounted hierarchies from ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)), the last mounted first."""
    found = []
    for line in mountinfo.split("\n"):
        mount, _, filesystem = line.partition(" - ")
        fields, about = mount.split(" "), filesystem.split(" ")
        if len(fields) < 6 or len(about) < 3 or about[0] not in {"cgroup", "cgroup2"}:
            continue
        root, point = (_OCTAL.sub(lambda octal: chr(int(octal[1], 8)), text) for text in fields[3:5])
        options = set(about[2].split(",")) if about[0] == "cgroup" else set()
        found.append(Mount(",".join(sorted(options)), _parts(root), point))
    return found[::-1]


class Delegation:
    """Cuts cgroup paths below what is handed over.

    Parameters
    ----------
    mounts : sequence of Mount
        Where none shows a path, it is left as it is: then only the rules of `agent.jobs.cgroup` hold.
    """

    def __init__(self, mounts: Sequence[Mount]) -> None:
        self._mounts = tuple(mounts)
        self._homes = {mount: _home(mount) for mount in self._mounts}

    @classmethod
    def of_this_host(cls) -> Delegation:
        """Look at what is mounted here; in a user namespace owners of files are unknown, so nothing is."""
        try:
            mapped = Path("/proc/self/uid_map").read_text().split()
            mountinfo = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            return cls(())
        mounts = mounts_of(mountinfo) if mapped == ["0", "0", _WHOLE_RANGE] else []
        if not mounts:
            LOG.warning(
                "cgroup owners cannot be determined here (user namespace, or /sys/fs/cgroup not mounted): "
                "cgroup paths are trusted by name alone"
            )
        return cls(mounts)

    def believed(self, text: str) -> str:
        """Cut each path of a cgroup file below the first folder that others than root may write.

        Parameters
        ----------
        text : str
            The content of ``/proc/PID/cgroup``.

        Returns
        -------
        str
            The same lines, shorter where something is not to be trusted. Paths below ``user.slice`` stay whole: what
            is below is that user's own, and is named so.
        """
        best: dict[str, tuple[int, int, str]] = {}
        for hierarchy, path in lines_of(text):
            # A path that root alone made in one hierarchy is true, whoever may write the same one in another.
            if best.get(path, (_UNKNOWN,))[0] < _TRUE:
                certainty, kept = self._kept(hierarchy.partition(":")[2], path)
                found = certainty, len(kept), f"{hierarchy}:{kept}" if hierarchy else kept
                best[path] = max(best.get(path, found), found)
        return "\n".join(line for _, _, line in best.values())

    def _kept(self, controllers: str, path: str) -> tuple[int, str]:
        parts, wanted = _parts(path), set(controllers.split(","))
        for mount in self._mounts:
            # The options of a v1 mount say more than its controllers (xattr, release_agent ...); v2 has none.
            if not wanted <= set(mount.controllers.split(",")):
                continue
            inside = _inside(parts, mount, self._homes[mount])
            if inside is not None:
                if inside[:1] == ("user.slice",):
                    return _TRUE, "/" + "/".join(inside)
                certainty, depth = _handed_over(mount.point, inside)
                return certainty, "/" + "/".join(inside[:depth])
        return _UNKNOWN, path


def _handed_over(point: str, parts: tuple[str, ...]) -> tuple[int, int]:
    """Return how many parts of a path were named by root alone, and how certain that is."""
    folder = point
    for depth, part in enumerate(("", *parts)):
        folder = f"{folder}/{part}" if part else folder
        try:
            found = os.stat(folder)  # noqa: PTH116 - half the time of Path.stat, five times a process
        except OSError:
            # Gone, and its processes too: what was handed over cannot go before what its user made below it.
            return _UNKNOWN, len(parts)
        shared = found.st_mode & S_IWOTH or (found.st_mode & S_IWGRP and found.st_gid != 0)
        if found.st_uid != 0 or shared:
            return _CUT if depth < len(parts) else _TRUE, depth
    return _TRUE, len(parts)


def _inside(parts: tuple[str, ...], mount: Mount, home: tuple[str, ...]) -> tuple[str, ...] | None:
    """Turn a path as our cgroup namespace sees it into one that begins at a mount; None if it is not below it."""
    climbs = sum(part == ".." for part in mount.root)
    up = sum(part == ".." for part in parts)
    if climbs == len(mount.root) > 0 and len(home) == climbs and up <= climbs:
        return home[: climbs - up] + parts[up:]
    if parts[: len(mount.root)] != mount.root:
        return None
    inside = parts[len(mount.root) :]
    return None if ".." in inside else inside


def _home(mount: Mount) -> tuple[str, ...]:
    """Find our own cgroup below a mount that begins above it; empty if it does not, or if we are not to be found."""
    climbs = len(mount.root)
    if not climbs or set(mount.root) != {".."}:
        return ()
    ours = str(os.getpid())
    level: list[tuple[str, ...]] = [()]
    for _ in range(climbs):
        below: list[tuple[str, ...]] = []
        for folder in level:
            below += [(*folder, name) for name in _folders("/".join((mount.point, *folder)))]
            if len(below) > _MOST_FOLDERS:
                return ()
        level = below
    for folder in level:
        try:
            if ours in Path(mount.point, *folder, "cgroup.procs").read_text().split():
                return folder
        except OSError:
            continue
    return ()


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)
