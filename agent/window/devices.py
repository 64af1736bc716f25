"""What does not change about what is metered: a GPU, another load of a table, a MIG device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wattshed.agent.missing import MISSING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Device:
    """What does not change about one GPU while the driver stays loaded.

    Attributes
    ----------
    host, uuid, model, pci_bus_id, driver, architecture : str
        Empty where unknown (a foreign trace often knows only an index).
    index : int
        NVML's index on its host, or the trace's own number.
    minor : int
        Minor number of /dev/nvidiaN; Slurm counts in these. -1 unknown.
    limit_mw : int, mW
        Largest power limit that the board accepts; -1 unknown.
    ceiling_mw : int, mW
        A power reading above this is garbage and is rejected.
    idle_mw : int, mW
        Calibrated or configured idle power; -1 unknown (then no energy is static).
    idle_sigma_mw : int, mW
        One sigma of that; -1: it is known, as well as it ever is.
    gain_ppm, offset_mw, sigma_gain_ppm : int
        Known correction of this card's meter, energy x (1 + gain) + offset x time (0: none), and one sigma of the gain
        that is left.
    publication_us : mapping
        Learned publication period by reading ("energy", "average", "instant").
    capabilities : mapping
        Name of a capability -> "" if it works, else the reason why not.
    simulated : bool
    max_gap_us : int, us
        Power readings further apart are a gap, not bridged; -1: what the accounts use for all.
    flags : tuple of str
        What whoever read a foreign trace found doubtful about this GPU's energy; the answer has them among its own.
    """

    host: str
    index: int
    uuid: str
    model: str = ""
    pci_bus_id: str = ""
    driver: str = ""
    architecture: str = ""
    minor: int = MISSING
    limit_mw: int = MISSING
    ceiling_mw: int = 20_000_000
    idle_mw: int = MISSING
    idle_sigma_mw: int = MISSING
    gain_ppm: int = 0
    offset_mw: int = 0
    sigma_gain_ppm: int = 40_000
    publication_us: Mapping[str, int] = field(default_factory=dict)
    capabilities: Mapping[str, str] = field(default_factory=dict)
    simulated: bool = False
    max_gap_us: int = MISSING
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredLoad(Device):
    """What draws power and is no GPU, or is one of a job: rows of a table of loads. It may draw any power.

    Attributes
    ----------
    job : str
        Empty if the table names none.
    named : bool
        The table names the GPU, or what else draws; else the host is all that is known, or nothing.
    """

    job: str = ""
    named: bool = False


class MigDevice(NamedTuple):
    """What a MIG UUID means: the GPU's UUID, the GPU instance id, and its SMs in millionths of the GPU's."""

    gpu: str
    instance: str
    share_ppm: int
