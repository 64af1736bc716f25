"""Which GPU, or which part of one, the device id of a Kubernetes grant means.

Ids are made by device plugins and DRA drivers, each in its own way: NVIDIA's ``k8s-device-plugin`` and
``k8s-dra-driver-gpu``, GKE's, HAMi's and Volcano's (``GPU-<uuid>-3``) and Aliyun's (``<uuid>-_-0``). The last three
offer a GPU many times over and leave the kubelet to choose an id, but their scheduler chooses the GPU: the id is a
guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.window import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wattshed.agent.window import Device, MigDevice

_WHOLE_PPM = 1_000_000
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_GKE = re.compile(r"nvidia(?P<minor>[0-9]+)(?:/gi(?P<gi>[0-9]+))?(?P<part>/vgpu[0-9]+)?")
_OLD_MIG = re.compile(rf"mig-(?P<gpu>gpu-{_UUID})/(?P<gi>[0-9]+)/[0-9]+", re.IGNORECASE)
_OFFERED = re.compile(rf"(?P<base>(?:gpu-|mig-)?{_UUID})-(?:_-)?[0-9]+", re.IGNORECASE)
_DRA = re.compile(r"gpu-(?P<minor>[0-9]+)(?:-mig-(?P<profile>(?:[0-9]+c)?[0-9]+g[0-9a-z]*|[0-9]+)-[0-9a-z-]+)?")

# Profile id of NVML -> compute slices, where a GPU has seven; the A30 and RTX PRO 6000 have four and ids of their own.
_SLICES = {0: 7, 5: 4, 9: 3, 14: 2, 15: 1, 19: 1, 20: 1}
_SLICES_OF_FOUR = {0: 4, 5: 2, 6: 2, 14: 1, 21: 1}
_FOUR = re.compile(r"\bA30\b|RTX PRO")


@dataclass(frozen=True, slots=True)
class Place:
    """A device of a grant, found among ours.

    Attributes
    ----------
    gpu : int
        Index into the devices.
    instance : str
        GPU instance id under MIG, where it is known.
    shared : bool
        Only a part of the GPU, or of the instance.
    share_ppm : int, millionths of the GPU
        Of what the id names, before replicas; -1 unknown.
    guessed : bool
        The kubelet chose the id, and somebody else the GPU.
    """

    gpu: int
    instance: str = ""
    shared: bool = False
    share_ppm: int = MISSING
    guessed: bool = False


def place_of(identifier: str, devices: Sequence[Device], mig: Mapping[str, MigDevice]) -> Place | None:
    """Find the GPU that a device id means.

    Parameters
    ----------
    identifier : str
        ``GPU-<uuid>``, ``MIG-<uuid>``, ``MIG-GPU-<uuid>/gi/ci``, any of these with ``::<replica>`` or ``-<replica>``,
        GKE's ``nvidia0``, ``nvidia0/gi0``, ``nvidia0/vgpu0``, or NVIDIA's DRA driver's ``gpu-0`` and ``gpu-0-mig-...``
        (device minors). Upper or lower case, and a UUID without its prefix, are the same.
    devices : sequence of Device
    mig : mapping of MIG UUID to MigDevice

    Returns
    -------
    Place or None
        None: no GPU of ours, or a MIG device that nobody described.
    """
    base, _, replica = identifier.partition("::")
    offered = _OFFERED.fullmatch(base)
    base = offered["base"] if offered else base
    gi, uuid, minor = "", base, ""
    shared, share = bool(replica or offered), MISSING
    if old := _OLD_MIG.fullmatch(base):
        uuid, gi = old["gpu"], old["gi"]
    elif base in mig:
        uuid, gi, share = mig[base]
    elif gke := _GKE.fullmatch(base):
        minor, gi, shared = gke["minor"], gke["gi"] or "", shared or bool(gke["part"])
    elif dra := _DRA.fullmatch(base):
        minor, shared = dra["minor"], shared or dra["profile"] is not None
    for place, device in enumerate(devices):
        number = device.minor if device.minor != MISSING else device.index
        if (str(number) == minor) if minor else (_bare(device.uuid) == _bare(uuid)):
            if minor and shared and not gi and (dra := _DRA.fullmatch(base)) and dra["profile"]:
                share = _share(device.model, dra["profile"])
            return Place(place, gi, shared, share, offered is not None)
    return None


def is_dra(identifier: str) -> bool:
    """Return whether this is what a DRA driver calls a device; other vendors' drivers use the same names."""
    return _DRA.fullmatch(identifier) is not None


def base_of(identifier: str) -> str:
    """Strip what distinguishes replicas of one device."""
    return identifier.partition("::")[0].partition("/vgpu")[0]


def _bare(uuid: str) -> str:
    return uuid.lower().removeprefix("gpu-")


def _share(model: str, profile: str) -> int:
    """Return the part of the compute slices that a MIG profile has: ``1g18gb``, ``1c2g20gb``, or NVML's number.

    A slice is a seventh (of an A30 or RTX PRO 6000 a quarter) of what MIG can give, so all together are the GPU.
    """
    of = 4 if _FOUR.search(model) else 7
    if profile.isdecimal():
        slices = (_SLICES_OF_FOUR if of == 4 else _SLICES).get(int(profile), 0)
    else:
        compute = re.match(r"(?:([0-9]+)c)?([0-9]+)g", profile)
        slices = int(compute[1] or compute[2]) if compute else 0
    return slices * _WHOLE_PPM // of if 0 < slices <= of else MISSING
