"""What /proc tells of a pid, read in one place: for those who ask who a process is, and whether there is one at all.

Anything may be missing: a process ends between two reads, and a tree like /proc may lack files.
"""

from __future__ import annotations

import os
from pathlib import Path

PF_KTHREAD = 0x00200000  # include/linux/sched.h; ninth field of /proc/PID/stat
_LONGEST_READ = 1 << 16
_NEARLY_A_PAGE = 1 << 11


def exists(proc_root: Path, pid: int) -> bool:
    """Tell whether there is such a process, and whether it can be on a GPU: a thread of the kernel's cannot.

    A zombie is one too: the driver may still be giving back what it had.

    Parameters
    ----------
    proc_root : Path
        ``/proc``, or a tree like it.
    pid : int
        0 is no process, but what the driver says where it does not know.
    """
    if pid <= 0:
        return False
    _, columns = stat(os.fspath(proc_root), pid)
    if not columns:
        return (proc_root / str(pid)).exists()
    flags = columns[6] if len(columns) > 6 else ""
    return not (flags.isdecimal() and int(flags) & PF_KTHREAD)


def stat(root: str, pid: int) -> tuple[str, list[str]]:
    """Return the name of a process, and the columns of its ``stat`` from the third on; empty if there is none.

    The name may hold spaces and parentheses: the last ")" ends it (proc_pid_stat(5)).
    """
    head, closed, tail = read(f"{root}/{pid}/stat").rpartition(")")
    return (head.partition("(")[2], tail.split()) if closed else ("", [])


def read(path: str) -> str:
    """Return what a file holds, or nothing; a link is not followed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        text = os.read(descriptor, _LONGEST_READ)
        # The kernel fills a page at a time: only what comes near one may go on.
        while len(text) >= _NEARLY_A_PAGE and (more := os.read(descriptor, _LONGEST_READ)):
            text += more
            if len(text) > _LONGEST_READ:
                break
        return text.decode("utf-8", "surrogateescape")
    except OSError:
        # A process may end between opening and reading (ESRCH).
        return ""
    finally:
        os.close(descriptor)


def listed(folder: str) -> list[str]:
    """Return the names in a folder, or none."""
    try:
        return [entry.name for entry in Path(folder).iterdir()]
    except OSError:
        return []
