"""A tree that looks like /proc, for tests; any file may be left out."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BOOT = 1_700_000_000


class FakeProc:
    """Processes as files below ``root``; start times in ticks of 10 ms since ``BOOT``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/kernel/random").mkdir(parents=True)
        (root / "sys/kernel/random/boot_id").write_text("7c0b1a4e-0000-4000-8000-000000000001\n")
        (root / "stat").write_text(f"cpu 0 0\nbtime {BOOT}\n")

    def start(self, pid, cgroup="/", *, uid=1000, comm="python", argv=("python3", "train.py"), ticks=100, env=()):
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        text = cgroup if ":" in cgroup.split("/")[0] else f"0::{cgroup}\n"
        (folder / "cgroup").write_text(text)
        (folder / "stat").write_text(
            f"{pid} ({comm}) S 1 {pid} {pid} 0 -1 4194304" + " 0" * 8 + f" 20 0 1 0 {ticks} 0 0\n"
        )
        (folder / "status").write_text(f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\n")
        (folder / "cmdline").write_bytes(b"".join(a.encode() + b"\0" for a in argv))
        (folder / "environ").write_bytes(b"".join(e.encode() + b"\0" for e in env))

    def end(self, pid):
        shutil.rmtree(self.root / str(pid))
