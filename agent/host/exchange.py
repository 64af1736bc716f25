"""What readers in processes of their own and the agent agree on: where readings lie, and of which boot they are."""

from __future__ import annotations

from pathlib import Path

SCHEMA = "wattshed.reading/1"
FOLDER = "/run/wattshed-meters"


def boot_of(proc_root: Path = Path("/proc")) -> str:
    """Return the name of this boot; empty if it cannot be read: then no file is taken for one of this boot."""
    try:
        return (proc_root / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
