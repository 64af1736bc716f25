"""Who has the driver's device nodes open, as the kernel shows it: the proof that this process let go, and who did not.

While anybody has a GPU's node open it cannot be reset, unbound or switched to MIG, and nobody may have any of them open
when the driver is unloaded. An open descriptor counts, and so does memory that was mapped from it.
"""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed.agent.missing import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterator

CAPABILITY = "nvidia-caps/"
SELF = Path("/proc/self")
_MINOR = "DeviceFileMinor:"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has device nodes open.

    Attributes
    ----------
    pid : int
    user : str
        Its name, or number where it has none.
    command : str
        Its command line.
    nodes : tuple of str
        Names below /dev.
    """

    pid: int
    user: str
    command: str
    nodes: tuple[str, ...]


def open_nodes(process: Path = SELF, dev_root: Path = Path("/dev")) -> set[str]:
    """Return the driver's nodes that a process has open or mapped, by their names below ``dev_root``.

    Parameters
    ----------
    process : Path
        Its folder in /proc.
    dev_root : Path

    Raises
    ------
    PermissionError
        It is another user's, who does not show it.
    """
    prefix = f"{dev_root}/"
    found = {link.removeprefix(prefix) for link in (*_links(process), *_mapped(process)) if link.startswith(prefix)}
    return {name.removesuffix(" (deleted)") for name in found if name.startswith("nvidia")}


def _links(process: Path) -> Iterator[str]:
    try:
        descriptors = list((process / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for descriptor in descriptors:
        try:
            yield str(descriptor.readlink())
        except OSError:
            continue  # it was closed meanwhile


def _mapped(process: Path) -> Iterator[str]:
    try:
        lines = (process / "maps").read_text(errors="replace").splitlines()
    except OSError:
        return
    yield from (line[line.index("/") :] for line in lines if "/nvidia" in line)


def of_gpu(nodes: set[str], minor: int, proc_root: Path) -> set[str]:
    """Return those of some nodes that keep one GPU open: its own, and those of its MIG instances.

    Parameters
    ----------
    nodes : set of str
    minor : int
        -1: unknown; then any GPU's node may be its own.
    proc_root : Path
        Where the driver says which capability nodes a GPU has; without that, any of them may be its own.
    """
    capabilities = {name for name in nodes if name.startswith(CAPABILITY)}
    others = {name for name in nodes - capabilities if name.removeprefix("nvidia").isdecimal()}
    own = others if minor == MISSING else others & {f"nvidia{minor}"}
    if not capabilities:
        return own
    folder = proc_root / "driver/nvidia/capabilities" / f"gpu{minor}"
    return own | (capabilities & _capabilities(folder) if folder.exists() else capabilities)


def _capabilities(folder: Path) -> set[str]:
    found = set()
    for path in folder.rglob("*"):
        try:
            lines = path.read_text().splitlines() if path.is_file() else []
        except OSError:
            continue
        found |= {f"{CAPABILITY}nvidia-cap{line.split()[1]}" for line in lines if line.startswith(_MINOR)}
    return found


def holders(proc_root: Path = Path("/proc"), dev_root: Path = Path("/dev")) -> tuple[list[Holder], int]:
    """Return the processes that have nodes open, and how many processes could not be looked into.

    Parameters
    ----------
    proc_root, dev_root : Path
    """
    found, hidden = [], 0
    for folder in sorted((f for f in proc_root.iterdir() if f.name.isdecimal()), key=lambda f: int(f.name)):
        try:
            nodes = open_nodes(folder, dev_root)
        except PermissionError:
            hidden += 1
            continue
        if nodes:
            found.append(Holder(int(folder.name), _user(folder), _command(folder), tuple(sorted(nodes))))
    return found, hidden


def _user(folder: Path) -> str:
    try:
        uid = folder.stat().st_uid
    except OSError:
        return "?"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _command(folder: Path) -> str:
    """Return the command line, as far as it may be shown in one line."""
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0") if folder.exists() else []
        text = b" ".join(words).decode(errors="replace").strip() or f"[{(folder / 'comm').read_text().strip()}]"
    except OSError:
        return "?"
    return "".join(c if c.isprintable() else "?" for c in text)
