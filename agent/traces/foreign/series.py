"""Series of the monitoring world: names, labels and units of those that have a GPU's power or energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wattshed.agent.inputs.unit_tables import ENERGY_MJ, POWER_MW

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction

    from wattshed.agent.traces.foreign.gpus import Gpus


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a series is: ``power``, ``instant``, ``energy``, ``util`` or ``limit``, and what its unit is in mW or mJ."""

    kind: str
    factor: Fraction

    @property
    def unit(self) -> str:
        """The unit by its name; empty for shares."""
        units = ENERGY_MJ if self.kind == "energy" else POWER_MW
        return next((unit for unit, factor in units.items() if factor == self.factor), "")


_W, _MW = POWER_MW["W"], POWER_MW["mW"]
MEANINGS: Mapping[str, Meaning] = {
    "DCGM_FI_DEV_POWER_USAGE": Meaning("power", _W),
    "DCGM_FI_DEV_POWER_USAGE_INSTANT": Meaning("instant", _W),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": Meaning("energy", ENERGY_MJ["mJ"]),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": Meaning("limit", _W),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX": Meaning("limit", _W),
    "dcgm_power_usage": Meaning("power", _W),  # dcgm-exporter before 2.0
    "dcgm_total_energy_consumption": Meaning("energy", ENERGY_MJ["mJ"]),
    "wattshed_gpu_power_watts": Meaning("power", _W),
    "wattshed_gpu_power_limit_watts": Meaning("limit", _W),
    "wattshed_gpu_energy_joules_total": Meaning("energy", ENERGY_MJ["J"]),
    "wattshed_gpu_energy_joules": Meaning("energy", ENERGY_MJ["J"]),
    "nvidia_smi_power_draw_watts": Meaning("power", _W),
    "nvidia_smi_power_draw_average_watts": Meaning("power", _W),
    "nvidia_smi_power_draw_instant_watts": Meaning("instant", _W),
    "nvidia_smi_power_limit_watts": Meaning("limit", _W),
    "nvidia_gpu_power_usage_milliwatts": Meaning("power", _MW),
    "nvidia_gpu_energy_consumption_millijoules": Meaning("energy", ENERGY_MJ["mJ"]),
}
"""Names of NVIDIA's dcgm-exporter, of wattshed, of nvidia_gpu_exporter and of nvml exporters."""

_HOST = ("Hostname", "hostname", "host", "node", "kubernetes_node", "nodename")
_UUID = ("UUID", "uuid", "gpu_uuid")
_INDEX = ("gpu", "index", "minor_number", "device")
_MODEL = ("modelName", "model", "name")


def meaning_of(name: str, labels: Mapping[str, str]) -> Meaning | None:
    """Return what a series is; None if it has no power or energy."""
    found = MEANINGS.get(name)
    if found is not None and name == "wattshed_gpu_power_watts" and labels.get("reading") == "instant":
        return Meaning("instant", found.factor)
    if (
        found is not None
        and name == "wattshed_gpu_power_limit_watts"
        and labels.get("limit") not in {"max", "enforced"}
    ):
        return None
    return found


def gpu_of(labels: Mapping[str, str], gpus: Gpus) -> int:
    """Return the number of the GPU that a series' labels name."""

    def first(names: tuple[str, ...]) -> str:
        return next((labels[name] for name in names if labels.get(name)), "")

    host = first(_HOST) or labels.get("instance", "").rsplit(":", 1)[0]
    index = first(_INDEX).removeprefix("nvidia")
    uuid = first(_UUID)
    if uuid and not uuid.startswith(("GPU-", "MIG-")):
        uuid = f"GPU-{uuid}"  # nvidia_gpu_exporter leaves the prefix out
    number = gpus.number(
        host,
        index=int(index) if index.isdecimal() else -1,
        uuid=uuid,
        pci=labels.get("pci_bus_id", ""),
        model=first(_MODEL),
    )
    if labels.get("simulated") == "1":
        gpus.describe(number, simulated=True)
    return number
