"""What the driver advises to do about a GPU, in its words."""

from __future__ import annotations

RECOVERY_ACTIONS = {
    0: "none",
    1: "gpu_reset",
    2: "node_reboot",
    3: "drain_p2p",
    4: "drain_and_reset",
    5: "recover_imex_domain",
    6: "bus_reset",
    7: "system_reboot",
}
"""nvmlDeviceGpuRecoveryAction_t of nvml.h; the last two are in NVIDIA's Python binding only."""


def action_named(number: float) -> str:
    """Return the name of a recovery action; its number if it has none here."""
    return RECOVERY_ACTIONS.get(int(number), str(int(number)))
