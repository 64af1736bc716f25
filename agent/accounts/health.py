"""How a GPU is, in a word, and why: what its driver, its readings and what happened to it show.

It is said of a recording as it was said live: events say why a GPU is down, and gauges what the driver advises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wattshed.agent.window.recovery_actions import action_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wattshed.agent.accounts.account import GpuAccount
    from wattshed.agent.window import Device

OK, STALE, SICK, LOST, RELEASED, ASLEEP, UNMETERABLE = (
    "ok",
    "stale",
    "sick",
    "lost",
    "released",
    "asleep",
    "unmeterable",
)
STATUSES = (OK, STALE, SICK, LOST, RELEASED, ASLEEP, UNMETERABLE)
READ = (OK, UNMETERABLE)
"""Those of a GPU that answers."""
POWER_FLAGS = ("power_smoothing", "soc_power_smoothing")
"""Gauges that are published as flags: what draws power is then not the load alone."""
POWER_PROFILE = "power_profile_"
POWER_PROFILES = (
    "max_p", "max_q", "compute", "memory_bound", "network", "balanced", "llm_inference", "llm_training", "rbm",
    "dcpcie", "hmma_sparse", "hmma_dense", "sync_balanced", "hpc", "mig", "max_q_1", "network_bound",
    "high_throughput_inference", "medium_throughput_inference", "low_latency_inference", "training", "inference",
    "max_q_2", "max_q_3", "low_priority_background",
)  # fmt: skip
"""Workload power profiles by their numbers: nvmlPowerProfileType_t of nvml.h, the later ones in NVIDIA's Python binding
only. Their gauges are flags, too: the number's name if it has one."""
POWERS = ("power_instant_w", "power_average_w")
STALE_US = 5_000_000
"""What is no gap yet, and as long as a gauge lives at least: one that is read every 10 s lives for 25 s."""


def health_of(account: GpuAccount, gauges: Mapping[str, float], silent_us: int, *, known: bool) -> tuple[str, str]:
    """Return the status of a GPU, and the reason if it is not ``"ok"``.

    Parameters
    ----------
    account : GpuAccount
    gauges : mapping of str to float
        What it shows now.
    silent_us : int, us
        How long its energy or power was not read by now.
    known : bool
        Whether any energy or power of it was ever read.
    """
    if account.released:
        return RELEASED, account.down_why or "it was let go of: `wattshed resume` takes it back"
    if not account.up:
        for status in (SICK, STALE):
            if account.down_why.startswith(f"{status}: "):
                return status, account.down_why.removeprefix(f"{status}: ")
        return LOST, account.down_why or "it cannot be read"
    if gauges.get("asleep"):
        return ASLEEP, "the kernel has put it to sleep, and reading would wake it"
    current = any(name in gauges for name in POWERS)  # read less often than that, as somebody wants it
    silent = silent_us > max(STALE_US, account.device.max_gap_us) and not current
    reason = unmeterable(account.device)
    if reason and (silent or not known):
        return UNMETERABLE, reason
    if silent:
        return STALE, f"no reading of its energy or power for {silent_us // 1_000_000} s"
    return OK, ""


def unmeterable(device: Device) -> str:
    """Return why a GPU has neither an energy counter nor power; empty if it has, or that is not known."""
    reasons = {name: device.capabilities.get(name, "") for name in ("energy", "average", "instant")}
    if not all(reasons.values()):
        return ""
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def action_of(gauges: Mapping[str, float]) -> str | None:
    """Return what the driver advises to do about a GPU; None if it does not say."""
    action = gauges.get("recovery_action")
    return None if action is None else action_named(action)


def power_flags(gauges: Mapping[str, float]) -> tuple[str, ...]:
    """Return which of the driver's means to shape power are on."""
    on = [name for name in POWER_FLAGS if gauges.get(name)]
    numbers = [name.removeprefix(POWER_PROFILE) for name in gauges if name.startswith(POWER_PROFILE)]
    profiles = sorted(int(number) for number in numbers if number.isdecimal())
    return (*on, *(POWER_PROFILE + _profile(number) for number in profiles))


def _profile(number: int) -> str:
    return POWER_PROFILES[number] if number < len(POWER_PROFILES) else str(number)
