"""Which GPUs a CUDA program may use, as CUDA_VISIBLE_DEVICES says to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VARIABLE, ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"


class ListedGpu(NamedTuple):
    """A GPU as the driver lists it, in the order of its PCI address."""

    uuid: str
    model: str


class WrongGpusError(ValueError):
    """It cannot be said which GPUs are meant."""


def visible(environ: Mapping[str, str], gpus: Sequence[ListedGpu], mig: Mapping[str, int]) -> list[int]:
    """Return which of the GPUs a CUDA program of this environment uses at most, by their places, ascending.

    As in CUDA, the first entry that names no GPU ends the list, and an empty list is none at all. The driver counts by
    PCI address, CUDA by speed unless CUDA_DEVICE_ORDER=PCI_BUS_ID: numbers mean the same GPUs only then, or where all
    are of one model.

    Parameters
    ----------
    environ : mapping
    gpus : sequence of ListedGpu
    mig : mapping of MIG UUID to place
        On which GPU each instance is; its energy is the whole GPU's.

    Raises
    ------
    WrongGpusError
        Numbers are given whose order is not known.
    """
    if VARIABLE not in environ:
        return list(range(len(gpus)))
    places: list[int] = []
    for entry in environ[VARIABLE].split(","):
        place = _place(entry.strip(), environ, gpus, mig)
        if place is None:
            break
        places.append(place)
    return sorted(set(places))


def named(wanted: Sequence[int | str], gpus: Sequence[ListedGpu], mig: Mapping[str, int]) -> list[int]:
    """Return the places of GPUs that are named by the driver's number or by UUID.

    Raises
    ------
    WrongGpusError
        There is no such GPU.
    """
    places = set()
    for one in wanted:
        place = one if isinstance(one, int) and 0 <= one < len(gpus) else None
        if isinstance(one, str):
            place = _by_uuid(one, gpus, mig)
        if place is None:
            raise WrongGpusError(f"no GPU {one!r} here; there are {', '.join(gpu.uuid for gpu in gpus) or 'none'}")
        places.add(place)
    return sorted(places)


def _place(entry: str, environ: Mapping[str, str], gpus: Sequence[ListedGpu], mig: Mapping[str, int]) -> int | None:
    if not entry.isdecimal():
        return _by_uuid(entry, gpus, mig)
    if int(entry) >= len(gpus):
        return None
    if environ.get(ORDER) != "PCI_BUS_ID" and len({gpu.model for gpu in gpus}) > 1:
        raise WrongGpusError(
            f"{VARIABLE}={environ[VARIABLE]} counts GPUs of several models by speed; set {ORDER}=PCI_BUS_ID, or name "
            "them by UUID"
        )
    return int(entry)


def _by_uuid(text: str, gpus: Sequence[ListedGpu], mig: Mapping[str, int]) -> int | None:
    """Find a GPU, or the GPU of an instance, by its UUID or the beginning of it."""
    if len(text) <= len("GPU-"):
        return None
    found = {place for place, gpu in enumerate(gpus) if gpu.uuid.startswith(text)}
    found |= {place for uuid, place in mig.items() if uuid.startswith(text)}
    return found.pop() if len(found) == 1 else None
