"""What identifies a card, its board or its host does not leave the machine."""

from __future__ import annotations

import functools
import os
import re
import socket
from pathlib import Path

PSEUDONYM = "GPU-00000000-0000-4000-8000-000000000001"
HEX = "[0-9a-fA-F]"
UUID = re.compile(rf"\b((?:GPU|MIG)-)?{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}\b")
MADE_UP = re.compile(r"^(?:(?:GPU|MIG)-)?(?:00000000|51a7ed00)-")  # the kit's pseudonyms, and the simulated cards
PLACES = re.compile(r"/[\w./-]*/gpukit-\w{6,}")  # folders of a run
LONG_HEX = re.compile(rf"\b(?=\w*\d)(?=\w*[a-fA-F]){HEX}{{24,}}\b")  # names of containers and cgroups
# `nvidia-smi -q` and our own JSON: "Serial Number : 1653...", '"serial": "1653..."', 'pdi="0x..."'.
LABELS = r"(?:serial(?:[ _]?number)?|pdi|board[ _]?id|host[ _]?id|(?:[a-z]+[ _])?uuid|fabric[ _]?guid)"
SAID = r"(?!N/A|GPU-0000|GPU-51a7|MIG-|null|None|\[|\{)[\w.-]+"
NAMED = re.compile(rf"""((?<![A-Za-z0-9]){LABELS}["']?\s*[:=]\s*["']?){SAID}""", re.IGNORECASE)
HOSTS = re.compile(r"""((?<![A-Za-z0-9])host(?:name)?["']?\s*[:=]\s*["'])[^"'\s]+""")


@functools.cache
def secrets() -> tuple[str, ...]:
    """What the driver and the kernel call this card and this host, in every way it may be written; longest first.

    Short ones (a board id of 6) are left to the names beside them: they would be found in any number.
    """
    found = {socket.gethostname(), socket.gethostname().split(".")[0]}
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            found.add(Path(file).read_text().strip())
        except OSError:
            continue
    if os.environ.get("KIT_SIMULATED") != "1":
        found |= card_secrets()
    return tuple(sorted((s for s in found if len(s) >= 6 and s != "localhost"), key=len, reverse=True))


def card_secrets() -> set[str]:
    """UUID, serial number, PDI and board id of every card, as text and as numbers."""
    import pynvml

    found: set[str] = set()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return found
    for index in range(pynvml.nvmlDeviceGetCount()):
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        for name in ("nvmlDeviceGetUUID", "nvmlDeviceGetSerial", "nvmlDeviceGetBoardId", "nvmlDeviceGetPdi"):
            found |= written(asked(name, handle))
    pynvml.nvmlShutdown()
    return found


def asked(name: str, handle):
    """What one getter says, or None."""
    import pynvml

    try:
        return getattr(pynvml, name)(handle)
    except (pynvml.NVMLError, AttributeError, TypeError):
        return None


def written(value) -> set[str]:
    """A value as it may appear in a text: a number also in hexadecimal digits."""
    if value is None:
        return set()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, int):
        return {str(value), f"{value:x}", f"{value:X}", f"0x{value:x}", f"{value:016x}", f"0x{value:016x}"}
    return {value, value.removeprefix("GPU-")}


def scrub(text: str, names: tuple[str, ...] | None = None) -> str:
    """Replace what identifies a card or a host.

    Parameters
    ----------
    text : str
    names : tuple of str, optional
        What is to be replaced by value; :func:`secrets` if not given.
    """
    text = UUID.sub(lambda m: m[0] if MADE_UP.match(m[0]) else PSEUDONYM if m[1] else PSEUDONYM[4:], text)
    for name in secrets() if names is None else names:
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "node" if not name[:1].isdigit() else "0", text)
    text = HOSTS.sub(r"\1node", NAMED.sub(withheld, text))
    return LONG_HEX.sub("ID", PLACES.sub("WORK", text))


def withheld(match: re.Match) -> str:
    """What stands in place of a labelled value; a bare number in JSON stays a number."""
    bare = match[1].lstrip().rstrip(" \t")[-2:] in {'":', "':"}
    return match[1] + ("0" if bare else "withheld")
